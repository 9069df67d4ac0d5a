"""Predict: place every cell, rebuild what was measured, predict what was not."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from napari_apollo import __version__
from napari_apollo.cells.checksums import DESCRIPTION, Sums
from napari_apollo.cells.store import CellStore
from napari_apollo.cells.writer import panel_folder
from napari_apollo.config import OperationConfig
from napari_apollo.errors import DataError
from napari_apollo.panels import Panel
from napari_apollo.predict.fit import doubts_of_fit, require_fit
from napari_apollo.predict.inference import Codes, Inference, inference_for, load_model
from napari_apollo.predict.needs import needs_in_words
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.predict.store import (
    SUFFIX,
    PanelPredictions,
    PredictionCard,
    PredictionStore,
    digest_of_cells,
    digest_of_places,
)
from napari_apollo.predict.table import BY_ROLE, ERRORS, CellResults
from napari_apollo.predict.uncertainty import predicted_spread, require_posteriors
from napari_apollo.predict.writer import as_stored, dtype_for, image_writer, seal_store, write_summary
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.storage import whole_folder

if TYPE_CHECKING:
    from napari_apollo.model import Apollo
    from napari_apollo.train import Run


class PredictConfig(OperationConfig):
    """Settings of a prediction."""

    output: Path | None = None
    """Where to write NAME.predictions.zarr; beside the cell store where not given."""

    overwrite: bool = False
    """Replace predictions that exist there; the old ones stay until the new ones are complete."""

    panels: tuple[str, ...] = ()
    """Panels whose cells are predicted; all where none is named."""

    also_measured: bool = False
    """Predict also the stains that a cell was given, to compare the prediction with what was measured."""

    uncertainty: int = Field(default=0, ge=0, le=256)
    """Images drawn from the posterior of every cell to say how sure its predicted stains are; 0 says nothing.
    Each costs as much time as a prediction."""

    seed: int = Field(default=0, ge=0)
    """Of these draws."""

    skip_unknown: bool = False
    """Work on panels that have stains the model never learnt, leaving those stains out."""

    other_anchor: bool = False
    """Accept cells whose DNA stain is another one than the model learnt from."""

    normalisation: Literal["store", "model"] = "store"
    """Whose intensity constants are used: those of the cell store, or those the model was trained with."""

    device: str = "auto"
    """Where to compute: auto (an NVIDIA or Apple GPU where there is one), cpu, cuda or mps."""

    batch_size: int = Field(default=256, ge=1, le=16384)
    """Cells computed at once; memory grows with it."""

    write_table: bool = True
    """Write latents and scores into the table of the cell store."""


def predict(
    store: CellStore | Path | str,
    run_or_model: Apollo | Run | Path | str,
    config: PredictConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> PredictionStore:
    """Encode every cell, rebuild its measured stains, predict the stains its panel lacks.

    Parameters
    ----------
    store
        The cells.
    run_or_model
        A run, its folder, a model folder, or a model.
    config
        Settings; the defaults where not given.

    Returns
    -------
    PredictionStore
        ``<config.output>``, complete. With ``write_table`` the cell store's table has the latents
        in ``obsm`` (``shared``, ``chromatin_specific``, and per stain ``shared_from_<stain>`` and
        ``protein_specific_<stain>``, NaN for cells without it), the errors of reconstruction
        (``reconstruction_error``, ``reconstruction_error_shared``: mean absolute error over the
        cell's region, as a part of the stain's range) and the mean predicted intensities
        (``predicted_mean``); with draws, the mean standard deviation over the cell's region
        (``predicted_uncertainty``, in the stain's units); and ``predicted_support``, the share of the cells
        that the model learnt the stain from which lie nearer to the others: above 0.99 the cell is beyond
        what the model has seen. NaN where the store has no training cells with the stain.

    Raises
    ------
    PanelMismatch, ModelError
        When model and cells do not go together.
    FileError
        When the predictions exist and ``overwrite`` is not set, or the store's table may not be written to.
    StoreDamaged, StorageFull, Cancelled
        When reading or writing fails, or on request; nothing half-written is left behind.
    """
    config = config or PredictConfig()
    store = store if isinstance(store, CellStore) else CellStore.open(store)
    if config.write_table:
        store.require_writable()
    progress(Step("Loading the model"))
    model, place = load_model(run_or_model, config.device)
    panels = require_fit(
        model,
        place,
        store,
        panels=config.panels,
        skip_unknown=config.skip_unknown,
        other_anchor=config.other_anchor,
    )
    panels = tuple(name for name in panels if store.count(name))
    if not panels:
        raise DataError(f"{store.path} has no cells to predict.")
    inference = inference_for(model, store, config.normalisation, config.batch_size)
    if config.uncertainty:
        require_posteriors(inference, place)
    target = config.output or store.path.with_name(store.path.name.removesuffix(".cells.zarr") + SUFFIX)
    needs = needs_in_words(
        store, inference, panels, batch_size=config.batch_size, also_measured=config.also_measured
    )
    progress(Step("Memory", detail=needs))
    for doubt in doubts_of_fit(model, store, own_constants=config.normalisation == "store"):
        progress(Step("Careful", detail=doubt))
    results = CellResults(store.n_cells)
    done, total = 0, sum(store.count(name) for name in panels)
    with whole_folder(target, overwrite=config.overwrite, mark=DESCRIPTION) as folder:
        parts: dict[str, PanelPredictions] = {}
        sums: Sums = {}
        for name in panels:
            writer = _PanelWriter(folder, store, name, inference, config, results)
            for rows in writer.batches():
                stop_if_asked(should_stop)
                progress(Step("Predicting", done, total, f"panel {name}, on {model.device}"))
                writer.work(rows)
                done += len(rows)
            parts[name] = writer.close()
            sums |= writer.sums
        seal_store(folder, _card(store, inference, place, parts, config), sums)
    progress(Step("Predicting", total, total))
    if config.write_table:
        progress(Step("Writing the table"))
        results.judge_support(store, inference, panels)
        results.write(store, {"predictions": str(target.name), "weights_sha256": model.card.weights_sha256})
    return PredictionStore.open(target)


class _PanelWriter:
    """Everything that is computed and written for the cells of one panel."""

    def __init__(
        self,
        folder: Path,
        store: CellStore,
        name: str,
        inference: Inference,
        config: PredictConfig,
        results: CellResults,
    ) -> None:
        self.store = store
        self.name = name
        self.panel: Panel = store.panels[name]
        self.inference = inference
        self.config = config
        self.results = results
        self.positions = store.rows(name)
        rebuilt = (self.panel.anchor, *inference.known(self.panel))
        predicted = inference.vocabulary if config.also_measured else inference.lacking(self.panel)
        self.roles: dict[ChannelRole, tuple[str, ...]] = {
            ChannelRole.RECONSTRUCTED: rebuilt,
            ChannelRole.RECONSTRUCTED_SHARED: rebuilt,
            ChannelRole.PREDICTED: predicted,
        }
        if config.uncertainty:
            self.roles[ChannelRole.UNCERTAINTY] = predicted
        self.roles = {role: stains for role, stains in self.roles.items() if stains}
        groups = np.unique(store.groups(name, np.arange(store.count(name))))
        place = Path("panels") / panel_folder(name)
        self._summary_folder = folder / place / "summary"
        self._dtypes = {
            role: dtype_for(np.concatenate([inference.limits(stain, groups) for stain in stains]))
            for role, stains in self.roles.items()
        }
        self._writers = {
            role: image_writer(folder, place / str(role), len(stains), store.crop_size, self._dtypes[role])
            for role, stains in self.roles.items()
        }
        count = store.count(name)
        shown = {ChannelRole.MEASURED: self.panel.stains, **self.roles}
        self._means = {role: np.zeros((count, len(stains)), np.float32) for role, stains in shown.items()}
        self._area = np.zeros(count, np.float32)
        self.sums: Sums = {}

    def batches(self) -> Iterator[np.ndarray]:
        """Rows of the panel, a batch at a time."""
        for start in range(0, len(self.positions), self.config.batch_size):
            yield np.arange(start, min(start + self.config.batch_size, len(self.positions)))

    def work(self, rows: np.ndarray) -> None:
        """Compute and write one batch of cells."""
        measured = self.store.read_images(self.name, rows)
        groups = self.store.groups(self.name, rows)
        images = self.inference.normalisation.apply(measured, self.panel.stains, groups)
        region = self.store.read_masks(self.name, rows) > 0
        area = region.sum((1, 2)).astype(np.float32)
        self._area[rows] = area
        for channel in range(measured.shape[1]):
            self._means[ChannelRole.MEASURED][rows, channel] = _mean(measured[:, channel], region, area)
        codes = self.inference.encode(images, self.panel)
        positions = self.positions[rows]
        self.results.latents(positions, codes)
        for role, stains in self.roles.items():
            out = []
            for k, stain in enumerate(stains):
                values = self._values(role, stain, images, codes)
                if role in ERRORS:
                    error = np.abs(values - images[:, self.panel.index(stain)])
                    self.results.score(ERRORS[role], stain, positions, _mean(error, region, area))
                if role is ChannelRole.UNCERTAINTY:
                    limits = self.inference.limits(stain, groups)
                    intensity = values * (limits[:, 1] - limits[:, 0])[:, None, None]
                else:
                    intensity = self.inference.intensities(values, stain, groups)
                mean = _mean(intensity, region, area)
                self._means[role][rows, k] = mean
                if role in BY_ROLE:
                    self.results.score(BY_ROLE[role], stain, positions, mean)
                out.append(intensity)
            self._writers[role].append(as_stored(np.stack(out, axis=1), self._dtypes[role]))

    def close(self) -> PanelPredictions:
        """Finish the arrays and say what there is."""
        for writer in self._writers.values():
            writer.close()
            self.sums |= writer.sums
        means = {f"mean_{role}": values for role, values in self._means.items()}
        write_summary(self._summary_folder, {"area": self._area, **means})
        return PanelPredictions(
            panel=self.panel,
            folder=panel_folder(self.name),
            cells=len(self.positions),
            cells_sha256=digest_of_cells(self.store.obs.iloc[self.positions]),
            places_sha256=digest_of_places(self.store.obs.iloc[self.positions]),
            roles=self.roles,
        )

    def _values(self, role: ChannelRole, stain: str, images: np.ndarray, codes: Codes) -> np.ndarray:
        """(n, y, x) in [0, 1]."""
        if role is ChannelRole.PREDICTED:
            return self.inference.predict(images[:, self.panel.index(self.panel.anchor)], codes, stain)
        if role is ChannelRole.UNCERTAINTY:
            return predicted_spread(
                self.inference, codes, stain, draws=self.config.uncertainty, seed=self.config.seed
            )
        own = None if stain == self.panel.anchor else stain
        return self.inference.rebuild(codes, own, shared_only=role is ChannelRole.RECONSTRUCTED_SHARED)


def _mean(images: np.ndarray, region: np.ndarray, area: np.ndarray) -> np.ndarray:
    """(n,) mean of (n, y, x) over each cell's region; 0 for a cell without a region."""
    total = np.einsum("nyx,nyx->n", images, region, dtype=np.float64)
    return (total / np.maximum(area, 1)).astype(np.float32)


def _card(
    store: CellStore,
    inference: Inference,
    place: str,
    parts: dict[str, PanelPredictions],
    config: PredictConfig,
) -> PredictionCard:
    card = inference.model.card
    stains = dict.fromkeys(stain for part in parts.values() for role in part.roles.values() for stain in role)
    anchors = dict.fromkeys(part.panel.anchor for part in parts.values())
    provenance: dict[str, Any] = {
        "napari_apollo": __version__,
        "python": platform.python_version(),
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": config.model_dump(mode="json", exclude={"output"}),
        "device": str(inference.model.device),
    }
    return PredictionCard(
        crop_size=store.crop_size,
        pixel_size_um=store.pixel_size_um,
        anchor=next(iter(anchors)),
        vocabulary=inference.vocabulary,
        panels=parts,
        limits={stain: tuple(inference.limits(stain, np.array(["*"]))[0].tolist()) for stain in stains},
        model={
            "path": place,
            "weights_sha256": card.weights_sha256,
            "fingerprint": card.fingerprint,
            "objective": card.objective,
        },
        store={"path": str(store.path), "name": store.path.name},
        provenance=provenance,
    )
