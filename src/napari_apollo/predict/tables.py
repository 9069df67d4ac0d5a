"""Evaluation of a model of tables: classes by block, mixing, directions and gene sets, prediction across
tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from napari_apollo.errors import ConfigError, DataError, RunError
from napari_apollo.model.device import pick_device
from napari_apollo.model.modality import COUNTED
from napari_apollo.predict.tableconfig import TableEvaluateConfig
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.storage import whole_file
from napari_apollo.tables.checking import OF_COUNTS
from napari_apollo.tables.classes import LEAST_OF_A_CLASS, class_accuracy
from napari_apollo.tables.directions import (
    enriched_sets,
    read_gene_sets,
    require_fitting,
    tied_features,
    usable_sets,
)
from napari_apollo.tables.matching import LEAST_COMMON
from napari_apollo.tables.mixing import accepted, lisi, silhouette
from napari_apollo.tables.preparing import feature_moments, prepare
from napari_apollo.train.run import Run
from napari_apollo.train.split import TEST, TRAIN
from napari_apollo.train.tableconfig import TableTrainConfig
from napari_apollo.train.tabledataset import TableDataset, open_table_dataset
from napari_apollo.train.tablelatents import TableLatents, encode_cells

_COMPONENTS = 50


@dataclass(frozen=True)
class TableEvaluation:
    """Scores of a model of tables.

    Attributes
    ----------
    prediction
        One row a table and what it is made from: mean correlation over features, of cells held out for the
        test.
    classes
        One row a label and input: see ``tables.classes.class_accuracy``.
    mixing
        One row a column of obs and block: ``silhouette``, ``lisi`` (mean over cells) of ``kinds`` groups,
        ``accepted`` (see ``tables.mixing``).
    nuisance
        One row a block: how well the declared nuisance is told from it. Empty where none is declared.
    directions
        One row a block, direction and feature tied to it.
    enrichment
        One row a block, direction and gene set.
    notes
        What was left out, and why.
    """

    prediction: pd.DataFrame
    classes: pd.DataFrame
    mixing: pd.DataFrame
    nuisance: pd.DataFrame
    directions: pd.DataFrame
    enrichment: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, those that hold something."""
        named = {
            "prediction": self.prediction,
            "classes": self.classes,
            "mixing": self.mixing,
            "nuisance": self.nuisance,
            "directions": self.directions,
            "enrichment": self.enrichment,
        }
        return {name: table for name, table in named.items() if len(table)}

    def write(self, folder: Path) -> None:
        """Write the tables as CSV, each whole or not at all."""
        for name, table in self.tables().items():
            with whole_file(Path(folder) / f"{name}.csv") as partial:
                table.to_csv(partial, index=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values: each table as a list of rows, what is not a number as None."""
        rows = {
            name: table.astype(object).where(table.notna(), None).to_dict("records")
            for name, table in self.tables().items()
        }
        return {**rows, "notes": self.notes}

    def in_words(self) -> str:
        """The tables for a terminal; of directions, the strongest features alone."""
        parts = []
        for name, table in self.tables().items():
            shown = table
            if name == "directions":
                shown = table.groupby(["block", "direction"], sort=False).head(3)
            parts.append(f"{name}\n{shown.head(60).to_string(index=False, float_format='%.3f')}")
        return "\n\n".join([*parts, *(f"note: {note}" for note in self.notes)])


def evaluate_tables(
    run: Run | Path | str,
    config: TableEvaluateConfig,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> TableEvaluation:
    """Score a finished run on tables.

    Classifiers learn from latents that encoders give; accuracies are those of cells no classifier saw, and
    ``unseen`` those of cells that the model was not trained on either.

    Parameters
    ----------
    run
        A run on tables, or its folder; its tables are read again.

    Raises
    ------
    RunError
        When it is no run on tables, or its tables have changed.
    ConfigError
        When a column is not there.
    DataError, FileError
        When classes are too small, or gene sets do not fit.
    """
    opened = run if isinstance(run, Run) else Run(run)
    if not isinstance(opened.config, TableTrainConfig):
        raise RunError(opened.folder, "is no run on tables.", "Evaluate it as a run on a cell store.")
    if config.gene_sets:
        read_gene_sets(config.gene_sets)  # what is wrong with it is said before long work
    device = pick_device(config.device)
    model = opened.model(str(device))
    progress(Step("Reading tables"))
    dataset = open_table_dataset(opened.tables, opened.config, should_stop=should_stop)
    if dataset.fingerprint() != model.card.fingerprint:
        raise RunError(
            opened.folder, "learnt from other values than its tables hold now.", "Put the tables back."
        )
    if config.gene_sets:
        require_fitting(read_gene_sets(config.gene_sets), [each.features for each in dataset.tables.values()])
    return _Evaluating(opened.config, config, dataset, progress, should_stop).run(
        model.network, device, model.card.scores
    )


class _Evaluating:
    """One evaluation under way."""

    def __init__(
        self,
        trained: TableTrainConfig,
        config: TableEvaluateConfig,
        dataset: TableDataset,
        progress: Progress,
        should_stop: ShouldStop,
    ) -> None:
        self.trained = trained
        self.config = config
        self.dataset = dataset
        self.progress = progress
        self.should_stop = should_stop
        self.notes: list[str] = []
        self.obs = dataset.matched.obs
        for column in (*config.label, config.batch):
            if column and column not in self.obs:
                known = ", ".join(map(str, self.obs.columns)) or "none"
                raise ConfigError(f"{column!r} is no column of obs; there are {known}.")
            if column in dataset.matched.disputed:
                self.notes.append(f"{dataset.matched.disputed[column]}. The first table's are taken.")
        rng = np.random.default_rng(config.seed)
        n = len(dataset.matched.cells)
        complete = np.flatnonzero(dataset.matched.complete)
        self.cells = np.sort(rng.permutation(complete)[: config.most_cells])
        if len(complete) < n:
            self.notes.append(f"{n - len(complete)} cells lack a table: they are in no score but prediction.")
        self.enough = len(complete) >= LEAST_COMMON
        if not self.enough:
            self.notes.append(
                f"{len(complete)} cells have all tables, and {LEAST_COMMON} are needed to compare blocks: "
                "classes, mixing and nuisance are not scored."
            )

    def run(self, network: Any, device: torch.device, scores: dict[str, dict[str, float]]) -> TableEvaluation:
        everything = np.arange(len(self.dataset.matched.cells))
        self.progress(Step("Placing all cells"))
        latents = encode_cells(network, self.dataset.cells(everything, device), self.should_stop)
        directions, enrichment = self._directions(latents)
        return TableEvaluation(
            prediction=_predictions(scores),
            classes=self._classes(latents),
            mixing=self._mixing(latents),
            nuisance=self._nuisance(latents),
            directions=directions,
            enrichment=enrichment,
            notes=self.notes,
        )

    def _blocks(self, latents: TableLatents) -> dict[str, np.ndarray]:
        blocks = {"shared": latents.shared}
        blocks |= {f"{name} specific": values for name, values in latents.specific.items()}
        return {name: values[self.cells] for name, values in blocks.items() if values.shape[1]}

    def _inputs(self, latents: TableLatents) -> Iterator[tuple[str, np.ndarray]]:
        blocks = self._blocks(latents)
        yield from blocks.items()
        for name in latents.shared_by:  # images beside tables, too
            alone = latents.shared_by[name][self.cells]
            yield f"shared as {name} says", alone
            if f"{name} specific" in blocks:
                yield (
                    f"shared as {name} says + {name} specific",
                    np.concatenate([alone, blocks[f"{name} specific"]], axis=1),
                )
        yield "all latents", np.concatenate(list(blocks.values()), axis=1)
        if self.config.components:
            for name in self.dataset.tables:
                stop_if_asked(self.should_stop)
                yield f"components of {name}", self._components(name)

    def _components(self, name: str) -> np.ndarray:
        """Principal components of a table: what a linear method has to go by."""
        from sklearn.decomposition import TruncatedSVD

        values = self._comparable(name)[self.dataset.matched.rows[name][self.cells]]
        if not self._counted(name):
            spread = np.sqrt(feature_moments(values)[1])
            values = values / np.where(spread > 0, spread, 1)
        count = min(_COMPONENTS, min(values.shape) - 1)
        made: np.ndarray = TruncatedSVD(count, random_state=self.config.seed).fit_transform(values)
        return made

    def _comparable(self, name: str) -> Any:
        """Values of a table, of counts such as compare between cells; features have units of their own."""
        how = "log-normalise" if self._counted(name) else "none"
        return prepare(self.dataset.tables[name], how).values

    def _counted(self, name: str) -> bool:
        """Whether a table was taken for counts, of which a cell has more the deeper it was sequenced."""
        dataset = self.dataset
        return dataset.losses[name] in (*COUNTED, "bernoulli") or dataset.preparations[name] in OF_COUNTS

    def _classes(self, latents: TableLatents) -> pd.DataFrame:
        labels = list(self.config.label)
        if not labels or not self.enough:
            return pd.DataFrame()
        inputs = dict(self._inputs(latents))
        group = self.trained.group
        unseen = (self.dataset.split.part == TEST)[self.cells]
        tables = []
        for label in labels:
            there, told = self._told(label)
            groups = self.obs[group].astype(str).iloc[self.cells].to_numpy()[there] if group else None
            found = class_accuracy(
                {name: values[there] for name, values in inputs.items()},
                told,
                groups=groups,
                unseen=unseen[there],
                folds=self.config.folds,
                seed=self.config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            )
            found.insert(0, "label", label)
            tables.append(found)
        return pd.concat(tables, ignore_index=True)

    def _told(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Which scored cells (cell,) bool are of a class that enough cells are of, and their classes (n,)."""
        given = self.obs[column].iloc[self.cells]
        there, kinds = given.notna().to_numpy(), given.astype(str).to_numpy(object)
        if not there.all():
            self.notes.append(f"{int((~there).sum())} cells have no {column}.")
        found, counts = np.unique(kinds[there].astype(str), return_counts=True)
        rare = found[counts < LEAST_OF_A_CLASS]
        if len(found) - len(rare) < 2:
            raise DataError(
                f"{column} has {len(found)} classes, of which {len(found) - len(rare)} have "
                f"{LEAST_OF_A_CLASS} cells or more; two are needed. Cut numbers into ranges, as pandas.qcut "
                "does."
            )
        if len(rare):
            shown = ", ".join(rare[:5]) + (", ..." if len(rare) > 5 else "")
            self.notes.append(
                f"{column}: fewer than {LEAST_OF_A_CLASS} cells are {shown}; these are not told from others."
            )
        there &= ~np.isin(kinds.astype(str), rare)
        return there, kinds[there].astype(str)

    def _mixing(self, latents: TableLatents) -> pd.DataFrame:
        batch = self.config.batch or self.trained.nuisance or self.trained.group
        if not self.enough:
            return pd.DataFrame()
        rows = []
        for column in dict.fromkeys([*self.config.label, *([batch] if batch else [])]):
            told = self.obs[column].iloc[self.cells]
            there = told.notna().to_numpy()
            kinds = told[there].astype(str).to_numpy()
            for name, values in self._blocks(latents).items():
                stop_if_asked(self.should_stop)
                self.progress(Step("Neighbourhoods", detail=f"{column}, {name}"))
                rows.append(
                    {
                        "column": column,
                        "block": name,
                        "silhouette": silhouette(values[there], kinds, seed=self.config.seed),
                        "lisi": float(lisi(values[there], kinds).mean()),
                        "kinds": len(np.unique(kinds)),
                        "accepted": accepted(values[there], kinds),
                    }
                )
        return pd.DataFrame(rows)

    def _nuisance(self, latents: TableLatents) -> pd.DataFrame:
        if not self.trained.nuisance or not self.enough:
            return pd.DataFrame()
        there, told = self._told(self.trained.nuisance)
        found = class_accuracy(
            {name: values[there] for name, values in self._blocks(latents).items()},
            told,
            folds=self.config.folds,
            seed=self.config.seed,
            should_stop=self.should_stop,
        )
        return found[["input", "accuracy", "low", "high", "chance", "cells"]]

    def _directions(self, latents: TableLatents) -> tuple[pd.DataFrame, pd.DataFrame]:
        config, split = self.config, self.dataset.split
        sets = read_gene_sets(config.gene_sets) if config.gene_sets else None
        tied, rich = [], []
        for name, table in self.dataset.tables.items():
            values = self._comparable(name)
            rows = self.dataset.matched.rows[name]
            there = np.flatnonzero(rows >= 0)
            unseen = split.part[there] != TRAIN
            for block, points in (
                ("shared", latents.shared_by[name]),
                (f"{name} specific", latents.specific[name]),
            ):
                stop_if_asked(self.should_stop)
                self.progress(Step("Directions", detail=f"{block}, {name}"))
                found = tied_features(
                    points[there],
                    values[rows[there]],
                    table.features,
                    unseen,
                    directions=config.directions,
                    fdr=config.fdr,
                )
                found.insert(0, "block", block)
                found.insert(1, "table", name)
                tied.append(found)
                if sets is not None and len(found):
                    rich.append(self._enriched(found, table.features, sets, block, name))
        directions = [table for table in tied if len(table)]
        enrichment = [table for table in rich if len(table)]
        return (
            pd.concat(directions, ignore_index=True) if directions else pd.DataFrame(),
            pd.concat(enrichment, ignore_index=True) if enrichment else pd.DataFrame(),
        )

    def _enriched(
        self,
        found: pd.DataFrame,
        features: np.ndarray,
        sets: dict[str, frozenset[str]],
        block: str,
        name: str,
    ) -> pd.DataFrame:
        if not usable_sets(features, sets):  # peaks have no gene names
            words = f"The features of {name}, called like {features[0]}, are in no gene set."
            if words not in self.notes:
                self.notes.append(words)
            return pd.DataFrame()
        rich = enriched_sets(found, features, sets, fdr=self.config.fdr)
        rich.insert(0, "block", block)
        rich.insert(1, "table", name)
        return rich


def _predictions(scores: dict[str, dict[str, float]]) -> pd.DataFrame:
    rows = []
    for target, entry in scores.items():
        for key, value in entry.items():
            if key.endswith("_pearson"):
                kind = key.removesuffix("_pearson")
                source = target if kind == "reconstruction" else kind.removeprefix("prediction_from_")
                rows.append({"table": target, "from": source, "cells": entry["cells"], "pearson": value})
    return pd.DataFrame(rows)
