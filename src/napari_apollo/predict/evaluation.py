"""How well a model rebuilds and predicts stains of cells it never learnt from."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from napari_apollo import __version__
from napari_apollo.cells.store import CellStore
from napari_apollo.config import OperationConfig
from napari_apollo.errors import DataError
from napari_apollo.predict.fit import require_fit
from napari_apollo.predict.heldout import parts_of
from napari_apollo.predict.inference import Codes, Inference, inference_for, load_model
from napari_apollo.predict.scores import cell_scores, summarise
from napari_apollo.predict.truth import Truth, open_truth
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.storage import whole_file, write_json

if TYPE_CHECKING:
    from napari_apollo.model import Apollo
    from napari_apollo.train import Run

SCHEMA_VERSION = 1
Part = Literal["train", "validation", "test"]
SCORES = ("mae", "mae_units", "pearson", "intensity_pearson", "ssim")
_KEYS = ["part", "stain", "kind", "truth"]


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
        ``mae_units``, ``pearson``, ``intensity_pearson``, ``ssim``, the same for the mean training
        image (``mean_mae``, ...), ``better`` and ``verdict``.
    cells
        One row for each cell and row of the table, with the sums that the scores are made from and
        the cell's donor: what an interval by donor needs.
    about
        Model, store, settings, notes.
    """

    table: pd.DataFrame
    cells: pd.DataFrame
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Table and notes as plain JSON; NaN becomes null."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return {"schema_version": SCHEMA_VERSION, **self.about, "scores": rows}

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json`` and ``evaluation.csv``."""
        write_json(folder / "evaluation.json", self.to_json())
        with whole_file(folder / "evaluation.csv") as partial:
            self.table.to_csv(partial, index=False)


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
    work = _Evaluating(store, inference, config, panels)
    frames = []
    for done, total, frame in work.run(progress, should_stop):
        frames.append(frame)
        progress(Step("Scoring", done, total, f"on {model.device}"))
    cells = pd.concat(frames, ignore_index=True)
    table = _table(cells)
    about = {
        "napari_apollo": __version__,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": {"path": place, "weights_sha256": model.card.weights_sha256},
        "held_out": model.card.held_out.model_dump(mode="json"),
        "store": store.path.name,
        "settings": config.model_dump(mode="json", exclude={"output"}),
        "baseline": work.baseline,
    }
    evaluation = Evaluation(table, cells, about)
    if config.output is not None:
        evaluation.write(config.output)
    return evaluation


class _Evaluating:
    """Batch by batch through the cells to score."""

    def __init__(
        self, store: CellStore, inference: Inference, config: EvaluateConfig, panels: tuple[str, ...]
    ) -> None:
        self.store = store
        self.inference = inference
        self.config = config
        self.panels = panels
        self.truth: Truth | None = open_truth(config.truth) if config.truth is not None else None
        self.part = parts_of(store.obs, inference.model.card, store.crop_size)
        self.means, self.baseline = self._mean_images()

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
                yield done, total, self._score(panel, batch).assign(part=part)

    def _rows(self, panel: str, part: str) -> np.ndarray:
        rows = np.flatnonzero(self.part[self.store.rows(panel)] == part)
        most = self.config.most_cells
        return rows[:: max(1, -(-len(rows) // most))] if most else rows

    def _score(self, panel_name: str, rows: np.ndarray) -> pd.DataFrame:
        store, inference = self.store, self.inference
        panel = store.panels[panel_name]
        groups = store.groups(panel_name, rows)
        raw = store.read_images(panel_name, rows)
        images = inference.normalisation.apply(raw, panel.stains, groups)
        region = store.read_masks(panel_name, rows) > 0
        codes = inference.encode(images, panel)
        obs = store.obs.iloc[store.rows(panel_name)[rows]]
        chromatin = images[:, panel.index(panel.anchor)]
        frames = []
        for stain in (panel.anchor, *inference.known(panel)):
            truth = images[:, panel.index(stain)]
            for kind, made in self._kinds(codes, chromatin, stain, panel.anchor):
                frames.append(self._frame(obs, made, truth, region, stain, groups, kind, "measured"))
        for stain in inference.lacking(panel) if self.truth is not None else ():
            assert self.truth is not None
            crops, found = self.truth.read(obs, stain, store.crop_size)
            if found.any():
                limits = inference.limits(stain, groups[found])
                span = (limits[:, 1] - limits[:, 0])[:, None, None]
                truth = np.clip((crops - limits[:, 0][:, None, None]) / span, 0, 1)
                made = inference.predict(chromatin, codes, stain)[found]
                frames.append(
                    self._frame(
                        obs[found], made, truth, region[found], stain, groups[found], "predicted", "hidden"
                    )
                )
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
        kind: str,
        source: str,
    ) -> pd.DataFrame:
        """Scores of a batch, beside those of the mean image."""
        limits = self.inference.limits(stain, groups)
        span = limits[:, 1] - limits[:, 0]
        own = cell_scores(made, truth, region, span)
        mean = cell_scores(np.broadcast_to(self.means[stain], truth.shape), truth, region, span)
        about = obs[["cell_id", "donor", "field", "panel"]].astype(str).reset_index(drop=True)
        return pd.concat(
            [about.assign(stain=stain, kind=kind, truth=source), own, mean.add_prefix("mean_")], axis=1
        )

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
                raw = self.store.read_images(name, batch)
                images = self.inference.normalisation.apply(raw, panel.stains, self.store.groups(name, batch))
                for stain in panel.stains:
                    total = images[:, panel.index(stain)].sum(0, dtype=np.float64)
                    sums[stain] = sums.get(stain, np.zeros((size, size))) + total
                    counts[stain] = counts.get(stain, 0) + len(batch)
        means = {stain: (total / counts[stain]).astype(np.float32) for stain, total in sums.items()}
        unknown = np.full((size, size), np.nan, np.float32)
        return {stain: means.get(stain, unknown) for stain in {*means, *self.inference.vocabulary}}, seen


def _table(cells: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for key, group in cells.groupby(_KEYS, sort=False, observed=True):
        own = summarise(group)
        mean = summarise(group.filter(regex="^mean_").rename(columns=lambda name: name.removeprefix("mean_")))
        rows.append(
            {
                **dict(zip(_KEYS, key, strict=True)),
                **own,
                **{f"mean_{name}": mean[name] for name in SCORES},
                **_verdict(own, mean),
            }
        )
    return pd.DataFrame(rows)


def _verdict(own: dict[str, float], mean: dict[str, float]) -> dict[str, Any]:
    """Whether a channel may be believed more than the mean image of its stain."""
    if np.isnan(mean["mae"]):
        return {
            "better": False,
            "verdict": "no mean image to compare with: no cell was given the stain",
        }
    # A mean image that is the same everywhere correlates with nothing: any correlation is more.
    closer = own["mae"] < mean["mae"]
    alike = own["pearson"] > (0.0 if np.isnan(mean["pearson"]) else mean["pearson"])
    if closer and alike:
        verdict = "better than the mean image"
    elif alike:
        verdict = "more like the truth in pattern than the mean image, but further off in intensity"
    elif closer:
        verdict = "closer in intensity than the mean image, but less like the truth in pattern"
    else:
        verdict = "no better than the mean image"
    return {"better": bool(closer and alike), "verdict": verdict}
