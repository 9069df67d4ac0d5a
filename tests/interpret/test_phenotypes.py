"""Phenotypes: found where they are, not found where they are not, by donors; and what a study must have."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import usable
from napari_apollo.interpret.discriminant import balanced, discriminant, shares_called, sums_of
from napari_apollo.interpret.phenotypes import classify, inputs_of
from napari_apollo.interpret.samples import orders_of, samples_of


def test_foci_tell_the_condition(planted: SimpleNamespace) -> None:
    found = classify(planted.cells, folds=4, permutations=70)
    table = found.table.set_index("input")
    specific = table.loc["latents: gammaH2AX-specific"]
    assert specific["accuracy"] > 0.65
    assert specific["low"] > 0.5
    assert specific["p"] < 0.05
    assert table.loc["latents: chromatin-specific", "p"] > 0.05
    assert abs(table.loc["latents: chromatin-specific", "accuracy"] - 0.5) < 0.12
    confused = found.confusion["latents: gammaH2AX-specific"]
    assert np.allclose(confused.sum(axis=1), 1)
    assert np.diag(confused).mean() == pytest.approx(specific["accuracy"])
    lost = found.ablation[found.ablation["input"] == "features: gammaH2AX"].set_index("left_out")
    assert lost["lost"].idxmax() == "foci_count_gammaH2AX"
    assert lost.loc["foci_count_gammaH2AX", "lost"] > 0.04


def test_the_discriminant_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 40)
    values = rng.normal(size=(120, 4)) @ rng.normal(size=(4, 4)) + label[:, None]
    sums = sums_of(values, label, 3)
    weights, offsets = discriminant(sums, np.arange(3), 3, np.ones(3, bool), 0.0)
    expected = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3).fit(values, label)
    assert np.array_equal((values @ weights + offsets).argmax(1), expected.predict(values))


def test_balanced_accuracy_by_hand() -> None:
    recall, label = np.array([1.0, 0.5, 0.0, np.nan]), np.array([0, 0, 1, 1])
    assert balanced(recall, label, 2)[0] == pytest.approx((0.75 + 0) / 2)
    assert np.isnan(balanced(recall, label, 2, [[0, 0, 1, 1]])[0])


def test_null_donors_give_no_discoveries_at_the_stated_rate(planted: SimpleNamespace) -> None:
    """Donors differ, conditions mean nothing: a classifier could learn the shift of each donor."""
    rng = np.random.default_rng(1)
    p = []
    for seed in range(30):
        shift = rng.normal(size=(8, 3))
        donor = np.repeat(np.arange(8), 90)
        values = rng.normal(size=(720, 3)) + shift[donor]
        found = classify(
            planted.cells, inputs={"noise": values}, ablation=False, folds=4, permutations=30, seed=seed
        )
        p.append(found.table["p"].iloc[0])
    assert np.mean(np.array(p) <= 0.05) <= 0.17  # 1.5 of 30 are expected; 6 come by chance once in 300 trials
    assert 0.3 < np.mean(p) < 0.7


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_conditions_are_their_p_values_are_those_of_chance(
    planted: SimpleNamespace, seed: int
) -> None:
    """Of all ways to give six donors two conditions no more than k of 20 have a p-value of k/20 or less."""
    rng = np.random.default_rng(seed)
    cells = planted.cells.select(np.flatnonzero(np.isin(planted.cells.donors, [f"D{k}" for k in range(6)])))
    donor = np.array([int(name[1:]) for name in cells.donors])
    values = rng.normal(size=(len(cells), 4)) + 2 * rng.normal(size=(6, 4))[donor]
    p = []
    for order in orders_of(np.repeat([0, 1], 3)):
        label = np.array(["a", "b"])[order[donor]]
        found = classify(cells, label=label, inputs={"x": values}, folds=2, ablation=False, permutations=20)
        p.append(found.table["p"].iloc[0])
    assert len(p) == 20
    for k in range(1, 21):
        assert (np.array(p) <= k / 20 + 1e-9).sum() <= k


def test_folds_keep_donors_together_and_have_every_class() -> None:
    donors = np.repeat([f"d{k}" for k in range(9)], 10)
    conditions = np.repeat(["a", "b", "c"] * 3, 10)
    samples = samples_of(conditions, donors, donors, folds=3)
    for fold in range(3):
        assert set(samples.label[samples.fold != fold]) == {0, 1, 2}
    assert not samples.within
    treated = samples_of(np.tile(["a", "b"], 45), donors, donors, folds=3)
    assert treated.within
    for unit in set(treated.unit):
        assert len(set(treated.fold[treated.unit == unit])) == 1


def test_treatments_within_donors(planted: SimpleNamespace) -> None:
    rng = np.random.default_rng(2)
    treatment = np.where(rng.random(720) < 0.5, "drug", "none")
    effect = rng.normal(size=(720, 2)) + (treatment == "drug")[:, None]
    found = classify(planted.cells, label=treatment, inputs={"x": effect}, ablation=False, permutations=60)
    row = found.table.iloc[0]
    assert row["accuracy"] > 0.7
    assert row["p"] < 0.05
    assert row["donors"] == 8


def test_poor_studies(planted: SimpleNamespace) -> None:
    cells = planted.cells
    names = cells.donors.astype(str)
    with pytest.raises(DataError, match="Two conditions with two donors each"):
        classify(cells, label=np.full(len(cells), "a"))
    with pytest.raises(DataError, match="Two conditions with two donors each"):
        classify(cells.select(np.flatnonzero(np.isin(names, ["D0", "D1"]))))
    rare = np.where(names == "D0", "rare", cells.conditions.astype(str))
    found = classify(cells, label=rare, ablation=False, permutations=10)
    assert any("rare: of one donor only" in note for note in found.notes)
    assert set(found.table["classes"]) == {2}
    gone = np.full((len(cells), 2), np.nan)
    flat = np.ones((len(cells), 2))
    partly = np.where(
        (cells.conditions == "control")[:, None], gone, np.random.default_rng(0).normal(size=gone.shape)
    )
    found = classify(cells, inputs={"gone": gone, "flat": flat, "partly": partly}, permutations=10)
    assert not len(found.table)
    assert any("gone: 0 cells" in note for note in found.notes)
    assert any("flat: it is the same" in note for note in found.notes)
    assert any("partly: fewer than two donors of control" in note for note in found.notes)


def test_cells_of_no_class_are_no_class(planted: SimpleNamespace) -> None:
    """Annotations are empty where nobody has looked; so may conditions be."""
    cells = planted.cells
    rng = np.random.default_rng(6)
    label = np.where(rng.random(len(cells)) < 0.5, cells.conditions.astype(str), "")
    found = classify(cells, label=label, ablation=False, permutations=10)
    assert set(found.table["classes"]) == {2}
    assert set(found.table["cells"]) == {int((label != "").sum())}
    assert set(found.confusion["latents: shared"].index) == {"control", "glioma"}
    assert any(f"{(label == '').sum()} of {len(cells)} cells are in no class" in note for note in found.notes)
    with pytest.raises(DataError, match=r"there are control \(4 donors\)\.$"):
        classify(cells, label=np.where(cells.conditions == "control", "control", " "))
    with pytest.raises(DataError, match=r"there are none\.$"):
        classify(cells, label=np.full(len(cells), ""))
    with pytest.raises(DataError, match="and 710 more"):
        classify(cells, label=np.arange(len(cells)))


def test_fields_are_held_out_where_one_donor_alone_is_annotated(planted: SimpleNamespace) -> None:
    cells = planted.cells
    label = np.where(cells.donors == "D0", np.resize(["a", "b"], len(cells)), "")
    fields = np.resize(["f0", "f1", "f2"], len(cells))
    samples = samples_of(label, cells.donors, fields)
    assert set(samples.unit) == {"f0", "f1", "f2"}
    assert any(note.startswith("One donor") for note in samples.notes)
    assert (samples.of[label == ""] == -1).all()


def test_samples_that_were_not_tested_are_not_called_anything() -> None:
    label, sample_of = np.array([0, 0, 1]), np.array([0, 0, 1, 1, 2, 2])
    confusion, called = shares_called(np.array([0, 0, -1, -1, 0, 1]), sample_of, label, 2)
    assert confusion.tolist() == [[1, 0], [0.5, 0.5]]
    assert called == 0.5
    confusion, called = shares_called(np.array([-1, -1, -1, -1, 1, 1]), sample_of, label, 2)
    assert np.isnan(confusion[0]).all()
    assert called == 1


def test_a_condition_missing_in_a_fold_is_said_and_the_rest_done(planted: SimpleNamespace) -> None:
    cells = planted.cells
    samples = samples_of(cells.conditions, cells.donors, cells.donors, folds=3)
    rng = np.random.default_rng(4)
    values = rng.normal(size=(len(cells), 2)) + (cells.conditions == "glioma")[:, None]
    fold = samples.fold[samples.of]
    # Of the controls only those of one fold have the input; without them there are none to learn from.
    control = cells.conditions == "control"
    one = max(set(fold.tolist()), key=lambda k: len(set(cells.donors[control & (fold == k)])))
    partly = np.where((control & (fold != one))[:, None], np.nan, values)
    found = classify(cells, inputs={"whole": values, "partly": partly}, folds=3, permutations=10)
    assert list(found.table["input"]) == ["whole"]
    assert any("partly:" in note and "not tested" in note for note in found.notes)
    assert any("partly: no accuracy" in note for note in found.notes)
    assert found.table["q"].notna().all()


def test_missing_values_are_no_obstacle(planted: SimpleNamespace) -> None:
    rng = np.random.default_rng(5)
    features = planted.cells.features.mask(rng.random(planted.cells.features.shape) < 0.1)
    features["foci_count_gammaH2AX"] = features["foci_count_gammaH2AX"].where(
        rng.random(len(features)) > 0.01, np.inf
    )
    cells = usable(replace(planted.cells, features=features))
    found = classify(cells, ablation=False, permutations=10)
    assert np.isfinite(found.table["accuracy"]).all()
    assert found.table.set_index("input").loc["features: gammaH2AX", "accuracy"] > 0.6


def test_cells_that_lack_a_stain_are_not_told_by_it_however_wide_the_shared_block(
    planted: SimpleNamespace,
) -> None:
    cells, name = planted.cells, "protein_specific_gammaH2AX"
    known = np.arange(len(cells)) % 2 == 0
    blocks = {
        "shared": np.tile(cells.blocks["shared"], (1, 20)),
        name: np.where(known[:, None], cells.blocks[name], np.nan),
    }
    inputs = inputs_of(replace(cells, blocks=blocks))
    together = inputs["latents: shared + gammaH2AX-specific"]
    assert np.array_equal(np.isfinite(together).all(axis=1), known)
    assert np.array_equal(np.isfinite(together).any(axis=1), known)
