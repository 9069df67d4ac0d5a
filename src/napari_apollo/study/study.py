"""A study: its fields, and where they are listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_apollo.errors import StudyError
from napari_apollo.panels import Panel, same_stain
from napari_apollo.progress import Progress, ShouldStop, never, silent
from napari_apollo.study.fields import StudyField
from napari_apollo.study.manifest import read_manifest, write_manifest

if TYPE_CHECKING:
    from napari_apollo.study.check import Examination
    from napari_apollo.study.discover import DiscoverConfig


class Study:
    """Fields of view with their panels, donors and conditions.

    Parameters
    ----------
    fields
        The fields; their names are unique, also where case does not count.
    path
        The manifest they come from.
    notes
        Remarks for people: what was left out when the study was put together.

    Raises
    ------
    StudyError
        When two fields share a name, or one panel name stands for different stains.
    """

    def __init__(
        self,
        fields: Iterable[StudyField],
        *,
        path: Path | None = None,
        notes: Sequence[str] = (),
        unknown_columns: Sequence[str] = (),
    ) -> None:
        self.fields = _spelt_alike(fields)
        self.path = path
        self.notes = tuple(notes)
        self.unknown_columns = tuple(unknown_columns)
        problems = [*_names_given_twice(self.fields), *_panels_at_odds(self.fields)]
        if problems:
            raise StudyError("The fields do not make a study:", problems)

    @classmethod
    def from_csv(cls, path: Path | str) -> Study:
        """Study of a manifest; see ``read_manifest`` for its columns and errors."""
        manifest = read_manifest(path)
        return cls(manifest.fields, path=Path(path), unknown_columns=manifest.unknown_columns)

    @classmethod
    def discover(cls, folder: Path | str, config: DiscoverConfig | None = None) -> Study:
        """Draft of a study from a folder of images; see ``napari_apollo.study.discover``."""
        from napari_apollo.study.discover import discover

        return discover(folder, config)

    def to_csv(self, path: Path | str) -> Study:
        """Write the manifest, whole or not at all, and return the study with its new place."""
        write_manifest(path, self.fields)
        return Study(self.fields, path=Path(path), notes=self.notes)

    @property
    def panels(self) -> dict[str, Panel]:
        """The panels by name, in the order in which the fields name them."""
        return {field.panel.name: field.panel for field in self.fields}

    def check(self, *, thorough: bool = False) -> list[str]:
        """Everything that is wrong with the study, before any work.

        Parameters
        ----------
        thorough
            Read every pixel too: finds damage inside the files. Takes as long as reading them.

        Returns
        -------
        list of str
            One sentence for every problem, with the field it is found in; empty when all is well.
        """
        return list(self.examine(thorough=thorough).problems)

    def examine(
        self, *, thorough: bool = False, progress: Progress = silent, should_stop: ShouldStop = never
    ) -> Examination:
        """What ``check`` finds, and remarks beside it that keep nobody from working."""
        from napari_apollo.study.check import examine

        return examine(self, thorough=thorough, progress=progress, should_stop=should_stop)

    def require(self, *, thorough: bool = False) -> Study:
        """The study itself, when nothing is wrong with it.

        Raises
        ------
        StudyError
            With every problem that ``check`` finds.
        """
        problems = self.check(thorough=thorough)
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise StudyError(f"{self.path or 'The study'} cannot be worked on, {count}:", problems)
        return self

    def select(self, fields: Iterable[str]) -> Study:
        """Study of some of the fields, by name, in the order of this study.

        Raises
        ------
        StudyError
            When a name is no field of this study.
        """
        wanted = set(fields)
        unknown = sorted(wanted - {field.field for field in self.fields})
        if unknown:
            known = ", ".join(field.field for field in self.fields)
            raise StudyError(f"No field is called {', '.join(map(repr, unknown))}; there are {known}.")
        return self._with(field for field in self.fields if field.field in wanted)

    def with_labels(self, labels: Mapping[str, Path]) -> Study:
        """Study whose fields have these label images; fields not named keep theirs.

        Raises
        ------
        StudyError
            When a name is no field of this study.
        """
        self.select(labels)
        return self._with(
            field.model_copy(update={"labels": Path(labels[field.field])}) if field.field in labels else field
            for field in self.fields
        )

    def _with(self, fields: Iterable[StudyField]) -> Study:
        return Study(fields, path=self.path, notes=self.notes, unknown_columns=self.unknown_columns)

    def __iter__(self) -> Iterator[StudyField]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, name: str) -> StudyField:
        return self.select([name]).fields[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Study) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        donors = len({field.donor for field in self.fields})
        return f"<Study of {len(self)} fields, {donors} donors, panels {', '.join(self.panels)}>"


def _spelt_alike(fields: Iterable[StudyField]) -> tuple[StudyField, ...]:
    """Fields whose panels spell each stain as the first of them that has it.

    ``CK-EPCAM`` in one panel and ``ck epcam`` in another are one stain, with one normalisation.
    """
    spellings: list[str] = []
    known: dict[Panel, Panel] = {}
    alike = []
    for field in fields:
        panel = known.get(field.panel)
        if panel is None:
            spelt = {stain: _spelling(stain, spellings) for stain in field.panel.stains}
            stains = tuple(spelt.values())
            panel = field.panel.model_copy(update={"stains": stains, "anchor": spelt[field.panel.anchor]})
            known[field.panel] = panel
        alike.append(field if panel == field.panel else field.model_copy(update={"panel": panel}))
    return tuple(alike)


def _spelling(stain: str, spellings: list[str]) -> str:
    """How a stain was spelt before; its own spelling is kept for later where it is new."""
    for known in spellings:
        if same_stain(stain, known):
            return known
    spellings.append(stain)
    return stain


def _names_given_twice(fields: Sequence[StudyField]) -> Iterator[str]:
    first: dict[str, StudyField] = {}
    for field in fields:
        twin = first.setdefault(field.field.casefold(), field)
        if twin is not field:
            yield f"two fields are called {field.field!r}: {twin.image} and {field.image}"


def _panels_at_odds(fields: Sequence[StudyField]) -> Iterator[str]:
    first: dict[str, StudyField] = {}
    for field in fields:
        twin = first.setdefault(field.panel.name, field)
        mine, other = field.panel, twin.panel
        if mine is other or mine == other:
            continue
        if len(mine.stains) != len(other.stains) or not all(
            same_stain(a, b) for a, b in zip(mine.stains, other.stains, strict=True)
        ):
            yield (
                f"panel {mine.name!r} means {', '.join(other.stains)} for field {twin.field!r} and "
                f"{', '.join(mine.stains)} for field {field.field!r}; give each its own name"
            )
