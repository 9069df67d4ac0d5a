"""How well a model rebuilds and predicts stains of cells it never learnt from."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_apollo import __version__
from napari_apollo.cells.store import CellStore
from napari_apollo.predict.conformal import StainIntervals, stain_intervals
from napari_apollo.predict.evaluateconfig import EvaluateConfig
from napari_apollo.predict.featurescores import FeaturePairs, feature_scores
from napari_apollo.predict.fit import doubts_of_fit, require_fit
from napari_apollo.predict.inference import inference_for, load_model
from napari_apollo.predict.intervals import coexpression
from napari_apollo.predict.scoring import Key, Scoring
from napari_apollo.predict.verdicts import KEYS, score_table
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.storage import whole_file, write_json

if TYPE_CHECKING:
    from napari_apollo.model import Apollo
    from napari_apollo.train import Run

SCHEMA_VERSION = 1
RESULTS = "evaluation.json"


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
        (``neighbour_mae``, ``unet_mae``, ...); ``gain`` (``mae`` of the mean image less that of the channel)
        with its interval; ``better`` and ``verdict``.
    cells
        One row for each cell and row of the table, with the sums that the scores are made from and
        the cell's donor: what an interval by donor needs.
    about
        Model, store, settings, notes.
    coexpression
        Whether pairs of stains go together as they do in measured images; see ``intervals.coexpression``.
    features, intervals
        Of each channel, see ``featurescores.feature_scores`` and ``conformal.StainIntervals``; empty where
        features were not asked for.
    predicted
        Features of stains that cells were not given, with intervals; see ``StainIntervals.of_cells``.
    published
        Errors by the study's protocol, see ``published.PublishedScores.table``; empty where not asked for.
    pairs
        Part, stain, kind and truth to the features of its cells in made and measured images.
    """

    table: pd.DataFrame
    cells: pd.DataFrame
    about: dict[str, Any]
    coexpression: pd.DataFrame = field(default_factory=pd.DataFrame)
    features: pd.DataFrame = field(default_factory=pd.DataFrame)
    intervals: pd.DataFrame = field(default_factory=pd.DataFrame)
    predicted: pd.DataFrame = field(default_factory=pd.DataFrame)
    published: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: dict[Key, FeaturePairs] = field(default_factory=dict)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables that are written, by the name of their file; those without rows are left out."""
        tables = {
            "evaluation": self.table,
            "coexpression": self.coexpression,
            "features": self.features,
            "feature_intervals": self.intervals,
            "predicted_features": self.predicted,
            "published": self.published,
        }
        return {name: table for name, table in tables.items() if len(table)}

    def to_json(self) -> dict[str, Any]:
        """Table and notes as plain JSON; NaN becomes null."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        about = {"schema_version": SCHEMA_VERSION, **self.about, "tables": list(self.tables())}
        return {**about, "scores": rows}

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json``, and each table as CSV; what an earlier evaluation left there goes."""
        before = _written_before(folder / RESULTS)
        write_json(folder / RESULTS, self.to_json())
        for name in before:
            (folder / name).unlink(missing_ok=True)
        for name, table in self.tables().items():
            with whole_file(folder / f"{name}.csv") as partial:
                table.to_csv(partial, index=False)


def _written_before(results: Path) -> list[str]:
    """Files that an earlier evaluation wrote beside its results: they say nothing of this one."""
    try:
        content = json.loads(results.read_text("utf-8"))
        return ["evaluation.html", *(f"{Path(name).name}.csv" for name in content["tables"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


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
    doubts = doubts_of_fit(model, store, own_constants=config.normalisation == "store")
    for doubt in doubts:
        progress(Step("Careful", detail=doubt))
    inference = inference_for(model, store, config.normalisation, config.batch_size)
    work = Scoring(store, inference, config, panels, progress, should_stop)
    if lacking := [name for name in config.baselines if name not in work.baselines]:
        nobody = f"{store.path.name} has none of the cells that the model learnt from."
        doubts = (*doubts, f"Baselines left out: {', '.join(lacking)}; {nobody}")
        progress(Step("Careful", detail=doubts[-1]))
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
        "notes": list(doubts),
    }
    pairs = work.pairs()
    features, intervals = _feature_tables(pairs, config.level, progress, should_stop)
    evaluation = Evaluation(
        table,
        cells,
        about,
        coexpression(cells),
        features,
        _together(
            [found.table.assign(**dict(zip(KEYS, key, strict=True))) for key, found in intervals.items()]
        ),
        work.predicted(intervals),
        work.published.table(),
        pairs,
    )
    if config.output is not None:
        evaluation.write(config.output)
    return evaluation


def _feature_tables(
    pairs: dict[Key, FeaturePairs],
    level: float,
    progress: Progress,
    should_stop: ShouldStop,
) -> tuple[pd.DataFrame, dict[Key, StainIntervals]]:
    """Scores of features, and intervals of those of predicted stains."""
    features, intervals = [], {}
    for number, (key, own) in enumerate(pairs.items()):
        stop_if_asked(should_stop)
        about = dict(zip(KEYS, key, strict=True))
        progress(Step("Comparing features", number, len(pairs), f"{about['stain']}, {about['kind']}"))
        features.append(feature_scores(own).assign(**about))
        if about["kind"] == "predicted":
            intervals[key] = stain_intervals(own, level=level)
    return _together(features), intervals


def _together(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below one another, what they are about first."""
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    return table[[*KEYS, *(name for name in table.columns if name not in KEYS)]]
