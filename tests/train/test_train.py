"""Whole trainings, in this process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from napari_apollo.cells import CellStore
from napari_apollo.errors import Cancelled, ConfigError, DataError, RunError, TrainingFailed
from napari_apollo.model import Apollo
from napari_apollo.probes.gains import verdict_of_scores
from napari_apollo.progress import Step
from napari_apollo.train import Run, TrainConfig, train
from napari_apollo.train.loop import better

Make = Callable[..., CellStore]


@pytest.fixture
def quick(quick: dict[str, Any]) -> Callable[..., TrainConfig]:
    """Configuration of a quick training in a folder, with changes."""

    def configure(tmp_path: Path, name: str = "run", **changes: object) -> TrainConfig:
        return TrainConfig(output=tmp_path / name, **{**quick, "previews_every": 1, **changes})

    return configure


def test_a_training_leaves_its_folder_and_a_model(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    store = make_store()
    steps: list[Step] = []
    run = train(store, quick(tmp_path, licence="CC0-1.0"), progress=steps.append)
    assert run.status().state == "done"
    assert not run.alive
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.json", "status.json", "metrics.jsonl", "previews", "checkpoints", "model"} <= names
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {"last", "best"}
    assert any(path.suffix == ".png" for path in (run.folder / "previews").iterdir())
    stages = [step.stage for step in steps]
    assert stages.index("Device") < stages.index("Cells") < stages.index("Memory")
    assert "processor" in next(step.detail for step in steps if step.stage == "Device")
    metrics = run.metrics()
    assert list(metrics["stage"]) == ["latents"] * 2 + ["encoders"] * 2
    assert metrics["training.total"].notna().all()
    assert metrics["validation.criterion"].notna().tolist() == [False, False, True, True]

    card = run.model().card
    assert card.vocabulary == ("CD3", "CD4", "CD8")
    assert card.crop_size == store.crop_size
    assert card.pixel_size_um == 0.5
    assert card.normalisation == store.normalisation.model_dump(mode="json")
    assert [panel.name for panel in card.panels] == ["one", "two"]
    assert card.held_out.by == "donor"
    assert (
        card.held_out.cells["train"] + card.held_out.cells["validation"] + card.held_out.cells["test"] == 192
    )
    assert set(card.held_out.test).isdisjoint(card.held_out.validation)
    assert set(card.scores) == {"DAPI", "CD3", "CD4", "CD8"}
    assert len(card.fingerprint) == 64
    assert card.licence == "CC0-1.0"
    assert card.training["seed"] == 3
    assert "torch" in card.versions


def test_the_same_seed_gives_the_same_bytes(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    store = make_store()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    first = train(store, quick(tmp_path, "a"))
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's random numbers are touched
    torch.rand(7)
    second = train(store, quick(tmp_path, "b"))
    weights = [(run.folder / "model" / "weights.safetensors").read_bytes() for run in (first, second)]
    assert weights[0] == weights[1]
    other = train(store, quick(tmp_path, "c", seed=4))
    assert (other.folder / "model" / "weights.safetensors").read_bytes() != weights[0]


def test_reading_from_the_store_batch_by_batch_gives_the_same_bytes(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    store = make_store()
    steps: list[Step] = []
    resident = train(store, quick(tmp_path, "a"))
    streamed = train(store, quick(tmp_path, "b", memory_gb=1e-9), progress=steps.append)
    assert "batch by batch" in next(step.detail for step in steps if step.stage == "Memory")
    weights = [(run.folder / "model" / "weights.safetensors").read_bytes() for run in (resident, streamed)]
    assert weights[0] == weights[1]


def test_planted_structure_is_learnt(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    """Size of the nucleus says how bright both proteins are: predictions from it beat the mean image."""
    store = make_store(per_field=60)
    config = quick(
        tmp_path, latent_epochs=15, encoder_epochs=20, decoder_rate=1e-2, encoder_rate=1e-2, turn_cells=False
    )
    scores = train(store, config).model().card.scores
    for stain in ("CD3", "CD4", "CD8"):
        own = scores[stain]
        assert own["prediction_mae"] < 0.6 * own["mean_mae"]
        assert own["reconstruction_mae"] < 0.6 * own["mean_mae"]
        assert own["prediction_pearson"] > 0.9 > own["mean_pearson"]
        assert (
            verdict_of_scores(own) == "better than the mean image in 1 donor, too few to tell it from chance"
        )
    assert scores["DAPI"]["reconstruction_pearson"] > 0.9


def test_what_counts_as_better_below_zero_too() -> None:
    """A log likelihood of features with a spread of their own is negative where they fit well."""
    assert better(1.0, math.inf)
    assert better(-1.0, math.inf)
    assert better(0.99, 1.0)
    assert not better(0.9995, 1.0)
    assert better(-1.01, -1.0)
    assert not better(-1.0005, -1.0)
    assert not better(-0.9995, -1.0)  # worse
    assert not better(math.nan, -1.0)


def test_early_stopping_ends_a_step_and_the_best_epoch_is_kept(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    config = quick(
        tmp_path,
        latent_epochs=50,
        latent_patience=2,
        decoder_rate=1e-8,
        latent_rate=1e-8,
        encoder_epochs=60,
        encoder_patience=3,
        encoder_rate=0.2,
        schedule="constant",
    )
    run = train(make_store(), config)
    metrics = run.metrics()
    assert (metrics["stage"] == "latents").sum() < 50
    encoders = metrics[metrics["stage"] == "encoders"].reset_index(drop=True)
    assert len(encoders) < 60
    best = int(np.flatnonzero(encoders["improved"])[-1])
    assert len(encoders) == best + 1 + 3
    kept = json.loads((run.folder / "checkpoints" / "best" / "state.json").read_text())
    assert kept["epoch"] == best
    assert kept["criterion"] == encoders["validation.criterion"][best]


@pytest.mark.parametrize(
    "changes",
    [
        {"shared_decoders": False},
        {"specific": 0, "specific_maps": 0},
        {"spatial": 1, "protein_spatial": 2},
        {"spatial": 2, "specific": 0, "specific_maps": 0},
        {"spatial": 1, "protein_spatial": 1, "preset": "sharp"},
    ],
)
def test_variants_train_and_predict(
    make_store: Make, tmp_path: Path, changes: dict, quick: Callable[..., TrainConfig]
) -> None:
    model = train(make_store(), quick(tmp_path, **changes)).model()
    values = np.random.default_rng(0).random((3, 1, 16, 16), dtype=np.float32)
    latents = model.encode(values, "chromatin")
    places = 64  # 8 x 8
    assert latents.shared.shape[1] == 8 + places * changes.get("spatial", 0)
    assert latents.specific.shape[1] == changes.get("specific", 4)
    own = model.encode(values, "protein", "CD8").specific
    assert own.shape[1] == changes.get("specific", 4 + places * changes.get("protein_spatial", 0))
    assert model.decode(latents.shared, None, "protein", "CD8").shape == (3, 16, 16)


def test_the_reference_procedure_runs(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    """The paper's settings throughout, but for sizes and lengths that a test has time for."""
    config = quick(tmp_path, preset="paper", fixed_order=True, dense_latents=True, anchor_conditional=True)
    model = train(make_store(), config).model()
    assert model.card.architecture.modality("chromatin").conditional
    assert model.card.training["noise"] == 1.0


def test_test_cells_change_nothing_but_their_scores(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    """Whatever the held-out donors look like, the model is the same."""
    held = ("donor2",)
    first = train(make_store("a"), quick(tmp_path, "ra", held_out=held))
    seen = 0

    def spoil(images: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += 1
        return images if seen not in (5, 6) else np.roll(images[::-1], 3, axis=-1)  # the fields of donor2

    store = make_store("b", change=spoil)
    store.normalisation = first_store_normalisation(tmp_path)
    second = train(store, quick(tmp_path, "rb", held_out=held))
    models = [run.model() for run in (first, second)]
    assert models[0].card.scores != models[1].card.scores
    assert models[0].card.weights_sha256 == models[1].card.weights_sha256


def first_store_normalisation(tmp_path: Path):
    return CellStore.open(tmp_path / "a.cells.zarr").normalisation


# --- what is refused --------------------------------------------------------------------------


def test_an_existing_run_is_kept_unless_asked(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    store = make_store()
    run = train(store, quick(tmp_path))
    with pytest.raises(RunError, match="holds a run already"):
        train(store, quick(tmp_path))
    assert isinstance(run.model(), Apollo)
    for name in ("nobody", "somebody"):  # what cannot be trained costs nobody a model
        with pytest.raises(ConfigError, match="held_out"):
            train(store, quick(tmp_path, overwrite=True, held_out=(name,)))
        assert isinstance(Run(tmp_path / "run.before").model(), Apollo)
    train(store, quick(tmp_path, overwrite=True, seed=5))
    assert not (tmp_path / "run.before").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match="no run folder"):
        train(store, quick(tmp_path, "other", overwrite=True))
    assert (tmp_path / "other" / "precious.txt").read_text() == "mine"


def test_stopping_leaves_no_model_and_says_so(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    steps: list[Step] = []
    with pytest.raises(Cancelled):
        train(
            make_store(),
            quick(tmp_path, latent_epochs=100),
            progress=steps.append,
            should_stop=lambda: sum(step.stage.startswith("Step 1") for step in steps) >= 2,
        )

    run = Run(tmp_path / "run")
    assert run.status().state == "stopped"
    with pytest.raises(RunError, match="stopped"):
        run.model()


def _without_quality(obs: pd.DataFrame) -> pd.DataFrame:
    return obs.assign(qc=False, qc_reason="debris")


def _flat_chromatin(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[3, 0] = 500
    return images


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"per_field": 3}, "too few"),
        ({"columns": _without_quality}, "quality"),
        ({"change": _flat_chromatin}, "constant DAPI"),
    ],
)
def test_cells_that_cannot_be_learnt_from_are_refused(
    make_store: Make, tmp_path: Path, changes: dict, words: str, quick: Callable[..., TrainConfig]
) -> None:
    with pytest.raises(DataError, match=words):
        train(make_store(**changes), quick(tmp_path))


def test_values_that_are_not_finite_are_refused_with_their_cells(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    store = make_store()
    read = store.read_images

    def broken(panel: str, rows: object, out: object = None) -> np.ndarray:
        images = read(panel, rows).astype(np.float32)
        images[np.asarray(rows) == 5] = np.nan
        return images

    store.read_images = broken
    with pytest.raises(DataError, match="not finite") as error:
        train(store, quick(tmp_path))
    assert store.obs["cell_id"].iloc[5] in str(error.value)


def test_a_loss_that_is_not_finite_stops_with_its_cells(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    config = quick(tmp_path, loss="mse", decoder_rate=1.0, noise=10, latent_rate=1.0, penalty=1e39)
    with pytest.raises(TrainingFailed, match=r"not finite in step \d+ of epoch") as error:
        train(make_store(), config)
    assert "_d" in str(error.value)


def test_crops_of_an_odd_size_are_refused(
    make_store: Make, tmp_path: Path, quick: Callable[..., TrainConfig]
) -> None:
    with pytest.raises(Exception, match="crop size 20"):
        train(make_store(size=20), quick(tmp_path))
