"""What is said about predictions: whether a model fits, which cells are beyond it, how sure it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from napari.components import ViewerModel
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_apollo.cells import CellStore
from napari_apollo.errors import ModelError
from napari_apollo.predict import PredictConfig, predict
from napari_apollo.predict.colours import stain_colours
from napari_apollo.predict.table import PREDICTED_SUPPORT
from napari_apollo.viewer import add_predictions, find_layers
from napari_apollo.viewer.compare import images_of, show_overlay
from napari_apollo.viewer.overlay import BEYOND
from napari_apollo.viewer.trusting import beyond_support, described, fit_in_words, support_in_words, why_not


@pytest.fixture(scope="module")
def doubtful(small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The small store with drawn predictions, every third cell beyond support for CD4 and none for CD8."""
    folder = tmp_path_factory.mktemp("doubtful")
    shutil.copytree(small.store.path, folder / "small.cells.zarr")
    store = CellStore.open(folder / "small.cells.zarr")
    predictions = predict(store, small.folder / "tiny.run", PredictConfig(device="cpu", uncertainty=3))
    store = CellStore.open(store.path)
    table = store.table.copy()
    third = np.arange(store.n_cells) % 3 == 0
    ranks = pd.DataFrame({"CD4": np.where(third, 1.0, 0.5), "CD8": 0.99}, index=table.obs_names)
    table.obsm[PREDICTED_SUPPORT] = ranks.astype(np.float32)
    store.write_table(table)
    return SimpleNamespace(store=CellStore.open(store.path), predictions=predictions, beyond=third)


def pixels(layer: object) -> np.ndarray:
    return np.asarray(layer.data[0] if layer.multiscale else layer.data)  # type: ignore[attr-defined]


def test_cells_beyond_support_are_grey_and_apart(doubtful: SimpleNamespace) -> None:
    viewer = ViewerModel()
    whole, cells = add_predictions(
        viewer, doubtful.predictions, doubtful.store, stains=["CD4"], roles=["predicted"]
    )
    layers = add_predictions(
        viewer, doubtful.predictions, doubtful.store, stains=["CD4"], roles=["predicted", BEYOND], table=False
    )
    believed, grey = layers
    assert grey.name == "CD4 (predicted from DAPI, beyond support)"
    red, green, blue, _ = grey.colormap.colors[-1]
    assert red == green == blue
    assert np.array_equal(pixels(believed) + pixels(grey), pixels(whole))
    features = cells.features
    apart = np.isin(pixels(cells), features["index"][features[f"{PREDICTED_SUPPORT} CD4"] > 0.99])
    assert not pixels(grey)[~apart].any()
    assert not pixels(believed)[apart].any()
    assert pixels(grey).any()
    assert pixels(believed).any()


def test_uncertainty_is_a_layer_in_units_of_the_stain(doubtful: SimpleNamespace) -> None:
    viewer = ViewerModel()
    (image,) = images_of(doubtful.store)
    roles = ("predicted", BEYOND, "uncertainty")
    show_overlay(viewer, doubtful.predictions, doubtful.store, image, roles=roles)
    (layer,) = find_layers(viewer, role="uncertainty", stain="CD8")
    low, high = doubtful.predictions.card.limits["CD8"]
    assert layer.name == "CD8 (uncertainty)"
    assert not layer.visible
    assert layer.contrast_limits == [0, (high - low) / 4]
    assert 0 < pixels(layer).max() < high - low
    assert find_layers(viewer, role=BEYOND, stain="CD4")[0].visible
    assert not find_layers(viewer, role=BEYOND, stain="CD8")


def test_doubt_has_colours_of_its_own(doubtful: SimpleNamespace) -> None:
    viewer = ViewerModel()
    (image,) = images_of(doubtful.store)
    show_overlay(
        viewer, doubtful.predictions, doubtful.store, image, roles=("predicted", BEYOND, "uncertainty")
    )
    stains = [rgb2lab(to_rgb(colour)) for colour in stain_colours(["DAPI", *map(str, range(8))]).values()]
    unsure, beyond = (
        [rgb2lab(colour) for colour in np.asarray(find_layers(viewer, role=role)[0].colormap.colors)[1:, :3]]
        for role in ("uncertainty", BEYOND)
    )
    assert len(stains) == 9
    assert min(deltaE_ciede2000(colour, stain) for colour in unsure for stain in [*stains, *beyond]) > 15
    assert min(deltaE_ciede2000(beyond[0], stain) for stain in stains) > 10  # grey; one stain is nearly white


def test_predictions_that_were_whole_make_way_for_their_parts(doubtful: SimpleNamespace) -> None:
    viewer = ViewerModel()
    (image,) = images_of(doubtful.store)
    show_overlay(viewer, doubtful.predictions, doubtful.store, image, roles=("predicted",))
    (whole,) = find_layers(viewer, role="predicted", stain="CD4")
    show_overlay(viewer, doubtful.predictions, doubtful.store, image, roles=("predicted", BEYOND))
    (believed,) = find_layers(viewer, role="predicted", stain="CD4")
    assert whole not in viewer.layers
    assert pixels(believed).astype(float).sum() < pixels(whole).astype(float).sum()


def test_support_in_words(doubtful: SimpleNamespace, small: SimpleNamespace) -> None:
    beyond = beyond_support(doubtful.store, "CD4")
    assert np.array_equal(beyond, doubtful.beyond)
    without_cd4 = (doubtful.store.obs["panel"] == "DAPI/CD8").to_numpy()
    share = doubtful.beyond[without_cd4].mean()
    assert f"CD4 {share:.0%} of the cells" in support_in_words(doubtful.store, ["CD4", "CD8"])
    assert "like those" in support_in_words(doubtful.store, ["CD8"])
    assert beyond_support(doubtful.store, "CD19") is None
    assert support_in_words(doubtful.store, ["CD19"]) == ""


def test_what_a_run_would_predict(small: SimpleNamespace) -> None:
    words, fits = fit_in_words(small.folder / "tiny.run", small.store)
    assert fits
    assert words == "Predicts CD8 for the cells of DAPI/CD4; CD4 for the cells of DAPI/CD8."
    assert why_not(small.model, small.store) == ""


def test_a_mismatch_names_the_runs_that_fit(small: SimpleNamespace, tmp_path: Path) -> None:
    other = tmp_path / "other.run" / "model"
    shutil.copytree(small.model, other)
    card = json.loads((other / "model.json").read_text())
    card["architecture"]["vocabulary"] = ["CD4", "CD19"]
    (other / "model.json").write_text(json.dumps(card))
    words, fits = fit_in_words(other.parent, small.store, [small.folder / "tiny.run"])
    assert not fits
    assert "panel DAPI/CD8 has CD8" in words
    assert "these panels fit: DAPI/CD4" in words
    assert "These runs fit: tiny.run." in words
    assert "train one" in fit_in_words(other.parent, small.store)[0]


def test_a_card_that_cannot_be_read(small: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model\.json"):
        described(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json: is not JSON"):
        described(tmp_path)
    assert "is not JSON" in fit_in_words(tmp_path, small.store)[0]
