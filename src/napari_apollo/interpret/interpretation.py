"""Interpret: what the latents of a trained model mean, and what they say about the phenotype."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_apollo import __version__
from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import LatentCells
from napari_apollo.interpret.config import InterpretConfig
from napari_apollo.interpret.directions import Directions, describes, find_directions
from napari_apollo.interpret.phenotypes import Phenotypes, classify
from napari_apollo.interpret.published import Published, published_procedure
from napari_apollo.interpret.shares import feature_shares
from napari_apollo.interpret.source import Source, donors_in_words, gather, open_source
from napari_apollo.interpret.walks import Walk, walk_along
from napari_apollo.measure.reduction import reduce_features
from napari_apollo.probes.statistics import LEAST_DONORS
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.storage import whole_folder, write_json

if TYPE_CHECKING:
    import anndata

    from napari_apollo.cells.store import CellStore
    from napari_apollo.train import Run

SCHEMA_VERSION = 1
REPORT = "interpretation.html"


@dataclass
class Interpretation:
    """What came out.

    Attributes
    ----------
    cells
        The cells that were interpreted.
    about
        Model, store, settings, in plain values.
    notes
        What could not be done and why; what to be careful about.
    directions, shares, published
        See ``find_directions``, ``feature_shares``, ``published_procedure``; None where it could not be done.
    walks
        Images along directions.
    phenotypes
        See ``classify``; None where it was not asked for or could not be done.
    """

    cells: LatentCells
    about: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    directions: Directions | None = None
    shares: pd.DataFrame | None = None
    published: Published | None = None
    walks: list[Walk] = field(default_factory=list)
    phenotypes: Phenotypes | None = None

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file."""
        tables: dict[str, pd.DataFrame] = {}
        if self.directions is not None:
            tables |= {"directions": self.directions.summary, "features": self.directions.table}
        if self.shares is not None:
            tables["shares"] = self.shares
        if self.published is not None:
            tables |= {"published": self.published.table, "published_shares": self.published.shares}
        if self.phenotypes is not None:
            tables |= {"phenotypes": self.phenotypes.table, "ablation": self.phenotypes.ablation}
            confusion = [t.assign(input=name).reset_index() for name, t in self.phenotypes.confusion.items()]
            tables |= {"confusion": pd.concat(confusion, ignore_index=True)} if confusion else {}
        return {name: table for name, table in tables.items() if len(table.columns)}

    def to_json(self) -> dict[str, Any]:
        """Facts, notes and short tables as plain JSON; NaN becomes null."""
        tables = self.tables().items()
        short = {
            name: table
            for name, table in tables
            if name not in ("features", "published", "ablation", "confusion")
        }
        return {
            "schema_version": SCHEMA_VERSION,
            **self.about,
            "notes": self.notes,
            **{name: _records(table) for name, table in short.items()},
        }

    def in_words(self) -> str:
        """A few lines: what each direction is, which features each block carries, notes."""
        lines = [self.about["cells"]]
        if self.directions is not None:
            for row in self.directions.summary.itertuples():
                lines.append(f"{row.block} {row.axis} ({row.explained:.0%} of its variance): {row.name}")
        if self.shares is not None:
            counts = self.shares["carried_by"].value_counts()
            carried = ", ".join(f"{name} {count}" for name, count in counts.items())
            lines.append(f"features carried by: {carried}")
        if self.phenotypes is not None and len(self.phenotypes.table):
            best = self.phenotypes.table.sort_values("accuracy", ascending=False).iloc[0]
            lines.append(
                f"best told from {best['input']}: balanced accuracy {best['accuracy']:.2f} "
                f"({best['low']:.2f} to {best['high']:.2f}), chance {best['chance']:.2f}"
            )
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])

    def to_anndata(self) -> anndata.AnnData:
        """Cells with features, latents and positions along directions, and the tables in ``uns``."""
        import anndata

        cells = self.cells
        obs = cells.obs.set_index(cells.obs["cell_id"].astype(str)).rename_axis(None)
        obsm = {name: np.asarray(values, np.float32) for name, values in cells.blocks.items()}
        if self.directions is not None:
            for name, axes in self.directions.axes.items():
                obsm[f"{name}_directions"] = np.asarray(axes.scores, np.float32)
        return anndata.AnnData(
            X=cells.features.to_numpy(np.float32),
            obs=obs,
            var=pd.DataFrame({"stain": list(cells.stains)}, index=cells.features.columns.astype(str)),
            obsm=obsm,
            uns={name: table.copy() for name, table in self.tables().items()},
        )

    def write(self, folder: Path, *, overwrite: bool = False) -> Path:
        """Write the report, the tables and the AnnData, whole or not at all.

        Returns
        -------
        pathlib.Path
            The report.

        Raises
        ------
        FileError
            When the folder exists and ``overwrite`` is not set.
        """
        from napari_apollo.interpret.report import interpretation_page

        with whole_folder(folder, overwrite=overwrite) as partial:
            for name, table in self.tables().items():
                table.to_csv(partial / f"{name}.csv", index=False)
            write_json(partial / "interpretation.json", self.to_json())
            self.to_anndata().write_h5ad(partial / "interpretation.h5ad")
            interpretation_page(self).write(partial / REPORT)
        return Path(folder) / REPORT


def interpret(
    run_or_store: Run | CellStore | Path | str,
    config: InterpretConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Interpretation:
    """Say what latents mean: which features lie along them, which block carries each, what they predict.

    Parameters
    ----------
    run_or_store
        A run or its folder (its model places the cells of its store); a model folder, with ``config.store``;
        or a cell store whose table holds latents.
    config
        Settings; the defaults where not given.

    Returns
    -------
    Interpretation
        With ``config.output``, also written there. What the data do not allow is left out, and the notes
        say why.

    Raises
    ------
    DataError
        When there are no cells with latents.
    FileError
        When there is no run or store, or the output exists.
    Cancelled
        When ``should_stop`` says so; nothing is written.
    """
    config = config or InterpretConfig()
    source = open_source(run_or_store, config)
    _refuse_to_overwrite(config)
    cells = gather(source, config, progress, should_stop)
    work = _Interpreting(source, config, cells, progress, should_stop)
    found = work.run()
    if config.output is not None:
        progress(Step("Writing the report"))
        found.write(config.output, overwrite=config.overwrite)
    return found


def _refuse_to_overwrite(config: InterpretConfig) -> None:
    from napari_apollo.errors import FileError

    if config.output is not None and config.output.exists() and not config.overwrite:
        raise FileError(config.output, "exists already.", "Name another place, or allow to overwrite it.")


class _Interpreting:
    """Step by step; a step that the data do not allow leaves a note."""

    def __init__(
        self,
        source: Source,
        config: InterpretConfig,
        cells: LatentCells,
        progress: Progress,
        should_stop: ShouldStop,
    ) -> None:
        self.source = source
        self.config = config
        self.cells = cells
        self.progress = progress
        self.should_stop = should_stop
        self.groups = self._groups()
        self.found = Interpretation(cells, self._about(), [*cells.notes])

    def run(self) -> Interpretation:
        self._warn_of_few_donors()
        self._attempt("Directions", self._directions)
        self._attempt("Shares of features", self._shares)
        if self.config.published:
            self._attempt("Published procedure", self._published)
        self._attempt("Images along directions", self._walks)
        if self.config.phenotypes:
            self._attempt("Phenotypes", self._phenotypes)
        if self.config.images != "none":
            self._attempt("Phenotypes from images", self._image_phenotypes)
        return self.found

    def _attempt(self, what: str, step: Callable[[], None]) -> None:
        stop_if_asked(self.should_stop)
        try:
            step()
        except DataError as error:
            self.found.notes.append(f"{what} left out: {error}")

    def _about(self) -> dict[str, Any]:
        model = self.source.model
        return {
            "napari_apollo": __version__,
            "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "store": self.source.store.path.name,
            "model": None
            if model is None
            else {"folder": Path(self.source.place).name, "weights_sha256": model.card.weights_sha256},
            "cells": donors_in_words(self.cells.obs),
            "blocks": [describes(block, self.cells) for block in self.cells.blocks],
            "settings": self.config.model_dump(mode="json", exclude={"output", "store", "overwrite"}),
        }

    def _warn_of_few_donors(self) -> None:
        donors = len(set(self.cells.donors))
        if donors < LEAST_DONORS:
            self.found.notes.append(
                f"{donors} donor{'s' if donors > 1 else ''}: what is found holds for these alone; there are "
                f"no intervals, which need {LEAST_DONORS} donors."
            )

    def _groups(self) -> dict[str, str]:
        """Feature to the representative of its near copies."""
        features = self.cells.features
        groups: dict[str, str] = {}
        if features.shape[1]:
            reduced = reduce_features(features, self.cells.donors.tolist()).groups
            heads = reduced["representative"]
            heads = heads.where(heads != "", reduced.index.to_series())
            groups = {str(name): str(head) for name, head in heads.items()}
        return groups

    def _directions(self) -> None:
        self.found.directions = find_directions(
            self.cells,
            count=self.config.directions,
            permutations=self.config.permutations,
            fdr=self.config.fdr,
            least_effect=self.config.least_effect,
            groups=self.groups,
            seed=self.config.seed,
            progress=self.progress,
            should_stop=self.should_stop,
        )

    def _shares(self) -> None:
        self.found.shares = feature_shares(
            self.cells,
            probe=self.config.probe,
            folds=self.config.folds,
            most_cells=self.config.most_cells,
            seed=self.config.seed,
            progress=self.progress,
            should_stop=self.should_stop,
        )

    def _published(self) -> None:
        self.found.published = published_procedure(
            self.cells,
            hold_outs=self.config.hold_outs,
            seed=self.config.seed,
            progress=self.progress,
            should_stop=self.should_stop,
        )
        self.found.notes += self.found.published.notes

    def _walks(self) -> None:
        if self.found.directions is None:
            return
        for block, axes in self.found.directions.axes.items():
            self.progress(Step("Images along directions", detail=block))
            for axis in range(min(self.config.walks, len(axes.spread))):
                stop_if_asked(self.should_stop)
                self.found.walks.append(
                    walk_along(
                        self.cells, axes, block, axis, store=self.source.store, model=self.source.model
                    )
                )

    def _labels(self) -> np.ndarray:
        """(cell,) what is classified.

        Raises
        ------
        DataError
            When the table has no such column.
        """
        name = self.config.label
        obs = self.source.store.obs.set_index("cell_id")
        if name not in obs:
            raise DataError(
                f"The table has no column {name!r}; it has {', '.join(map(str, obs.columns[:20]))}."
            )
        values = obs[name].astype(object).reindex(self.cells.obs["cell_id"].astype(str))
        return values.fillna("").astype(str).to_numpy(object)

    def _phenotypes(self) -> None:
        config = self.config
        self.found.phenotypes = classify(
            self.cells,
            label=self._labels(),
            groups=self.groups,
            ablation=config.ablation,
            folds=config.folds,
            permutations=config.permutations,
            seed=config.seed,
            progress=self.progress,
            should_stop=self.should_stop,
        )
        self.found.notes += self.found.phenotypes.notes

    def _image_phenotypes(self) -> None:
        from napari_apollo.interpret.imagephenotypes import classify_images

        inference = self.source.inference(self.config.batch_size)
        if inference is None:
            raise DataError("rebuilt and predicted images need the model; interpret the run folder.")
        table, confusion = classify_images(
            self.cells,
            self.source.store,
            inference,
            label=self._labels(),
            architecture=self.config.images,
            most_cells=self.config.most_cells,
            folds=self.config.folds,
            device=str(inference.model.device),
            seed=self.config.seed,
            progress=self.progress,
            should_stop=self.should_stop,
        )
        found = self.found.phenotypes or Phenotypes(pd.DataFrame(), {}, pd.DataFrame())
        joined = pd.concat([found.table, table], ignore_index=True) if len(found.table) else table
        self.found.phenotypes = Phenotypes(joined, found.confusion | confusion, found.ablation, found.notes)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
