"""Batches: resident, streamed, and what the store would have said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_apollo.cells import CellStore
from napari_apollo.errors import DataError
from napari_apollo.model.modality import CHROMATIN, PROTEIN
from napari_apollo.train import TrainConfig
from napari_apollo.train.augment import turn, turned
from napari_apollo.train.data import Batch, CellData, Crops, Observed, View
from napari_apollo.train.dataset import TRAIN, open_dataset

CPU = torch.device("cpu")


@pytest.mark.parametrize("every_protein", [False, True])
@pytest.mark.parametrize("resident", [False, True])
def test_batches_hold_what_the_store_gives(
    make_store: Callable[..., CellStore], every_protein: bool, resident: bool
) -> None:
    store = make_store()
    dataset = open_dataset(store, TrainConfig())
    data = dataset.cells(TRAIN, CPU, every_protein=every_protein)
    if resident:
        data.to_device()
    chosen = dataset.split.cells(TRAIN)
    plan = [np.array([3, 60, 1]), np.arange(10, 20)]
    for wanted, batch in zip(plan, data.batches(plan), strict=True):
        assert batch.cells.tolist() == wanted.tolist()
        chromatin, protein = batch.views[CHROMATIN], batch.views[PROTEIN]
        seen = 0
        for position, cell in enumerate(chosen[wanted]):
            panel = dataset.panels[dataset.obs["panel"][cell]]
            images = store.normalised(panel.name, [dataset.obs["row"][cell]])[0]
            np.testing.assert_array_equal(
                chromatin.values[position, 0].numpy(), images[panel.index(panel.anchor)]
            )
            stains = panel.proteins if every_protein else [dataset.stain(cell, dataset.protein[cell])]
            for stain in stains:
                assert int(protein.cell[seen]) == position
                assert dataset.vocabulary[int(protein.stain[seen])] == stain
                np.testing.assert_array_equal(protein.values[seen, 0].numpy(), images[panel.index(stain)])
                seen += 1
        assert seen == len(protein.values)


def test_streaming_passes_errors_on_and_ends_its_thread() -> None:
    def read(rows: np.ndarray) -> np.ndarray:
        if (rows > 5).any():
            raise DataError("row 6 cannot be read")
        return np.zeros((len(rows), 4, 4), np.uint8)

    crops = Crops(read, np.zeros(9), np.ones(9), np.dtype(np.uint8))
    data = CellData({CHROMATIN: Observed(crops, np.arange(9)[:, None], np.zeros(9, np.int64))}, CPU)
    seen = []
    with pytest.raises(DataError, match="row 6"):
        for batch in data.batches([np.arange(3), np.arange(3, 6), np.arange(6, 9)]):
            seen += batch.cells.tolist()
    assert seen == [0, 1, 2, 3, 4, 5]
    for _ in data.batches([np.arange(3)] * 50):
        break  # leaving early must not hang


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_every_pixel_type_becomes_the_same_values(dtype: type) -> None:
    acquired = np.array([[[0, 100], [200, 127]], [[5, 50], [60, 70]]]).astype(dtype)
    if dtype is np.uint16:
        acquired[0, 1, 0] = 60_000
    crops = Crops(lambda rows: acquired[rows], np.array([50, 0]), np.array([150, 0]), acquired.dtype)
    crops.to_device(CPU)
    values = crops.take(torch.tensor([1, 0]))
    assert values.shape == (2, 1, 2, 2)
    assert (values[0] == 0).all()  # equal limits
    np.testing.assert_allclose(values[1, 0].numpy(), [[0, 0.5], [1, 0.77]], atol=1e-7)


def test_turns_are_the_symmetries_of_the_square() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    eight = turned(image.expand(8, 1, 3, 3), torch.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in eight}) == 8
    assert torch.equal(eight[0], image[0])
    assert torch.equal(eight[5], image[0].flip(-1).transpose(-1, -2))


def test_all_images_of_a_cell_are_turned_alike() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 1, 5, 5)
    index = torch.arange(40)
    twice = torch.cat([images, images])
    views = {
        "a": View(images, index, index, index),
        "b": View(twice, torch.cat([index, index]), torch.cat([index, index]), torch.arange(80)),
        "t": View(torch.rand(40, 7), index, index, index),
    }
    batch, kept = turn(Batch(index, views))
    assert torch.equal(batch.views["b"].values[:40], batch.views["a"].values)
    assert torch.equal(batch.views["b"].values[40:], batch.views["a"].values)
    assert torch.equal(batch.views["t"].values, views["t"].values)
    assert torch.equal(batch.views["a"].values[kept], images[kept])
    changed = (batch.views["a"].values != images).flatten(1).any(1)
    assert torch.equal(changed, ~kept)
    assert 8 <= int(kept.sum()) <= 32
