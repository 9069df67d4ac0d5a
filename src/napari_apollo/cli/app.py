"""The commands. Each turns its arguments into a config, calls one function and prints what came out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_apollo import __version__
from napari_apollo.cells import CropConfig, SegmentConfig
from napari_apollo.cli.console import session
from napari_apollo.cli.inspect import describe, verify_path
from napari_apollo.cli.learning import learnt
from napari_apollo.cli.measuring import Measurable
from napari_apollo.cli.options import GivenSettings, with_either, with_options
from napari_apollo.cli.scoring import learnt_from_tables, score_images, score_tables
from napari_apollo.demo import DemoConfig
from napari_apollo.errors import FileError
from napari_apollo.interpret.config import InterpretConfig
from napari_apollo.interpret.trial import TrialConfig
from napari_apollo.measure import MeasureConfig
from napari_apollo.predict import EvaluateConfig, OverlayConfig, PredictConfig
from napari_apollo.predict.tableconfig import TableEvaluateConfig
from napari_apollo.study import Study
from napari_apollo.study.discover import DiscoverConfig
from napari_apollo.train import TableTrainConfig, TrainConfig

app = typer.Typer(
    name="napari-apollo",
    help="What a cell's chromatin says about its proteins, across stain panels.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
study_app = typer.Typer(
    help="Find the fields of a study and check them.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(study_app, name="study")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Manifest = Annotated[Path, typer.Argument(help="Manifest of the study (CSV).", show_default=False)]
StorePath = Annotated[Path, typer.Argument(help="Cell store (NAME.cells.zarr).", show_default=False)]
RunPath = Annotated[
    Path, typer.Option("--model", help="Run folder or model folder to use.", show_default=False)
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@study_app.command("discover")
@with_options(DiscoverConfig)
def discover_command(
    folder: Annotated[Path, typer.Argument(help="Folder of images.", show_default=False)],
    config: DiscoverConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="Manifest to write.")] = Path("study.csv"),
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a manifest that exists, with what was corrected in it."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draft a manifest from a folder of images: condition/panel/donor trees or flat folders."""
    with session(as_json=as_json) as run:
        if output.exists() and not overwrite:
            raise FileError(
                output,
                "exists already, and may have been corrected.",
                "Name another file, or say --overwrite.",
            )
        study = Study.discover(folder, config).to_csv(output)
        lines = [f"{output}: {_study_in_words(study)}", *(f"  note: {note}" for note in study.notes)]
        run.finish(
            {
                "manifest": str(output),
                "fields": len(study),
                "panels": {name: list(panel.stains) for name, panel in study.panels.items()},
                "notes": list(study.notes),
            },
            "\n".join(lines),
        )


@study_app.command("check")
def check_command(
    manifest: Manifest,
    thorough: Annotated[bool, typer.Option("--thorough", help="Read every pixel, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List everything that is wrong with a study, before any work; exit 2 where something is."""
    with session(as_json=as_json) as run:
        study = Study.from_csv(manifest)
        found = study.examine(thorough=thorough, progress=run.progress, should_stop=run.should_stop)
        lines = [f"{manifest}: {_study_in_words(study)}"]
        lines += [f"  - {problem}" for problem in found.problems] or ["No problem found."]
        lines += [f"  note: {note}" for note in found.notes]
        run.finish(
            {
                "manifest": str(manifest),
                "fields": len(study),
                "problems": list(found.problems),
                "notes": list(found.notes),
            },
            "\n".join(lines),
        )
        if found.problems:
            raise SystemExit(2)


@app.command("segment")
@with_options(SegmentConfig)
def segment_command(manifest: Manifest, config: SegmentConfig, as_json: AsJson = False) -> None:
    """Find the nuclei in every field of a study."""
    from napari_apollo.cells import segment

    with session(as_json=as_json) as run:
        study = segment(manifest, config, progress=run.progress, should_stop=run.should_stop)
        run.finish(
            {"manifest": str(study.path), "labels": {f.field: str(f.labels) for f in study}},
            f"{study.path}: labels of {len(study)} fields",
        )


@app.command("crop")
@with_options(CropConfig)
def crop_command(manifest: Manifest, config: CropConfig, as_json: AsJson = False) -> None:
    """Cut the cells of a labelled study into a cell store, each with its quality."""
    from napari_apollo.cells import crop

    with session(as_json=as_json) as run:
        store = crop(manifest, config, progress=run.progress, should_stop=run.should_stop)
        run.finish(*describe(store.path))


@app.command("measure")
@with_options(MeasureConfig)
def measure_command(
    path: Annotated[
        Path,
        typer.Argument(
            help="Cell store, whose table is filled; or manifest of a study with labels, or image.",
            show_default=False,
        ),
    ],
    config: MeasureConfig,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Label image of an image's nuclei; one with planes measures a stack in three dimensions.",
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            "--channels",
            help="Stains of an image's channels in their order, for example DAPI,CD3,-; what the image says "
            "where not given.",
        ),
    ] = None,
    pixel_size_um: Annotated[
        float | None,
        typer.Option("--pixel-size-um", help="Pixel size of an image; what the image says where not given."),
    ] = None,
    z_step_um: Annotated[
        float | None,
        typer.Option("--z-step-um", min=1e-6, help="Distance of a stack's planes, in micrometres."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Table (.csv, .h5ad) of a study or image. [default: NAME.features.csv]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure every cell of a store, a study or an image: size, shape, intensities and more."""
    with session(as_json=as_json) as run:
        source = Measurable(path, labels, channels, pixel_size_um, z_step_um, output)
        run.finish(*source.measure(config, progress=run.progress, should_stop=run.should_stop))


@app.command("train")
@with_either(images=TrainConfig, tables=TableTrainConfig)
def train_command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Cell store (NAME.cells.zarr); or tables of the same cells (.h5ad each, or .h5mu).",
            show_default=False,
        ),
    ],
    config: GivenSettings,
    as_json: AsJson = False,
) -> None:
    """Learn what modalities of cells share, in a process of its own that writes a run folder."""
    from napari_apollo.train import start_run, train
    from napari_apollo.train.team import launched_first, launched_together

    with session(as_json=as_json) as run:
        source, settings = learnt(sources, config)
        if launched_together():  # torchrun looks after the processes
            training = train(source, settings, progress=run.progress, should_stop=run.should_stop)
        else:
            training = start_run(source, settings)
            training.wait(progress=run.progress, should_stop=run.should_stop)
        if launched_first():
            run.finish(*describe(training.folder))


@app.command("predict")
@with_options(PredictConfig)
def predict_command(store: StorePath, model: RunPath, config: PredictConfig, as_json: AsJson = False) -> None:
    """Reconstruct every measured stain of every cell and predict those that its panel lacks."""
    from napari_apollo.predict import predict

    with session(as_json=as_json) as run:
        predictions = predict(store, model, config, progress=run.progress, should_stop=run.should_stop)
        run.finish(*describe(predictions.path))


@app.command("overlay")
@with_options(OverlayConfig)
def overlay_command(
    store: StorePath,
    predictions: Annotated[
        Path, typer.Argument(help="Predictions (NAME.predictions.zarr).", show_default=False)
    ],
    config: OverlayConfig,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            help="Manifest of the study: its stains are written as whole images where all cells of an image "
            "were given them, not within cells alone.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write images with their measured, reconstructed and predicted channels as OME-Zarr."""
    from napari_apollo.predict import overlay

    with session(as_json=as_json) as run:
        written = overlay(
            store, predictions, config, study=study, progress=run.progress, should_stop=run.should_stop
        )
        run.finish({"images": [str(path) for path in written]}, "\n".join(map(str, written)))


@app.command("evaluate")
@with_either(images=EvaluateConfig, tables=TableEvaluateConfig)
def evaluate_command(
    source: Annotated[
        Path,
        typer.Argument(help="Run folder, whose cells are scored; or a cell store.", show_default=False),
    ],
    config: GivenSettings,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Run or model folder to score on a cell store.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score reconstruction and prediction on held-out cells, beside baselines; with --output, as a report."""
    with session(as_json=as_json) as run:
        score = score_tables if learnt_from_tables(source) else score_images
        run.finish(*score(source, model, config, run.progress, run.should_stop))


@app.command("interpret")
@with_options(InterpretConfig)
def interpret_command(
    source: Annotated[
        Path,
        typer.Argument(help="Run folder; or a cell store that holds latents.", show_default=False),
    ],
    config: InterpretConfig,
    as_json: AsJson = False,
) -> None:
    """Say what the latents of a model mean: features along them, the block that carries each, phenotypes."""
    from napari_apollo.interpret import interpret

    with session(as_json=as_json) as run:
        found = interpret(source, config, progress=run.progress, should_stop=run.should_stop)
        run.finish(found.to_json(), found.in_words())


@app.command("simulate")
@with_options(TrialConfig)
def simulate_command(config: TrialConfig, as_json: AsJson = False) -> None:
    """Train on simulated tables whose shared and specific factors are known, and say what was found."""
    from napari_apollo.interpret import run_trial

    with session(as_json=as_json) as run:
        trial = run_trial(config, progress=run.progress, should_stop=run.should_stop)
        run.finish(trial.to_dict(), trial.in_words())


@app.command("info")
def info_command(
    path: Annotated[
        Path, typer.Argument(help="Image, manifest, tables, store, run, or model.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a file or folder holds."""
    with session(as_json=as_json) as run:
        run.finish(*describe(path))


@app.command("verify")
def verify_command(
    path: Annotated[Path, typer.Argument(help="Cell store, predictions or model.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Compare a store or a model with its checksums; exit 2 where it is damaged."""
    with session(as_json=as_json) as run:
        problems = verify_path(path, progress=run.progress, should_stop=run.should_stop)
        words = [f"{path}: {problem}" for problem in problems] or [f"{path}: undamaged"]
        run.finish({"path": str(path), "problems": problems}, "\n".join(words))
        if problems:
            raise SystemExit(2)


@app.command("demo")
@with_options(DemoConfig)
def demo_command(
    config: DemoConfig,
    gui: Annotated[
        bool,
        typer.Option("--gui", help="Show the results in napari; those that are there, if there are any."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the bundled real images through the whole chain, from files to predicted stains."""
    from napari_apollo.demo import DemoResults, demo

    with session(as_json=as_json) as run:
        if gui and DemoResults.are_in(config.output):
            results = DemoResults.read(config.output)
        else:
            results = demo(config, progress=run.progress, should_stop=run.should_stop)
        run.finish(results.as_dict(), results.summary())
        if gui:
            # A process of its own: commands know nothing of napari and Qt.
            subprocess.run([sys.executable, "-m", "napari_apollo.viewer", str(config.output)], check=False)


def _study_in_words(study: Study) -> str:
    donors = len({field.donor for field in study})
    panels = ", ".join(f"{name} ({', '.join(panel.stains)})" for name, panel in study.panels.items())
    return f"{len(study)} fields, {donors} donors, panels {panels}"
