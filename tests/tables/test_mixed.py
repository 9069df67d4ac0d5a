"""An image beside a table: simulated cells whose radius decides their counts; each predicts the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.errors import ConfigError, RunError
from napari_apollo.panels import Panel
from napari_apollo.predict import TableEvaluateConfig, evaluate_tables
from napari_apollo.train import Run, TableTrainConfig, start_run, train

SIZE, CELLS = 16, 320


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cell store of nuclei of known radius, and counts in another order, of which one half rise with it."""
    folder = tmp_path_factory.mktemp("paired")
    rng = np.random.default_rng(5)
    radius = rng.uniform(2.5, 6.0, CELLS)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    inside = 1 / (1 + np.exp(3 * (np.hypot(y, x)[None] - radius[:, None, None])))
    images = (600 * inside + rng.normal(100, 10, inside.shape)).clip(0).astype(np.uint16)
    obs = pd.DataFrame({"field": "f", "label": np.arange(1, CELLS + 1), "y": 0.0, "x": 0.0, "qc": True})
    path = folder / "nuclei.cells.zarr"
    with CellStoreWriter(path, [Panel.parse("DAPI", "one")], crop_size=SIZE, dtype=np.uint16) as writer:
        writer.append("one", images[:, None], np.where(inside > 0.5, 2, 0).astype(np.uint8), obs)
    names = CellStore.open(path).obs["cell_id"].to_numpy(object)
    sign = np.repeat([1.0, -1.0], 10)
    rate = 4 * np.exp(0.8 * sign * ((radius[:, None] - 4.25) / 1.75))
    order = rng.permutation(CELLS)
    counts = rng.poisson(rate)[order] + 1
    rna = ad.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame({"radius": radius[order]}, index=names[order]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(20)]),
    )
    rna.write_h5ad(folder / "rna.h5ad")
    return path, folder / "rna.h5ad"


def settings(folder: Path, **changes: object) -> TableTrainConfig:
    chosen = {
        "output": folder / "x.run", "shared": 3, "specific": 2, "hidden": 32, "width": 4, "head": 8,
        "specific_maps": 4, "batch_size": 32, "latent_epochs": 25, "encoder_epochs": 10, "threads": 1,
        "device": "cpu",
    }  # fmt: skip
    return TableTrainConfig(**{**chosen, **changes})


def test_an_image_and_a_table_predict_each_other(paired: tuple[Path, Path], tmp_path: Path) -> None:
    run = train(paired, settings(tmp_path))
    scores = run.model().card.scores
    assert scores["rna"]["prediction_from_DAPI_pearson"] > 0.4
    assert scores["DAPI"]["prediction_from_rna_pearson"] > 0.3
    rna = ad.read_h5ad(run.folder / "latents" / "rna.h5ad")
    shared = rna.obsm["X_apollo_shared"]
    told = np.abs([np.corrcoef(column, rna.obs["radius"])[0, 1] for column in shared.T]).max()
    assert told > 0.8
    # The model is used as any other: a crop gives the expression that its cell would have.
    store = CellStore.open(paired[0])
    rows = store.obs["row"].to_numpy(np.int64)[:8]
    model = run.model()
    latents = model.encode(store.normalised("one", rows)[:, :1], "DAPI")
    assert model.decode(latents.shared, None, "rna").shape == (8, 20)
    assert model.decode(latents.shared, latents.specific, "DAPI").shape == (8, SIZE, SIZE)


def test_what_an_image_says_alone_is_scored_as_what_a_table_says(
    paired: tuple[Path, Path], tmp_path: Path
) -> None:
    store, counts = paired
    labelled = ad.read_h5ad(counts)
    labelled.obs["size"] = np.where(labelled.obs["radius"] > 4.25, "large", "small")
    labelled.write_h5ad(tmp_path / "rna.h5ad")
    run = train((store, tmp_path / "rna.h5ad"), settings(tmp_path, latent_epochs=2, encoder_epochs=2))
    found = evaluate_tables(run, TableEvaluateConfig(label=("size",), components=False, directions=1))
    told = set(found.classes["input"])
    assert {"shared as DAPI says", "shared as rna says", "all latents"} <= told
    with pytest.raises(RunError, match="napari-apollo evaluate"):
        _ = run.store


def test_latents_go_into_the_store_where_that_is_asked(paired: tuple[Path, Path], tmp_path: Path) -> None:
    quick: Callable[..., TableTrainConfig] = lambda **changes: settings(  # noqa: E731
        tmp_path, latent_epochs=1, encoder_epochs=1, overwrite=True, **changes
    )
    train(paired, quick())
    assert "X_apollo_shared" not in CellStore.open(paired[0]).table.obsm
    run = start_run(paired, quick(latents="in-place")).wait()
    assert isinstance(run, Run)
    table = CellStore.open(paired[0]).table
    own = ad.read_h5ad(paired[1])
    there = pd.Index(table.obs["cell_id"]).get_indexer(own.obs_names)
    assert np.array_equal(np.asarray(table.obsm["X_apollo_shared"])[there], own.obsm["X_apollo_shared"])
    assert np.asarray(table.obsm["X_apollo_DAPI"]).shape[0] == CELLS


def test_one_image_alone_is_no_pair(paired: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        train((paired[0],), settings(tmp_path))
