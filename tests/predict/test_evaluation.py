"""Evaluation: who is scored, against what, and what is said of a channel that is no good."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_apollo.cells import CellStoreWriter
from napari_apollo.errors import Cancelled, ConfigError, DataError, StudyError
from napari_apollo.model import Apollo, HeldOut
from napari_apollo.panels import Panel
from napari_apollo.predict import EvaluateConfig, evaluate
from napari_apollo.predict.conformal import StainIntervals, stain_intervals
from napari_apollo.predict.featurescores import FeaturePairs
from napari_apollo.predict.heldout import parts_of
from napari_apollo.predict.scoring import Scoring
from napari_apollo.report.evaluation import evaluation_page

CPU = EvaluateConfig(device="cpu")


class Rebuilds(Apollo):
    """A model whose latents are the image, so that what it says is known."""

    def encode(self, images, modality, stain=None, *, batch_size=1):  # type: ignore[no-untyped-def]
        found = super().encode(images, modality, stain)
        return type(found)(images.reshape(len(images), -1), found.specific)

    def decode(self, shared, specific, modality, stain=None, *, batch_size=1):  # type: ignore[no-untyped-def]
        return shared.reshape(len(shared), 16, 16)


@pytest.fixture(scope="module")
def known(made: SimpleNamespace) -> Rebuilds:
    model = Apollo.load(made.model)
    return Rebuilds(model.network, model.card)


def one(table: pd.DataFrame, **wanted: str) -> pd.Series:
    for column, value in wanted.items():
        table = table[table[column] == value]
    (row,) = [row for _, row in table.iterrows()]
    return row


def test_scores_are_those_of_the_test_cells(made: SimpleNamespace, known: Rebuilds) -> None:
    evaluation = evaluate(made.store, known, CPU)
    table = evaluation.table
    assert set(table["part"]) == {"test"}
    rebuilt = one(table, stain="CD4", kind="reconstructed")
    assert rebuilt["cells"] == 10
    assert rebuilt["mae"] == pytest.approx(0, abs=1e-6)
    assert rebuilt["pearson"] == pytest.approx(1)
    assert rebuilt["ssim"] == pytest.approx(1)
    assert rebuilt["verdict"] == "better than the mean image in 1 donor, too few to tell it from chance"
    assert not rebuilt["better"]
    # predicted from chromatin, this model gives the chromatin image itself: scores by hand
    obs = made.store.obs
    test = np.flatnonzero(((obs["panel"] == "DAPI/CD4") & (obs["split"] == "test")).to_numpy())
    images = made.store.normalised("DAPI/CD4", obs["row"].to_numpy()[test])
    region = made.store.read_masks("DAPI/CD4", obs["row"].to_numpy()[test]) > 0
    predicted = one(table, stain="CD4", kind="predicted")
    dapi, cd4 = images[:, 0][region], images[:, 1][region]
    assert predicted["mae"] == pytest.approx(np.abs(dapi - cd4).mean(), abs=1e-6)
    assert predicted["pearson"] == pytest.approx(np.corrcoef(dapi, cd4)[0, 1], abs=1e-5)
    low, high = made.store.normalisation.constants["DAPI/CD4"]["CD4"]
    assert predicted["mae_units"] == pytest.approx(predicted["mae"] * (high - low), rel=1e-5)
    train = np.flatnonzero(((obs["panel"] == "DAPI/CD4") & (obs["split"] == "train")).to_numpy())
    mean = made.store.normalised("DAPI/CD4", obs["row"].to_numpy()[train])[:, 1].mean(0)
    shown = np.broadcast_to(mean, images[:, 1].shape)[region]
    assert predicted["mean_mae"] == pytest.approx(np.abs(shown - cd4).mean(), abs=1e-6)
    assert evaluation.about["baseline"] == "training cells"


def test_a_channel_no_better_than_the_mean_image_says_so(made: SimpleNamespace) -> None:
    table = evaluate(made.store, made.model, CPU).table
    row = one(table, stain="CD8", kind="predicted")
    assert not row["better"]
    assert row["verdict"] == "no better than the mean image"


def test_every_row_can_be_made_again_from_its_cells(made: SimpleNamespace) -> None:
    evaluation = evaluate(made.store, made.model, EvaluateConfig(device="cpu", parts=("train", "test")))
    for _, row in evaluation.table.iterrows():
        own = evaluation.cells
        for key in ("part", "stain", "kind", "truth"):
            own = own[own[key] == row[key]]
        assert len(own) == row["cells"]
        assert own["error"].sum() / own["pixels"].sum() == pytest.approx(row["mae"])
    assert set(evaluation.cells["donor"]) == {"donor_0", "donor_1"}


def test_files_and_json(made: SimpleNamespace, tmp_path: Path) -> None:
    config = EvaluateConfig(device="cpu", output=tmp_path / "scores")
    table = evaluate(made.store, made.model, config).table
    content = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert content["schema_version"] == 1
    assert content["scores"][0]["stain"] == "DAPI"
    assert len(content["scores"]) == len(table)
    assert "NaN" not in (tmp_path / "scores" / "evaluation.json").read_text()
    assert len(pd.read_csv(tmp_path / "scores" / "evaluation.csv")) == len(table)


def test_no_table_of_an_earlier_evaluation_stays_beside_a_new_one(
    made: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "features.csv").write_text("somebody's")
    own = {"device": "cpu", "output": tmp_path, "parts": ("train",), "most_cells": 8}
    evaluate(made.store, made.model, EvaluateConfig(**own))
    assert (tmp_path / "features.csv").read_text() == "somebody's"  # no table of ours
    evaluate(made.store, made.model, EvaluateConfig(**own, published=True))
    (tmp_path / "evaluation.html").write_text("the page of that one")
    assert (tmp_path / "published.csv").exists()
    evaluate(made.store, made.model, EvaluateConfig(**own))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"evaluation.json", "evaluation.csv", "features.csv"} | (names & {"coexpression.csv"})


def test_fewer_cells_spread_evenly(made: SimpleNamespace) -> None:
    table = evaluate(
        made.store, made.model, EvaluateConfig(device="cpu", parts=("train",), most_cells=7)
    ).table
    assert one(table, stain="CD4", kind="predicted")["cells"] == 6


def test_all_cells_are_looked_at_where_no_most_is_wanted(made: SimpleNamespace) -> None:
    """The mean image is that of all training cells, too."""
    every = evaluate(made.store, made.model, EvaluateConfig(device="cpu", most_cells=0)).table
    many = evaluate(made.store, made.model, EvaluateConfig(device="cpu", most_cells=1000)).table
    pd.testing.assert_frame_equal(every, many)


def test_no_cells_to_score(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr", split=False)
    model = make.model(tmp_path / "model", store)
    with pytest.raises(DataError, match=r"no cells of the parts test.*80 train, 0 validation, 0 test"):
        evaluate(store, model, CPU)
    with pytest.raises(ConfigError, match="parts"):
        EvaluateConfig(parts=("everything",))  # type: ignore[arg-type]


# --- hidden truth -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory, make: SimpleNamespace) -> SimpleNamespace:
    """A field in which two panels were cut from one image, and the manifest that knows all its stains."""
    from napari_apollo.cells.cutting import cut

    folder = tmp_path_factory.mktemp("hidden")
    rng = np.random.default_rng(2)
    image = rng.integers(100, 40_000, (3, 120, 120), dtype=np.uint16)
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    labels = np.zeros((120, 120), np.int32)
    centres = np.array([(y, x) for y in range(10, 115, 12) for x in range(10, 115, 12)])
    for label, (y, x) in enumerate(centres, start=1):
        labels[y - 3 : y + 4, x - 3 : x + 4] = label
    tifffile.imwrite(folder / "labels.tif", labels)
    (folder / "truth.csv").write_text(
        "image,panel,donor,condition,labels,channels\nimage.tif,DAPI/CD4/CD8,d,c,labels.tif,DAPI;CD4;CD8\n"
    )
    two = [Panel(name="a", stains=("DAPI", "CD4")), Panel(name="b", stains=("DAPI", "CD8"))]
    stores = {}
    for name, panels in (("two", two), ("all", [Panel(name="t", stains=("DAPI", "CD4", "CD8"))])):
        path = folder / f"{name}.cells.zarr"
        with CellStoreWriter(path, panels, crop_size=16, dtype="uint16") as writer:
            for number, panel in enumerate(panels):
                channels = [("DAPI", "CD4", "CD8").index(stain) for stain in panel.stains]
                own = np.arange(number, len(centres), len(panels))
                crops, masks = cut(image[channels], labels, None, centres[own], own + 1, 16)
                obs = pd.DataFrame(
                    {
                        "field": panel.name,
                        "image": str(folder / "image.tif"),
                        "donor": "d",
                        "condition": "c",
                        "label": own + 1,
                        "y": centres[own, 0].astype(float),
                        "x": centres[own, 1].astype(float),
                        "centre_y": centres[own, 0],
                        "centre_x": centres[own, 1],
                        "split": np.where(own % 3 == 0, "test", "train"),
                    }
                )
                writer.append(panel.name, crops, masks, obs)
        stores[name] = path
    from napari_apollo.cells import CellStore

    store = CellStore.open(stores["two"])
    model = make.model(folder / "model", store, vocabulary=("CD4", "CD8"))
    return SimpleNamespace(
        folder=folder, store=store, model=model, all=stores["all"], image=image, labels=labels
    )


@pytest.mark.parametrize("kind", ["manifest", "manifest by a relative path", "store"])
def test_predictions_are_held_against_stains_that_were_hidden(
    hidden: SimpleNamespace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hidden.folder)
    truth = {"manifest": hidden.folder / "truth.csv", "store": hidden.all}.get(kind, Path("truth.csv"))
    loaded = Apollo.load(hidden.model)
    evaluation = evaluate(
        hidden.store, Rebuilds(loaded.network, loaded.card), EvaluateConfig(device="cpu", truth=truth)
    )
    row = one(evaluation.table, stain="CD8", kind="predicted", truth="hidden")
    # cells of panel a, held out; the model predicts the chromatin image; truth by hand
    obs = hidden.store.obs
    chosen = obs[(obs["panel"] == "a") & (obs["split"] == "test")]
    low, high = hidden.store.normalisation.constants["*"]["CD8"]
    dapi = hidden.store.normalised("a", chosen["row"].to_numpy())[:, 0]
    errors = []
    for crop, (_, cell) in zip(dapi, chosen.iterrows(), strict=True):
        y, x = int(cell["centre_y"]), int(cell["centre_x"])
        ys, xs = np.nonzero(hidden.labels == cell["label"])
        true = np.clip((hidden.image[2, ys, xs] - low) / (high - low), 0, 1)
        errors.append(np.abs(crop[ys - y + 8, xs - x + 8] - true))
    assert row["cells"] == len(chosen)
    assert row["mae"] == pytest.approx(np.concatenate(errors).mean(), abs=1e-6)


def test_truth_about_other_cells_is_refused(
    hidden: SimpleNamespace, tmp_path: Path, make: SimpleNamespace
) -> None:
    with pytest.raises(StudyError):
        evaluate(hidden.store, hidden.model, EvaluateConfig(device="cpu", truth=tmp_path / "none.csv"))
    other = make.store(tmp_path / "o.cells.zarr", panels=(Panel(name="t", stains=("DAPI", "CD4", "CD8")),))
    table = other.table.copy()
    table.obs["image"] = str(hidden.folder / "image.tif")
    other.write_table(table)
    with pytest.raises(DataError, match="their places differ"):
        evaluate(hidden.store, hidden.model, EvaluateConfig(device="cpu", truth=other.path))


def test_truth_that_shows_none_of_the_cells_is_an_error_and_no_silence(
    hidden: SimpleNamespace, tmp_path: Path
) -> None:
    shutil.copy(hidden.folder / "image.tif", tmp_path / "copy.tif")
    manifest = (hidden.folder / "truth.csv").read_text().replace("image.tif", "copy.tif")
    (tmp_path / "truth.csv").write_text(manifest.replace("labels.tif", ""))
    with pytest.raises(DataError, match=r"shows no cell .* the cells lack CD4, CD8.*image\.tif"):
        evaluate(hidden.store, hidden.model, EvaluateConfig(device="cpu", truth=tmp_path / "truth.csv"))


# --- who was held out -------------------------------------------------------------------------


def frame(count: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "donor": [f"d{k % 6}" for k in range(count)],
            "field": [f"f{k % 12}" for k in range(count)],
            "panel": "p",
            "y": rng.uniform(0, 500, count),
            "x": rng.uniform(0, 500, count),
            "split": "",
            "qc": np.arange(count) % 10 != 0,
        }
    )


def test_the_choice_of_the_training_is_made_again(made: SimpleNamespace) -> None:
    from napari_apollo.train.split import split_cells

    obs = frame()
    used = obs[obs["qc"]].reset_index(drop=True)
    settings = {"held_out": ["d2"], "test_fraction": 0.2, "validation_fraction": 0.2, "seed": 5}
    split = split_cells(
        used, held_out=("d2",), test_fraction=0.2, validation_fraction=0.2, seed=5, crop_size=16
    )
    card = Apollo.load(made.model).card.model_copy(
        update={
            "training": settings,
            "held_out": HeldOut(
                by=split.by, test=split.test, validation=split.validation, cells=split.counts()
            ),
        }
    )
    part = parts_of(obs, card, 16)
    assert np.array_equal(part[obs["qc"].to_numpy()], split.part)
    assert set(part[~obs["qc"].to_numpy()]) == {""}
    # other cells, same donors: those named are test, nothing else is called unseen
    other = parts_of(frame(60), card, 16)
    assert set(np.flatnonzero(other == "test")) == set(
        np.flatnonzero(((frame(60)["donor"] == "d2") & frame(60)["qc"]).to_numpy())
    )


# --- features, baselines, intervals -----------------------------------------------------------


def test_features_neighbours_and_pairs(made: SimpleNamespace, known: Rebuilds, tmp_path: Path) -> None:
    config = EvaluateConfig(
        device="cpu", features=True, baselines=("neighbour",), parts=("train",), output=tmp_path
    )
    evaluation = evaluate(made.store, known, config)
    features = evaluation.features
    exact = features[(features["stain"] == "CD4") & (features["kind"] == "reconstructed")]
    assert exact["spearman"].dropna().min() == pytest.approx(1, abs=1e-6)
    assert np.abs(exact["shift"].dropna()).max() < 1e-5
    assert set(evaluation.intervals["kind"]) == {"predicted"}
    assert evaluation.intervals["note"].str.contains("intervals need").all()  # one donor, one field
    # The nearest training cell of a training cell is itself.
    row = one(evaluation.table, stain="CD4", kind="predicted")
    assert row["neighbour_mae"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(row["mae_low"])
    pair = evaluation.coexpression
    chosen = pair[(pair["kind"] == "reconstructed") & (pair["first"] == "DAPI") & (pair["second"] == "CD3")]
    assert chosen["difference"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.json",
        "evaluation.csv",
        "coexpression.csv",
        "features.csv",
        "feature_intervals.csv",
    }


def test_intervals_for_cells_that_lack_a_stain_come_from_cells_that_nobody_learnt_from() -> None:
    work = Scoring.__new__(Scoring)  # what it has gathered, without images
    names, cells = ("f",), np.array(["c1", "c2"], object)
    work._lacking = {("train", "CD3"): [(names, np.array([[1.0], [2.0]]), cells)]}
    rng = np.random.default_rng(0)

    def intervals(noise: float) -> StainIntervals:
        made = rng.normal(size=(800, 1))
        truth = made + noise * rng.normal(size=(800, 1))
        units = np.resize(np.array(["a", "b", "c", "d"], object), 800)
        return stain_intervals(FeaturePairs(names, made, truth, units, units))

    learnt = {("train", "CD3", "predicted", "measured"): intervals(0.05)}
    alone = work.predicted(learnt)
    assert set(alone["calibrated_on"]) == {"train"}
    both = work.predicted({**learnt, ("test", "CD3", "predicted", "measured"): intervals(0.4)})
    assert set(both["calibrated_on"]) == {"test"}
    assert both["part"].tolist() == ["train", "train"]
    assert (both["high"] - both["low"]).min() > 1.5 * (alone["high"] - alone["low"]).max()
    nothing = StainIntervals(pd.DataFrame({"feature": names, "width": [np.nan]}), {})
    back = work.predicted({**learnt, ("test", "CD3", "predicted", "measured"): nothing})
    assert set(back["calibrated_on"]) == {"train"}


def test_networks_as_baselines(made: SimpleNamespace) -> None:
    config = EvaluateConfig(
        device="cpu", baselines=("unet", "inpainting"), baseline_epochs=1, parts=("train",), most_cells=12
    )
    table = evaluate(made.store, made.model, config).table
    predicted = table[table["kind"] == "predicted"]
    for name in ("unet", "inpainting"):
        assert np.isfinite(predicted[f"{name}_mae"]).all()
        assert table.loc[table["stain"] == "DAPI", f"{name}_mae"].isna().all()
    again = evaluate(made.store, made.model, config).table
    pd.testing.assert_frame_equal(table, again)
    with pytest.raises(Cancelled):
        evaluate(made.store, made.model, config, should_stop=lambda: True)


def test_baselines_that_cannot_be_made_are_said(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr")
    obs = store.table.copy()
    obs.obs["split"] = "test"
    store.write_table(obs)
    model = make.model(tmp_path / "model", store)
    config = EvaluateConfig(device="cpu", baselines=("unet",), most_cells=8)
    evaluation = evaluate(store, model, config)
    assert "unet_mae" not in evaluation.table
    assert evaluation.about["notes"] == [
        "Baselines left out: unet; a.cells.zarr has none of the cells that the model learnt from."
    ]
    assert evaluation.about["baseline"].startswith("all cells of the store")


def test_the_published_protocol_by_name(made: SimpleNamespace, tmp_path: Path) -> None:
    config = EvaluateConfig(
        device="cpu",
        published=True,
        parts=("train",),
        batch_size=16,
        baselines=("neighbour",),
        output=tmp_path,
    )
    found = evaluate(made.store, made.model, config)
    table = found.published.set_index(["stain", "kind"])
    assert {
        "reconstructed",
        "reconstructed_shared",
        "predicted",
        "predicted_full",
        "mean",
        "neighbour",
    } <= set(found.published["kind"])
    assert (table.xs("predicted", level="kind")["ratio"] == 1).all()
    assert ("CD4", "predicted_full") not in table.index  # its cells have no other protein
    # The mean of batch means by hand: one mode and one maximum for all images of a batch.
    obs = made.store.obs
    rows = obs.loc[((obs["panel"] == "DAPI/CD4") & (obs["split"] == "train")).to_numpy(), "row"].to_numpy()
    images = made.store.normalised("DAPI/CD4", rows)
    mean = images[:, 1].mean(axis=0)
    errors = []
    for start in range(0, len(rows), 16):
        truth = images[start : start + 16, 1]
        grey = np.rint(np.broadcast_to(mean, truth.shape) * 255).astype(int)
        above = np.maximum(mean - np.bincount(grey.ravel()).argmax() / 255, 0)
        errors.append(np.abs(above / above.max() - truth).mean())
    assert table.loc[("CD4", "mean"), "l1"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert table.loc[("CD4", "mean"), "batches"] == len(errors)
    assert (tmp_path / "published.csv").is_file()
    page = evaluation_page(found).write(tmp_path / "page.html")
    assert "By the published protocol" in page.read_text("utf-8")
    assert not len(evaluate(made.store, made.model, config.model_copy(update={"published": False})).published)
