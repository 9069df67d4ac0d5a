"""Trainings as the viewer shows them: what is there to learn from, how a run stands, which runs there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_apollo.errors import ApolloError
from napari_apollo.viewer.reader import is_run

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore
    from napari_apollo.train import Run

Curve = tuple[list[float], list[float]]

PRESET_WORDS = {
    "small": "Small: for crops of 32 to 64 pixels, minutes on a processor.",
    "agreement": "Agreement: for crops of 32 to 64 pixels; what is shared is what chromatin and proteins "
    "each say by themselves. Minutes on a processor.",
    "sharp": "Sharp: agreement with latents that say where in the cell things are. Predicts the sharpest "
    "images; its latents are harder to read.",
    "paper": "Paper: the published image model, large and slow; take a GPU.",
    "one-step": "One-step: the published comparison without optimised latents; take a GPU.",
}
OBJECTIVE_WORDS = {
    "two-step": "Two-step: the published method. First the cells' own codes and the decoders are learnt, "
    "then the encoders that place new cells.",
    "agreement": "Agreement: what is shared must be what the chromatin and the proteins each say by "
    "themselves. Best at predicting stains that were not measured.",
    "one-step": "One-step: the published comparison, autoencoders that take turns.",
}
ROWS = (
    "chromatin measured", "chromatin rebuilt", "protein measured", "protein rebuilt", "protein predicted",
)  # fmt: skip
"""Rows of a preview from the top."""


def store_in_words(store: CellStore) -> str:
    """Panels, cells that passed the quality check, and donors, a line for each panel."""
    obs = store.obs
    lines = []
    for name, panel in store.panels.items():
        own = obs[obs["panel"].astype(str) == name]
        passed = int(own["qc"].sum())
        donors = own["donor"].astype(str).nunique()
        lines.append(
            f"{name}: {', '.join(panel.stains)}; {passed} of {len(own)} cells pass, {donors} donor"
            f"{'' if donors == 1 else 's'}"
        )
    return "\n".join(lines)


def donors_of(store: CellStore) -> list[str]:
    """Donors of a store, by name."""
    return sorted(store.obs["donor"].astype(str).unique())


def has_own_split(store: CellStore) -> bool:
    """Whether the study itself says which cells are held out."""
    return bool((store.obs["split"].astype(str) == "test").any()) if "split" in store.obs else False


def stages_of(metrics: pd.DataFrame) -> list[str]:
    """Stages that have begun, in their order."""
    return [] if metrics.empty else list(dict.fromkeys(metrics["stage"].astype(str)))


def loss_curves(metrics: pd.DataFrame, stage: str) -> dict[str, Curve]:
    """Losses of a stage after every epoch: on the cells that are learnt from, and on held-out ones."""
    if metrics.empty:
        return {}
    own = metrics[metrics["stage"].astype(str) == stage]
    epochs = (own["epoch"].to_numpy(float) + 1).tolist()
    curves = {}
    for name, column in (("training", "training.total"), ("held-out", "validation.criterion")):
        if column in own and own[column].notna().any():
            curves[name] = (epochs, own[column].to_numpy(float).tolist())
    return curves


def seconds_left(metrics: pd.DataFrame, status: Any) -> float | None:
    """Seconds until the stage at hand ends at the latest, from its last epochs; None while not known."""
    if metrics.empty or not status.epochs or status.over:
        return None
    stage = str(metrics["stage"].iloc[-1])
    own = metrics[metrics["stage"].astype(str) == stage]["seconds"].to_numpy(float)[-5:]
    done = int(metrics["epoch"].iloc[-1]) + 1
    if status.epoch < done - 1:
        return None  # the next stage has begun, and has no epoch yet
    return float(np.mean(own) * max(0, status.epochs - done))


def time_in_words(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def status_in_words(run: Run, metrics: pd.DataFrame) -> str:
    """Where a run stands, for people."""
    status = run.status()
    if status.state == "done":
        return "Done. The model is written."
    if status.state == "stopped":
        return "Stopped. Resume goes on from the last checkpoint."
    if status.state == "failed":
        return f"Failed: {status.message}"
    words = status.title or "Starting"
    if status.epochs:
        words += f": epoch {status.epoch} of at most {status.epochs}"
    left = seconds_left(metrics, status)
    if left is not None:
        words += f", up to {time_in_words(left)} left in this stage"
    return f"{words}. {status.detail}" if status.detail else f"{words}."


def last_preview(run: Run) -> Path | None:
    """The newest picture of held-out cells."""
    pictures = sorted((run.folder / "previews").glob("*.png"), key=lambda path: path.stat().st_mtime)
    return pictures[-1] if pictures else None


@dataclass(frozen=True)
class RunEntry:
    """A run in a list.

    Attributes
    ----------
    folder
        Its folder.
    state
        As its status says.
    score
        Mean correlation of predicted with measured test cells over stains; None where not scored.
    """

    folder: Path
    state: str
    score: float | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name


def find_runs(place: Path | None) -> list[RunEntry]:
    """Runs in a folder, the newest first."""
    if place is None or not place.is_dir():
        return []
    folders = [path for path in place.iterdir() if path.is_dir() and is_run(path)]
    folders.sort(key=lambda path: (path / "config.json").stat().st_mtime, reverse=True)
    return [entry for folder in folders if (entry := _entry(folder)) is not None]


def scores_in_words(folder: Path) -> str:
    """Scores of a finished run on test cells, a line for each stain, with the verdict on its prediction."""
    from napari_apollo.probes.gains import verdict_of_scores

    lines = []
    for stain, scores in _scores(folder).items():
        parts = [
            f"{word} r = {scores[name]:.2f}"
            for word, name in (("predicted", "prediction_pearson"), ("rebuilt", "reconstruction_pearson"))
            if name in scores and scores[name] is not None
        ]
        verdict = verdict_of_scores(scores)
        if parts:
            lines.append(f"{stain}: {', '.join(parts)}" + (f"; {verdict}" if verdict else ""))
    return "\n".join(lines)


def free_name(place: Path, stem: str = "apollo", suffix: str = ".run") -> Path:
    """A path in a folder that is not taken: ``apollo.run``, ``apollo_2.run``, ..."""
    number = 1
    while (path := place / f"{stem}{'' if number == 1 else f'_{number}'}{suffix}").exists():
        number += 1
    return path


def _entry(folder: Path) -> RunEntry | None:
    from napari_apollo.train import Run

    try:
        state = Run(folder).status().state
    except ApolloError:
        return None
    values = [
        float(scores["prediction_pearson"])
        for scores in _scores(folder).values()
        if scores.get("prediction_pearson") is not None
    ]
    return RunEntry(folder, state, float(np.mean(values)) if values else None)


def _scores(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    card = folder / "model" / "model.json"
    if not card.is_file():
        return {}
    try:
        scores = json.loads(card.read_text("utf-8")).get("scores", {})
    except ValueError:
        return {}
    return scores if isinstance(scores, Mapping) else {}
