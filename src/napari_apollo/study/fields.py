"""One row of a manifest: a field of view, what its cells were stained with, and whose cells they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_apollo.errors import PanelError, PanelMismatch, StudyError
from napari_apollo.panels import UNUSED, Panel, canonical_stain, is_listed, match_stains

Split = Literal["train", "validation", "test"]
Planes = Literal["max"] | Annotated[int, Field(ge=0)]

_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif", ".zarr", ".btf", ".tf8", ".npy", ".png")
_NOT_IN_A_FILE_NAME = re.compile(r'[\x00-\x1f/\\:*?"<>|]+')


class StudyField(BaseModel):
    """A field of view with its panel, donor and condition. Frozen and picklable; opens nothing.

    Raises
    ------
    StudyError
        When a value cannot be; every such value is listed.
    PanelError
        When the panel's name lists no stains.
    PanelMismatch
        When ``channels`` lack a stain of the panel.

    Attributes
    ----------
    image
        The image: a TIFF, an OME-Zarr, a folder with one file per stain, or a pattern with ``*``
        that names such files. Several fields may name one image with other labels or channels.
    panel
        Stains of the cells of this field.
    donor, condition
        Whose cells, and in which state.
    field
        Unique name of the field in its study; results are filed under it. From the file name
        where not given.
    labels
        Label image of the nuclei: 0 is background, every nucleus has its own number.
    pixel_size_um
        Width of a pixel in micrometres; overrules what the file says.
    split
        Fixed part of the data that the field belongs to.
    channels
        Stain of every channel of the file in the order of the file, ``"-"`` where not used.
    z
        What is taken of a z-stack: ``"max"`` is the maximum over the planes, a number is the
        plane (0 is the first). Without meaning for files of one plane.
    remarks
        Name and text of the manifest's columns ``note...`` and ``comment...``, which are for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            image = values.get("image", "an image")
            raise StudyError(f"{image} makes no field:", _in_words(error)) from error

    image: Path
    panel: Panel
    donor: str = Field(min_length=1)
    condition: str = Field(min_length=1)
    field: str = Field(default="", validate_default=False)
    labels: Path | None = None
    pixel_size_um: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    split: Split | None = None
    channels: tuple[str, ...] | None = None
    z: Planes = "max"
    remarks: tuple[tuple[str, str], ...] = ()

    @field_validator("panel", mode="before")
    @classmethod
    def _parse_panel(cls, value: Any) -> Any:
        return Panel.parse(value) if isinstance(value, str) else value

    @field_validator("donor", "condition", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @field_validator("channels", mode="before")
    @classmethod
    def _canonical_channels(cls, value: Any) -> Any:
        if value is None:
            return None
        names = split_channels(value) if isinstance(value, str) else value
        return tuple(name if name == UNUSED else canonical_stain(name) for name in names)

    @model_validator(mode="before")
    @classmethod
    def _name(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("field") and "image" in values:
            return {**values, "field": default_name(Path(values["image"]))}
        return values

    @field_validator("field", mode="after")
    @classmethod
    def _file_name(cls, value: str) -> str:
        if value != value.strip() or value.strip(".") == "" or _NOT_IN_A_FILE_NAME.search(value):
            raise ValueError(
                f"{value!r} cannot name files; a field's name has none of / \\ : * ? \" < > | and no "
                "blanks around it"
            )
        return value

    @model_validator(mode="after")
    def _channels_hold_panel(self) -> StudyField:
        if self.channels is not None:
            match_stains(self.panel.stains, self.channels, f"the channels given for {self.image}")
        return self

    def select(self, stains: Sequence[str]) -> tuple[str, ...]:
        """Canonical names of stains of this field's panel.

        Raises
        ------
        UnknownStain
            When the panel does not have one of them.
        """
        return tuple(self.panel.stains[self.panel.index(stain)] for stain in stains)


def _in_words(error: ValidationError) -> list[str]:
    """What is wrong with the values of a field, a sentence each, with the value that was given."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        column = str(problem["loc"][0]) if problem["loc"] else "field"
        text = f"{column} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"
        if column == "z":
            text = f"z = {problem['input']!r}: give 'max' or the number of a plane, 0 the first"
        problems.append(text)
    return list(dict.fromkeys(problems))


def split_channels(text: str) -> tuple[str, ...]:
    """Names from a list such as ``DAPI;CD4;-``; ``;``, ``,`` and ``|`` separate."""
    parts = [part.strip() for part in re.split(r"[;,|]", text)]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(part or UNUSED for part in parts)


def stem(path: Path) -> str:
    """File name without the suffixes of an image (``a.ome.tif`` is ``a``)."""
    name = path.name
    for suffix in _SUFFIXES:
        if name.casefold().endswith(suffix):
            return name[: -len(suffix)] or name
    return name


def default_name(path: Path) -> str:
    """Name for the field of an image: its stem, made fit for file names."""
    name = stem(path).replace("*", "")
    return _NOT_IN_A_FILE_NAME.sub("_", name).strip(" ._") or "field"


def unique_names(images: Sequence[Path], panels: Sequence[str]) -> tuple[str, ...]:
    """A name for every row, each once also where case does not count.

    Names that clash take up as many folders as it needs to tell them apart; several rows of one
    image take the name of their panel, then a number.

    Parameters
    ----------
    images, panels
        Image and panel name of every row.
    """
    names = [default_name(image) for image in images]
    for alike in _alike(names):
        for row in alike:
            names[row] = "_".join([*map(_clean, _telling_folders(images, alike, row)), names[row]])
    for alike in _alike(names):
        for row in alike:
            names[row] = f"{names[row]}_{_clean(panels[row])}"
    taken: set[str] = set()
    for row, name in enumerate(names):
        numbered = (f"{name}_{number}" for number in count(2))
        names[row] = next(free for free in chain([name], numbered) if free.casefold() not in taken)
        taken.add(names[row].casefold())
    return tuple(names)


def _alike(names: Sequence[str]) -> list[list[int]]:
    """Rows that share a name, for every name that several have."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name.casefold(), []).append(row)
    return [alike for alike in rows.values() if len(alike) > 1]


def _telling_folders(images: Sequence[Path], alike: Sequence[int], row: int) -> tuple[str, ...]:
    """The last folders of an image, as many as tell images of one name apart."""
    different = {images[other] for other in alike}
    for depth in range(len(images[row].parts)):
        tails = {tuple(part.casefold() for part in image.parts[-1 - depth : -1]) for image in different}
        if len(tails) == len(different):
            return images[row].parts[-1 - depth : -1]
    return ()


def _clean(text: str) -> str:
    return _NOT_IN_A_FILE_NAME.sub("_", text).strip(" ._") or "_"


def panel_for(text: str, channels: tuple[str, ...] | None) -> Panel:
    """Panel of a row: what its name lists or, under a free name, the channels in use.

    Raises
    ------
    PanelError
        When the name lists no stains and no channels are given.
    PanelMismatch
        When the name lists stains and the channels lack one of them.
    """
    try:
        panel = Panel.parse(text)
    except PanelError:
        if channels is None:
            raise
        return Panel(name=text.strip(), stains=tuple(name for name in channels if name != UNUSED))
    if channels is None:
        return panel
    try:
        match_stains(panel.stains, channels, f"panel {text!r}")
    except PanelMismatch:
        if all(is_listed(stain) for stain in panel.stains):
            raise
        return Panel(name=text.strip(), stains=tuple(name for name in channels if name != UNUSED))
    return panel
