"""Predictions on disk, ``NAME.predictions.zarr``: what a model says about every cell of a store.

    panels/<panel>/reconstructed          (cell, stain, y, x)  measured stains, full decoders
    panels/<panel>/reconstructed_shared   (cell, stain, y, x)  measured stains, from the shared latent alone
    panels/<panel>/predicted              (cell, stain, y, x)  stains of the vocabulary, from the chromatin
    panels/<panel>/summary                zarr arrays: area (cell), mean_<role> (cell, stain)

Values are in each stain's own intensity units. Cells are in the order of the cell store's panel. The
arrays are those of the cell store (zarr v3, one inner chunk a cell, zstd, crc32c); checksums of every
file lie in the root group, sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_apollo.cells.checksums import damage_below, read_group
from napari_apollo.cells.shards import CellArray
from napari_apollo.errors import StoreDamaged, StoreError, StoreTooNew, UnknownStain
from napari_apollo.panels import Panel, same_stain
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.storage import recover_folder

SCHEMA_VERSION = 1
KIND = "napari-apollo predictions"
SUFFIX = ".predictions.zarr"


class PanelPredictions(BaseModel):
    """What there is for the cells of one panel.

    Attributes
    ----------
    panel
        The panel.
    folder
        Its folder under ``panels/``.
    cells
        Number of cells.
    cells_sha256
        Digest of the cells' names in order: predictions belong to these cells and no others.
    places_sha256
        Digest of where their crops were cut; empty where an earlier version wrote it, and not compared then.
    roles
        Stains of each array in the order of its second axis.
    """

    model_config = ConfigDict(frozen=True)

    panel: Panel
    folder: str
    cells: int
    cells_sha256: str
    places_sha256: str = ""
    roles: dict[ChannelRole, tuple[str, ...]]


class PredictionCard(BaseModel):
    """Description of a store of predictions; attributes of its root group.

    Attributes
    ----------
    kind, schema_version
        What this is.
    crop_size
        Side of a crop in crop pixels.
    pixel_size_um
        Of a crop pixel; None where it is not known.
    anchor
        Stain that predictions were made from.
    vocabulary
        Protein stains the model knows.
    panels
        By panel name.
    limits
        Intensities that 0 and 1 of the model stand for, per stain, over all cells.
    model
        ``path``, ``weights_sha256``, ``fingerprint`` of the training data, ``objective``.
    store
        ``path`` of the cell store.
    provenance
        Versions, settings, time.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = KIND
    schema_version: int = SCHEMA_VERSION
    crop_size: int
    pixel_size_um: float | None = None
    anchor: str
    vocabulary: tuple[str, ...] = ()
    panels: dict[str, PanelPredictions]
    limits: dict[str, tuple[float, float]] = {}
    model: dict[str, Any] = {}
    store: dict[str, Any] = {}
    provenance: dict[str, Any] = {}


class PredictionStore:
    """Predictions of a model for the cells of a store.

    Attributes
    ----------
    path : pathlib.Path
    card : PredictionCard
    """

    def __init__(self, path: Path, card: PredictionCard) -> None:
        self.path = path
        self.card = card
        self._arrays: dict[tuple[str, ChannelRole], CellArray] = {}

    @classmethod
    def open(cls, path: Path | str) -> PredictionStore:
        """Open a store; reads its description only.

        Raises
        ------
        StoreError
            When the folder is absent or something else; ``StoreTooNew`` when a newer version wrote
            it; ``StoreDamaged`` when its description was changed or cut off.
        """
        path = Path(path)
        recover_folder(path)
        if not path.is_dir():
            raise StoreError(path, "no such folder.", "Run 'napari-apollo predict' to make one.")
        attributes = read_group(path)
        if attributes.get("kind") != KIND:
            raise StoreError(
                path,
                "is no store of predictions.",
                f"Name a folder that ends in {SUFFIX}, made by 'predict'.",
            )
        if int(attributes.get("schema_version", 0)) > SCHEMA_VERSION:
            raise StoreTooNew(
                path,
                f"has schema version {attributes['schema_version']}; this napari-apollo reads up to "
                f"{SCHEMA_VERSION}.",
                "Update napari-apollo.",
            )
        try:
            card = PredictionCard.model_validate(attributes)
        except ValidationError as error:
            raise StoreDamaged(path, f"its description is wrong: {error.error_count()} entries.") from error
        return cls(path, card)

    @property
    def panels(self) -> dict[str, Panel]:
        """Panels by name."""
        return {name: part.panel for name, part in self.card.panels.items()}

    @property
    def anchor(self) -> str:
        """Stain that predictions were made from."""
        return self.card.anchor

    @cached_property
    def model_name(self) -> str:
        """Short name of the model, for layers and reports."""
        place = Path(str(self.card.model.get("path", "")))
        name = place.parent.name if place.name == "model" else place.name
        return f"{name} {self.card.model.get('weights_sha256', '')[:8]}".strip()

    def stains(self, panel: str, role: ChannelRole | str) -> tuple[str, ...]:
        """Stains that the cells of a panel have in a role; none where the role is absent."""
        part = self.card.panels.get(panel)
        return part.roles.get(ChannelRole(role), ()) if part else ()

    def read(
        self, panel: str, role: ChannelRole | str, stain: str, rows: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Images of some cells.

        Parameters
        ----------
        panel, role, stain
            What to read.
        rows
            (n,) positions in the panel's arrays, as ``obs["row"]`` of the cell store has them.

        Returns
        -------
        numpy.ndarray
            (n, y, x) in the stain's own intensity units.

        Raises
        ------
        UnknownStain
            When the panel does not have the stain in that role.
        StoreDamaged
            When bytes do not match their checksums; file and rows are named.
        """
        role = ChannelRole(role)
        channel = self._channel(panel, role, stain)
        return np.ascontiguousarray(self._array(panel, role).read(rows)[:, channel])

    def dtype(self, panel: str, role: ChannelRole | str) -> np.dtype[Any]:
        """Kind of numbers of an array."""
        return self._array(panel, ChannelRole(role)).dtype

    def means(
        self, panel: str, role: ChannelRole | str, stain: str, rows: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """(n,) mean of each cell over its region, in the stain's own units."""
        role = ChannelRole(role)
        if role is ChannelRole.MEASURED:
            channel = self.panels[panel].index(stain)
        else:
            channel = self._channel(panel, role, stain)
        return self._summary(panel, f"mean_{role}")[np.asarray(rows)][:, channel]

    def areas(self, panel: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n,) area of each cell's region in crop pixels."""
        return self._summary(panel, "area")[np.asarray(rows)]

    def verify(self, *, progress: Progress = silent, should_stop: ShouldStop = never) -> list[str]:
        """Compare every file with its checksum.

        Returns
        -------
        list of str
            One line for each changed, missing or surplus file; empty when all is well.
        """
        done = 0

        def tell(name: str) -> None:
            nonlocal done
            done += 1
            progress(Step("Verifying", done, 0, name))

        return damage_below(self.path, tell=tell, should_stop=should_stop)

    def require_fits(self, obs: pd.DataFrame, where: Path | str, crop_size: int) -> None:
        """Make sure that these predictions were made for the cells of a table.

        Parameters
        ----------
        obs, where, crop_size
            Table, path and crop size of a cell store.

        Raises
        ------
        StoreError
            When the cells, their order, or their crops are others: images would lie in the wrong places.
        """
        if crop_size != self.card.crop_size:
            raise StoreError(
                self.path,
                f"was made for crops of {self.card.crop_size} pixels; those of {where} have {crop_size}.",
                "Predict again for this cell store.",
            )
        for name, part in self.card.panels.items():
            own = obs[obs["panel"].astype(str) == name]
            if digest_of_cells(own) != part.cells_sha256:
                how = ", in another order or with other names" if len(own) == part.cells else ""
                raise StoreError(
                    self.path,
                    f"was made for other cells than those of {where}: panel {name} has {len(own)} cells "
                    f"there, {part.cells} here{how}.",
                    "Predict again for this cell store.",
                )
            if part.places_sha256 and digest_of_places(own) != part.places_sha256:
                raise StoreError(
                    self.path,
                    f"was made for cells in other places: those of panel {name} were cut anew for {where}.",
                    "Predict again for this cell store.",
                )

    def _array(self, panel: str, role: ChannelRole) -> CellArray:
        key = (panel, role)
        if key not in self._arrays:
            part = self.card.panels[panel]
            self._arrays[key] = CellArray(
                self.path / "panels" / part.folder / str(role), f"panel {panel}, {role} images"
            )
        return self._arrays[key]

    def _summary(self, panel: str, name: str) -> np.ndarray:
        part = self.card.panels[panel]
        path = self.path / "panels" / part.folder / "summary" / name
        try:
            values: np.ndarray = np.asarray(zarr.open_array(path, mode="r")[...])
        except (OSError, ValueError, KeyError) as error:
            raise StoreDamaged(path, f"{name} of panel {panel} cannot be read ({error}).") from error
        return values

    def _channel(self, panel: str, role: ChannelRole, stain: str) -> int:
        stains = self.stains(panel, role)
        for channel, own in enumerate(stains):
            if same_stain(own, stain):
                return channel
        raise UnknownStain(stain, stains or ("nothing",), f"the {role} channels of panel {panel}")


def digest_of_cells(obs: pd.DataFrame) -> str:
    """SHA-256 over the names of a panel's cells in the order of its arrays."""
    ordered = obs.sort_values("row", kind="stable")["cell_id"].astype(str)
    return hashlib.sha256("\n".join(ordered).encode("utf-8")).hexdigest()


def digest_of_places(obs: pd.DataFrame) -> str:
    """SHA-256 over centres and scales of a panel's crops in the order of its arrays."""
    ordered = obs.sort_values("row", kind="stable")[["centre_y", "centre_x", "scale"]]
    return hashlib.sha256(ordered.to_numpy("<f8").tobytes()).hexdigest()
