"""Everything that is wrong with a study, found before any work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from napari_apollo.errors import InputError
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.study.fields import StudyField
from napari_apollo.study.images import FieldImage, open_field
from napari_apollo.study.labels import LabelImage, open_labels
from napari_apollo.study.values import channel_problems, label_problems

if TYPE_CHECKING:
    from napari_apollo.study.study import Study

# Objectives from 10x to 40x differ by a factor of four; a slip from nm to um by a thousand.
_WIDELY = 5.0
_DISAGREE = 1.05
_NAMED_AT_MOST = 8
_LARGE_BLOCK = 1 << 26

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Examination:
    """What was found in a study.

    Attributes
    ----------
    problems
        What has to be put right before work can begin, a sentence each.
    notes
        What may be as it should, and deserves a look.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]


def examine(
    study: Study,
    *,
    thorough: bool = False,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Examination:
    """Look for everything that is wrong with a study, before any work.

    Parameters
    ----------
    thorough
        Read every pixel too: finds damage inside files, values that are no numbers, and channels
        without contents. Takes as long as reading all files.

    Raises
    ------
    Cancelled
        When ``should_stop`` says so.
    """
    fields = study.fields
    problems = [
        *study.unknown_columns,
        *_nearly_alike(fields, "donor"),
        *_nearly_alike(fields, "condition"),
        *_donors_in_two(fields, "condition"),
        *_donors_in_two(fields, "split"),
        *_same_cells_twice(fields),
    ]
    notes = [*study.notes, *_some_without_labels(fields)]
    opened: list[FieldImage] = []
    for number, field in enumerate(fields):
        stop_if_asked(should_stop)
        progress(Step("Checking", number, len(fields), field.field))
        try:
            image = open_field(field)
            opened.append(image)
            labels = open_labels(field.labels, image.shape) if field.labels is not None else None
            if thorough:
                notes += [f"{field.field}: {text}" for text in _contents(image, labels, should_stop)]
        except InputError as error:
            problems.append(f"{field.field}: {error}")
    progress(Step("Checking", len(fields), len(fields)))
    problems += _sizes_far_apart(opened)
    notes += [
        *_sizes_overruled(opened),
        *_sizes_missing(opened),
        *_kinds_of_pixels(opened),
        *_slow_to_read(opened),
    ]
    return Examination(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(notes)))


def _contents(image: FieldImage, labels: LabelImage | None, should_stop: ShouldStop) -> Iterator[str]:
    yield from channel_problems(image, should_stop=should_stop)
    if labels is not None:
        yield from label_problems(labels, should_stop=should_stop)


def _nearly_alike(fields: Sequence[StudyField], what: str) -> Iterator[str]:
    """Names that differ in nothing but case and blanks: one donor would be trained and tested on."""
    spellings = _grouped(fields, lambda field: " ".join(getattr(field, what).casefold().split()))
    for own in spellings.values():
        groups = _grouped(own, lambda field: getattr(field, what))
        if len(groups) > 1:
            told = " and ".join(f"{name!r} ({_names(members)})" for name, members in groups.items())
            yield (
                f"the {what}s {told} differ in case or blanks alone and would count as {len(groups)}; "
                "write them alike"
            )


def _donors_in_two(fields: Sequence[StudyField], what: str) -> Iterator[str]:
    """Donors whose fields differ in their condition, or stand on both sides of a split."""
    for donor, own in _grouped(fields, lambda field: field.donor).items():
        values = _grouped(
            [field for field in own if getattr(field, what)], lambda field: getattr(field, what)
        )
        if len(values) > 1:
            told = "; ".join(f"{value} ({_names(members)})" for value, members in values.items())
            remedy = {
                "condition": "a donor has one condition; call the donor apart where it was sampled twice",
                "split": "all fields of a donor belong to one part, or what is tested was trained on",
            }[what]
            yield f"donor {donor!r} is in two {what}s: {told}; {remedy}"


def _same_cells_twice(fields: Sequence[StudyField]) -> Iterator[str]:
    for (image, labels), own in _grouped(fields, lambda field: (field.image, field.labels)).items():
        if len(own) > 1:
            named = f"with the labels {labels}" if labels else "without labels that tell them apart"
            yield (
                f"{_names(own)}: the image {image} stands {len(own)} times {named}; "
                "its cells would count twice"
            )


def _some_without_labels(fields: Sequence[StudyField]) -> Iterator[str]:
    without = [field for field in fields if field.labels is None]
    if without and len(without) < len(fields):
        yield f"{len(without)} of {len(fields)} fields have no labels: {_names(without)}"


def _sizes_far_apart(images: Sequence[FieldImage]) -> Iterator[str]:
    sizes = [(image.pixel_size_um[0], image) for image in images if image.pixel_size_um]
    if not sizes:
        return
    (low, finest), (high, coarsest) = min(sizes, key=_first), max(sizes, key=_first)
    if high > low * _WIDELY:
        yield (
            f"pixel sizes differ {high / low:.3g}-fold, from {low:.4g} um ({finest.field.field}) to "
            f"{high:.4g} um ({coarsest.field.field}); "
            "is a unit wrong? pixel_size_um in the manifest overrules a file"
        )


def _sizes_overruled(images: Sequence[FieldImage]) -> Iterator[str]:
    for image in images:
        given, told = image.field.pixel_size_um, image.pixel_size_in_file
        if given and told and not 1 / _DISAGREE < given / told[0] < _DISAGREE:
            yield (
                f"{image.field.field}: {given:.4g} um in the manifest overrules {told[0]:.4g} um in the file"
            )


def _sizes_missing(images: Sequence[FieldImage]) -> Iterator[str]:
    without = [image.field for image in images if image.pixel_size_um is None]
    if without and len(without) < len(images):
        yield f"{len(without)} of {len(images)} fields have no pixel size: {_names(without)}"


def _kinds_of_pixels(images: Sequence[FieldImage]) -> Iterator[str]:
    for panel, own in _grouped(images, lambda image: image.field.panel.name).items():
        kinds = _grouped(own, lambda image: str(image.dtype))
        if len(kinds) > 1:
            told = "; ".join(
                f"{kind} ({_names([image.field for image in members])})" for kind, members in kinds.items()
            )
            yield f"panel {panel}: pixels are of several kinds, so intensities may not compare: {told}"


def _slow_to_read(images: Sequence[FieldImage]) -> Iterator[str]:
    for image in images:
        megabytes = image.block[0] * image.block[1] * image.dtype.itemsize / 1e6
        if megabytes * 1e6 > _LARGE_BLOCK:
            yield (
                f"{image.field.field}: {image.source} is packed in pieces of {megabytes:.0f} MB, which are "
                "unpacked whole for every part that is read; saved in tiles it takes less time and memory"
            )


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _names(fields: Sequence[StudyField]) -> str:
    names = ", ".join(field.field for field in fields[:_NAMED_AT_MOST])
    more = len(fields) - _NAMED_AT_MOST
    return f"{names} and {more} more" if more > 0 else names


def _first(pair: tuple[float, FieldImage]) -> float:
    return pair[0]
