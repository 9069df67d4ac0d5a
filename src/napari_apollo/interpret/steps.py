"""The steps of an interpretation, one after the other."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_apollo import __version__
from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import LatentCells
from napari_apollo.interpret.compartments import compartments
from napari_apollo.interpret.config import InterpretConfig
from napari_apollo.interpret.directions import describes, find_directions
from napari_apollo.interpret.findings import Interpretation
from napari_apollo.interpret.kept import KeptSteps
from napari_apollo.interpret.phenotypes import classify, joined
from napari_apollo.interpret.published import published_procedure
from napari_apollo.interpret.shares import feature_shares
from napari_apollo.interpret.source import Source, donors_in_words
from napari_apollo.interpret.walks import Walk, walk_along
from napari_apollo.measure.reduction import reduce_features
from napari_apollo.predict.inference import Inference
from napari_apollo.probes.statistics import LEAST_DONORS
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked

Result = TypeVar("Result")


class Interpreting:
    """Step by step; a step that the data do not allow leaves a note, one that was kept is not done again.

    Parameters
    ----------
    source, config
        Cells and model; settings.
    cells
        Those that are interpreted.
    kept
        Finished steps.
    progress, should_stop
        Told of every step; asked between and within them.
    """

    def __init__(
        self,
        source: Source,
        config: InterpretConfig,
        cells: LatentCells,
        kept: KeptSteps,
        progress: Progress,
        should_stop: ShouldStop,
    ) -> None:
        self.source = source
        self.config = config
        self.cells = cells
        self.kept = kept
        self._content = cells.digest()
        self.progress = progress
        self.should_stop = should_stop
        self.groups = self._groups()
        self.found = Interpretation(cells, self._about(), [*cells.notes])

    def run(self) -> Interpretation:
        """Every step that is asked for."""
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
        if self.config.image_features:
            self._attempt("Features from images", self._image_features)
        if self.config.compartments:
            self._attempt("Compartments", self._compartments)
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
            else {"folder": _called(Path(self.source.place)), "weights_sha256": model.card.weights_sha256},
            "cells": donors_in_words(self.cells.obs),
            "blocks": [describes(block, self.cells) for block in self.cells.blocks],
            "settings": self.config.model_dump(
                mode="json", exclude={"output", "store", "overwrite", "keep_steps"}
            ),
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

    def _step(
        self, name: str, settings: tuple[str, ...], make: Callable[[], Result], **inputs: Any
    ) -> Result:
        """Do a step, or take it as it was kept for these cells and settings."""
        wanted = {
            "cells": self._content,
            "settings": [(s, getattr(self.config, s)) for s in settings],
            **inputs,
        }
        return self.kept.take(name, wanted, make)

    def _directions(self) -> None:
        config = self.config
        self.found.directions = self._step(
            "directions",
            ("directions", "permutations", "fdr", "least_effect", "seed"),
            lambda: find_directions(
                self.cells,
                count=config.directions,
                permutations=config.permutations,
                fdr=config.fdr,
                least_effect=config.least_effect,
                groups=self.groups,
                seed=config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            ),
        )

    def _shares(self) -> None:
        config = self.config
        self.found.shares = self._step(
            "shares",
            ("probe", "folds", "most_cells", "seed"),
            lambda: feature_shares(
                self.cells,
                probe=config.probe,
                folds=config.folds,
                most_cells=config.most_cells,
                seed=config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            ),
        )

    def _published(self) -> None:
        config = self.config
        found = self._step(
            "published",
            ("hold_outs", "seed"),
            lambda: published_procedure(
                self.cells,
                hold_outs=config.hold_outs,
                seed=config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            ),
        )
        self.found.published = found
        self.found.notes += found.notes

    def _walks(self) -> None:
        if self.found.directions is not None:
            settings = ("directions", "permutations", "fdr", "least_effect", "seed", "walks")
            self.found.walks = self._step("walks", settings, self._all_walks, model=self.source.content())

    def _all_walks(self) -> list[Walk]:
        assert self.found.directions is not None, "asked by the caller"
        walks = []
        for block, axes in self.found.directions.axes.items():
            self.progress(Step("Images along directions", detail=block))
            for axis in range(min(self.config.walks, len(axes.spread))):
                stop_if_asked(self.should_stop)
                walks.append(
                    walk_along(
                        self.cells, axes, block, axis, store=self.source.store, model=self.source.model
                    )
                )
        return walks

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
        config, label = self.config, self._labels()
        self.found.phenotypes = self._step(
            "phenotypes",
            ("ablation", "folds", "permutations", "seed"),
            lambda: classify(
                self.cells,
                label=label,
                groups=self.groups,
                ablation=config.ablation,
                folds=config.folds,
                permutations=config.permutations,
                seed=config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            ),
            label=label,
        )
        self.found.notes += self.found.phenotypes.notes

    def _image_phenotypes(self) -> None:
        from napari_apollo.interpret.imagephenotypes import classify_images

        config, label, inference = self.config, self._labels(), self._inference()
        if config.images == "none":
            return
        architecture = config.images
        table, confusion = self._step(
            "images",
            ("images", "image_permutations", "most_cells", "folds", "seed"),
            lambda: classify_images(
                self.cells,
                self.source.store,
                inference,
                label=label,
                architecture=architecture,
                most_cells=config.most_cells,
                folds=config.folds,
                permutations=config.image_permutations,
                device=str(inference.model.device),
                seed=config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            ),
            label=label,
            model=self.source.content(),
        )
        self.found.phenotypes = joined(self.found.phenotypes, table, confusion)

    def _image_features(self) -> None:
        from napari_apollo.interpret.imagefeatures import regress_features

        config, inference = self.config, self._inference()
        self.found.image_features = self._step(
            "image_features",
            ("images", "most_cells", "folds", "seed"),
            lambda: regress_features(
                self.cells,
                self.source.store,
                inference,
                architecture="resnet18" if config.images == "resnet18" else "small",
                most_cells=config.most_cells,
                folds=config.folds,
                device=str(inference.model.device),
                seed=config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            ),
            model=self.source.content(),
        )

    def _compartments(self) -> None:
        config = self.config
        self.found.compartments = self._step(
            "compartments",
            ("folds", "permutations", "most_cells", "seed"),
            lambda: compartments(
                self.cells,
                folds=config.folds,
                permutations=config.permutations,
                most_cells=config.most_cells,
                seed=config.seed,
                progress=self.progress,
                should_stop=self.should_stop,
            ),
        )

    def _inference(self) -> Inference:
        """The model at work.

        Raises
        ------
        DataError
            When latents of a store are interpreted, without their model.
        """
        inference = self.source.inference(self.config.batch_size)
        if inference is None:
            raise DataError("rebuilt and predicted images need the model; interpret the run folder.")
        return inference


def _called(place: Path) -> str:
    """Name of a model's folder, or of the run it lies in."""
    return place.parent.name if place.name == "model" and place.parent.name else place.name
