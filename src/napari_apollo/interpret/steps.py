"""The steps of an interpretation, one after the other."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
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
from napari_apollo.interpret.walks import walks_along
from napari_apollo.measure.reduction import reduce_features
from napari_apollo.predict.inference import Inference
from napari_apollo.probes.statistics import LEAST_DONORS
from napari_apollo.progress import Progress, ShouldStop, stop_if_asked

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
        self.found = Interpretation(cells, self._about(), [*source.doubts(), *cells.notes])

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
        self,
        name: str,
        function: Callable[..., Result],
        *about: Any,
        settings: Sequence[str | tuple[str, str]],
        content: Mapping[str, Any] | None = None,
        **fixed: Any,
    ) -> Result:
        """Do a step, or take it as it was kept.

        Parameters
        ----------
        name
            Of the step.
        function
            Does it; takes the cells, ``about``, settings, ``fixed``, progress and should_stop.
        about, fixed
            What else it takes, and follows from the cells and from ``content``.
        settings
            Settings that it takes, as pairs of its own name and the setting's where these differ.
        content
            What it depends on besides the cells and the settings.
        """
        pairs = [(each, each) if isinstance(each, str) else each for each in settings]
        values = {own: getattr(self.config, setting) for own, setting in pairs}

        def make() -> Result:
            return function(
                self.cells, *about, **values, **fixed, progress=self.progress, should_stop=self.should_stop
            )

        return self.kept.take(name, {"cells": self._content, "settings": values, **(content or {})}, make)

    def _directions(self) -> None:
        self.found.directions = self._step(
            "directions",
            find_directions,
            settings=[("count", "directions"), "permutations", "fdr", "least_effect", "seed"],
            groups=self.groups,
        )

    def _shares(self) -> None:
        settings = ["probe", "folds", "most_cells", "seed"]
        self.found.shares = self._step("shares", feature_shares, settings=settings)

    def _published(self) -> None:
        found = self._step("published", published_procedure, settings=["hold_outs", "seed"])
        self.found.published = found
        self.found.notes += found.notes

    def _walks(self) -> None:
        if self.found.directions is None:
            return
        axes = self.found.directions.axes
        self.found.walks = self._step(
            "walks",
            walks_along,
            axes,
            settings=[("count", "walks")],
            content={
                "axes": {name: own.directions for name, own in axes.items()},
                "of": self.source.content(),
            },
            store=self.source.store,
            model=self.source.model,
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
        label = self._labels()
        self.found.phenotypes = self._step(
            "phenotypes",
            classify,
            settings=["ablation", "folds", "permutations", "seed"],
            content={"label": label},
            label=label,
            groups=self.groups,
        )
        self.found.notes += self.found.phenotypes.notes

    def _image_phenotypes(self) -> None:
        from napari_apollo.interpret.imagephenotypes import classify_images

        label, inference = self._labels(), self._inference()
        table, confusion = self._step(
            "images",
            classify_images,
            self.source.store,
            inference,
            settings=[
                ("architecture", "images"),
                ("permutations", "image_permutations"),
                "most_cells",
                "folds",
                "seed",
            ],
            content={"label": label, "of": self.source.content()},
            label=label,
            device=str(inference.model.device),
        )
        self.found.phenotypes = joined(self.found.phenotypes, table, confusion)

    def _image_features(self) -> None:
        from napari_apollo.interpret.imagefeatures import regress_features

        inference = self._inference()
        architecture = "resnet18" if self.config.images == "resnet18" else "small"
        self.found.image_features = self._step(
            "image_features",
            regress_features,
            self.source.store,
            inference,
            settings=["most_cells", "folds", "seed"],
            content={"architecture": architecture, "of": self.source.content()},
            architecture=architecture,
            device=str(inference.model.device),
        )

    def _compartments(self) -> None:
        settings = ["folds", "permutations", "most_cells", "seed"]
        proteins = None
        if self.cells.beside:
            panels = self.source.store.panels.values()
            proteins = list(dict.fromkeys(stain for panel in panels for stain in panel.proteins))
        self.found.compartments = self._step(
            "compartments", compartments, settings=settings, content={"of": proteins}, proteins=proteins
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
