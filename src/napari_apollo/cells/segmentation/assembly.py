"""Putting the tiles of a field together: one number for every nucleus, and the label image on disk."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile

from napari_apollo import __version__
from napari_apollo.cells.segmentation.grid import Box
from napari_apollo.cells.segmentation.tiles import Tile

_TIFF_TILE = 256


@dataclass(frozen=True)
class PackedTile:
    """A tile as it travels and waits: its labels compressed.

    Attributes
    ----------
    box
        Where it lies in the field.
    labels
        Compressed int32 (y, x); numbers count into ``nuclei``.
    nuclei
        int64, rising; the same nucleus has the same number in every tile.
    """

    box: Box
    labels: bytes
    nuclei: npt.NDArray[np.int64]


def pack(box: Box, tile: Tile) -> PackedTile:
    """Compress a tile."""
    return PackedTile(box, zlib.compress(np.ascontiguousarray(tile.labels).tobytes(), 1), tile.nuclei)


def unpack(labels: bytes, box: Box) -> npt.NDArray[np.int32]:
    """Labels of a packed tile, int32 (y, x)."""
    return np.frombuffer(zlib.decompress(labels), np.int32).reshape(box.shape)


def numbered(tiles: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Every nucleus of a field once, rising; its place, from 1, is its label."""
    return np.unique(np.concatenate(tiles)) if tiles else np.zeros(0, np.int64)


def renumbered(
    labels: npt.NDArray[np.int32], own: npt.NDArray[np.int64], nuclei: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Labels of a tile, which count into its own nuclei, as places among all nuclei of the field."""
    lookup = np.zeros(len(own) + 1, np.int32)
    lookup[1:] = np.searchsorted(nuclei, own) + 1
    return lookup[labels]


class FieldLabels:
    """The label image of a field while its tiles come in, kept compressed in a file.

    Parameters
    ----------
    shape
        Rows and columns of the field.
    spool
        File to keep tiles in; it belongs to the caller.
    """

    def __init__(self, shape: tuple[int, int], spool: BinaryIO) -> None:
        self.shape = shape
        self._spool = spool
        self._tiles: list[tuple[Box, int, int, npt.NDArray[np.int64]]] = []

    def add(self, tile: PackedTile) -> None:
        """Keep a tile."""
        start = self._spool.seek(0, 2)
        self._spool.write(tile.labels)
        self._tiles.append((tile.box, start, len(tile.labels), tile.nuclei))

    @property
    def nuclei(self) -> npt.NDArray[np.int64]:
        """Every nucleus once, rising; its place, from 1, is its label."""
        return numbered([nuclei for *_, nuclei in self._tiles])

    def write(self, path: Path, pixel_size_um: tuple[float, float] | None) -> None:
        """Write a tiled, deflated BigTIFF of int32, a few rows of tiles in memory at a time.

        Parameters
        ----------
        path
            File to write.
        pixel_size_um
            Height and width of a pixel in micrometres, kept in the file where known.
        """
        resolution: dict[str, object] = {}
        if pixel_size_um is not None:
            y_size, x_size = pixel_size_um
            resolution = {"resolution": (1e4 / x_size, 1e4 / y_size), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(
            path,
            self._blocks(),
            shape=self.shape,
            dtype=np.int32,
            bigtiff=True,
            tile=(_TIFF_TILE, _TIFF_TILE),
            compression="zlib",
            photometric="minisblack",
            software=f"napari-apollo {__version__}",
            metadata={"axes": "YX"},
            **resolution,
        )

    def _blocks(self) -> Iterator[npt.NDArray[np.int32]]:
        nuclei = self.nuclei
        unpacked: dict[int, npt.NDArray[np.int32]] = {}
        for y in range(0, self.shape[0], _TIFF_TILE):
            band = np.zeros((_TIFF_TILE, -(-self.shape[1] // _TIFF_TILE) * _TIFF_TILE), np.int32)
            for index, (box, start, length, own) in enumerate(self._tiles):
                low, high = max(y, box.y0), min(y + _TIFF_TILE, box.y1)
                if low >= high:
                    unpacked.pop(index, None)
                    continue
                if index not in unpacked:
                    self._spool.seek(start)
                    unpacked[index] = renumbered(unpack(self._spool.read(length), box), own, nuclei)
                rows = unpacked[index][low - box.y0 : high - box.y0]
                band[low - y : high - y, box.x0 : box.x1] = rows
            for x in range(0, self.shape[1], _TIFF_TILE):
                yield np.ascontiguousarray(band[:, x : x + _TIFF_TILE])
