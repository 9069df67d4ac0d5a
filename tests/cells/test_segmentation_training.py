"""The network of the engine nuclei: its weights, its training, what is held out of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from safetensors import safe_open

from napari_apollo.cells.segmentation.annotated import annotated_images, held_out, typical_diameter
from napari_apollo.cells.segmentation.grid import Box
from napari_apollo.cells.segmentation.nuclei import WEIGHTS, NucleiEngine
from napari_apollo.cells.segmentation.scale import FieldScale
from napari_apollo.cells.segmentation.work import WorkField
from napari_apollo.errors import FileError, ImageError, LabelsError, ModelDamaged


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A small set of annotated images: discs on a grid."""
    y, x = np.indices((120, 120))
    for number in range(6):
        rng = np.random.default_rng(number)
        labels = np.zeros((120, 120), np.uint16)
        for row in range(15, 120, 30):
            for column in range(15, 120, 30):
                cy, cx = rng.normal((row, column), 2)
                labels[(y - cy) ** 2 + (x - cx) ** 2 <= rng.uniform(60, 100)] = labels.max() + 1
        image = (labels > 0) * 100 + rng.poisson(10, labels.shape)
        for kind, values in (("images", image.astype(np.uint8)), ("labels", labels)):
            (tmp_path / kind).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / kind / f"disc_{number}.tif", values)
    return tmp_path


def test_shipped_weights_are_small_and_say_what_they_were_trained_on() -> None:
    assert WEIGHTS.stat().st_size < 3_000_000
    with safe_open(WEIGHTS, "numpy") as file:
        training = json.loads(file.metadata()["training"])
    trained = {name for name in training["trained_on"] if name.startswith("kromp")}
    assert len(trained) > 20
    # What is held out is settled by names alone: these may not be among them.
    assert not trained & {"kromp/normal_0", "kromp/Neuroblastoma_17", "kromp/otherspecimen_0"}


def test_weights_that_are_missing_or_damaged_are_told(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    work = WorkField(lambda y, x: image[y, x], (64, 64), FieldScale(0, 1, 20), 20, "image")
    for content in (None, b"", WEIGHTS.read_bytes()[:5000]):
        path = tmp_path / f"{len(content or b'')}.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelDamaged, match="safetensors"):
            NucleiEngine(weights=path).maps(work, Box(0, 64, 0, 64))


def test_the_number_of_threads_changes_nothing() -> None:
    import torch

    image = np.random.default_rng(0).normal(size=(600, 500)).astype(np.float32)
    before = torch.get_num_threads()
    seen = []
    for outside, inside in ((1, 1), (3, 1), (2, 4)):
        torch.set_num_threads(outside)
        work = WorkField(lambda y, x: image[y, x], (600, 500), FieldScale(0, 1, 20), 20, "image")
        seen.append(NucleiEngine(threads=inside).maps(work, Box(0, 600, 0, 500)))
        assert torch.get_num_threads() == outside, "what others use is put back"
    torch.set_num_threads(before)
    for maps in seen[1:]:
        np.testing.assert_array_equal(maps.foreground, seen[0].foreground)
        np.testing.assert_array_equal(maps.landing, seen[0].landing)


def test_part_of_every_kind_is_held_out_by_name_alone() -> None:
    names = [f"{kind}_{number}" for kind in ("normal", "tumour") for number in range(20)]
    names += [f"{number:016x}" for number in range(30)]
    kept = held_out(names)
    assert sum(name.startswith("normal") for name in kept) == 6
    assert sum(name.startswith("tumour") for name in kept) == 6
    assert len(kept) == 6 + 6 + 9
    assert held_out(names[::-1]) == kept


def test_annotated_images_are_read_with_their_labels(annotated: Path) -> None:
    images = list(annotated_images(annotated))
    assert [item.name for item in images] == [f"{annotated.name}/disc_{n}" for n in range(6)]
    assert sum(item.held_out for item in images) == 2
    assert all(item.image.shape == item.labels.shape for item in images)
    tifffile.imwrite(annotated / "labels" / "disc_0.tif", np.zeros((5, 5), np.uint16))
    with pytest.raises(LabelsError, match=r"disc_0.*\(5, 5\)"):
        list(annotated_images(annotated))
    (annotated / "labels" / "disc_0.tif").unlink()
    with pytest.raises(ImageError, match="no labels"):
        list(annotated_images(annotated))
    with pytest.raises(FileError, match="images"):
        list(annotated_images(annotated / "labels"))


def test_the_typical_nucleus_is_that_of_the_middle_pixel() -> None:
    labels = np.zeros((50, 50), np.int32)
    labels[:20, :20] = 1  # 400 pixels, the majority
    for number in range(5):
        labels[30, 2 * number] = number + 2
    assert typical_diameter(labels) == pytest.approx(np.sqrt(4 * 400 / np.pi))


def centroid(labels: NDArray[np.int32], label: int) -> NDArray[np.float64]:
    return np.argwhere(labels == label).mean(axis=0)


def test_scenes_say_where_the_centres_are(annotated: Path) -> None:
    from napari_apollo.cells.segmentation.network import DIAMETER
    from napari_apollo.cells.segmentation.nuclei_scenes import Scenes
    from napari_apollo.cells.segmentation.nuclei_training import targets

    scenes = Scenes([item for item in annotated_images(annotated) if not item.held_out], 96, seed=0)
    whole = 0
    for _ in range(30):
        scene = scenes.next()
        wanted, weight = targets(scene)
        assert scene.image.shape == scene.labels.shape == weight.shape == wanted.shape[1:] == (96, 96)
        assert np.isfinite(scene.image).all()
        np.testing.assert_array_equal(weight > 0, scene.labels >= 0)
        np.testing.assert_array_equal(wanted[0] > 0, scene.labels > 0)
        edge = {*scene.labels[0], *scene.labels[-1], *scene.labels[:, 0], *scene.labels[:, -1]}
        beyond = {*scene.labels[ring(scene.labels == -1)]}
        for label in set(np.unique(scene.labels)) - edge - beyond - {0, -1}:
            inside = scene.labels == label
            if inside.sum() < 60:
                continue  # half hidden by another nucleus
            y, x = np.argwhere(inside).T
            landing = np.stack([y + DIAMETER * wanted[1][inside], x + DIAMETER * wanted[2][inside]])
            assert np.ptp(landing, axis=1).max() < 0.01, "all pixels name one centre"
            np.testing.assert_allclose(landing.mean(axis=1), centroid(scene.labels, label), atol=1.5)
            whole += 1
    assert whole > 30


def ring(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=2) & ~mask)


def test_the_same_seed_draws_the_same_scenes(annotated: Path) -> None:
    from napari_apollo.cells.segmentation.nuclei_scenes import Scenes

    images = list(annotated_images(annotated))
    first, second = Scenes(images, 64, seed=3), Scenes(images, 64, seed=3)
    for _ in range(5):
        np.testing.assert_array_equal(first.next().image, second.next().image)


def test_training_writes_weights_that_the_engine_takes(annotated: Path, tmp_path: Path) -> None:
    from napari_apollo.cells.segmentation.nuclei_training import train_network

    output = tmp_path / "new.safetensors"
    train_network([annotated], output, steps=3, batch=2, side=64, rate=1e-3, seed=0)
    with safe_open(output, "numpy") as file:
        training = json.loads(file.metadata()["training"])
    assert training["steps"] == 3
    assert len(training["trained_on"]) == 4
    image = next(annotated_images(annotated)).image
    work = WorkField(lambda y, x: image[y, x], (120, 120), FieldScale(10, 110, 18), 20, "image")
    maps = NucleiEngine(weights=output).maps(work, Box(0, *work.shape[:1], 0, work.shape[1]))
    assert maps.foreground.shape == work.shape
