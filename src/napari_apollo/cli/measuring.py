"""What ``napari-apollo measure`` is given, and what it says of what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_apollo.cli.inspect import Description, describe, kind_of
from napari_apollo.errors import ConfigError, FileError
from napari_apollo.measure import MeasureConfig
from napari_apollo.progress import Progress, ShouldStop


@dataclass(frozen=True)
class Measurable:
    """A cell store, a manifest, or an image with its labels.

    Attributes
    ----------
    path
        The store, manifest or image.
    labels, channels, pixel_size_um
        Of an image alone.
    z_step_um
        Of a stack alone: an image whose labels have planes.
    output
        Table to write; of a manifest or image.
    """

    path: Path
    labels: Path | None
    channels: str | None
    pixel_size_um: float | None
    z_step_um: float | None
    output: Path | None

    def measure(self, config: MeasureConfig, *, progress: Progress, should_stop: ShouldStop) -> Description:
        """Measure, and tell what came out.

        Raises
        ------
        FileError
            When the path holds nothing that can be measured.
        ConfigError
            When an option does not go with it.
        """
        # What is called a store and is none is told as a store's error.
        kind = "store" if self.path.name.endswith(".cells.zarr") else kind_of(self.path)
        if kind == "store":
            self._refuse("a cell store", "labels", "channels", "pixel_size_um", "z_step_um", "output")
            return self._measure_store(config, progress, should_stop)
        if kind not in ("manifest", "image"):
            raise FileError(self.path, f"is a {kind}.", "Give a cell store, a manifest, or an image.")
        return self._measure_fields(kind, config, progress, should_stop)

    def _refuse(self, what: str, *names: str) -> None:
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]
        if given:
            raise ConfigError(f"{self.path} is {what}, which {' and '.join(given)} cannot go with.")

    def _measure_store(
        self, config: MeasureConfig, progress: Progress, should_stop: ShouldStop
    ) -> Description:
        from napari_apollo.measure import measure

        store = measure(self.path, config, progress=progress, should_stop=should_stop)
        facts, text = describe(store.path)
        missing = _missing(store.table.uns)
        return {**facts, "missing": missing}, "\n".join([text, *_in_words(missing)])

    def _measure_fields(
        self, kind: str, config: MeasureConfig, progress: Progress, should_stop: ShouldStop
    ) -> Description:
        from napari_apollo.measure import measure_study
        from napari_apollo.measure.stackfile import holds_stack, measure_stack_file
        from napari_apollo.measure.study import study_of_image
        from napari_apollo.study import Study
        from napari_apollo.study.fields import split_channels, stem

        if kind == "manifest":
            self._refuse("a manifest", "labels", "channels", "pixel_size_um", "z_step_um")
            study = Study.from_csv(self.path)
        else:
            if self.labels is None:
                raise ConfigError(f"{self.path} is an image; give the label image of its nuclei by --labels.")
            channels = split_channels(self.channels) if self.channels else None
            study = study_of_image(self.path, self.labels, channels, self.pixel_size_um)
        name = self.path.stem if kind == "manifest" else stem(self.path)
        output = self.output or Path(f"{name}.features.csv")
        if kind == "image" and self.labels is not None and holds_stack(self.labels):
            table = measure_stack_file(
                study.fields[0], self.z_step_um, config, output=output, progress=progress,
                should_stop=should_stop,
            )  # fmt: skip
        else:
            self._refuse("no stack with labels in planes", "z_step_um")
            table = measure_study(study, config, output=output, progress=progress, should_stop=should_stop)
        missing = _missing(table.uns)
        facts = {"table": str(output), "cells": table.n_obs, "features": table.n_vars, "missing": missing}
        words = f"{output}: {table.n_obs} cells, {table.n_vars} features"
        return facts, "\n".join([words, *_in_words(missing)])


def _missing(uns: Mapping[str, Any]) -> dict[str, int]:
    return {reason: int(count) for reason, count in uns["measure"]["missing"].items()}


def _in_words(missing: Mapping[str, int]) -> list[str]:
    return [f"  {count} values missing: {reason}" for reason, count in missing.items()]
