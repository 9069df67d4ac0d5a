"""How well a model rebuilds and predicts stains of cells it never learnt from."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from napari_apollo import __version__
from napari_apollo.cells.store import CellStore
from napari_apollo.config import OperationConfig
from napari_apollo.errors import DataError
from napari_apollo.panels import Panel
from napari_apollo.predict.baselines import BaselineName, make_baselines
from napari_apollo.predict.conformal import conformal_table
from napari_apollo.predict.featurescores import FeaturePairs, feature_scores, join_pairs, measure_pairs
from napari_apollo.predict.fit import require_fit
from napari_apollo.predict.heldout import parts_of
from napari_apollo.predict.inference import Codes, Inference, inference_for, load_model
from napari_apollo.predict.intervals import coexpression
from napari_apollo.predict.scores import cell_scores
from napari_apollo.predict.truth import Truth, open_truth
from napari_apollo.predict.verdicts import KEYS, score_table
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.storage import whole_file, write_json

if TYPE_CHECKING:
    from napari_apollo.model import Apollo
    from napari_apollo.train import Run

SCHEMA_VERSION = 1
Part = Literal["train", "validation", "test"]


class EvaluateConfig(OperationConfig):
    """Settings of an evaluation."""

    output: Path | None = None
    """Folder that gets evaluation.json and evaluation.csv; nothing is written where not given."""

    parts: tuple[Part, ...] = ("test",)
    """Parts of the data to score: test is what the model never saw; train and validation show how much
    worse it does on test."""

    truth: Path | None = None
    """Manifest or cell store with stains that were hidden from the model; predictions of stains that a
    cell's panel lacks are scored against it."""

    most_cells: int = Field(default=2000, ge=0)
    """Cells of each panel and part that are looked at, spread evenly; 0 looks at all."""

    features: bool = False
    """Also measure made and measured images and compare the features of every cell: correlations, and
    intervals that cover what they say on held-out donors."""

    baselines: tuple[BaselineName, ...] = ()
    """Baselines beside the mean image: neighbour (the training cell of most similar chromatin), unet (a
    conditional U-Net) and inpainting (paired cell inpainting); the networks are trained on the cells that the
    model learnt from, which takes minutes."""

    baseline_epochs: int = Field(default=15, ge=1, le=1000)
    """Epochs that networks among the baselines are trained for."""

    level: float = Field(default=0.9, gt=0, lt=1)
    """Coverage that intervals of features are made for."""

    skip_unknown: bool = False
    """Work on panels that have stains the model never learnt, leaving those stains out."""

    normalisation: Literal["store", "model"] = "store"
    """Whose intensity constants are used: those of the cell store, or those the model was trained with."""

    device: str = "auto"
    """Where to compute: auto (an NVIDIA or Apple GPU where there is one), cpu, cuda or mps."""

    batch_size: int = Field(default=256, ge=1, le=16384)
    """Cells computed at once; memory grows with it."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model.

    Attributes
    ----------
    table
        One row for each part, stain, kind (``reconstructed``, ``reconstructed_shared``,
        ``predicted``) and truth (``measured``: the cell was given the stain; ``hidden``: it was not,
        and others measured it). Columns ``cells``, then ``mae`` (as a part of the stain's range),
        ``mae_units``, ``pearson``, ``intensity_pearson``, ``ssim``, ``published_l1`` (the study's
        mode-subtracted error, image by image), their intervals over donors (``mae_low``, ``mae_high``, ...),
        the same scores for the mean training image (``mean_mae``, ...) and, where asked for, other baselines
        (``neighbour_mae``, ``unet_mae``, ...), ``better`` and ``verdict``.
    cells
        One row for each cell and row of the table, with the sums that the scores are made from and
        the cell's donor: what an interval by donor needs.
    about
        Model, store, settings, notes.
    coexpression
        Whether pairs of stains go together as they do in measured images; see ``intervals.coexpression``.
    features, intervals
        Of each channel, see ``featurescores.feature_scores`` and ``conformal.conformal_table``; empty where
        features were not asked for.
    pairs
        Part, stain, kind and truth to the features of its cells in made and measured images.
    """

    table: pd.DataFrame
    cells: pd.DataFrame
    about: dict[str, Any]
    coexpression: pd.DataFrame = field(default_factory=pd.DataFrame)
    features: pd.DataFrame = field(default_factory=pd.DataFrame)
    intervals: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: dict[tuple[str, str, str, str], FeaturePairs] = field(default_factory=dict)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables that are written, by the name of their file; those without rows are left out."""
        tables = {
            "evaluation": self.table,
            "coexpression": self.coexpression,
            "features": self.features,
            "feature_intervals": self.intervals,
        }
        return {name: table for name, table in tables.items() if len(table)}

    def to_json(self) -> dict[str, Any]:
        """Table and notes as plain JSON; NaN becomes null."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return {"schema_version": SCHEMA_VERSION, **self.about, "scores": rows}

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json``, and each table as CSV."""
        write_json(folder / "evaluation.json", self.to_json())
        for name, table in self.tables().items():
            with whole_file(folder / f"{name}.csv") as partial:
                table.to_csv(partial, index=False)


def evaluate(
    store: CellStore | Path | str,
    run_or_model: Apollo | Run | Path | str,
    config: EvaluateConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Evaluation:
    """Score reconstruction and prediction on cells the model never learnt from.

    Parameters
    ----------
    store
        The cells.
    run_or_model
        A run, its folder, a model folder, or a model.
    config
        Settings; the defaults where not given.

    Raises
    ------
    DataError
        When the store has no cell of the parts asked for.
    PanelMismatch, ModelError
        When model and cells do not go together.
    """
    config = config or EvaluateConfig()
    store = store if isinstance(store, CellStore) else CellStore.open(store)
    model, place = load_model(run_or_model, config.device)
    panels = require_fit(model, place, store, skip_unknown=config.skip_unknown)
    inference = inference_for(model, store, config.normalisation, config.batch_size)
    work = _Evaluating(store, inference, config, panels, progress, should_stop)
    frames = []
    for done, total, frame in work.run(progress, should_stop):
        frames.append(frame)
        progress(Step("Scoring", done, total, f"on {model.device}"))
    cells = pd.concat(frames, ignore_index=True)
    table = score_table(cells)
    about = {
        "napari_apollo": __version__,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": {"path": place, "weights_sha256": model.card.weights_sha256},
        "held_out": model.card.held_out.model_dump(mode="json"),
        "store": store.path.name,
        "settings": config.model_dump(mode="json", exclude={"output"}),
        "baseline": work.baseline,
    }
    pairs = work.pairs()
    features, intervals = _feature_tables(pairs, config.level, progress, should_stop)
    evaluation = Evaluation(table, cells, about, coexpression(cells), features, intervals, pairs)
    if config.output is not None:
        evaluation.write(config.output)
    return evaluation


class _Evaluating:
    """Batch by batch through the cells to score."""

    def __init__(
        self,
        store: CellStore,
        inference: Inference,
        config: EvaluateConfig,
        panels: tuple[str, ...],
        progress: Progress,
        should_stop: ShouldStop,
    ) -> None:
        self.store = store
        self.inference = inference
        self.config = config
        self.panels = panels
        self.truth: Truth | None = open_truth(config.truth) if config.truth is not None else None
        self.part = parts_of(store.obs, inference.model.card, store.crop_size)
        self.means, self.baseline = self._mean_images()
        self.baselines = make_baselines(
            config.baselines,
            inference,
            store,
            {name: self._rows(name, "train") for name in panels},
            epochs=config.baseline_epochs,
            progress=progress,
            should_stop=should_stop,
        )
        self._pairs: dict[tuple[str, str, str, str], list[FeaturePairs]] = {}

    def run(self, progress: Progress, should_stop: ShouldStop) -> Iterator[tuple[int, int, pd.DataFrame]]:
        """Scores of each batch, with how far the work is."""
        chosen = {
            (part, panel): self._rows(panel, part) for part in self.config.parts for panel in self.panels
        }
        total = sum(len(rows) for rows in chosen.values())
        if not total:
            found = {name: int((self.part == name).sum()) for name in ("train", "validation", "test")}
            raise DataError(
                f"{self.store.path} has no cells of the parts {', '.join(self.config.parts)} that passed the "
                f"quality check; it has {', '.join(f'{count} {name}' for name, count in found.items())}."
            )
        progress(Step("Scoring", 0, total))
        done = 0
        for (part, panel), rows in chosen.items():
            for start in range(0, len(rows), self.config.batch_size):
                stop_if_asked(should_stop)
                batch = rows[start : start + self.config.batch_size]
                done += len(batch)
                yield done, total, self._score(panel, batch, part).assign(part=part)

    def pairs(self) -> dict[tuple[str, str, str, str], FeaturePairs]:
        """Features of each channel's cells in made and measured images, where they were asked for."""
        joined = {key: join_pairs(parts) for key, parts in self._pairs.items()}
        return {key: pairs for key, pairs in joined.items() if pairs.names}

    def _rows(self, panel: str, part: str) -> np.ndarray:
        rows = np.flatnonzero(self.part[self.store.rows(panel)] == part)
        most = self.config.most_cells
        return rows[:: max(1, -(-len(rows) // most))] if most else rows

    def _score(self, panel_name: str, rows: np.ndarray, part: str) -> pd.DataFrame:
        store, inference = self.store, self.inference
        panel = store.panels[panel_name]
        groups = store.groups(panel_name, rows)
        images = inference.normalised(store, panel_name, rows)
        masks = store.read_masks(panel_name, rows)
        region = masks > 0
        codes = inference.encode(images, panel)
        obs = store.obs.iloc[store.rows(panel_name)[rows]]
        chromatin = images[:, panel.index(panel.anchor)]
        frames = []
        for stain in (panel.anchor, *inference.known(panel)):
            truth = images[:, panel.index(stain)]
            for kind, made in self._kinds(codes, chromatin, stain, panel.anchor):
                key = (part, stain, kind, "measured")
                frames.append(
                    self._frame(obs, made, truth, region, stain, groups, key, chromatin, masks, panel)
                )
        for stain in inference.lacking(panel) if self.truth is not None else ():
            assert self.truth is not None
            crops, found = self.truth.read(obs, stain, store.crop_size)
            if found.any():
                limits = inference.limits(stain, groups[found])
                span = (limits[:, 1] - limits[:, 0])[:, None, None]
                truth = np.clip((crops - limits[:, 0][:, None, None]) / span, 0, 1)
                made = inference.predict(chromatin, codes, stain)[found]
                key = (part, stain, "predicted", "hidden")
                own = (groups[found], key, chromatin[found], masks[found], panel)
                frames.append(self._frame(obs[found], made, truth, region[found], stain, *own))
        return pd.concat(frames, ignore_index=True)

    def _kinds(
        self, codes: Codes, chromatin: np.ndarray, stain: str, anchor: str
    ) -> Iterator[tuple[str, np.ndarray]]:
        own = None if stain == anchor else stain
        yield "reconstructed", self.inference.rebuild(codes, own)
        yield "reconstructed_shared", self.inference.rebuild(codes, own, shared_only=True)
        if own is not None:
            yield "predicted", self.inference.predict(chromatin, codes, stain)

    def _frame(
        self,
        obs: pd.DataFrame,
        made: np.ndarray,
        truth: np.ndarray,
        region: np.ndarray,
        stain: str,
        groups: np.ndarray,
        key: tuple[str, str, str, str],
        chromatin: np.ndarray,
        masks: np.ndarray,
        panel: Panel,
    ) -> pd.DataFrame:
        """Scores of a batch, beside those of baselines."""
        limits = self.inference.limits(stain, groups)
        span = limits[:, 1] - limits[:, 0]
        own = cell_scores(made, truth, region, span)
        mean = cell_scores(np.broadcast_to(self.means[stain], truth.shape), truth, region, span)
        parts = [own, mean.add_prefix("mean_")]
        for name, baseline in self.baselines.items():
            if baseline.has(stain):
                other = cell_scores(baseline.images(chromatin, stain), truth, region, span)
                parts.append(other.add_prefix(f"{name}_"))
        if self.config.features:
            in_units = self.inference.intensities
            pairs = measure_pairs(
                in_units(chromatin, panel.anchor, groups),
                in_units(made, stain, groups),
                in_units(truth, stain, groups),
                masks,
                anchor=panel.anchor,
                stain=stain,
                pixel_size_um=self.store.pixel_size_um,
                obs=obs,
            )
            self._pairs.setdefault(key, []).append(pairs)
        about = obs[["cell_id", "donor", "field", "panel"]].astype(str).reset_index(drop=True)
        return pd.concat([about.assign(stain=stain, kind=key[2], truth=key[3]), *parts], axis=1)

    def _mean_images(self) -> tuple[dict[str, np.ndarray], str]:
        """Mean image (y, x) in [0, 1] of every stain over the cells that the model learnt from."""
        seen = "training cells"
        if not (self.part == "train").any():
            seen = "all cells of the store (it has none of the training)"
        size = self.store.crop_size
        sums: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for name in self.panels:
            panel = self.store.panels[name]
            part = self.part[self.store.rows(name)]
            rows = np.flatnonzero(part == "train") if seen == "training cells" else np.arange(len(part))
            rows = rows[:: max(1, len(rows) // max(self.config.most_cells, 1))]
            for start in range(0, len(rows), self.config.batch_size):
                batch = rows[start : start + self.config.batch_size]
                images = self.inference.normalised(self.store, name, batch)
                for stain in panel.stains:
                    total = images[:, panel.index(stain)].sum(0, dtype=np.float64)
                    sums[stain] = sums.get(stain, np.zeros((size, size))) + total
                    counts[stain] = counts.get(stain, 0) + len(batch)
        means = {stain: (total / counts[stain]).astype(np.float32) for stain, total in sums.items()}
        unknown = np.full((size, size), np.nan, np.float32)
        return {stain: means.get(stain, unknown) for stain in {*means, *self.inference.vocabulary}}, seen


def _feature_tables(
    pairs: dict[tuple[str, str, str, str], FeaturePairs],
    level: float,
    progress: Progress,
    should_stop: ShouldStop,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of features, and what their intervals cover."""
    features, intervals = [], []
    for number, (key, own) in enumerate(pairs.items()):
        stop_if_asked(should_stop)
        about = dict(zip(KEYS, key, strict=True))
        progress(Step("Comparing features", number, len(pairs), f"{about['stain']}, {about['kind']}"))
        features.append(feature_scores(own).assign(**about))
        if about["kind"] == "predicted":
            intervals.append(conformal_table(own, level=level).assign(**about))
    return _together(features), _together(intervals)


def _together(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below one another, what they are about first."""
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    return table[[*KEYS, *(name for name in table.columns if name not in KEYS)]]
