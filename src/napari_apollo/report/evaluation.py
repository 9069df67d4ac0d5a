"""The page of an evaluation: how good rebuilt and predicted stains are, and how far to trust them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_apollo.predict.baselines import IN_WORDS
from napari_apollo.predict.evaluation import Evaluation
from napari_apollo.report.charts import intervals_figure
from napari_apollo.report.page import Page

REPORT = "evaluation.html"
_MOST_FEATURES = 30
_SCORES = {
    "mae": "mean absolute error, part of the stain's range",
    "pearson": "Pearson correlation of pixels",
    "intensity_pearson": "Pearson correlation of cells' mean intensities",
    "ssim": "structural similarity",
}


def evaluation_page(found: Evaluation) -> Page:
    """The whole page.

    Parameters
    ----------
    found
        An evaluation.
    """
    held_out = found.about["held_out"]
    parts = list(dict.fromkeys(found.table["part"]))
    seen = [part for part in parts if part != "test"]
    cells = "cells that the model never learnt from"
    if seen:
        cells = f"{' and '.join(parts)} cells (the model knows {' and '.join(seen)} cells)"
    page = Page(
        "How good rebuilt and predicted stains are",
        f"Scores on {cells}, beside baselines. Intervals draw donors again, which needs three of them.",
        {
            "Store": str(found.about["store"]),
            "Cells": str(found.cells["cell_id"].nunique()),
            "Donors": str(found.cells["donor"].nunique()),
            "Held out": "by the study's own split"
            if held_out["by"] == "split"
            else f"{held_out['by']}: {', '.join(held_out['test']) or 'none'}",
            "Mean image of": str(found.about["baseline"]),
        },
    )
    if notes := found.about["notes"]:
        page.section("To be careful about").add_table(pd.DataFrame({"note": notes}), "What to bear in mind.")
    _verdicts(page, found.table)
    _pixels(page, found.table)
    if len(found.features):
        _features(page, found.features)
    if len(found.coexpression):
        page.section(
            "Pairs of stains",
            "Whether two stains go together in made images as they do in measured ones: correlation of the "
            "cells' mean intensities within donors.",
        ).add_table(found.coexpression, "Difference is made less measured, with its interval over donors.")
    if len(found.intervals):
        _trust(page, found.intervals, found.predicted)
    if len(found.published):
        page.section(
            "By the published protocol",
            "To compare with figures of the APOLLO study: the mode of a whole batch of images is subtracted, "
            "they are divided by its maximum, and errors of predictions are means of batches. Scores depend "
            "on which cells share a batch, and nothing says how far they may be off. predicted: from "
            "chromatin alone; predicted_full: with what is specific to another protein of the cell.",
        ).add_table(found.published, "Ratios are to the model's own prediction or reconstruction.")
    return page


def _verdicts(page: Page, table: pd.DataFrame) -> None:
    predicted = table[table["kind"] == "predicted"]
    if not len(predicted):
        return
    section = page.section(
        "May a predicted stain be believed?",
        "A predicted channel that is no better than the mean image of its stain shows nothing about a cell.",
    )
    section.add_table(
        predicted[["stain"]].assign(
            **{
                "gain in error": _gain(predicted, "gain"),
                "gain in pattern": _gain(predicted, "pearson_gain"),
            },
            verdict=predicted["verdict"],
            part=predicted["part"],
            truth=predicted["truth"],
            donors=predicted["donors"],
        ),
        "Predicted from chromatin alone. Gains: by how much the mean image errs more, and by how much less "
        "it correlates with the truth, with intervals over donors. One that holds zero is within chance, as "
        "the verdict says.",
    )
    for score in ("mae", "pearson"):
        others = {
            f"{name}_{score}": words for name, words in IN_WORDS.items() if f"{name}_{score}" in predicted
        }
        columns = {"stain": "stain", "truth": "truth", score: "predicted", **others}
        section.add_table(
            predicted[list(columns)].rename(columns=columns),
            f"{_SCORES[score].capitalize()}, beside baselines.",
        )
    rivals = {name: words for name, words in IN_WORDS.items() if f"over_{name}_gain" in predicted}
    if rivals:
        gains = {
            f"over {words}, {what}": _gain(predicted, f"over_{name}_{column}")
            for name, words in rivals.items()
            for what, column in (("error", "gain"), ("pattern", "pearson_gain"))
        }
        section.add_table(
            predicted[["stain", "truth"]].assign(**gains),
            "The same gains over other baselines: above zero, the prediction is the better one.",
        )


def _gain(table: pd.DataFrame, name: str) -> list[str]:
    columns = table[[name, f"{name}_low", f"{name}_high"]]
    return [_with_ends(*ends) for ends in columns.itertuples(index=False, name=None)]


def _with_ends(value: float, low: float, high: float) -> str:
    """A value with its interval, for people; empty where there is none."""
    if np.isnan(value):
        return ""
    if np.isnan(low):
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _pixels(page: Page, table: pd.DataFrame) -> None:
    section = page.section("Pixels", "Over each cell's region.")
    named = table.assign(channel=[f"{s} ({t})" for s, t in zip(table["stain"], table["truth"], strict=True)])
    for part, own in named.groupby("part", sort=False):
        for score, label in _SCORES.items():
            others = []
            for baseline, name in IN_WORDS.items():
                if f"{baseline}_{score}" in own:
                    first = own.drop_duplicates("channel")
                    other = first[["channel", f"{baseline}_{score}"]].set_axis(["channel", score], axis=1)
                    others.append(
                        other.assign(
                            kind=name, **{f"{score}_low": float("nan"), f"{score}_high": float("nan")}
                        )
                    )
            shown = pd.concat([own[["channel", "kind", score, f"{score}_low", f"{score}_high"]], *others])
            section.add_figure(
                intervals_figure(
                    shown,
                    rows="channel",
                    series="kind",
                    value=score,
                    low=f"{score}_low",
                    high=f"{score}_high",
                    label=label,
                ),
                f"{label[0].upper()}{label[1:]}, {part} cells, with intervals over donors.",
            )
    columns = ["part", "stain", "kind", "truth", "cells", "donors"]
    columns += [
        f"{score}{end}"
        for score in ("mae", "pearson", "ssim", "published_l1")
        for end in ("", "_low", "_high")
    ]
    section.add_table(
        table[columns],
        "published_l1 is the error of the APOLLO study (mode subtracted, divided by the maximum, whole "
        "crop), taken image by image instead of batch by batch. All scores are in evaluation.csv.",
    )


def _features(page: Page, features: pd.DataFrame) -> None:
    predicted = features[features["kind"] == "predicted"]
    shown = predicted if len(predicted) else features
    section = page.section(
        "Features",
        "Each feature measured in the made and in the measured image of the same cell: rank correlation "
        "within donors. A blurred image may be right in pixels and wrong in texture.",
    )
    summary = (
        features.groupby(["part", "stain", "kind", "truth"], sort=False)["spearman"]
        .describe(percentiles=[0.25, 0.5, 0.75])
        .drop(columns=["std"])
        .reset_index()
    )
    section.add_table(summary, "Over the features of each channel.")
    best = shown.sort_values("spearman", ascending=False).groupby(["part", "stain"], sort=False).head(5)
    best = best.head(_MOST_FEATURES).assign(kind=lambda table: table["stain"])
    section.add_figure(
        intervals_figure(
            best,
            rows="feature",
            series="kind",
            value="spearman",
            low="spearman_low",
            high="spearman_high",
            label="rank correlation within donors",
        ),
        "The best features of each stain, with intervals over donors. All are in features.csv.",
    )


def _trust(page: Page, intervals: pd.DataFrame, predicted: pd.DataFrame) -> None:
    level = float(intervals["level"].iloc[0])
    made = intervals[intervals["note"] == ""]
    section = page.section(
        "Intervals of features",
        f"Intervals from predicted images that are to hold the measured feature in {level:.0%} of cells. "
        "Coverage is that of donors (or fields) left out; a width of 1 knows no more than that the stain is "
        "what it is.",
    )
    if len(made):
        table = made.groupby(["part", "stain", "truth", "unit", "units"], sort=False)
        section.add_table(
            table[["coverage", "worst", "width"]].mean().reset_index(),
            "Mean over the features of each stain. Each feature is in feature_intervals.csv.",
        )
    if len(predicted):
        of = predicted.groupby(["part", "stain"], sort=False)
        section.add_table(
            of.agg(
                cells=("cell_id", "nunique"),
                features=("feature", "nunique"),
                calibrated_on=("calibrated_on", "first"),
            ).reset_index(),
            "Cells that were not given a stain, and how many of its features are said of them, each with its "
            "interval: those whose interval is narrower than that of all cells together. They are in "
            "predicted_features.csv."
            + (
                ""
                if set(predicted["calibrated_on"]) == {"test"}
                else " Intervals calibrated on cells that the model has seen are too narrow for others."
            ),
        )
    for note, own in intervals[intervals["note"] != ""].groupby("note"):
        section.text += f" {len(own)} features have none: {note}"
