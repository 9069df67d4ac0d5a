"""Scores of latents: mixing, classes, directions, gene sets; and an evaluation from a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from napari_apollo.errors import ConfigError, DataError, FileError, RunError
from napari_apollo.predict import TableEvaluateConfig, evaluate_tables
from napari_apollo.tables.classes import class_accuracy
from napari_apollo.tables.directions import correlations, enriched_sets, read_gene_sets, tied_features
from napari_apollo.tables.mixing import accepted, lisi, silhouette
from napari_apollo.train import TableTrainConfig, train
from napari_apollo.train.tablescores import Correlations, feature_correlations

Make = Callable[..., dict[str, ad.AnnData]]


def clouds(n: int = 240, apart: float = 0.0, kinds: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % kinds
    return rng.normal(size=(n, 3)) + apart * kind[:, None], kind


def test_mixed_and_parted_groups_have_their_scores() -> None:
    mixed, kind = clouds(600)
    parted, _ = clouds(600, apart=50)
    assert lisi(mixed, kind).mean() == pytest.approx(1.95, abs=0.06)
    assert lisi(parted, kind).mean() == pytest.approx(1, abs=1e-6)
    assert accepted(mixed, kind) > 0.85
    assert accepted(parted, kind) == 0
    assert silhouette(parted, kind) > 0.9
    assert abs(silhouette(mixed, kind)) < 0.05
    assert np.isnan(silhouette(mixed, np.zeros(600)))


def test_lisi_is_its_definition() -> None:
    values, kind = clouds(120, kinds=3)
    found = lisi(values, kind, perplexity=10)
    for cell in (0, 57):
        distance = np.linalg.norm(values - values[cell], axis=1)
        near = np.argsort(distance)[1:31]
        low, high = 1e-6, 1e6
        for _ in range(200):  # the width at which the entropy is log(10)
            width = np.sqrt(low * high)
            weight = np.exp(-width * distance[near])
            weight /= weight.sum()
            wide = stats.entropy(weight) > np.log(10)
            low, high = (width, high) if wide else (low, width)
        share = np.array([weight[kind[near] == k].sum() for k in range(3)])
        assert found[cell] == pytest.approx(1 / (share**2).sum(), rel=1e-3)


def test_lisi_is_that_of_harmonypy() -> None:
    """Values of ``harmonypy.compute_lisi`` 2.1.0 (by the authors' collaborators; under the GPL, so that it is
    no dependency) on these points: ``compute_lisi(points, groups, list(groups), perplexity=...)``.
    """
    i = np.arange(240)
    points = np.stack(
        [np.sin(1.7 * i) + 0.6 * (i % 3), np.cos(2.3 * i * i % 11), np.sin(0.37 * i) * (i % 5)], axis=1
    )
    groups = {"third": (i % 3).astype(str), "half": np.where(i % 7 < 3, "a", "b")}
    golden = {
        (30, "third"): ([2.57123, 2.19612, 2.98506, 2.4156, 2.54708, 1.68503], 2.54628),
        (30, "half"): ([1.72808, 1.99298, 1.96898, 1.59799, 1.53174, 1.86207], 1.81489),
        (10, "third"): ([2.04127, 1.86485, 2.9329, 1.78662, 1.76559, 1.2136], 2.14840),
        (10, "half"): ([1.62339, 1.88626, 1.5886, 1.31238, 1.50523, 1.62521], 1.67073),
    }
    for (perplexity, name), (first, mean) in golden.items():
        found = lisi(points, groups[name], perplexity=perplexity)
        assert found[:6] == pytest.approx(first, abs=2e-5)
        assert found.mean() == pytest.approx(mean, abs=1e-5)


def test_neighbourhoods_need_cells_that_are_finite() -> None:
    values, kind = clouds(40)
    values[3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        lisi(values, kind)
    with pytest.raises(DataError, match="too few"):
        accepted(values[5:9], kind[5:9])
    with pytest.raises(DataError, match="do not go with"):
        silhouette(values, kind[:7])


def test_classes_are_told_from_what_holds_them_and_from_nothing_else() -> None:
    values, kind = clouds(apart=2)
    noise = np.random.default_rng(9).normal(size=(240, 4))
    found = class_accuracy(
        {"told": values, "noise": noise, "empty": noise[:, :0]}, kind, unseen=np.arange(240) % 3 == 0
    ).set_index("input")
    assert found.loc["told", "accuracy"] > 0.9
    assert found.loc["told", "low"] < found.loc["told", "accuracy"] < found.loc["told", "high"]
    assert found.loc["told", "unseen"] > 0.85
    assert 0.38 < found.loc["noise", "accuracy"] < 0.62
    assert found.loc["empty", "accuracy"] == pytest.approx(0.5)
    assert set(found["chance"]) == {0.5}


def test_a_group_is_never_learnt_from_and_told() -> None:
    # Each group has a place of its own, which says nothing of the class of other groups.
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(12), 20)
    kind = group % 2
    values = 30 * rng.normal(size=(12, 6))[group] + rng.normal(size=(240, 6))
    alone = class_accuracy({"v": values}, kind)["accuracy"][0]
    whole = class_accuracy({"v": values}, kind, groups=group)
    assert alone > 0.95
    assert whole["accuracy"][0] < 0.85
    assert whole["unit"][0] == "group"
    with pytest.raises(DataError, match="two classes of 6 cells"):
        class_accuracy({"v": values}, np.zeros(240))


def test_directions_find_planted_features_again_among_unseen_cells() -> None:
    rng = np.random.default_rng(3)
    latents = rng.normal(size=(400, 2)) * [3, 1]
    values = rng.normal(size=(400, 60))
    values[:, :6] += latents[:, [0]]
    values[:, 6:9] -= 2 * latents[:, [1]]
    names = np.array([f"g{i}" for i in range(60)], object)
    unseen = np.arange(400) % 4 == 0
    for kept in (values, sparse.csr_matrix(values)):
        tied = tied_features(latents, kept, names, unseen, directions=2)
        first = set(tied.query("direction == 1")["feature"])
        second = set(tied.query("direction == 2")["feature"])
        assert first == {f"g{i}" for i in range(6)}
        assert second == {"g6", "g7", "g8"}
        assert tied.query("direction == 1")["explained"].iloc[0] == pytest.approx(0.9, abs=0.03)
    sets = {
        "planted": frozenset(f"g{i}" for i in range(7)),
        "other": frozenset(f"g{i}" for i in range(30, 40)),
    }
    rich = enriched_sets(tied, names, sets)
    assert list(rich["set"]) == ["planted"]
    row = rich.iloc[0]
    assert row["p"] == pytest.approx(stats.fisher_exact([[6, 0], [1, 53]], alternative="greater").pvalue)
    with pytest.raises(DataError, match="called like g0, the genes of the sets like TP53"):
        enriched_sets(tied, names, {"human": frozenset(["TP53"])})


def test_correlations_are_numpys() -> None:
    rng = np.random.default_rng(4)
    scores, values = rng.normal(size=(50, 3)), rng.poisson(0.5, (50, 7)).astype(float)
    values[:, 2] = 1
    wanted = np.corrcoef(scores.T, values[:, [0, 1, 3, 4, 5, 6]].T)[:3, 3:]
    for kept in (values, sparse.csr_matrix(values)):
        found = correlations(scores, kept)
        assert np.isnan(found[:, 2]).all()
        assert np.allclose(np.delete(found, 2, axis=1), wanted)


@pytest.mark.parametrize("level", [0.0, 1e4])
def test_correlations_that_are_added_up_are_numpys(level: float) -> None:
    rng = np.random.default_rng(5)
    measured = rng.normal(level, 1, (90, 4)).astype(np.float32)
    predicted = (measured + rng.normal(0, 2, (90, 4))).astype(np.float32)
    predicted[:, 2], measured[:, 3] = 7, level
    found = Correlations()
    for start in (0, 20, 21, 70):
        end = {0: 20, 20: 21, 21: 70, 70: 90}[start]
        found.add(predicted[start:end], measured[start:end])
    assert found.cells == 90
    wanted = [np.corrcoef(predicted[:, i], measured[:, i])[0, 1] for i in (0, 1)]
    assert np.allclose(found.values()[:2], wanted, atol=1e-5)
    assert np.allclose(feature_correlations(predicted, measured)[:2], wanted, atol=1e-5)
    assert found.values()[2] == 0
    assert np.isnan(found.values()[3])


def test_gene_set_files(tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("cycle\tabout\tCDK1\tTOP2A\n\nstress\t\tFOS\tJUN\t\n")
    assert read_gene_sets(path) == {"cycle": {"CDK1", "TOP2A"}, "stress": {"FOS", "JUN"}}
    path.write_text("cycle CDK1 TOP2A\n")
    with pytest.raises(FileError, match="line 1 has 1 columns"):
        read_gene_sets(path)
    path.write_text("\n")
    with pytest.raises(FileError, match="holds no gene set"):
        read_gene_sets(path)
    with pytest.raises(FileError, match="cannot be read"):
        read_gene_sets(tmp_path / "none.gmt")


def test_a_run_is_evaluated(
    make_tables: Make, quick: Callable[..., TableTrainConfig], tmp_path: Path
) -> None:
    tables = make_tables()
    run = train(tables, quick(nuisance="batch", group="donor", latent_epochs=10))
    sets = tmp_path / "sets.gmt"
    sets.write_text("first\t\t" + "\t".join(f"rna{i}" for i in range(12)) + "\n")
    found = evaluate_tables(run, TableEvaluateConfig(label=("kind",), gene_sets=sets, folds=3, fdr=0.5))
    assert set(found.prediction["table"]) == {"rna", "protein"}
    assert {"shared", "all latents", "components of rna"} <= set(found.classes["input"])
    assert set(found.classes["unit"]) == {"group"}
    assert set(found.mixing["column"]) == {"kind", "batch"}
    assert set(found.nuisance["chance"]) == {0.5}
    found.write(tmp_path / "scores")
    written = pd.read_csv(tmp_path / "scores" / "classes.csv")
    assert len(written) == len(found.classes)
    assert found.to_json()["classes"][0]["label"] == "kind"
    assert "mixing" in found.in_words()
    with pytest.raises(ConfigError, match="'type' is no column of obs; there are kind, donor, batch"):
        evaluate_tables(run, TableEvaluateConfig(label=("type",)))
    changed = ad.read_h5ad(run.tables[0])
    changed.X = changed.X * 2
    changed.write_h5ad(run.tables[0])
    with pytest.raises(RunError, match="learnt from other values"):
        evaluate_tables(run, TableEvaluateConfig())


def test_features_that_are_large_everywhere_are_correlated_exactly() -> None:
    rng = np.random.default_rng(8)
    scores, values = rng.normal(size=(20_000, 1)), np.zeros((20_000, 3), np.float32)
    values[:, 0] = 40 + 0.02 * (scores[:, 0] + rng.normal(size=20_000))
    found = correlations(scores, sparse.csr_matrix(values))[0]
    wanted = np.corrcoef(scores[:, 0], values[:, 0].astype(np.float64))[0, 1]
    assert found[0] == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(found[1:]).all()


def test_directions_that_tell_nothing_are_tied_to_nothing() -> None:
    """Of independent latents, few directions have any feature: the false discovery rate is what it says."""
    rng = np.random.default_rng(9)
    names, told = np.array([f"g{i}" for i in range(200)], object), 0
    for _ in range(40):
        latents, counts = rng.normal(size=(120, 3)), rng.poisson(1.0, (120, 200)).astype(np.float32)
        unseen = np.arange(120) % 4 == 0
        told += len(tied_features(latents, sparse.csr_matrix(counts), names, unseen)) > 0
    assert told <= 2


@pytest.mark.parametrize("cells", [40, 60])
def test_silhouettes_of_single_cells_are_not_there(cells: int) -> None:
    latents = np.random.default_rng(0).normal(size=(cells, 2))
    assert np.isnan(silhouette(latents, np.arange(cells), most=50))
    rare = np.where(np.arange(cells) == cells - 1, "rare", "other")
    assert np.isfinite(silhouette(latents, rare, most=cells))
