"""The page of a demonstration: what went in, what came out, and how far to believe it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.cells import CellStore
from napari_apollo.cells.quality import REASONS, count_reasons
from napari_apollo.demo.results import DemoResults, SampleResults
from napari_apollo.predict import Canvas, PredictionStore
from napari_apollo.predict.colours import stain_colours
from napari_apollo.predict.roles import ChannelRole, channel_name
from napari_apollo.report.figures import (
    comparison_figure,
    contact_sheet,
    counts_figure,
    curves_figure,
    field_figure,
    middle,
    stretched,
)
from napari_apollo.report.page import Page, Section
from napari_apollo.study import Study, StudyField, open_field, open_labels
from napari_apollo.train import Run

CELLS_SHOWN = 8
WINDOW = 220
"""Side in pixels of the part of a field that is enlarged."""


def write_page(results: DemoResults) -> Path:
    """Write the HTML page of a demonstration and return its path."""
    cells = sum(sample.cells for sample in results.samples)
    page = Page(
        "napari-apollo: from files to predicted stains",
        f"{len(results.samples)} bundled samples of real microscopy, {cells} cells, taken from image files "
        "through segmentation, quality control, cutting, measurement and training to stains that were "
        "reconstructed and stains that were predicted from chromatin. Scores are those of cells that "
        "training never saw.",
        {
            "Cells": str(cells),
            "Fields": str(sum(len(Study.from_csv(results.path(s.manifest))) for s in results.samples)),
            "Time": f"{sum(sum(s.seconds.values()) for s in results.samples):.0f} s",
        },
    )
    for sample in results.samples:
        _Sample(results, sample).add_to(page)
    return page.write(results.path(results.report))


class _Sample:
    """One sample's part of the page."""

    def __init__(self, results: DemoResults, sample: SampleResults) -> None:
        self.sample = sample
        self.study = Study.from_csv(results.path(sample.manifest))
        self.truth = Study.from_csv(results.path(sample.truth)) if sample.truth else self.study
        self.store = CellStore.open(results.path(sample.store))
        self.predictions = PredictionStore.open(results.path(sample.predictions))
        self.run = Run(results.path(sample.run))
        self.field = self._field_shown()
        self.image = open_field(self.field)
        self.window = middle(self.image.shape, WINDOW)
        shown = self.store.obs["image"].astype(str)
        name = next(image for image in shown.unique() if Path(image).name == self.field.image.name)
        self.canvas = Canvas(self.store, self.predictions, image=name, shape=self.image.shape)

    def _field_shown(self) -> StudyField:
        """The image with every stain that is drawn: a held-out one where whole images are held out."""
        held_out = [field for field in self.truth if field.split == "test"]
        return (held_out or list(self.truth))[0]

    def add_to(self, page: Page) -> None:
        """Add the sample's sections."""
        self._overview(page.section(self.sample.title, self._summary()))
        self._scores(page.section("Held-out scores", level=3))
        self._stains(
            page.section(
                "Measured, reconstructed, predicted",
                "Pictures of a row are drawn between the same two intensities, in the stain's own units. "
                "Values lie on the cells alone; what is no cell is black.",
                level=3,
            )
        )
        self._training(page.section("Training", level=3))

    def _summary(self) -> str:
        panels = ", ".join(
            f"{panel.name} ({self.store.count(name)} cells)" for name, panel in self.store.panels.items()
        )
        flagged = int((~self.store.obs["qc"]).sum())
        return (
            f"{self.store.n_cells} cells in {len(self.study)} fields; panels {panels}; {flagged} cells "
            f"flagged by quality control and kept; crops of {self.store.crop_size} pixels."
        )

    def _overview(self, section: Section) -> None:
        planes = dict(zip(self.image.stains, self.image.read(), strict=True))
        assert self.field.labels is not None, "segmentation gives every field labels"
        sizes = self.image.pixel_size_um
        figure = field_figure(
            planes,
            stain_colours(self.image.stains),
            open_labels(self.field.labels).read(),
            window=self.window,
            anchor=self.field.panel.anchor,
            pixel_size_um=sizes[0] if sizes else None,
        )
        section.add_figure(figure, f"Field {self.field.field}: its stains, and the outlines of its nuclei.")
        counted = count_reasons(self.store.obs)
        reasons = {str(reason): counted[reason] for reason in REASONS if counted.get(reason)}
        if reasons:
            section.add_figure(
                counts_figure(reasons, total=self.store.n_cells),
                "Cells flagged by quality control, by reason. They stay in the store; a cell can have "
                "several reasons.",
            )
        seconds = pd.DataFrame(
            {"stage": list(self.sample.seconds), "seconds": list(self.sample.seconds.values())}
        )
        section.add_table(seconds, "Time of each stage.")

    def _training(self, section: Section) -> None:
        metrics = self.run.metrics()
        card = self.run.model().card
        cells = ", ".join(f"{count} {name}" for name, count in card.held_out.cells.items())
        section.text = (
            f"Objective {card.objective} on {self.run.status().device}; cells: {cells}, divided by "
            f"{card.held_out.by}. Test cells decided nothing; validation cells decided when to stop."
        )
        curves = {}
        for stage, rows in metrics.groupby("stage", sort=False):
            for kind in ("training", "validation"):
                table = rows.set_index("epoch").filter(like=f"{kind}.").dropna(axis="columns", how="all")
                if not table.empty:
                    curves[f"{stage}: {kind} loss"] = table.rename(columns=_curve_name)
        section.add_figure(curves_figure(curves), "Losses of the two steps, epoch by epoch.")

    def _stains(self, section: Section) -> None:
        window = self.window
        region = self.canvas.labels(levels=False)[0][window].compute() > 0
        measured = {
            stain: np.where(region, plane[window], 0)
            for stain, plane in zip(self.image.stains, self.image.read(), strict=True)
        }
        for role in (ChannelRole.RECONSTRUCTED, ChannelRole.PREDICTED):
            for stain in self.canvas.stains(role):
                made = self.canvas.layer(stain, role, levels=False)[0][window].compute()
                having = made > 0  # a stain is made for the cells of some panels only
                name = channel_name(stain, role, self.predictions.anchor)
                truth = "measured, hidden from the model" if role is ChannelRole.PREDICTED else "measured"
                section.add_figure(
                    comparison_figure(
                        {f"{stain} ({truth})": np.where(having, measured[stain], 0), name: made}
                    ),
                    f"{name}: part of {self.field.field}.",
                )
        for panel in self.store.panels:
            sheet, names = self._cells(panel)
            if sheet:
                section.add_figure(
                    contact_sheet(sheet, names=names),
                    f"Held-out cells of panel {panel}: measured (m), reconstructed (r), predicted from "
                    "chromatin (p).",
                )

    def _cells(self, panel: str) -> tuple[list[dict[str, NDArray[np.floating]]], list[str]]:
        obs = self.store.obs
        positions = self.store.rows(panel, passed_qc=True)
        held_out = positions[(obs["split"].to_numpy()[positions] == "test")]
        chosen = held_out[np.linspace(0, len(held_out) - 1, min(CELLS_SHOWN, len(held_out))).astype(int)]
        rows = obs["row"].to_numpy()[chosen]
        stains = self.store.panels[panel].stains
        images = self.store.read_images(panel, rows)
        sheet: list[dict[str, NDArray[np.floating]]] = [{} for _ in rows]

        def put(letter: str, stain: str, crops: NDArray[np.generic]) -> None:
            limits = self.predictions.card.limits[stain]
            for cell, crop in zip(sheet, crops, strict=True):
                cell[f"{stain} {letter}"] = stretched(crop, limits=limits)

        for channel, stain in enumerate(stains):
            put("m", stain, images[:, channel])
            put("r", stain, self.predictions.read(panel, ChannelRole.RECONSTRUCTED, stain, rows))
        for stain in self.predictions.stains(panel, ChannelRole.PREDICTED):
            put("p", stain, self.predictions.read(panel, ChannelRole.PREDICTED, stain, rows))
        return sheet, list(obs["cell_id"].iloc[chosen])

    def _scores(self, section: Section) -> None:
        scores = pd.DataFrame(list(self.sample.scores))
        table = pd.DataFrame(
            {
                "stain": scores["stain"],
                "kind": scores["kind"].str.replace("_", " ")
                + scores["truth"].map({"hidden": ", hidden stain"}).fillna(""),
                "cells": scores["cells"],
                "error": scores["mae_units"],
                "of mean image": scores["mean_mae_units"],
                "Pearson r": scores["pearson"],
                "of mean image ": scores["mean_pearson"],
                "SSIM": scores["ssim"],
                "verdict": scores["verdict"],
            }
        )
        section.add_table(
            table,
            "Cells that training never saw. Error is the mean absolute error in the stain's own intensity "
            "units within the cell; the mean image is the average training cell of that stain.",
        )


def _curve_name(column: str) -> str:
    return column.split(".", 1)[1].replace("_", " ")
