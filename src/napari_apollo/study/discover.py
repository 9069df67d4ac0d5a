"""Drafts of studies from folders of images.

What folders and files are called is read as people name them; what cannot be told is left to the
person who edits the draft, and what is left out is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_apollo.config import OperationConfig
from napari_apollo.errors import InputError, PanelError, StudyError
from napari_apollo.panels import Panel, canonical_stain, is_listed
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.study.fields import StudyField, default_name, unique_names
from napari_apollo.study.folders import Found, find_files, label_key
from napari_apollo.study.images import open_source

if TYPE_CHECKING:
    from napari_apollo.study.study import Study

_UNTOLD = "all"
_NAMED_AT_MOST = 8


class DiscoverConfig(OperationConfig):
    """How a folder of images is read as a study."""

    labels: Path | None = None
    """Folder of label images that mirrors the folder of images; labels are found there by the same
    relative path and name. Where not given, labels beside the images are found by their names."""

    donor_ends_at: str = ""
    """The donor is what comes before this mark in the name of the donor's folder or file: with "_",
    the folder P14_1_PBMC is of donor P14. The whole name where empty."""

    panel: str = ""
    """Panel of images for which neither a folder nor the file names the stains, such as
    dapi_cd16_cd4_cd8."""

    condition: str = _UNTOLD
    """Condition of images that no folder gives a condition."""


@dataclass
class _Draft:
    """Fields as they come together."""

    config: DiscoverConfig
    images: list[Found] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    origins: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, image: Found) -> None:
        try:
            panel, at = _panel(image, self.config.panel)
        except InputError as error:
            self.notes.append(f"left out: {error}")
            return
        self.images.append(image)
        self.panels.append(panel)
        self.origins.append(_origin(image, at, self.config))


def discover(
    folder: Path | str,
    config: DiscoverConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Study:
    """Draft of a study from a folder of images.

    Understood are trees ``condition/panel/donor/image.tif`` with panel folders such as
    ``dapi_cd16_cd4_cd8`` (parts of the tree may be missing), flat folders of files that name their
    channels, files of one stain each (``field1_DAPI.tif, field1_CD4.tif``, or a folder of them),
    and OME-Zarr. Labels are found in a parallel tree, in folders called ``labels`` or ``masks``,
    beside the images as ``..._labels.tif`` or ``..._masks.tif``, and inside OME-Zarr images.

    Parameters
    ----------
    folder
        Where the images are, at any depth.
    config
        What names cannot tell.

    Returns
    -------
    Study
        A draft to be looked through; its ``notes`` say what was left out and what was assumed.

    Raises
    ------
    StudyError
        When the folder is not there or holds no image.
    Cancelled
        When ``should_stop`` says so.
    """
    from napari_apollo.study.study import Study

    folder, config = Path(folder), config or DiscoverConfig()
    for needed in filter(None, (folder, config.labels)):
        if not needed.is_dir():
            raise StudyError(f"{needed}: no such folder.")
    try:
        images, labels, strays = find_files(folder, config.labels)
    except OSError as error:
        raise StudyError(f"{error.filename or folder}: cannot be listed: {error.strerror}.") from error
    draft = _Draft(config)
    for number, image in enumerate(images):
        stop_if_asked(should_stop)
        progress(Step("Looking at images", number, len(images), image.path.name))
        draft.add(image)
    if not draft.images:
        raise StudyError(f"{folder}: no image was found that a study can be made of.", draft.notes)
    matched = _match_labels(draft, labels)
    _note_strays(draft, strays)
    names = unique_names([image.path for image in draft.images], [panel.name for panel in draft.panels])
    fields = [
        StudyField(
            image=image.path,
            panel=panel,
            donor=donor,
            condition=condition,
            field=name,
            labels=matched.get(image.path),
        )
        for image, panel, (condition, donor), name in zip(
            draft.images, draft.panels, draft.origins, names, strict=True
        )
    ]
    progress(Step("Looking at images", len(images), len(images)))
    return Study(fields, notes=draft.notes)


def _panel(image: Found, given: str) -> tuple[Panel, int | None]:
    """Panel of an image, and which of its folders names it."""
    for strict in (True, False):
        for position, part in enumerate(image.folders):
            panel = _panel_folder(part, strict)
            if panel is not None:
                return panel, position
        if given:
            return Panel.parse(given), None
        if strict:
            names = open_source(image.path).layout.channel_names
            if names is not None:
                return _panel_of_channels(image.path, names), None
    raise PanelError(
        f"{image.path}: neither a folder (such as dapi_cd4_cd8) nor the file names its stains; "
        "name the panel."
    )


def _panel_of_channels(path: Path, names: Sequence[str]) -> Panel:
    """Panel of what a file calls its channels.

    Raises
    ------
    PanelError
        Naming the file, when a stain is there twice or none is of DNA.
    """
    try:
        return Panel(name="_".join(map(canonical_stain, names)), stains=names)
    except PanelError as error:
        raise PanelError(
            f"{path}: its channels ({', '.join(names)}) make no panel: {error} List it in the manifest, with "
            "the stain of each channel in the column 'channels' ('-' for one that is not used)."
        ) from error


def _panel_folder(part: str, strict: bool) -> Panel | None:
    """Panel that a folder's name lists, its stains all known where ``strict``."""
    try:
        panel = Panel.parse(part)
    except PanelError:
        return None
    if len(panel.stains) < 2 or (strict and not all(map(is_listed, panel.stains))):
        return None
    return panel


def _origin(image: Found, panel_at: int | None, config: DiscoverConfig) -> tuple[str, str]:
    """Condition and donor of an image."""
    at = panel_at if panel_at is not None else min(1, len(image.folders) - 1)
    before = image.folders[: max(at, 0)]
    after = image.folders[at + 1 :] if panel_at is not None else image.folders[max(at, 0) :]
    donor = after[0] if after else default_name(image.path)
    if config.donor_ends_at:
        donor = donor.split(config.donor_ends_at)[0] or donor
    return "_".join(before) or config.condition, donor.strip() or default_name(image.path)


def _match_labels(draft: _Draft, labels: Sequence[Found]) -> dict[Path, Path]:
    """Label image of each image, by the folders and name they share."""
    by_key: dict[tuple[tuple[str, ...], str], list[Path]] = {}
    for label in labels:
        by_key.setdefault((label.folders, label_key(label.path)), []).append(label.path)
    matched: dict[Path, Path] = {}
    for image in draft.images:
        inside = list(_labels_inside(image.path))
        own = by_key.pop((image.folders, label_key(image.path)), inside)
        if len(own) == 1:
            matched[image.path] = own[0]
        elif own:
            draft.notes.append(f"{image.path} has {len(own)} label images, none was taken: {_listed(own)}")
    unmatched = [path for paths in by_key.values() for path in paths]
    if unmatched:
        draft.notes.append(f"{len(unmatched)} label images have no image: {_listed(unmatched)}")
    without = [image.path for image in draft.images if image.path not in matched]
    if matched and without:
        draft.notes.append(f"{len(without)} images have no labels: {_listed(without)}")
    return matched


def _labels_inside(image: Path) -> Iterator[Path]:
    """Label images that an OME-Zarr image holds."""
    folder = image / "labels"
    if folder.is_dir():
        yield from sorted(
            inside
            for inside in folder.iterdir()
            if any((inside / name).is_file() for name in ("zarr.json", ".zattrs"))
        )


def _note_strays(draft: _Draft, strays: Sequence[Path]) -> None:
    if strays:
        draft.notes.append(f"{len(strays)} other files were passed over: {_listed(strays)}")


def _listed(paths: Sequence[Path]) -> str:
    names = ", ".join(str(path) for path in paths[:_NAMED_AT_MOST])
    more = len(paths) - _NAMED_AT_MOST
    return f"{names} and {more} more" if more > 0 else names
