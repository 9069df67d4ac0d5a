"""What is held out, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.train.split import TEST, TRAIN, VALIDATION, Split, split_cells


def cells(
    donors: int = 6, fields: int = 2, per_field: int = 20, panels: tuple[str, ...] = ("one", "two")
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"donor": f"d{donor}", "field": f"{panel}-d{donor}-f{field}", "panel": panel}
        for donor in range(donors)
        for panel in panels
        for field in range(fields)
        for _ in range(per_field)
    ]
    obs = pd.DataFrame(rows)
    return obs.assign(y=rng.uniform(0, 500, len(obs)), x=rng.uniform(0, 500, len(obs)), split="")


def values(obs: pd.DataFrame, split: Split, column: str, part: str) -> set[str]:
    return set(obs[column].to_numpy()[split.cells(part)])


def test_whole_donors_are_held_out() -> None:
    obs = cells()
    split = split_cells(obs)
    assert split.by == "donor"
    parts = [values(obs, split, "donor", part) for part in (TRAIN, VALIDATION, TEST)]
    assert set.union(*parts) == set(obs["donor"])
    assert sum(map(len, parts)) == 6
    assert parts[2] == set(split.test)
    assert parts[1] == set(split.validation)
    assert sum(split.counts().values()) == len(obs)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.integers(1, 3), st.integers(0, 50))
def test_fractions_are_met_and_every_panel_is_learnt_from(donors: int, fields: int, seed: int) -> None:
    obs = cells(donors, fields, 20)
    split = split_cells(obs, seed=seed)
    assert values(obs, split, "panel", TRAIN) == {"one", "two"}
    counts = split.counts()
    assert counts[TRAIN] >= counts[TEST]
    assert counts[TRAIN] >= counts[VALIDATION]
    again = split_cells(obs.sample(frac=1, random_state=1).reset_index(drop=True), seed=seed)
    assert (again.test, again.validation) == (split.test, split.validation)


def test_another_seed_chooses_other_donors() -> None:
    assert len({split_cells(cells(12), seed=seed).test for seed in range(6)}) > 1


def test_test_donors_do_not_depend_on_other_columns() -> None:
    obs = cells()
    assert split_cells(obs).test == split_cells(obs.assign(condition="x", y=0.0)).test


def test_fields_are_held_out_where_donors_are_few() -> None:
    obs = cells(donors=1, fields=5)
    split = split_cells(obs)
    assert split.by == "field"
    assert not values(obs, split, "field", TRAIN) & values(obs, split, "field", TEST)


def test_a_single_field_gives_its_sides_with_a_gap_between() -> None:
    obs = cells(donors=1, fields=1, per_field=200, panels=("one",))
    split = split_cells(obs, crop_size=32)
    assert split.by == "region"
    axis = "y" if "top" in split.test[0] or "bottom" in split.test[0] else "x"
    place = obs[axis].to_numpy()
    train, test, validation = (place[split.cells(part)] for part in (TRAIN, TEST, VALIDATION))
    assert test.min() > validation.max() or test.max() < validation.min()
    places = obs[["y", "x"]].to_numpy()
    between = np.abs(places[split.cells(TRAIN)][:, None] - places[split.cells(TEST)][None]).max(axis=-1)
    assert between.min() >= 16
    assert (split.part == "").sum() > 0
    assert len(train) + len(test) + len(validation) + (split.part == "").sum() == 200


def test_the_study_decides_where_it_says_so() -> None:
    obs = cells()
    obs.loc[obs["donor"] == "d2", "split"] = "test"
    obs.loc[obs["donor"] == "d3", "split"] = "validation"
    split = split_cells(obs)
    assert split.by == "split"
    assert values(obs, split, "donor", TEST) == {"d2"}
    assert values(obs, split, "donor", VALIDATION) == {"d3"}
    obs.loc[obs["donor"] == "d3", "split"] = "train"
    split = split_cells(obs)
    assert values(obs, split, "donor", TEST) == {"d2"}
    assert len(values(obs, split, "donor", VALIDATION)) == 1


def test_a_part_that_does_not_exist_is_not_learnt_from() -> None:
    obs = cells()
    obs.loc[obs["donor"] == "d1", "split"] = "Test"
    with pytest.raises(DataError, match="split is 'Test' for some cells; train, validation, test or nothing"):
        split_cells(obs)
    obs["split"] = obs["split"].where(obs["donor"] != "d1", None)
    assert sum(split_cells(obs).counts().values()) == len(obs)


@pytest.mark.parametrize("name", ["d0", "d1", "d2", "d3", "d4", "d5"])
def test_a_study_that_states_its_validation_alone_keeps_it(name: str) -> None:
    obs = cells()
    obs["split"] = np.where(obs["donor"] == name, VALIDATION, "")
    split = split_cells(obs)
    assert values(obs, split, "donor", VALIDATION) == {name}
    assert split.validation == ("split",)
    assert split.by == "donor"
    assert name not in split.test


def test_names_override() -> None:
    obs = cells()
    obs.loc[obs["donor"] == "d2", "split"] = "test"
    split = split_cells(obs, held_out=("d4", "d5"))
    assert split.by == "donor"
    assert {"d4", "d5"} == values(obs, split, "donor", TEST)
    split = split_cells(obs, held_out=("one-d0-f0",))
    assert split.by == "field"
    assert values(obs, split, "field", TEST) == {"one-d0-f0"}


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"d9.*d0, d1"):
        split_cells(cells(), held_out=("d9",))


def test_too_few_cells_are_refused_in_words() -> None:
    with pytest.raises(DataError, match="too few"):
        split_cells(cells(donors=3, fields=1, per_field=4))


def test_a_panel_that_would_not_be_learnt_is_refused() -> None:
    obs = cells()
    obs = obs[(obs["panel"] == "one") | (obs["donor"] == "d0")].reset_index(drop=True)
    with pytest.raises(DataError, match="panel two"):
        split_cells(obs, held_out=("d0",))
    assert "d0" not in split_cells(obs).test


def one_image(**columns: object) -> pd.DataFrame:
    """Cells all over one image of 1,000 pixels, of which each of 16 squares is a field and a donor."""
    rng = np.random.default_rng(1)
    y, x = rng.uniform(0, 1000, (2, 1600))
    square = (y // 250).astype(int) * 4 + (x // 250).astype(int)
    names = [f"square {n}" for n in square]
    panels = np.where(square % 2 == 0, "one", "two")
    return pd.DataFrame(
        {"field": names, "donor": names, "panel": panels, "image": "tissue.tif", "y": y, "x": x, "split": ""}
    ).assign(**columns)


def nearest(obs: pd.DataFrame, split: Split) -> float:
    """Largest difference in y or x between a test cell and the training cell nearest to it, over all."""
    places = obs[["y", "x"]].to_numpy()
    test, train = places[split.cells(TEST)], places[split.cells(TRAIN)]
    return float(np.abs(test[:, None] - train[None]).max(2).min())


@pytest.mark.parametrize("held_out", [(), ("square 5",)])
def test_donors_of_one_image_keep_a_gap_between_them(held_out: tuple[str, ...]) -> None:
    obs = one_image()
    split = split_cells(obs, held_out=held_out, crop_size=64)
    assert split.by == "donor"
    assert nearest(obs, split) >= 32
    apart = split_cells(obs.assign(image=obs["field"]), held_out=held_out, crop_size=64)
    assert "" not in apart.part
    assert (split.test, split.validation) == (apart.test, apart.validation)
    # Nothing but the border is lost.
    assert split.counts()[TEST] == apart.counts()[TEST]
    assert split.counts()[TRAIN] > 0.6 * apart.counts()[TRAIN]


def test_two_fields_of_one_image_hold_out_the_same_side() -> None:
    obs = one_image(donor="the only one")
    for two in range(6):  # names of fields by which each would choose a side of its own
        of_cell = np.random.default_rng(two).integers(0, 2, len(obs))
        obs = obs.assign(field=[f"{two}{n}" for n in of_cell], panel=np.array(["one", "two"])[of_cell])
        split = split_cells(obs, crop_size=64)
        assert split.by == "region"
        assert len({name.rpartition(" ")[2] for name in split.test}) == 1
        assert nearest(obs, split) >= 32
        assert split.counts()[TRAIN] > 0.5 * len(obs)


def test_a_split_that_the_study_states_keeps_the_gap_too() -> None:
    obs = one_image()
    stated = obs["donor"].map({"square 5": TEST, "square 6": VALIDATION}).fillna(TRAIN)
    split = split_cells(obs.assign(split=stated), crop_size=64)
    assert split.by == "split"
    assert (split.part[stated == TEST] == TEST).all()
    kept = split.part != ""
    assert (split.part[kept] == stated[kept]).all()
    assert nearest(obs, split) >= 32
    assert 0 < split.left_out < 0.3 * len(obs)
    apart = split_cells(obs.assign(split=stated, image=obs["field"]), crop_size=64)
    assert (apart.part == stated.to_numpy()).all()
