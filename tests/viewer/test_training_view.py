from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_apollo.train import RunStatus
from napari_apollo.viewer import training


def run_folder(place: Path, name: str, state: str = "done", pearson: float | None = None) -> Path:
    folder = place / name
    (folder / "model").mkdir(parents=True)
    config = {"store": str(place / "a.cells.zarr"), "config": {"output": str(folder)}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "status.json").write_text(RunStatus(state=state).model_dump_json())
    if pearson is not None:
        scores = {"CD4": {"prediction_pearson": pearson, "reconstruction_pearson": 0.5}, "DAPI": {}}
        (folder / "model" / "model.json").write_text(json.dumps({"scores": scores}))
    return folder


def metrics() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stage": ["latents", "latents", "encoders"],
            "epoch": [0, 1, 0],
            "seconds": [2.0, 2.0, 4.0],
            "training.total": [3.0, 2.0, 9.0],
            "validation.criterion": [np.nan, np.nan, 8.0],
        }
    )


def test_curves_of_a_stage() -> None:
    assert training.stages_of(metrics()) == ["latents", "encoders"]
    assert training.loss_curves(metrics(), "latents") == {"training": ([1.0, 2.0], [3.0, 2.0])}
    assert set(training.loss_curves(metrics(), "encoders")) == {"training", "held-out"}
    assert training.loss_curves(pd.DataFrame(), "latents") == {}


@pytest.mark.parametrize(("epoch", "left"), [(1, 36.0), (2, 36.0)])
def test_time_left_is_that_of_the_last_epochs(epoch: int, left: float) -> None:
    status = RunStatus(state="running", epoch=epoch, epochs=10)
    assert training.seconds_left(metrics(), status) == left
    assert training.seconds_left(metrics(), RunStatus(state="done", epochs=10)) is None
    assert training.seconds_left(metrics(), RunStatus(state="running", epoch=0, epochs=0)) is None


def test_times() -> None:
    words = [training.time_in_words(seconds) for seconds in (40, 170, 7500)]
    assert words == ["40 s", "3 min", "2 h 5 min"]


def test_runs_are_listed_with_scores(tmp_path: Path) -> None:
    run_folder(tmp_path, "a.run", "stopped")
    run_folder(tmp_path, "b.run", pearson=0.3)
    (tmp_path / "other").mkdir()
    (tmp_path / "broken.run").mkdir()
    (tmp_path / "broken.run" / "config.json").write_text("{}")
    (tmp_path / "broken.run" / "status.json").write_text("no json")
    found = {entry.name: (entry.state, entry.score) for entry in training.find_runs(tmp_path)}
    assert found == {"a.run": ("stopped", None), "b.run": ("done", 0.3)}
    assert training.find_runs(None) == []
    assert training.scores_in_words(tmp_path / "b.run") == "CD4: predicted r = 0.30, rebuilt r = 0.50"
    assert training.scores_in_words(tmp_path / "a.run") == ""
    card = tmp_path / "b.run" / "model" / "model.json"
    gains = {"prediction_pearson": 0.3, "gain": 0.0, "gain_low": -0.01, "gain_high": 0.01, "donors": 4}
    ends = {"pearson_gain": 0.1, "pearson_gain_low": -0.1, "pearson_gain_high": 0.2}
    card.write_text(json.dumps({"scores": {"CD4": gains | ends}}))
    assert (
        training.scores_in_words(card.parents[1])
        == "CD4: predicted r = 0.30; within chance of the mean image"
    )


def test_names_that_are_free(tmp_path: Path) -> None:
    assert training.free_name(tmp_path).name == "apollo.run"
    (tmp_path / "apollo.run").mkdir()
    assert training.free_name(tmp_path).name == "apollo_2.run"


def test_what_there_is_to_learn_from(small: SimpleNamespace) -> None:
    words = training.store_in_words(small.store)
    assert words.splitlines()[0].startswith("DAPI/CD4: DAPI, CD4; ")
    assert training.donors_of(small.store) == ["CD4", "CD8"]
    assert training.has_own_split(small.store)


def test_every_preset_and_objective_is_explained() -> None:
    from napari_apollo.train import TrainConfig
    from napari_apollo.viewer.fields import describe

    specs = describe(TrainConfig)
    assert set(specs["preset"].choices) <= set(training.PRESET_WORDS)
    assert set(specs["objective"].choices) <= set(training.OBJECTIVE_WORDS)
