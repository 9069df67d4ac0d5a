"""Trials on known truth: what they report, and that impossible cases end in a warning."""

from __future__ import annotations

import json

import pytest

from napari_apollo.errors import Cancelled, ConfigError
from napari_apollo.interpret import TrialConfig, run_trial
from napari_apollo.interpret.trial import Trial
from napari_apollo.progress import Step


@pytest.fixture(scope="module")
def trial() -> Trial:
    return run_trial(TrialConfig(set="2", seeds=2, cells=400, epochs=4, permutations=1))


def test_a_trial_says_everything(trial: Trial) -> None:
    found = json.loads(json.dumps(trial.to_dict()))
    assert found["set"] == "2"
    assert found["objective"] == "agreement"
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    for run in found["runs"]:
        assert set(run["sizes"]) == {"shared", "x", "y"}
        assert set(run["gap"]["x"]) == {"shared", "specific", "optimised", "encoded"}
        assert set(run["nonlinear"]["r2"]) == {"shared", "x", "y", "shared+x", "shared+y"}
        assert run["seconds"] > 0
    for probe in ("linear", "nonlinear"):
        assert set(found["median"][probe]) == {"r2", "floor"}
        assert set(found["median"][probe]["r2"]["shared"]) == {"Z1", "Z2", "Z3", "Z4", "Z5"}
    assert len(found["goals"]) == 18
    assert not found["reached"]  # after four epochs
    values = [run["silhouettes"]["shared"]["Z1"] for run in found["runs"]]
    assert found["median"]["silhouettes"]["shared"]["Z1"] == pytest.approx(sum(values) / 2, abs=2e-4)
    for part in found["parts"].values():
        assert set(part) == {"shared", "specific", "unexplained"}


def test_words_name_goals_verdict_sizes_and_gap(trial: Trial) -> None:
    words = trial.in_words()
    for expected in (
        "Set 2 (independent latents",
        "0.573",  # the paper's silhouette
        "linear probe",
        "nonlinear probe",
        "chance reaches",
        "Dimensions in use: ",
        "Gap between optimised and encoded",
        "% shared, ",
        "goals reached",
        "wanted at least 0.900",
    ):
        assert expected in words
    assert "too few" in " ".join(trial.runs[0].warnings)  # 60 held-out cells
    assert trial.warned == 0


def test_where_nothing_can_be_told_apart_the_verdict_warns() -> None:
    trial = run_trial(
        TrialConfig(set="determined", seeds=1, cells=700, epochs=90, shared=3, specific=2, permutations=1)
    )
    assert trial.goals.empty
    assert trial.warned == 1
    assert trial.reached
    assert "the warning is right" in trial.in_words()
    assert trial.parts["x"]["shared"] > 0.9


def test_two_step_is_trained_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = []
    config = TrialConfig(set="1", objective="two-step", seeds=1, cells=400)

    def stop() -> bool:
        return any(step.total for step in steps)

    with pytest.raises(Cancelled):
        run_trial(config, progress=steps.append, should_stop=stop)
    assert {step.total for step in steps if step.total} == {8000}
    assert steps[0].stage.startswith("Seed 1 of 1: Step 1")


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="set '9' does not exist; there are 1, 2"):
        TrialConfig(set="9")
    with pytest.raises(ConfigError, match="cells"):
        TrialConfig(cells=100)
