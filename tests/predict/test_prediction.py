"""Predictions: what is written, in which units, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from anndata import AnnData

from napari_apollo.cells import CellStore
from napari_apollo.errors import (
    Cancelled,
    ConfigError,
    DataError,
    FileError,
    ModelError,
    PanelMismatch,
    StoreDamaged,
    StoreError,
    StoreTooNew,
    UnknownStain,
)
from napari_apollo.model import Apollo
from napari_apollo.panels import Panel
from napari_apollo.predict import (
    Canvas,
    EvaluateConfig,
    OverlayConfig,
    PredictConfig,
    PredictionStore,
    evaluate,
    overlay,
    predict,
)
from napari_apollo.predict.writer import dtype_for
from napari_apollo.progress import Step
from napari_apollo.report.evaluation import evaluation_page

CPU = PredictConfig(device="cpu", write_table=False)


def test_every_cell_gets_every_stain(made: SimpleNamespace) -> None:
    predictions = PredictionStore.open(made.predictions.path)
    assert predictions.path == made.folder / "a.predictions.zarr"
    assert predictions.stains("DAPI/CD4", "reconstructed") == ("DAPI", "CD4")
    assert predictions.stains("right", "reconstructed_shared") == ("DAPI", "CD8", "CD3")
    assert predictions.stains("DAPI/CD4", "predicted") == ("CD3", "CD4", "CD8")
    assert predictions.stains("nothing", "predicted") == ()
    images = predictions.read("right", "predicted", "cd4", [3, 0, 3])
    assert images.shape == (3, 16, 16)
    assert np.array_equal(images[0], images[2])
    with pytest.raises(UnknownStain, match=r"CD19.*CD3, CD4, CD8"):
        predictions.read("right", "predicted", "CD19", [0])


def test_what_a_panel_has_is_not_predicted_unless_asked(made: SimpleNamespace, tmp_path: Path) -> None:
    config = PredictConfig(device="cpu", output=tmp_path / "p.predictions.zarr", write_table=False)
    predictions = predict(made.store, made.model, config)
    assert predictions.stains("DAPI/CD4", "predicted") == ("CD3", "CD8")
    assert predictions.stains("right", "predicted") == ("CD4",)


def test_values_are_those_of_the_model_in_the_stain_s_own_units(made: SimpleNamespace) -> None:
    """Independent of the code under test: the model and the constants, by hand."""
    store, rows = made.store, np.array([5, 11, 2])
    model = Apollo.load(made.model)
    panel = store.panels["DAPI/CD4"]
    images = store.normalised("DAPI/CD4", rows)
    low, high = store.normalisation.constants["DAPI/CD4"]["CD4"]
    protein = model.encode(images[:, [panel.index("CD4")]], "protein", "CD4")
    full = model.decode(protein.shared, protein.specific, "protein", "CD4")
    found = made.predictions.read("DAPI/CD4", "reconstructed", "CD4", rows)
    assert np.abs(found - (low + full * (high - low))).max() <= 0.51
    chromatin = model.encode(images[:, [panel.index("DAPI")]], "chromatin")
    predicted = model.decode(chromatin.shared, None, "protein", "CD8")
    low, high = store.normalisation.constants["*"]["CD8"]  # this panel never had CD8: the pooled constants
    found = made.predictions.read("DAPI/CD4", "predicted", "CD8", rows)
    assert np.abs(found - (low + predicted * (high - low))).max() <= 0.51
    assert np.ptp(found) > 100


def test_a_chromatin_encoder_that_is_told_the_stain_is_told_it(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr")
    folder = make.model(tmp_path / "model", store, conditional=True)
    predictions = predict(store, folder, CPU)
    model = Apollo.load(folder)
    images = store.normalised("right", [0, 1])[:, [1]]
    told = model.decode(model.encode(images, "chromatin", "CD4").shared, None, "protein", "CD4")
    low, high = store.normalisation.constants["*"]["CD4"]
    assert (
        np.abs(predictions.read("right", "predicted", "CD4", [0, 1]) - (low + told * (high - low))).max()
        <= 0.51
    )


def test_batches_change_nothing(made: SimpleNamespace, tmp_path: Path) -> None:
    small = PredictConfig(
        device="cpu", output=tmp_path / "b.zarr", batch_size=7, also_measured=True, write_table=False
    )
    again = predict(made.store, made.model, small)
    for panel in again.panels:
        for role in ("reconstructed", "reconstructed_shared", "predicted"):
            for stain in again.stains(panel, role):
                one = again.read(panel, role, stain, range(40)).astype(float)
                other = made.predictions.read(panel, role, stain, range(40)).astype(float)
                assert np.abs(one - other).max() <= 1


def test_latents_and_scores_reach_the_table(made: SimpleNamespace) -> None:
    table: AnnData = CellStore.open(made.store.path).table
    left = (table.obs["panel"] == "DAPI/CD4").to_numpy()
    assert table.obsm["shared"].shape == (80, 3)
    assert np.isfinite(table.obsm["shared"]).all()
    assert np.isfinite(table.obsm["protein_specific_CD4"][left]).all()
    assert np.isnan(table.obsm["protein_specific_CD4"][~left]).all()
    assert np.isnan(table.obsm["shared_from_CD8"][left]).all()
    model = Apollo.load(made.model)
    images = made.store.normalised("right", [4])[:, [1]]
    expected = model.encode(images, "chromatin")
    row = int(np.flatnonzero(~left)[4])
    assert np.allclose(table.obsm["shared"][row], expected.shared[0], atol=1e-5)
    assert np.allclose(table.obsm["chromatin_specific"][row], expected.specific[0], atol=1e-5)
    errors = table.obsm["reconstruction_error"]
    assert list(errors.columns) == ["DAPI", "CD4", "CD8", "CD3"]
    truth = made.store.normalised("DAPI/CD4", [6])[0, 1]
    region = made.store.read_masks("DAPI/CD4", [6])[0] > 0
    low, high = made.store.normalisation.constants["DAPI/CD4"]["CD4"]
    rebuilt = (made.predictions.read("DAPI/CD4", "reconstructed", "CD4", [6])[0] - low) / (high - low)
    row = int(np.flatnonzero(left)[6])
    assert errors["CD4"].iloc[row] == pytest.approx(np.abs(rebuilt - truth)[region].mean(), abs=1e-4)
    mean = made.predictions.read("DAPI/CD4", "predicted", "CD8", [6])[0][region].mean()
    assert table.obsm["predicted_mean"]["CD8"].iloc[row] == pytest.approx(mean, abs=0.6)


def test_predicting_again_replaces_exactly_its_own_columns(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr")
    predict(store, make.model(tmp_path / "one", store), PredictConfig(device="cpu"))
    table = store.table.copy()
    table.obsm["mine"] = np.ones((len(table), 2))
    table.obs["area"] = 3.0
    store.write_table(table)
    other = make.model(tmp_path / "two", store, vocabulary=("CD3", "CD4", "CD8", "CD20"))
    predict(store, other, PredictConfig(device="cpu", overwrite=True, panels=("right",)))
    after = CellStore.open(store.path).table
    assert "protein_specific_CD4" not in after.obsm
    assert "protein_specific_CD8" in after.obsm
    assert np.isnan(after.obsm["shared"][(after.obs["panel"] == "DAPI/CD4").to_numpy()]).all()
    assert after.obsm["mine"].sum() == 2 * len(table)
    assert (after.obs["area"] == 3).all()


def test_any_zarr_library_reads_the_files(made: SimpleNamespace) -> None:
    array = zarr.open_array(made.predictions.path / "panels" / "right" / "predicted", mode="r")
    assert array.shape == (40, 3, 16, 16)
    assert np.array_equal(array[7, 1], made.predictions.read("right", "predicted", "CD4", [7])[0])


def test_means_and_areas_are_those_of_the_crops(made: SimpleNamespace) -> None:
    rows = np.arange(40)
    region = made.store.read_masks("right", rows) > 0
    assert np.array_equal(made.predictions.areas("right", rows), region.sum((1, 2)))
    crops = made.predictions.read("right", "predicted", "CD4", rows).astype(float)
    means = np.array([crop[mask].mean() for crop, mask in zip(crops, region, strict=True)])
    assert np.allclose(made.predictions.means("right", "predicted", "CD4", rows), means, atol=0.6)
    measured = made.store.read_images("right", rows)[:, 2].astype(float)
    means = np.array([crop[mask].mean() for crop, mask in zip(measured, region, strict=True)])
    assert np.allclose(made.predictions.means("right", "measured", "CD3", rows), means, rtol=1e-5)


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        ([[0, 1000]], "uint16"),
        ([[0, 60_000], [100, 1100]], "uint16"),
        ([[0, 255]], "float32"),  # 8 bit: whole numbers would cost greys
        ([[0, 3]], "float32"),
        ([[-5, 2000]], "float32"),
        ([[0, 70_000]], "float32"),
    ],
)
def test_whole_numbers_only_where_they_are_fine_enough(limits: list[list[float]], kind: str) -> None:
    assert dtype_for(np.array(limits, float)) == np.dtype(kind)


def test_dim_stains_keep_their_greys(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr", dtype="uint8", top=40)
    predictions = predict(store, make.model(tmp_path / "model", store), CPU)
    images = predictions.read("right", "predicted", "CD4", range(40))
    assert images.dtype == np.float32
    assert len(np.unique(images)) > 100


def test_the_description_says_where_it_comes_from(made: SimpleNamespace) -> None:
    card = made.predictions.card
    assert card.model["weights_sha256"] == Apollo.load(made.model).card.weights_sha256
    assert card.store["name"] == "a.cells.zarr"
    assert card.provenance["settings"]["also_measured"] is True
    assert card.limits["CD4"] == tuple(made.store.normalisation.constants["*"]["CD4"])
    json.dumps(card.model_dump(mode="json"))


# --- what does not fit ------------------------------------------------------------------------


def test_stains_that_the_model_never_learnt(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr")
    model = make.model(tmp_path / "model", store, vocabulary=("CD4", "CD20"))
    with pytest.raises(
        PanelMismatch, match=r"panel right has CD8, CD3 that .* never learnt.*DAPI/CD4 \(40 cells\)"
    ) as caught:
        predict(store, model, CPU)
    assert caught.value.found == ("CD8", "DAPI", "CD3")
    assert not (tmp_path / "a.predictions.zarr").exists()
    only = predict(store, model, PredictConfig(device="cpu", write_table=False, panels=("DAPI/CD4",)))
    assert only.stains("DAPI/CD4", "predicted") == ("CD20",)
    skipped = predict(
        store, model, PredictConfig(device="cpu", write_table=False, skip_unknown=True, overwrite=True)
    )
    assert skipped.stains("right", "reconstructed") == ("DAPI",)
    assert skipped.stains("right", "predicted") == ("CD4", "CD20")


def test_another_dna_stain(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr")
    model = make.model(tmp_path / "model", store)
    other = make.store(tmp_path / "b.cells.zarr", panels=(Panel(name="h", stains=("Hoechst", "CD4")),))
    with pytest.raises(PanelMismatch, match="anchor Hoechst"):
        predict(other, model, CPU)
    accepted = predict(other, model, PredictConfig(device="cpu", write_table=False, other_anchor=True))
    assert accepted.anchor == "Hoechst"


def test_chromatin_alone_is_enough(make: SimpleNamespace, tmp_path: Path) -> None:
    """Intensities of stains that a store never saw are those of the training."""
    store = make.store(tmp_path / "a.cells.zarr")
    model = make.model(tmp_path / "model", store)
    bare = make.store(tmp_path / "b.cells.zarr", panels=(Panel(name="d", stains=("DAPI",)),), top=900)
    predictions = predict(bare, model, CPU)
    assert predictions.stains("d", "predicted") == ("CD3", "CD4", "CD8")
    low, high = store.normalisation.constants["*"]["CD3"]
    assert predictions.card.limits["CD3"] == (low, high)
    assert predictions.read("d", "predicted", "CD3", range(40)).max() > 1000


def test_constants_of_the_training_on_request(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr")
    model = make.model(tmp_path / "model", store)
    dim = make.store(tmp_path / "b.cells.zarr", top=6000)
    own = predict(dim, model, CPU)
    theirs = predict(
        dim, model, PredictConfig(device="cpu", write_table=False, normalisation="model", overwrite=True)
    )
    assert own.card.limits["CD4"][1] < 6000 < theirs.card.limits["CD4"][1]


def test_what_lets_one_doubt_is_said(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr", pixel_size_um=None)
    by_donor = store.normalisation.model_copy(update={"by": "donor"}).model_dump(mode="json")
    model = make.model(tmp_path / "model", store, pixel_size_um=0.5, normalisation=by_donor)
    steps: list[Step] = []
    predict(store, model, CPU, progress=steps.append)
    pixels, intensities = (step.detail for step in steps if step.stage == "Careful")
    assert "the model's is 0.5 µm, that of a.cells.zarr is not known" in pixels
    assert "scaled by donor, percentile 1 to 99.8; those of a.cells.zarr are scaled by panel" in intensities
    evaluation = evaluate(store, model, EvaluateConfig(device="cpu", parts=("train",), most_cells=8))
    assert evaluation.to_json()["notes"] == [pixels, intensities]
    assert evaluation_page(evaluation).sections[0].title == "To be careful about"
    theirs = EvaluateConfig(device="cpu", parts=("train",), most_cells=8, normalisation="model")
    assert evaluate(store, model, theirs).about["notes"] == [pixels]
    same = make.model(tmp_path / "same", store, pixel_size_um=None)
    assert (
        evaluate(store, same, EvaluateConfig(device="cpu", parts=("train",), most_cells=8)).about["notes"]
        == []
    )


@pytest.mark.parametrize(
    ("store", "model", "words"),
    [
        ({"size": 24}, {"crop_size": 16}, "crops of 16 pixels; those of .* have 24"),
        ({"pixel_size_um": 0.25}, {"pixel_size_um": 0.5}, "pixels of 0.5 µm; those of .* are 0.25 µm"),
    ],
)
def test_crops_of_another_size(
    make: SimpleNamespace, tmp_path: Path, store: dict, model: dict, words: str
) -> None:
    cells = make.store(tmp_path / "a.cells.zarr", **store)
    with pytest.raises(ModelError, match=words):
        predict(cells, make.model(tmp_path / "model", cells, **model), CPU)


def test_pixel_sizes_that_nobody_knows_do_not_stand_in_the_way(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr", pixel_size_um=None)
    predict(store, make.model(tmp_path / "model", store, pixel_size_um=0.5), CPU)


def test_cells_that_were_cut_anew_are_other_cells(
    made: SimpleNamespace, make: SimpleNamespace, tmp_path: Path
) -> None:
    """Segmenting and cutting anew gives the same names to other cells, or other crops to the same."""
    config = OverlayConfig(output=tmp_path / "out")
    larger = make.store(tmp_path / "larger.cells.zarr", size=made.store.crop_size + 8)
    assert list(larger.obs["cell_id"]) == list(made.store.obs["cell_id"])
    with pytest.raises(StoreError, match=r"crops of 16 pixels; those of .* have 24"):
        overlay(larger, made.predictions, config)
    elsewhere = make.store(tmp_path / "elsewhere.cells.zarr", seed=1)
    with pytest.raises(StoreError, match="in other places"):
        overlay(elsewhere, made.predictions, config)


def test_bad_requests(made: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no panel x.*DAPI/CD4, right"):
        predict(made.store, made.model, PredictConfig(device="cpu", panels=("x",)))
    with pytest.raises(FileError, match="exists already"):
        predict(made.store, made.model, CPU)
    (tmp_path / "failed.run").mkdir()
    (tmp_path / "failed.run" / "status.json").write_text('{"state": "failed"}')
    (tmp_path / "failed.run" / "config.json").write_text('{"store": "a.cells.zarr", "config": {}}')
    with pytest.raises(ModelError, match=r"is a run that has no model \(it is failed\)"):
        predict(made.store, tmp_path / "failed.run", CPU)
    with pytest.raises(ModelError, match="no such folder"):
        predict(made.store, tmp_path / "none", CPU)
    with pytest.raises(StoreError):
        predict(tmp_path / "none.cells.zarr", made.model, CPU)
    with pytest.raises(ConfigError, match="batch_size = 0"):
        PredictConfig(batch_size=0)
    with pytest.raises(ConfigError, match="no_such"):
        predict(made.store, made.model, PredictConfig(device="no_such", output=tmp_path / "x"))


def test_stopping_leaves_nothing_half_written(made: SimpleNamespace, tmp_path: Path) -> None:
    steps: list[Step] = []
    config = PredictConfig(device="cpu", batch_size=8, output=tmp_path / "p.predictions.zarr")
    before = made.store.table.uns
    with pytest.raises(Cancelled):
        predict(made.store, made.model, config, progress=steps.append, should_stop=lambda: len(steps) > 4)
    assert list(tmp_path.iterdir()) == []
    assert CellStore.open(made.store.path).table.uns.keys() == before.keys()
    assert [step.stage for step in steps[:3]] == ["Loading the model", "Memory", "Predicting"]
    assert "batch of 8 cells" in steps[1].detail
    assert steps[-1].done < steps[-1].total == 80


# --- damage -----------------------------------------------------------------------------------


@pytest.fixture
def copy(made: SimpleNamespace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.predictions.path, tmp_path / "copy.predictions.zarr"))


def test_an_undamaged_store_verifies(made: SimpleNamespace) -> None:
    assert made.predictions.verify() == []


def test_a_flipped_byte_is_found_and_never_shown(copy: Path) -> None:
    shard = copy / "panels" / "right" / "predicted" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[200] ^= 0xFF
    shard.write_bytes(content)
    store = PredictionStore.open(copy)
    (problem,) = store.verify()
    assert "predicted" in problem
    with pytest.raises(StoreDamaged, match="rows 0"):
        store.read("right", "predicted", "CD4", range(40))


def test_a_missing_shard_is_no_black_image(copy: Path) -> None:
    shutil.rmtree(copy / "panels" / "right" / "reconstructed" / "c")
    store = PredictionStore.open(copy)
    assert store.verify()
    with pytest.raises(StoreDamaged):
        store.read("right", "reconstructed", "CD8", [0])


def test_descriptions_that_cannot_be_used(copy: Path, tmp_path: Path, made: SimpleNamespace) -> None:
    from napari_apollo.cells.checksums import parse_group, seal_group

    path = copy / "zarr.json"
    good = path.read_text()
    path.write_text(good.replace('"crop_size": 16', '"crop_size": 32'))
    with pytest.raises(StoreDamaged):
        PredictionStore.open(copy)
    path.write_text(good)
    attributes = parse_group(copy)
    seal_group(copy, {**attributes, "schema_version": 99})
    with pytest.raises(StoreTooNew, match="99"):
        PredictionStore.open(copy)
    with pytest.raises(StoreError, match="no such folder"):
        PredictionStore.open(tmp_path / "none.predictions.zarr")
    with pytest.raises(StoreError, match="no store of predictions"):
        PredictionStore.open(made.store.path)


# --- canvas -----------------------------------------------------------------------------------


def test_the_canvas_shows_predictions_where_a_panel_lacks_the_stain(made: SimpleNamespace) -> None:
    canvas = Canvas(made.store, made.predictions, image="image.tif", shape=(200, 200), tile=64)
    pasted = canvas.layer("CD4", "predicted")[0].compute()
    own = canvas.ownership((0, 200, 0, 200))
    for k in (0, len(own.cells) // 2, len(own.cells) - 1):
        cell = own.cells[k]
        place = canvas.placement
        crop = made.predictions.read(place.panels[place.panel[cell]], "predicted", "CD4", [place.row[cell]])[
            0
        ]
        ys, xs = np.nonzero(own.owner == k)
        centre = place.centre[cell]
        assert np.array_equal(pasted[ys, xs], crop[ys - centre[0] + 8, xs - centre[1] + 8])


def test_coarse_levels_are_painted_from_means_without_reading_crops(
    make: SimpleNamespace, tmp_path: Path
) -> None:
    store = make.store(tmp_path / "a.cells.zarr", count=10)
    predictions = predict(store, make.model(tmp_path / "model", store), CPU)
    canvas = Canvas(store, predictions, image="image.tif", shape=(200, 200), tile=8)
    levels = canvas.layer("CD4", "predicted")
    assert len(levels) == 6
    shutil.rmtree(predictions.path / "panels" / "right" / "predicted")
    coarse = levels[4].compute()  # 16 pixels a step
    place = canvas.placement
    right = place.panel == place.panels.index("right")
    rows = place.row[right]
    expected = (predictions.means("right", "predicted", "CD4", rows) * predictions.areas("right", rows)).sum()
    assert coarse.sum() * 16**2 == pytest.approx(expected, rel=0.02)
    brightest = np.unravel_index(coarse.argmax(), coarse.shape)
    near = np.abs(place.centroid[right] / 16 - brightest).max(1).min()
    assert near < 1.5
