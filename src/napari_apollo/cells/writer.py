"""Writing a cell store: appended block by block, on disk whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from napari_apollo.cells import checksums, shards
from napari_apollo.cells import table as tables
from napari_apollo.cells.normalisation import Normalisation, NormalisationBuilder
from napari_apollo.errors import DataError, StoreError
from napari_apollo.panels import Panel
from napari_apollo.storage import disk_full_named, one_writer, whole_folder

SCHEMA_VERSION = 1
KIND = "napari-apollo cells"

PIXEL_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
_LONGEST = 255  # bytes of a name, on every file system in use
HELD_OUT = ("validation", "test")
"""Splits whose cells nothing is chosen by."""


def panel_folder(name: str) -> str:
    """Folder name of a panel inside ``panels/``.

    Letters that folders cannot have are percent-encoded; a name that is longer than a folder's can be (one of
    sixty stains is) is cut, and told from others by its checksum.
    """
    folder = quote(name, safe=" +,;=@()")
    if len(folder) <= _LONGEST:
        return folder
    return f"{folder[:100]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class CellStoreWriter:
    """Writes a cell store; a context manager.

    Nothing appears under the store's name before the block ends well. Cells wait in memory until their shard
    is full, so memory is bounded by two shards a panel, whatever the number of cells.

    Parameters
    ----------
    path
        The store, ``NAME.cells.zarr``.
    panels
        The panels, by name or in a row.
    crop_size
        Height and width of a crop in pixels.
    dtype
        Pixel type of the images, one for all panels or one for each by name.
    pixel_size_um
        Edge of a crop pixel, or None where it is not known.
    provenance
        Where the cells come from and how they were made; values as JSON has them.
    overwrite
        Replace a store that exists.

    Attributes
    ----------
    normalisation : Normalisation or None
        Constants to store. Where None at the end, they are made from the pixels of the appended cells by
        ``builder``.
    builder : NormalisationBuilder
        How constants are made; percentiles 1 and 99.8 by panel unless replaced before the first cell.
    provenance : dict
        May be added to until the block ends.

    Raises
    ------
    FileError
        When the store exists and ``overwrite`` is not set.
    StorageFull
        When no space is left; nothing half-written stays behind.
    """

    def __init__(
        self,
        path: Path | str,
        panels: Mapping[str, Panel] | Iterable[Panel],
        *,
        crop_size: int,
        dtype: DTypeLike | Mapping[str, DTypeLike],
        pixel_size_um: float | None = None,
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        listed = list(panels.values()) if isinstance(panels, Mapping) else list(panels)
        self.panels = {panel.name: panel for panel in listed}
        if not self.panels:
            raise DataError("A cell store holds at least one panel.")
        self.crop_size = int(crop_size)
        self.pixel_size_um = pixel_size_um
        self.provenance: dict[str, Any] = dict(provenance or {})
        self.normalisation: Normalisation | None = None
        self.builder: NormalisationBuilder | None = NormalisationBuilder()
        self.overwrite = overwrite
        self._dtypes = {
            name: _pixel_type(
                cast("Mapping[str, DTypeLike]", dtype)[name] if isinstance(dtype, Mapping) else dtype
            )
            for name in self.panels
        }
        self._frames: list[pd.DataFrame] = []
        self._arrays: dict[tuple[str, str], ArrayWriter] = {}
        self._sums: checksums.Sums = {}
        self._stack = ExitStack()
        self._folder = self.path

    def __enter__(self) -> Self:
        self._folder = self._stack.enter_context(
            whole_folder(self.path, overwrite=self.overwrite, mark=checksums.DESCRIPTION)
        )
        size = self.crop_size
        for name, panel in self.panels.items():
            base = Path("panels") / panel_folder(name)
            per_shard = shards.cells_per_shard(len(panel.stains) * size * size * self._dtypes[name].itemsize)
            for kind, shape, dtype in (
                ("images", (len(panel.stains), size, size), self._dtypes[name]),
                ("masks", (size, size), np.dtype(np.uint8)),
            ):
                self._arrays[name, kind] = ArrayWriter(self._folder, base / kind, shape, dtype, per_shard)
        return self

    def append(self, panel: str, images: NDArray[Any], masks: NDArray[np.uint8], obs: pd.DataFrame) -> None:
        """Add cells of one panel, in the order of its rows.

        Parameters
        ----------
        panel
            Name of the panel.
        images
            ``(n, stain, y, x)``, of the panel's pixel type, or one that fits into it.
        masks
            ``(n, y, x)``, 0 not this cell, 1 cytoplasm, 2 nucleus.
        obs
            ``n`` rows; at least ``field`` and ``label``. ``cell_id``, ``panel`` and ``row`` are filled in
            here, and the other columns of a table where they are not given.

        Raises
        ------
        DataError
            When shapes do not fit, or values are not finite.
        """
        self._check(panel, images, masks, obs)
        if not len(obs):
            return
        row = self._arrays[panel, "images"].count
        frame = _complete(obs, panel, row)
        self._arrays[panel, "images"].append(images)
        self._arrays[panel, "masks"].append(masks)
        self._frames.append(frame)
        if self.builder is not None and self.normalisation is None:
            self.builder.add_cells(
                images,
                masks,
                self.panels[panel].stains,
                frame[self.builder.by].to_numpy(str),
                frame["split"].isin(HELD_OUT).to_numpy(),
            )

    @property
    def obs(self) -> pd.DataFrame:
        """What was appended so far, panel by panel as in the finished table."""
        if not self._frames:
            return pd.DataFrame({column: [] for column in tables.COLUMNS})
        frame = pd.concat(self._frames, ignore_index=True)
        order = {name: position for position, name in enumerate(self.panels)}
        return frame.sort_values(
            ["panel", "row"], key=lambda c: c.map(order) if c.name == "panel" else c
        ).reset_index(drop=True)

    def replace_obs(self, obs: pd.DataFrame) -> None:
        """Put a table that was made from `obs` in its place: same cells, same order, columns as you like."""
        if list(obs["cell_id"]) != list(self.obs["cell_id"]):
            raise DataError("The table that replaces another one is about the same cells in the same order.")
        self._frames = [obs.reset_index(drop=True)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is None:
            try:
                with disk_full_named(self.path):
                    self._finish()
            except BaseException as fault:
                self._stack.__exit__(type(fault), fault, fault.__traceback__)
                raise
            if self.path.exists():  # nobody may be writing the table of the store that goes
                with one_writer(self.path):
                    return self._stack.__exit__(None, None, None)
        return self._stack.__exit__(kind, error, trace)

    def _check(self, panel: str, images: NDArray[Any], masks: NDArray[np.uint8], obs: pd.DataFrame) -> None:
        if panel not in self.panels:
            raise DataError(f"Panel {panel!r} is not one of the store's: {', '.join(self.panels)}.")
        shape = (len(obs), len(self.panels[panel].stains), self.crop_size, self.crop_size)
        if images.shape != shape or masks.shape != (shape[0], *shape[2:]):
            raise DataError(
                f"Panel {panel}: {len(obs)} cells need images of shape {shape} and masks of "
                f"{(shape[0], *shape[2:])}, not {images.shape} and {masks.shape}."
            )
        if not np.can_cast(images.dtype, self._dtypes[panel], "safe"):
            raise DataError(f"Panel {panel}: {images.dtype} pixels do not fit into {self._dtypes[panel]}.")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            bad = np.argwhere(~np.isfinite(images))[0]
            raise DataError(
                f"Panel {panel}, field {obs['field'].iloc[bad[0]]}, label {obs['label'].iloc[bad[0]]}: "
                f"{self.panels[panel].stains[bad[1]]} is not finite (NaN or infinite)."
            )

    def _finish(self) -> None:
        for array in self._arrays.values():
            array.close()
            self._sums.update(array.sums)
        problems: list[str] = []
        normalisation = self.normalisation
        if normalisation is None:
            normalisation = Normalisation()
            if self._frames and self.builder is not None:
                normalisation, problems = self.builder.build()
        if problems:
            self.provenance["problems"] = [*self.provenance.get("problems", []), *problems]
        for name in self.panels:
            folder = self._folder / "panels" / panel_folder(name)
            attributes = {"stains": list(self.panels[name].stains)}
            document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
            data = json.dumps(document, indent=1, ensure_ascii=False).encode()
            checksums.write_synced(folder / checksums.DESCRIPTION, data)
            self._sums[f"{panel_folder(name)}/{checksums.DESCRIPTION}"] = checksums.sum_of(data)
        checksums.seal_group(self._folder / "panels", {}, self._sums)
        uns = {"provenance": json.dumps(self.provenance, ensure_ascii=False)}
        tables.write_folder(tables.make_table(self.obs, uns), self._folder / "table")
        # The root's description is written last: a folder without it is no store.
        checksums.seal_group(
            self._folder,
            {
                "kind": KIND,
                "schema_version": SCHEMA_VERSION,
                "panels": {name: panel.model_dump(mode="json") for name, panel in self.panels.items()},
                "crop_size": self.crop_size,
                "pixel_size_um": self.pixel_size_um,
                "normalisation": normalisation.model_dump(mode="json"),
                "provenance": self.provenance,
            },
        )


class ArrayWriter:
    """Writes one array of cells, a shard at a time.

    Parameters
    ----------
    root
        The store.
    place
        The array's folder in it, below ``panels/``.
    shape
        Of a cell, ``(..., y, x)``.
    dtype
        Of the array.
    per_shard
        Cells of a shard, see ``shards.cells_per_shard``.

    Attributes
    ----------
    sums : dict
        Checksums of what was written, by path below ``panels/``.
    count : int
        Cells so far.
    """

    def __init__(
        self, root: Path, place: Path, shape: tuple[int, ...], dtype: np.dtype[Any], per_shard: int
    ) -> None:
        self.sums: checksums.Sums = {}
        self.count = 0
        self._root = root
        self._place = place
        self._shape = shape
        self._dtype = dtype
        self._per_shard = per_shard
        self._waiting: NDArray[Any] | None = None

    def append(self, cells: NDArray[Any]) -> None:
        """Add cells ``(n, ..., y, x)``."""
        done = 0
        while done < len(cells):
            if self._waiting is None:
                self._waiting = np.empty((self._per_shard, *self._shape), self._dtype)
            filled = self.count % self._per_shard
            taken = min(self._per_shard - filled, len(cells) - done)
            self._waiting[filled : filled + taken] = cells[done : done + taken]
            self.count += taken
            done += taken
            if self.count % self._per_shard == 0:
                self._write(self._waiting)

    def close(self) -> None:
        """Write what is left, and the array's description."""
        filled = self.count % self._per_shard
        if filled and self._waiting is not None:
            self._write(self._waiting[:filled])
        self._waiting = None
        metadata = shards.array_metadata((self.count, *self._shape), self._dtype, self._per_shard)
        self._put(checksums.DESCRIPTION, json.dumps(metadata, indent=1).encode())

    def _write(self, cells: NDArray[Any]) -> None:
        name = shards.shard_name((self.count - 1) // self._per_shard, 1 + len(self._shape))
        self._put(name, shards.encode_shard(cells, self._per_shard))

    def _put(self, name: str, data: bytes) -> None:
        checksums.write_synced(self._root / self._place / name, data)
        self.sums[(self._place.relative_to("panels") / name).as_posix()] = checksums.sum_of(data)


def _pixel_type(dtype: DTypeLike) -> np.dtype[Any]:
    found = np.dtype(dtype)
    if found.name not in PIXEL_TYPES:
        raise DataError(f"Pixels of type {found} cannot be stored; one of {', '.join(PIXEL_TYPES)} can.")
    return found.newbyteorder("=")


def _complete(obs: pd.DataFrame, panel: str, row: int) -> pd.DataFrame:
    """The columns every table has, first and in order, then the others."""
    missing = [column for column in ("field", "label") if column not in obs]
    if missing:
        raise DataError(f"Cells need the columns {', '.join(missing)}.")
    frame = obs.reset_index(drop=True).copy()
    frame["cell_id"] = frame["field"].astype(str) + ":" + frame["label"].astype(str)
    frame["panel"] = panel
    frame["row"] = np.arange(row, row + len(frame), dtype=np.int64)
    defaults: dict[str, Any] = {
        "image": "", "donor": "", "condition": "", "y": np.nan, "x": np.nan, "centre_y": 0, "centre_x": 0,
        "scale": 1.0, "split": "", "qc": True, "qc_reason": "", "annotation": "",
    }  # fmt: skip
    for column, value in defaults.items():
        if column not in frame:
            frame[column] = value
    for column in tables.TEXT_COLUMNS:
        frame[column] = frame[column].fillna("").astype(str).astype(object)
    return frame[[*tables.COLUMNS, *(column for column in frame if column not in tables.COLUMNS)]]


def read_root(path: Path) -> dict[str, Any]:
    """Attributes of a store's root.

    Raises
    ------
    StoreError
        When this is no cell store.
    StoreTooNew
        When it was written by a newer version.
    StoreDamaged
        When its description was changed.
    """
    from napari_apollo.errors import StoreTooNew

    if not path.is_dir():
        raise StoreError(path, "there is no such folder.", "A cell store is a folder NAME.cells.zarr.")
    if not (path / checksums.DESCRIPTION).is_file():
        raise StoreError(
            path, "this folder is no cell store, or one that was never finished.", "Cut the cells again."
        )
    attributes = checksums.parse_group(path)
    if attributes.get("kind") != KIND:
        raise StoreError(
            path, "this is a zarr group, but no cell store.", "A cell store is written by 'crop'."
        )
    version = attributes.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StoreTooNew(
            path,
            f"it was written by a newer version (schema {version}; this one reads up to {SCHEMA_VERSION}).",
            "Update napari-apollo.",
        )
    checksums.check_seal(path)
    return attributes
