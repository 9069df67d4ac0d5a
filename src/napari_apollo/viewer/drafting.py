"""A study while it is put together: rows that may still be incomplete, and what is missing in each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_apollo.errors import InputError, StudyError
from napari_apollo.panels import UNUSED, Panel, canonical_stain, is_listed, listed_stains
from napari_apollo.study import DiscoverConfig, Study, StudyField, discover
from napari_apollo.study.fields import default_name, unique_names
from napari_apollo.study.images import open_source

SPLITS = ("", "train", "validation", "test")


@dataclass(frozen=True)
class DraftRow:
    """A field of view that may still be incomplete.

    Attributes
    ----------
    image
        The image.
    names
        What the file calls its channels; empty texts where it does not say.
    stains
        Stain of every channel, ``"-"`` where not used, empty where nobody has said yet.
    donor, condition, name, split
        As in the manifest.
    panel
        Name of the panel; its stains joined where empty.
    labels, pixel_size_um, z
        As in the manifest.
    given
        The panel as the manifest has it, with its order of stains and its anchor; kept while it fits.
    remarks
        What people noted in the manifest.
    unreadable
        Why the image cannot be opened, where it was and is not any more.
    """

    image: Path
    names: tuple[str, ...] = ()
    stains: tuple[str, ...] = ()
    donor: str = ""
    condition: str = ""
    name: str = ""
    panel: str = ""
    labels: Path | None = None
    pixel_size_um: float | None = None
    split: str = ""
    z: Any = "max"
    given: Panel | None = None
    remarks: tuple[tuple[str, str], ...] = ()
    unreadable: str = ""

    @classmethod
    def of_field(cls, known: StudyField) -> DraftRow:
        """Row of a field that is complete."""
        try:
            names, unreadable = _names_in(known.image), ""
            stains = known.channels or _stains_for(names, known.panel)
        except InputError as error:
            names, unreadable = (), str(error)
            stains = known.channels or known.panel.stains
        return cls(
            known.image,
            tuple(names or ("",) * len(stains)),
            stains,
            known.donor,
            known.condition,
            known.field,
            known.panel.name,
            known.labels,
            known.pixel_size_um,
            known.split or "",
            known.z,
            known.panel,
            known.remarks,
            unreadable,
        )

    @classmethod
    def of_file(cls, path: Path) -> DraftRow:
        """Row of an image of which only the file is known, with suggestions for its stains."""
        names = _names_in(path)
        return cls(path, names, suggest_stains(names), default_name(path), "all", default_name(path))

    @property
    def used(self) -> tuple[str, ...]:
        """Stains that are used, in the order of the channels."""
        return tuple(stain for stain in self.stains if stain not in ("", UNUSED))

    @property
    def panel_name(self) -> str:
        """Name of the panel, by its stains where nobody gave one."""
        return self.panel or "/".join(self.used)

    def field(self) -> StudyField:
        """The field.

        Raises
        ------
        InputError
            When something is missing or wrong; the message says what.
        """
        if self.unreadable:
            raise StudyError(f"{self.name or self.image.name}: {self.unreadable}")
        if not all(self.stains) or not self.stains:
            missing = [
                name or f"channel {number}"
                for number, (name, stain) in enumerate(
                    zip(self.names or ("",) * len(self.stains), self.stains, strict=True), start=1
                )
                if not stain
            ]
            raise StudyError(f"{self.image.name}: say which stain {', '.join(missing) or 'it'} shows.")
        return StudyField(
            image=self.image,
            panel=self._panel(),
            donor=self.donor,
            condition=self.condition,
            field=self.name or default_name(self.image),
            labels=self.labels,
            pixel_size_um=self.pixel_size_um,
            split=self.split or None,
            channels=self.stains,
            z=self.z,
            remarks=self.remarks,
        )

    def _panel(self) -> Panel:
        given = self.given
        if given is not None and given.name == self.panel_name and set(given.stains) == set(self.used):
            return given
        return Panel(name=self.panel_name, stains=self.used)

    @property
    def problem(self) -> str:
        """What is missing or wrong, in words; empty when nothing is."""
        try:
            self.field()
        except InputError as error:
            return str(error)
        return ""


@dataclass
class StudyDraft:
    """Rows of a study to be, and remarks on what was left out."""

    rows: list[DraftRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, study: Study) -> StudyDraft:
        """Draft of a study that is complete."""
        return cls([DraftRow.of_field(known) for known in study], list(study.notes))

    def add(self, paths: Iterable[Path], config: DiscoverConfig | None = None) -> int:
        """Add manifests, folders and images; how many rows came of it.

        Folders are read as ``discover`` reads them. What cannot be read is kept in ``notes``.
        """
        before = len(self.rows)
        for path in paths:
            try:
                self._extend(self._rows_of(Path(path), config))
            except InputError as error:
                self.notes.append(str(error))
        return len(self.rows) - before

    def add_fields(self, fields: Iterable[StudyField]) -> int:
        """Add complete fields; how many were new."""
        before = len(self.rows)
        self._extend([DraftRow.of_field(known) for known in fields])
        return len(self.rows) - before

    def join(self, other: StudyDraft) -> None:
        """Add the rows and the notes of another draft."""
        self._extend(other.rows)
        self.notes += other.notes

    def take_labels(self, other: StudyDraft) -> None:
        """Take the label images that another draft has for the same fields."""
        labels = {(row.image, row.name): row.labels for row in other.rows}
        self.rows = [
            replace(row, labels=labels.get((row.image, row.name)) or row.labels) for row in self.rows
        ]

    def remove(self, rows: Iterable[int]) -> None:
        """Take rows out."""
        gone = set(rows)
        self.rows = [row for number, row in enumerate(self.rows) if number not in gone]

    def change(self, rows: Iterable[int], **values: Any) -> None:
        """Give rows other values."""
        for number in rows:
            self.rows[number] = replace(self.rows[number], **values)

    def assign(self, rows: Iterable[int], stains: Sequence[str], panel: str = "") -> None:
        """Say which stain every channel of some rows shows; rows of another number of channels stay."""
        named = tuple(stain if stain in ("", UNUSED) else canonical_stain(stain) for stain in stains)
        for number in rows:
            if len(self.rows[number].stains) == len(named):
                self.rows[number] = replace(self.rows[number], stains=named, panel=panel)

    def alike(self, row: int) -> list[int]:
        """Rows whose files call their channels the same, and show the same stains as far as is known.

        Files that do not name their channels may well be of several panels.
        """
        wanted = self.rows[row]
        return [
            number
            for number, other in enumerate(self.rows)
            if other.names == wanted.names and other.stains == wanted.stains
        ]

    def problems(self) -> list[tuple[int | None, str]]:
        """What keeps the rows from being a study: the row, or None, and a sentence."""
        found: list[tuple[int | None, str]] = [
            (number, row.problem) for number, row in enumerate(self.rows) if row.problem
        ]
        if not found and self.rows:
            try:
                self.study()
            except InputError as error:
                found = [(None, text) for text in getattr(error, "problems", ()) or (str(error),)]
        return found

    def study(self) -> Study:
        """The study.

        Raises
        ------
        InputError
            When a row is incomplete, or the rows do not go together.
        """
        if not self.rows:
            raise StudyError("The study has no image yet; drop a folder or files.")
        return Study([row.field() for row in self.rows], notes=self.notes)

    def _rows_of(self, path: Path, config: DiscoverConfig | None) -> list[DraftRow]:
        if path.suffix.lower() == ".csv":
            return StudyDraft.of(Study.from_csv(path)).rows
        if path.is_dir() and not path.name.endswith(".zarr"):
            try:
                found = discover(path, config)
            except StudyError as error:
                images = [each for each in sorted(path.iterdir()) if _may_be_image(each)]
                if not images:
                    raise
                self.notes.append(str(error))
                return [DraftRow.of_file(each) for each in images]
            self.notes += found.notes
            return StudyDraft.of(found).rows
        return [DraftRow.of_file(path)]

    def _extend(self, rows: Sequence[DraftRow]) -> None:
        known = {(row.image, row.labels) for row in self.rows}
        self.rows += [row for row in rows if (row.image, row.labels) not in known]
        images, panels = [row.image for row in self.rows], [row.panel_name for row in self.rows]
        fresh = unique_names(images, panels)
        taken: set[str] = set()
        for number, row in enumerate(self.rows):
            name = row.name if row.name and row.name.casefold() not in taken else fresh[number]
            taken.add(name.casefold())
            self.rows[number] = replace(row, name=name)


def suggest_stains(names: Sequence[str]) -> tuple[str, ...]:
    """A stain for every channel by what the file calls it; empty where the name tells nothing."""
    suggested: list[str] = []
    for name in names:
        stain = canonical_stain(name) if any(letter.isalpha() for letter in name) else ""
        suggested.append(UNUSED if stain and stain in suggested else stain)
    return tuple(suggested)


def stains_to_offer(rows: Sequence[DraftRow]) -> tuple[str, ...]:
    """Stains that people may want to choose: those in use first, then all that are known."""
    used = dict.fromkeys(stain for row in rows for stain in row.used)
    return tuple(dict.fromkeys([*used, *listed_stains()]))


def is_known(stain: str) -> bool:
    """Whether a stain is one of those that are known, or left open on purpose."""
    return stain == UNUSED or is_listed(stain)


def _names_in(path: Path) -> tuple[str, ...]:
    layout = open_source(path).layout
    if layout.channel_names is not None:
        return tuple(layout.channel_names)
    axis = next((axis for axis in "CSQ" if axis in layout.axes), "")
    return ("",) * (layout.length(axis) if axis else 1)


def _stains_for(names: Sequence[str], panel: Panel) -> tuple[str, ...]:
    """Stain of every channel, where the file's names or the order of the panel tell it."""
    if any(names):
        suggested = suggest_stains(names)
        return tuple(stain if stain in panel else UNUSED for stain in suggested)
    if len(names) == len(panel.stains):
        return panel.stains
    return ("",) * len(names)


def _may_be_image(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff", ".btf") or path.name.endswith(".zarr")
