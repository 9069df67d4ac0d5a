"""From files to predicted stains, on the samples that come with the package."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from napari_apollo.cells import CellStore, CropConfig, SegmentConfig, crop, segment
from napari_apollo.demo.config import DemoConfig
from napari_apollo.demo.page import write_page
from napari_apollo.demo.results import DemoResults, SampleResults
from napari_apollo.errors import FileError
from napari_apollo.measure import MeasureConfig, measure
from napari_apollo.predict import EvaluateConfig, OverlayConfig, PredictConfig, evaluate, overlay, predict
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.samples import TwoPanels, lymph_node, two_panel_study, u2os_wells
from napari_apollo.study import Study, open_labels
from napari_apollo.train import TrainConfig, start_run

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sample:
    """A bundled sample and how its cells are cut.

    Attributes
    ----------
    name, title
        Name used in files, and in words.
    study
        Makes the study of its images.
    crop_size
        Side of a crop in pixels: a cell and a margin.
    expand
        How far a cell reaches beyond its nucleus, in pixels.
    divided
        Whether two panels are made of it, the stains of the other panel hidden.
    segmentation
        Settings of the segmentation that are not the defaults.
    """

    name: str
    title: str
    study: Callable[[], Study]
    crop_size: int
    expand: float
    divided: bool = False
    segmentation: Mapping[str, Any] = field(default_factory=dict)


SAMPLES = (
    Sample(
        "lymph_node",
        "Lymph node, two panels",
        lymph_node,
        crop_size=32,
        expand=3,
        divided=True,
        # Crowded, and partly out of focus: the network takes dim gaps between nuclei for small nuclei.
        segmentation={"engine": "threshold", "diameter": 10.0},
    ),
    Sample("u2os_wells", "U2OS wells, FKHR", u2os_wells, crop_size=64, expand=12),
)


@dataclass
class Watch:
    """Steps of one sample, with its title in front, and the seconds that each stage took."""

    title: str
    progress: Progress
    should_stop: ShouldStop
    seconds: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, work: Callable[[Progress, ShouldStop], Result]) -> Result:
        """Do one stage of the chain."""
        start = time.perf_counter()
        result = work(self._tell, self.should_stop)
        self.seconds[name] = round(time.perf_counter() - start, 2)
        return result

    def _tell(self, step: Step) -> None:
        self.progress(Step(f"{self.title}: {step.stage}", step.done, step.total, step.detail))


def demo(
    config: DemoConfig | None = None, *, progress: Progress = silent, should_stop: ShouldStop = never
) -> DemoResults:
    """Take the bundled samples through the whole chain.

    Parameters
    ----------
    config
        Settings.
    progress, should_stop
        Told at every step; asked between steps.

    Returns
    -------
    DemoResults
        Where everything is: cell stores, run folders, predictions, OME-Zarr images, tables and one
        HTML page.

    Raises
    ------
    FileError
        When the output folder holds something else than a demonstration.
    Cancelled
        When ``should_stop`` says so.
    """
    config = config or DemoConfig()
    start = time.perf_counter()
    _clear(config.output)
    samples = tuple(
        _take_through(sample, config, Watch(sample.title, progress, should_stop)) for sample in SAMPLES
    )
    results = DemoResults(folder=config.output, report=Path("report.html"), samples=samples, seconds=0.0)
    progress(Step("Writing the report"))
    write_page(results)
    results = results.model_copy(update={"seconds": round(time.perf_counter() - start, 1)})
    results.write()
    return results


def _clear(folder: Path) -> None:
    """Make the folder, and remove from it what an earlier demonstration left, and nothing else."""
    marker = folder / ".napari-apollo-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise FileError(folder, "holds other files.", "Name an empty or new folder with --output.")
    if marker.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _divide(study: Study, folder: Path) -> TwoPanels:
    (whole,) = study
    assert whole.labels is not None, "segmentation gives every field labels"
    return two_panel_study(open_labels(whole.labels).read(), folder)


def _take_through(sample: Sample, config: DemoConfig, watch: Watch) -> SampleResults:
    folder = config.output / sample.name
    study = watch.stage(
        "segment",
        lambda progress, stop: segment(
            sample.study(),
            SegmentConfig(output=folder / "segmentation", **sample.segmentation),
            progress=progress,
            should_stop=stop,
        ),
    )
    truth = None
    if sample.divided:
        panels = _divide(study, folder / "two_panels")
        study, truth = panels.study, panels.truth
    store = watch.stage(
        "crop",
        lambda progress, stop: crop(
            study,
            CropConfig(
                output=folder / f"{sample.name}.cells.zarr",
                size=sample.crop_size,
                expand=sample.expand,
                neighbours="isolate",
            ),
            progress=progress,
            should_stop=stop,
        ),
    )
    store = watch.stage(
        "measure",
        lambda progress, stop: measure(store, MeasureConfig(), progress=progress, should_stop=stop),
    )
    epochs = (
        {} if config.epochs is None else dict.fromkeys(("latent_epochs", "encoder_epochs"), config.epochs)
    )
    settings = TrainConfig(
        output=folder / f"{sample.name}.run", seed=config.seed, device=config.device, **epochs
    )
    run = watch.stage("train", lambda progress, stop: start_run(store, settings).wait(progress, stop))
    predictions = watch.stage(
        "predict",
        lambda progress, stop: predict(store, run, PredictConfig(), progress=progress, should_stop=stop),
    )
    scores = watch.stage(
        "evaluate",
        lambda progress, stop: evaluate(
            store,
            run,
            EvaluateConfig(output=folder, truth=None if truth is None else truth.path),
            progress=progress,
            should_stop=stop,
        ),
    )
    images = watch.stage(
        "overlay",
        lambda progress, stop: overlay(
            store, predictions, OverlayConfig(output=folder), progress=progress, should_stop=stop
        ),
    )
    tables = [folder / f"{sample.name}.csv", folder / f"{sample.name}.h5ad"]
    store = CellStore.open(store.path)
    for table in tables:
        store.export_table(table)

    def inside(path: Path | None) -> Path:
        assert path is not None, "a study that was written knows where it is"
        return path.relative_to(config.output)

    return SampleResults(
        name=sample.name,
        title=sample.title,
        manifest=inside(study.path),
        truth=None if truth is None else inside(truth.path),
        store=inside(store.path),
        run=inside(run.folder),
        predictions=inside(predictions.path),
        images=tuple(inside(image) for image in images),
        csv=inside(tables[0]),
        h5ad=inside(tables[1]),
        cells=store.n_cells,
        scores=tuple(scores.to_json()["scores"]),
        seconds=watch.seconds,
    )
