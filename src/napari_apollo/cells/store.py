"""The cell store: crops, masks and a table, on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_apollo.cells import checksums, shards
from napari_apollo.cells import table as tables
from napari_apollo.cells.normalisation import GroupBy, Normalisation, NormalisationBuilder
from napari_apollo.cells.writer import SCHEMA_VERSION, CellStoreWriter, panel_folder, read_root
from napari_apollo.errors import DataError, StoreChanged, StoreDamaged, StoreError
from napari_apollo.panels import Panel
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.storage import one_writer, recover_folder, require_writable

if TYPE_CHECKING:
    import anndata

__all__ = ["SCHEMA_VERSION", "CellStore", "CellStoreWriter"]

_BLOCK = 256

Rows = Sequence[int] | NDArray[np.integer]


class CellStore:
    """Cells of a study: their crops and masks by panel, and one table of all.

    Made by ``CellStore.open``; pickles as its path. Reading is safe from several threads.

    Attributes
    ----------
    path : pathlib.Path
    panels : dict of str to Panel
    crop_size : int
        Height and width of a crop in pixels.
    pixel_size_um : float or None
        Edge of a crop pixel.
    normalisation : Normalisation
    provenance : dict
        Where the cells come from: settings, quality limits, counts, problems met.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        recover_folder(self.path)
        attributes = read_root(self.path)
        recover_folder(self.path / "table")
        try:
            self.panels = {name: Panel(**panel) for name, panel in attributes["panels"].items()}
            self.crop_size = int(attributes["crop_size"])
            self.pixel_size_um: float | None = attributes["pixel_size_um"]
            self.normalisation = Normalisation(**attributes["normalisation"])
            self.provenance: dict[str, Any] = attributes["provenance"]
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise StoreDamaged(
                self.path, "its description lacks what a cell store says of itself."
            ) from error
        self._root = attributes[checksums.SEAL]
        self._table_version = ""  # of the table as it was read here last
        self._groups: dict[str, NDArray[np.str_]] = {}
        self._arrays = {
            (name, kind): shards.CellArray(
                self.path / "panels" / panel_folder(name) / kind, f"panel {name}, {kind}"
            )
            for name in self.panels
            for kind in ("images", "masks")
        }

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a store; reads its description only.

        Raises
        ------
        StoreError
            When this is no cell store.
        StoreTooNew
            When it was written by a newer version of napari-apollo.
        StoreDamaged
            When its description was changed.
        """
        return cls(path)

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def __repr__(self) -> str:
        panels = ", ".join(f"{name}: {self.count(name)}" for name in self.panels)
        return f"<CellStore {self.path.name}, {self.crop_size} px crops, cells by panel: {panels}>"

    @property
    def n_cells(self) -> int:
        """Cells of all panels."""
        return sum(self.count(name) for name in self.panels)

    def count(self, panel: str) -> int:
        """Cells of a panel."""
        return self._array(panel, "images").shape[0]

    def dtype(self, panel: str) -> np.dtype[Any]:
        """Pixel type of a panel's images."""
        return self._array(panel, "images").dtype

    @cached_property
    def table(self) -> anndata.AnnData:
        """One row per cell; read and checked once.

        Raises
        ------
        StoreDamaged
            When bytes of it are missing or changed.
        """
        table, self._table_version = tables.read_settled(self.path / "table")
        counts = table.obs["panel"].value_counts().to_dict()
        if counts != {name: self.count(name) for name in self.panels if self.count(name)}:
            raise StoreDamaged(self.path / "table", "the table is not about the cells of this store.")
        return table

    @property
    def obs(self) -> pd.DataFrame:
        """The table's columns about cells; see ``docs/architecture.md``."""
        frame: pd.DataFrame = self.table.obs
        return frame

    def rows(self, panel: str, *, passed_qc: bool = False) -> NDArray[np.int64]:
        """Positions in `obs` of a panel's cells.

        ``obs["row"]`` at these positions is what ``read_images`` takes; without ``passed_qc`` they are 0, 1,
        2...

        Parameters
        ----------
        panel
            Name of the panel.
        passed_qc
            Only cells that passed the quality checks.
        """
        self._array(panel, "images")
        chosen = self.obs["panel"].to_numpy() == panel
        if passed_qc:
            chosen = chosen & self.obs["qc"].to_numpy(bool)
        return np.flatnonzero(chosen)

    def read_images(self, panel: str, rows: Rows, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Crops as acquired.

        Parameters
        ----------
        panel
            Name of the panel.
        rows
            Values of ``obs["row"]``, in any order; they may repeat.
        out
            Written to where given (C-contiguous, of the right shape and type); faster for batch after batch.

        Returns
        -------
        ndarray (n, stain, y, x)
            In the order of ``rows``; stains as in ``panels[panel].stains``.

        Raises
        ------
        StoreDamaged
            When bytes are missing or changed; panel and rows are named.
        DataError
            When the store has no such panel or row.
        """
        return self._read(panel, "images", rows, out)

    def read_masks(self, panel: str, rows: Rows, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Masks ``(n, y, x)``: 0 not this cell, 1 its cytoplasm, 2 its nucleus. See `read_images`."""
        return self._read(panel, "masks", rows, out)

    def normalised(self, panel: str, rows: Rows) -> NDArray[np.float32]:
        """Crops ``(n, stain, y, x)`` in [0, 1], by the store's normalisation. See `read_images`."""
        images = self.read_images(panel, rows)
        return self.normalisation.apply(images, self.panels[panel].stains, self.groups(panel, rows))

    def groups(self, panel: str, rows: Rows) -> NDArray[np.str_]:
        """The group of each cell in the normalisation: its panel, donor or field."""
        if panel not in self._groups:
            column = self.obs[self.normalisation.by].to_numpy(str)
            self._groups[panel] = column[self.rows(panel)]
        return self._groups[panel][np.asarray(rows, dtype=np.int64)]

    def make_normalisation(
        self,
        positions: Rows,
        *,
        by: GroupBy | None = None,
        percentiles: tuple[float, float] = (1.0, 99.8),
    ) -> Normalisation:
        """Constants from chosen cells only, for example from the donors that a model is trained on.

        Parameters
        ----------
        positions
            Positions in `obs`.
        by
            As the store's own normalisation where not given.
        percentiles
            Lower and upper percentile of the pixels of these cells.

        Raises
        ------
        DataError
            When a stain is constant in all of them.
        """
        builder = NormalisationBuilder(by or self.normalisation.by, "percentile", percentiles)
        chosen = self.obs.iloc[np.sort(np.asarray(positions, dtype=np.int64))]
        for name, own in chosen.groupby("panel", sort=False):
            panel = str(name)
            for start in range(0, len(own), _BLOCK):
                part = own.iloc[start : start + _BLOCK]
                rows = part["row"].to_numpy()
                builder.add_cells(
                    self.read_images(panel, rows),
                    self.read_masks(panel, rows),
                    self.panels[panel].stains,
                    part[builder.by].to_numpy(str),
                )
        return builder.build()[0]

    def write_table(self, table: anndata.AnnData) -> None:
        """Replace the table, whole or not at all, where nobody else wrote to it since it was read here.

        Raises
        ------
        DataError
            When it is not about the same cells in the same order.
        StoreChanged
            When another program, or another window, wrote to it since. ``update_table`` never meets that.
        StoreBusy
            When another program has been writing all the while.
        StorageFull
            When no space is left; the old table stays.
        """
        with one_writer(self.path):
            if self._table_version and not self._is_current():
                raise StoreChanged(
                    self.path / "table",
                    "it was written to by another program, or in another window, since it was read here.",
                    "Open the store again and make the change anew; nothing was overwritten.",
                )
            self._replace(table)

    def update_table(self, change: Callable[[anndata.AnnData], anndata.AnnData]) -> None:
        """Change the table as it stands now, whole or not at all, while everybody else waits.

        What others wrote since it was read here stays, but for what ``change`` puts in its place.

        Parameters
        ----------
        change
            Takes the table as it is, leaves it so, and returns the one to be written: the same cells in
            the same order.

        Raises
        ------
        DataError, StoreBusy, StorageFull
            As of ``write_table``.
        StoreChanged
            When the cells themselves were cut anew since the store was opened.
        """
        with one_writer(self.path):
            if not self._is_current():
                self._forget_table()
            self._replace(change(self.table))

    def require_writable(self) -> None:
        """Refuse a store whose table may not be written to, before the work whose results go there.

        Raises
        ------
        FileError
            Naming the place.
        """
        for place in (self.path, self.path / "table"):  # the lock lies beside the store
            require_writable(place)

    def _is_current(self) -> bool:
        """Whether the table was read here, and nobody has written since."""
        return self._table_version == tables.version(self.path / "table")

    def _replace(self, table: anndata.AnnData) -> None:
        if read_root(self.path)[checksums.SEAL] != self._root:
            raise StoreChanged(
                self.path,
                "its cells were cut anew since it was opened here.",
                "Open it again; what was found for the old cells does not hold for the new ones.",
            )
        tables.check_replacement(table, self.table)
        tables.write_whole(table, self.path / "table")
        self._forget_table()
        self._table_version = tables.version(self.path / "table")

    def _forget_table(self) -> None:
        vars(self).pop("table", None)
        self._groups.clear()

    def export_table(self, path: Path | str) -> None:
        """Write the table as ``.csv`` or ``.h5ad`` for other programs."""
        tables.export(self.table, Path(path))

    def verify(self, *, progress: Progress = silent, should_stop: ShouldStop = never) -> list[str]:
        """Compare every byte with the checksums.

        Returns
        -------
        list of str
            One line for each changed, missing or surplus file; empty when all is well.
        """
        problems = []
        root = self.path / checksums.DESCRIPTION
        try:
            read_root(self.path)
        except StoreError as error:
            problems.append(str(error) if root.is_file() else f"{root}: the file is gone.")
        done = 0

        def tell(name: str) -> None:
            nonlocal done
            done += 1
            progress(Step("Verifying", done, 0, name))

        for part in ("panels", "table"):
            problems += checksums.damage_below(self.path / part, tell=tell, should_stop=should_stop)
        known = {"panels", "table", checksums.DESCRIPTION}
        problems += [
            f"{path}: a file that does not belong here."
            for path in sorted(self.path.iterdir())
            if path.name not in known
        ]
        return problems

    def _array(self, panel: str, kind: str) -> shards.CellArray:
        try:
            return self._arrays[panel, kind]
        except KeyError:
            raise DataError(
                f"{self.path}: there is no panel {panel!r}; it holds {', '.join(self.panels)}."
            ) from None

    def _read(self, panel: str, kind: str, rows: Rows, out: NDArray[Any] | None) -> NDArray[Any]:
        try:
            return self._array(panel, kind).read(rows, out)
        except IndexError as error:
            raise DataError(f"{self.path}: {error}") from None
