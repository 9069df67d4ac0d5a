"""The page of an interpretation: what a lab would put into its supplement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_apollo.interpret.cells import block_in_words
from napari_apollo.interpret.directions import Directions
from napari_apollo.interpret.phenotypes import Phenotypes
from napari_apollo.interpret.published import Published
from napari_apollo.interpret.shares import shares_by_block
from napari_apollo.interpret.walks import Walk
from napari_apollo.report.charts import intervals_figure, matrix_figure, stacked_figure, strips_figure
from napari_apollo.report.page import Page, Section

if TYPE_CHECKING:
    from napari_apollo.interpret.findings import Interpretation

_KINDS = ("shared", "chromatin", "protein")
_SURE = 0.05
_MOST_FEATURES = 40  # rows of a chart that can still be read


def interpretation_page(found: Interpretation) -> Page:
    """The whole page.

    Parameters
    ----------
    found
        An interpretation.
    """
    about = found.about
    page = Page(
        "What the latents mean",
        "Directions of the shared and the specific latents, the measured features that lie along them, and "
        "how much of each feature every block explains. Donors are the units: intervals draw donors again, "
        "permutations stay within donors, probes are scored on donors that they were not fitted on.",
        {
            "Cells": about["cells"],
            "Store": about["store"],
            "Model": about["model"]["folder"] if about["model"] else "latents of the store",
            "Latents": "; ".join(about["blocks"]),
            "napari-apollo": about["napari_apollo"],
        },
    )
    if found.notes:
        notes = pd.DataFrame({"note": found.notes})
        page.section("To be careful about").add_table(notes, "What was left out, what to bear in mind.")
    if found.directions is not None:
        _directions(page, found.directions)
    if found.walks:
        _walks(page, found.walks, found.directions)
    if found.shares is not None:
        _shares(page, found.shares)
    if found.phenotypes is not None and len(found.phenotypes.table):
        _phenotypes(page, found.phenotypes)
    if found.image_features is not None:
        _image_features(page, found.image_features)
    if found.compartments is not None:
        _compartments(page, found.compartments)
    if found.published is not None:
        _published(page, found.published)
    settings = pd.DataFrame(
        {"setting": list(about["settings"]), "value": map(str, about["settings"].values())}
    )
    page.section("Settings").add_table(settings, "With these, the same data give the same report.")
    return page


def _directions(page: Page, found: Directions) -> None:
    section = page.section(
        "Directions",
        "Principal directions of each block, named by the features that lead along them, one of each group "
        "of near copies. Stability is the mean cosine with the nearest direction when donors are drawn "
        "again.",
    )
    section.add_table(
        _in_words(found.summary), "Each direction: part of the block's variance, stability, name."
    )
    table = found.table.assign(
        direction=[
            f"{block_in_words(block)} {axis}"
            for block, axis in zip(found.table["block"], found.table["axis"], strict=True)
        ]
    )
    strength = table["rho"].abs().where(table["discovery"]).dropna().sort_values(ascending=False)
    ranked = table.loc[strength.index]
    # Each direction has its turn: the strongest alone would be near copies of one another.
    turn = np.argsort(ranked.groupby("direction", sort=False).cumcount().to_numpy(), kind="stable")
    shown = ranked["feature"].iloc[turn].drop_duplicates()[:_MOST_FEATURES]
    if not len(shown):
        section.text += " No feature is tied to any direction beyond chance."
        return
    order = list(dict.fromkeys(table["direction"]))
    rho = table.pivot_table(index="feature", columns="direction", values="rho").reindex(shown)[order]
    table["sure"] = table["discovery"].astype(float)
    sure = table.pivot_table(index="feature", columns="direction", values="sure").reindex(shown)[order] > 0
    section.add_figure(
        matrix_figure(rho, label="rank correlation within donors", marked=sure),
        f"Leading features of all directions, {len(shown)} of them. A dot marks a discovery: "
        "false discovery rate, size and interval over donors all hold.",
    )
    best = table[table["discovery"]].copy()
    best["strength"] = best["rho"].abs()
    best = best.sort_values(["block", "axis", "strength"], ascending=[True, True, False])
    best = best.groupby(["block", "axis"], sort=False).head(5)
    columns = ["direction", "feature", "rho", "low", "high", "delta", "q", "donors", "agree", "reproduced"]
    section.add_table(
        best[columns],
        "The five leading features of each direction: mean Spearman correlation within donors with its "
        "interval over donors, Cliff's delta of the outer fifths, adjusted p-value, donors, share of them of "
        "the same sign, share of draws of donors in which it holds. All others are in features.csv.",
    )


def _walks(page: Page, walks: list[Walk], directions: Directions | None) -> None:
    section = page.section(
        "Images along directions",
        "Real cells near the axis at each place along it, for each stain those that were given it, and the "
        "mean cell moved along it and decoded.",
    )
    for walk in walks:
        titles = [f"{step:+.0f} sd" for step in walk.steps]
        strips = [(f"{stain}, real", images) for stain, images in walk.real.items()]
        strips += [(f"{stain}, decoded", images) for stain, images in walk.decoded.items()]
        if not strips:
            continue
        name = ""
        if directions is not None:
            own = directions.summary
            own = own[(own["block"] == walk.block) & (own["axis"] == walk.axis)]
            name = f": {own['name'].iloc[0]}" if len(own) else ""
        section.add_figure(
            strips_figure(strips, titles), f"{block_in_words(walk.block)} {walk.axis}{name}.", dpi=80
        )


def _shares(page: Page, shares: pd.DataFrame) -> None:
    section = page.section(
        "What explains each feature",
        "Share of each feature's variation within donors that is read, for held-out donors, from the shared "
        "latents, and what the specific ones add to them.",
    )
    section.add_table(shares_by_block(shares), "Mean over the features of each stain.")
    shown = _leading(shares)
    parts = shown.set_index("feature")[list(_KINDS)].fillna(0).clip(lower=0)
    total = parts.sum(axis=1).clip(lower=1)
    section.add_figure(
        stacked_figure(parts.div(total, axis=0), label="share of the variation within donors"),
        f"The {len(shown)} features of which most is explained, at most {_MOST_FEATURES}.",
    )
    section.add_table(
        shown[
            [
                "feature",
                "cells",
                "donors",
                *[
                    f"{kind}{end}"
                    for kind in ("shared", "chromatin", "protein")
                    for end in ("", "_low", "_high")
                ],
                "carried_by",
            ]
        ],
        "With intervals over donors. All features are in shares.csv.",
    )


def _leading(shares: pd.DataFrame) -> pd.DataFrame:
    """Best explained features, each stain having its turn."""
    ranked = shares.sort_values("explained", ascending=False)
    turn = ranked.groupby("stain").cumcount()
    chosen = ranked.iloc[np.argsort(turn.to_numpy(), kind="stable")[:_MOST_FEATURES]]
    return chosen.sort_values(["stain", "explained"], ascending=[True, False])


def _phenotypes(page: Page, found: Phenotypes) -> None:
    section = page.section(
        "Conditions of held-out donors",
        "How well a cell's condition is told by classifiers that never saw its donor. Balanced accuracy: the "
        "mean over conditions of the mean over donors of the share of cells classified right.",
    )
    if not found.any_sure():
        section.text += f" {found.nothing_sure()}"
    section.add_figure(
        intervals_figure(
            found.table,
            rows="input",
            series="kind",
            value="accuracy",
            low="low",
            high="high",
            label=f"balanced accuracy; chance {found.table['chance'].iloc[0]:.2f}",
        ),
        "With intervals over donors.",
    )
    section.add_table(
        found.table,
        "p is that of the accuracy among permuted conditions of donors, q adjusted over all inputs; called "
        "is the share of donors most of whose cells get the right condition. Images have a p where "
        "image_permutations were asked for: each is a training.",
    )
    best = found.table.sort_values("accuracy", ascending=False)["input"].iloc[0]
    section.add_figure(
        matrix_figure(found.confusion[best], label="share of cells", limits=(0, 1), numbers=True),
        f"True conditions (rows) and predicted ones from {best}: mean over donors. Others are in "
        "confusion.csv.",
    )
    if len(found.ablation):
        leading = found.ablation.sort_values("lost", ascending=False).groupby("input").head(6)
        section.add_table(
            leading.sort_values(["input", "lost"], ascending=[True, False]),
            "Accuracy lost without a feature, or without a group of near copies, with intervals over donors. "
            "A feature whose copies stay is not missed. All others are in ablation.csv.",
        )


def _image_features(page: Page, table: pd.DataFrame) -> None:
    section = page.section(
        "Features of proteins read from the chromatin image",
        "How well a network that sees the chromatin image alone says a feature of a protein in cells of "
        "held-out donors: rank correlation within donors. What is lost when the chromatin is rebuilt from "
        "the shared part alone is in the chromatin-specific part; what the protein's own image says and no "
        "chromatin image does is the protein's own.",
    )
    seen = table[table["image"] == "chromatin"].sort_values("spearman", ascending=False)
    ends = pd.concat([seen.groupby("stain").head(4), seen.groupby("stain").tail(2)])
    # The study's comparison: the number of foci, which chromatin hardly shows, and the median, which it does.
    named = seen[seen["feature"].str.contains(r"nucleus_(?:foci_count|median)_")]
    chosen = set(ends["feature"]) | set(named["feature"])
    shown = table[table["feature"].isin(chosen)]
    order = seen[seen["feature"].isin(chosen)].sort_values(["stain", "spearman"], ascending=[True, False])
    shown = shown.set_index("feature").loc[order["feature"].drop_duplicates()].reset_index()
    section.add_figure(
        intervals_figure(
            shown,
            rows="feature",
            series="image",
            value="spearman",
            low="spearman_low",
            high="spearman_high",
            label="rank correlation within donors",
        ),
        "Of each protein the features that are read best and worst, the median and the number of foci, with "
        "intervals over donors. All others are in image_features.csv.",
    )
    summary = (
        table.groupby(["stain", "image"], sort=False)["spearman"]
        .median()
        .unstack()[list(dict.fromkeys(table["image"]))]
    )
    section.add_table(summary.reset_index(), "Median over the features of each protein.")


def _compartments(page: Page, table: pd.DataFrame) -> None:
    section = page.section(
        "Compartments",
        "Which stain's shared or specific latents accompany where a protein lies, from cell to cell: share "
        "of the variation within donors, for donors held out. Blocks of the protein's own image are left "
        "out. What goes together need not cause one another; neighbours, thickness and segmentation act on "
        "all stains.",
    )
    named = table.assign(name=table["protein"] + ", " + table["measure"], sure=table["q"] <= _SURE)
    blocks = list(dict.fromkeys(named["block"]))
    rows = list(dict.fromkeys(named["name"]))
    r2 = named.pivot_table(index="name", columns="block", values="r2").reindex(index=rows, columns=blocks)
    sure = named.pivot_table(index="name", columns="block", values="sure", aggfunc="max")
    section.add_figure(
        matrix_figure(
            r2.clip(lower=0),
            label="share of the variation within donors",
            marked=sure.reindex(index=rows, columns=blocks) == 1,
            limits=(0, max(0.1, float(np.nanmax(r2.to_numpy(), initial=0)))),
        ),
        f"A dot marks an adjusted p-value of at most {_SURE}, over all proteins, measures and blocks.",
    )
    best = named.sort_values("r2", ascending=False).groupby("name", sort=False).head(1)
    best = best.set_index("name").reindex([name for name in rows if name in set(best["name"])]).reset_index()
    section.add_table(
        best[["protein", "measure", "block", "r2", "low", "high", "p", "q", "cells", "donors", "leads"]],
        "The block that explains most of each, with its interval over donors; leads says whether it is a "
        "discovery. All blocks are in compartments.csv.",
    )


def _published(page: Page, found: Published) -> None:
    section: Section = page.section(
        "By the published procedure",
        "Central cells in percentile bins of each component, t tests in training and held-out donors, "
        "agreement of hold-outs. Cells are taken for independent and fold changes for those of logarithms: "
        "for comparison with published figures only.",
    )
    counted = found.table[found.table["counts"].astype(bool)]
    section.add_table(
        counted.sort_values("agreement", ascending=False).head(_MOST_FEATURES),
        "Components and features that hold-outs agree on.",
    )
    section.add_table(found.shares, "Counted pairs of component and side, by kind of latent.")


def _in_words(summary: pd.DataFrame) -> pd.DataFrame:
    return summary.assign(block=[block_in_words(block) for block in summary["block"]])
