"""Steps that were finished are not done again, unless something they depend on has changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_apollo.errors import Cancelled
from napari_apollo.interpret import InterpretConfig, find_directions, interpret
from napari_apollo.interpret.digests import digest
from napari_apollo.interpret.kept import KeptSteps
from napari_apollo.interpret.phenotypes import Phenotypes
from napari_apollo.progress import Step

QUICK = {
    "directions": 2,
    "permutations": 10,
    "probe": "linear",
    "folds": 3,
    "walks": 0,
    "phenotypes": False,
}


def test_a_step_comes_back_as_it_was(tmp_path: Path, planted: SimpleNamespace) -> None:
    kept = KeptSteps(tmp_path / "steps")
    made = find_directions(planted.cells, count=2, permutations=10)
    kept.take("directions", {"a": 1}, lambda: made)
    again = kept.take("directions", {"a": 1}, lambda: pytest.fail("done again"))
    pd.testing.assert_frame_equal(again.table, made.table)
    pd.testing.assert_frame_equal(again.summary, made.summary)
    for block, axes in made.axes.items():
        assert np.array_equal(again.axes[block].scores, axes.scores, equal_nan=True)
    assert kept.reused == ["directions"]
    confusion = pd.DataFrame([[0.5, 0.5]], index=pd.Index(["a"], name="true"), columns=["a", "b"])
    found = Phenotypes(pd.DataFrame({"p": [np.nan], "input": ["x"]}), {"x": confusion}, pd.DataFrame(), ["n"])
    kept.take("phenotypes", {}, lambda: found)
    back = kept.take("phenotypes", {}, lambda: pytest.fail("done again"))
    pd.testing.assert_frame_equal(back.confusion["x"], confusion)
    pd.testing.assert_frame_equal(back.table, found.table)
    assert back.notes == ["n"]
    assert not len(back.ablation)


def test_other_inputs_and_damage_are_done_again(tmp_path: Path) -> None:
    kept = KeptSteps(tmp_path)
    values = np.arange(5.0)
    assert kept.take("x", {"of": values}, lambda: 1) == 1
    assert kept.take("x", {"of": values.copy()}, lambda: 2) == 1
    assert kept.take("x", {"of": values + 1e-12}, lambda: 3) == 3
    (only,) = tmp_path.iterdir()  # of each step the latest is kept
    only.write_bytes(only.read_bytes()[:-20])
    assert kept.take("x", {"of": values + 1e-12}, lambda: 4) == 4
    only.write_bytes(b"nothing")
    assert kept.take("x", {"of": values + 1e-12}, lambda: (5, None)) == (5, None)
    assert KeptSteps(None).take("x", {}, lambda: 6) == 6
    with pytest.raises(TypeError, match="cannot be kept"):
        kept.take("y", {}, object)


def test_digests_are_of_content() -> None:
    table = pd.DataFrame({"a": [1.0, np.nan], "b": ["x", "y"]})
    same = digest({"t": table, "n": 1})
    assert same == digest({"n": 1, "t": table.copy()})
    others = [
        {"t": table, "n": 2},
        {"t": table, "n": True},
        {"t": table.rename(columns={"a": "c"}), "n": 1},
        {"t": table.assign(b=["xy", ""]), "n": 1},
        {"t": table.assign(a=[1.0, 0.0]), "n": 1},
    ]
    assert len({same, *map(digest, others)}) == 6
    assert digest(np.zeros((2, 3))) != digest(np.zeros((3, 2)))
    assert digest(["ab", "c"]) != digest(["a", "bc"])


def test_an_interpretation_that_was_stopped_goes_on(blood: SimpleNamespace, tmp_path: Path) -> None:
    output = tmp_path / "meaning"
    config = InterpretConfig(store=blood.store.path, output=output, device="cpu", **QUICK)
    seen: list[str] = []

    def note(step: Step) -> None:
        seen.append(step.stage)

    with pytest.raises(Cancelled):
        interpret(blood.model, config, progress=note, should_stop=lambda: "Sharing out features" in seen)
    assert not output.exists()
    kept = tmp_path / "meaning.steps"
    assert {path.name.partition("-")[0] for path in kept.iterdir()} == {"latents", "directions"}
    seen.clear()
    found = interpret(blood.model, config, progress=note)
    assert "Placing cells" not in seen
    assert "Finding directions" not in seen
    fresh = interpret(blood.model, config.model_copy(update={"output": None}))
    for name, table in fresh.tables().items():
        pd.testing.assert_frame_equal(found.tables()[name], table)
    seen.clear()
    changed = config.model_copy(update={"overwrite": True, "folds": 2})
    interpret(blood.model, changed, progress=note)
    assert "Sharing out features" in seen
    assert "Finding directions" not in seen


def test_nothing_is_kept_where_it_is_not_wanted(blood: SimpleNamespace, tmp_path: Path) -> None:
    config = InterpretConfig(store=blood.store.path, output=tmp_path / "out", keep_steps=False, **QUICK)
    interpret(blood.model, config)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
