"""What networks read from images of cells of held-out donors: features, conditions and their p-values."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from napari_apollo.cells import CellStore
from napari_apollo.interpret import InterpretConfig, imagephenotypes, interpret
from napari_apollo.interpret.imagephenotypes import images_of
from napari_apollo.interpret.samples import accuracy_interval, permuted_labels, samples_of
from napari_apollo.panels import Panel
from napari_apollo.predict.imageclasses import held_out_image_values


def test_numbers_are_read_from_images_of_other_donors() -> None:
    rng = np.random.default_rng(0)
    side, count = 12, 240
    y, x = np.mgrid[:side, :side] - 5.5
    radius = rng.uniform(2, 5, count)
    images = (np.hypot(y, x) < radius[:, None, None]) * 0.8 + 0.1 * rng.random((count, side, side))
    targets = np.column_stack([(radius - 3.5) / 0.9, rng.normal(size=count)])
    targets[::9, 0] = np.nan
    fold = np.repeat(np.arange(4), 60)
    made = held_out_image_values(images.astype(np.float32), targets, fold, epochs=15)
    known = np.isfinite(targets[:, 0])
    assert np.corrcoef(made[known, 0], targets[known, 0])[0, 1] > 0.9
    assert abs(np.corrcoef(made[:, 1], targets[:, 1])[0, 1]) < 0.3
    two = held_out_image_values(images.astype(np.float32), targets, fold % 2, epochs=2)
    assert np.isfinite(two).all()


def test_p_values_of_images() -> None:
    rng = np.random.default_rng(1)
    donors = np.repeat([f"d{k}" for k in range(8)], 20)
    condition = np.where(np.repeat(np.arange(8), 20) % 2, "a", "b")
    samples = samples_of(condition, donors, donors, folds=4)
    noise = rng.random((160, 12, 12)).astype(np.float32)
    told = noise.copy()
    told[condition == "a", :6] += 0.5

    def p_of(images: np.ndarray, permutations: int) -> float:
        return imagephenotypes._p_value(
            images, samples, samples.of, "small", permutations, "cpu", 0, lambda: False
        )

    assert p_of(told, 9) <= 0.25 < p_of(noise, 9)


def test_conditions_that_mean_nothing_are_told_at_the_stated_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Donors look different, conditions are drawn: p <= 0.2 in a fifth of the studies at most."""
    monkeypatch.setattr(imagephenotypes, "_TEST_BATCHES", 6)
    rng = np.random.default_rng(2)
    donors = np.repeat([f"d{k}" for k in range(6)], 8)
    studies, low = 24, 0
    for study in range(studies):
        own = np.repeat(rng.random((6, 8, 8)), 8, axis=0)  # what all cells of a donor have in common
        images = (0.6 * own + 0.4 * rng.random((48, 8, 8))).astype(np.float32)
        condition = np.repeat(rng.permutation(["a", "b"] * 3), 8)
        samples = samples_of(condition, donors, donors, folds=3)
        p = imagephenotypes._p_value(images, samples, samples.of, "small", 4, "cpu", study, lambda: False)
        low += p <= 0.2
    assert low <= binom.ppf(0.995, studies, 0.2)


def test_labels_are_exchanged_between_donors_or_within_them() -> None:
    unit = np.array(["a", "a", "b", "b", "c", "c"], object)
    label = np.array([0, 1, 0, 1, 0, 1])
    for drawn in permuted_labels(label, unit, True, 20, 0):
        assert all(set(drawn[unit == name]) == {0, 1} for name in "abc")
    between = permuted_labels(label[:4], unit[[0, 2, 4, 5]], False, 100, 0)
    assert len(between) == 5  # six orders, the observed one apart
    recall = np.array([1, 1, 0.5, 0.5, 0, 0.0])
    low, high = accuracy_interval(recall, label, unit, True, 2, 0)
    assert low == pytest.approx(0)
    assert high == pytest.approx(1)


def test_features_and_places_of_proteins(blood: SimpleNamespace, tmp_path: Path) -> None:
    settings = {"directions": 1, "permutations": 10, "probe": "linear", "folds": 3, "walks": 0}
    config = InterpretConfig(
        store=blood.store.path,
        image_features=True,
        compartments=True,
        phenotypes=False,
        parts=("test",),
        output=tmp_path / "out",
        keep_steps=False,
        device="cpu",
        **settings,
    )
    found = interpret(blood.model, config)
    table = found.image_features
    assert table is not None
    assert set(table["image"]) == {
        "chromatin",
        "chromatin, rebuilt",
        "chromatin, shared part",
        "the protein's own",
    }
    assert {"CD3", "CD4", "gammaH2AX"} <= set(table["stain"])
    assert table["spearman"].notna().mean() > 0.9
    places = found.compartments
    assert places is not None
    assert set(places["measure"]) == {"nuclear fraction", "nuclear enrichment", "unevenness"}
    own_blocks = places["block"].str.partition(" ")[0] == places["protein"]
    assert not own_blocks.any()
    assert set(places.loc[places["protein"] == "CD4", "block"]) == {
        "chromatin shared",
        "chromatin specific",
        "CD16 shared",
        "CD16 specific",
        "CD8 shared",
        "CD8 specific",
    }
    assert {"compartments", "image_features"} <= set(found.tables())
    html = (tmp_path / "out" / "interpretation.html").read_text("utf-8")
    assert "Compartments" in html
    assert "read from the chromatin image" in html
    latents = interpret(
        CellStore.open(_with_latents(blood)),
        config.model_copy(update={"store": None, "output": None, "parts": ()}),
    )
    assert any("Features from images left out" in note for note in latents.notes)
    assert any("Compartments left out" in note for note in latents.notes)


def _with_latents(blood: SimpleNamespace) -> str:
    """A copy of the store with latents of its own, and none of proteins."""

    path = blood.folder / "latents.cells.zarr"
    shutil.copytree(blood.store.path, path)
    store = CellStore.open(path)
    table = store.table.copy()
    table.obsm["shared"] = np.random.default_rng(0).normal(size=(table.n_obs, 2)).astype(np.float32)
    store.write_table(table)
    return str(path)


def test_chromatin_is_that_of_each_panel_whatever_stain_shows_it() -> None:
    panels = {
        "one": Panel(name="one", stains=("CD3", "DAPI")),
        "two": Panel(name="two", stains=("Hoechst", "CD3")),
    }
    stored = {"one": np.stack([np.full((2, 2), 3.0), np.full((2, 2), 1.0)])[None]}
    stored["two"] = stored["one"][:, ::-1] + 10
    inference = SimpleNamespace(
        batch_size=8,
        normalised=lambda store, name, rows: stored[name][rows],
        encode=lambda images, panel: images,
        rebuild=lambda codes, own, shared_only=False: codes[:, 0],
        predict=lambda chromatin, codes, stain: chromatin,
    )
    cells = SimpleNamespace(obs=pd.DataFrame({"panel": ["two", "one"], "row": [0, 0]}))
    store = SimpleNamespace(panels=panels)
    chromatin = images_of(cells, np.arange(2), store, inference)
    assert chromatin["measured"][:, 0, 0].tolist() == [11, 1]
    assert "predicted" not in chromatin
    protein = images_of(cells, np.arange(2), store, inference, "CD3")
    assert protein["measured"][:, 0, 0].tolist() == [13, 3]
    assert protein["predicted"][:, 0, 0].tolist() == [11, 1]
