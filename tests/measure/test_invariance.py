"""What may not change a value, for the published name space and for stacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_apollo.measure import MeasureConfig, measure_field, measure_stack

COMPAT = MeasureConfig(name_space="compat", workers=1)
BOTH = MeasureConfig(name_space="both", workers=1)
STAINS = ("DAPI", "CD3", "gammaH2AX")
few = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def small(forms):
    return forms.make_field(seed=5, side=96)


@pytest.fixture(scope="module")
def published(small):
    return of_field(small)


def of_field(field, config=COMPAT, **changes):
    parts = {name: changes.get(name, getattr(field, name)) for name in ("image", "labels", "cells", "stains")}
    return measure_field(parts["image"], parts["labels"], parts["cells"], parts["stains"], 0.5, config)


@pytest.mark.parametrize(("tile", "batch", "workers"), [(64, 4, 1), (70, 3, 2), (200, 2, 1)])
def test_tiles_batches_and_threads_change_no_published_value(small, published, tile, batch, workers):
    config = MeasureConfig(name_space="compat", tile_px=tile, batch=batch, workers=workers)
    pd.testing.assert_frame_equal(of_field(small, config), published, check_exact=True)


@few
@given(seed=st.integers(0, 2**32 - 1))
def test_numbers_of_labels_change_no_published_value(small, published, seed):
    new = np.random.default_rng(seed).choice(np.arange(1, 5000), small.labels.max(), replace=False)
    new = np.concatenate([[0], new])
    found = of_field(small, labels=new[small.labels], cells=new[small.cells])
    found = found.loc[new[published.index]].set_axis(published.index)
    pd.testing.assert_frame_equal(found, published, check_exact=True)


@few
@given(top=st.integers(0, 30), left=st.integers(0, 30), bottom=st.integers(0, 9), right=st.integers(0, 9))
def test_translation_and_padding_change_no_published_value(small, published, top, left, bottom, right):
    pad = ((top, bottom), (left, right))
    found = of_field(
        small,
        image=np.pad(small.image, ((0, 0), *pad), constant_values=7),
        labels=np.pad(small.labels, pad),
        cells=np.pad(small.cells, pad),
    )
    pd.testing.assert_frame_equal(found, published, check_exact=False, rtol=1e-9, atol=1e-12)


@few
@given(label=st.integers(1, 9))
def test_other_cells_change_no_published_value(small, published, label):
    alone = of_field(
        small,
        labels=np.where(small.labels == label, label, 0),
        cells=np.where(small.cells == label, label, 0),
    )
    pd.testing.assert_frame_equal(alone, published.loc[[label]], check_exact=True)


@pytest.mark.parametrize("order", [(2, 0, 1), (2, 1, 0)])
def test_order_of_channels_changes_no_published_value(small, published, order):
    found = of_field(small, image=small.image[list(order)], stains=[STAINS[k] for k in order])
    pd.testing.assert_frame_equal(found[list(published)], published, check_exact=True)


@pytest.fixture(scope="module")
def stack():
    """Two nuclei that are no bodies of revolution, in three stains, far from each other and from the edge."""
    rng = np.random.default_rng(8)
    labels = np.zeros((12, 44, 84), np.int32)
    z, y, x = np.indices(labels.shape)
    labels[((z - 5) / 4) ** 2 + ((y - 21) / 13) ** 2 + ((x - 20) / 10) ** 2 <= 1] = 2
    bean = ((z - 6) / 4) ** 2 + ((y - 22) / 12) ** 2 + ((x - 62) / 13) ** 2 <= 1
    labels[bean & ~((y > 24) & (x > 64))] = 5
    labels = np.pad(labels, ((3, 3), (12, 12), (12, 12)))
    return rng.integers(50, 900, (3, *labels.shape)).astype(np.uint16), labels


@pytest.fixture(scope="module")
def of_stack(stack):
    return measure_stack(*stack, STAINS, (0.5, 0.2, 0.2), BOTH)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirror", [(), (-1,), (-3,), (-3, -1)])
def test_quarter_turns_and_mirrors_change_no_value_of_a_stack(stack, turns, mirror):
    def turned(array):
        return np.ascontiguousarray(np.flip(np.rot90(array, turns, axes=(-2, -1)), mirror))

    config = MeasureConfig(workers=1)
    before = measure_stack(*stack, STAINS, (0.5, 0.2, 0.2), config)
    after = measure_stack(*map(turned, stack), STAINS, (0.5, 0.2, 0.2), config)
    assert not any(about["turns"] for about in before.attrs["var"].values())
    pd.testing.assert_frame_equal(after, before, check_exact=False, rtol=1e-9, atol=1e-12)


def test_axes_of_cubic_voxels_change_no_form(stack):
    image, labels = stack
    config = MeasureConfig(workers=1)
    before = measure_stack(image, labels, STAINS, (0.3, 0.3, 0.3), config)
    after = measure_stack(
        image.transpose(0, 3, 1, 2), labels.transpose(2, 0, 1), STAINS, (0.3, 0.3, 0.3), config
    )
    # The radial profile erodes by less in z than in y and x, as its definition says.
    free = [name for name in before if "_rdp_" not in name]
    pd.testing.assert_frame_equal(after[free], before[free], check_exact=False, rtol=1e-9, atol=1e-12)


@few
@given(pads=st.lists(st.integers(0, 7), min_size=6, max_size=6))
def test_translation_and_padding_change_no_value_of_a_stack(stack, of_stack, pads):
    image, labels = stack
    pad = tuple(zip(pads[::2], pads[1::2], strict=True))
    found = measure_stack(
        np.pad(image, ((0, 0), *pad), constant_values=3), np.pad(labels, pad), STAINS, (0.5, 0.2, 0.2), BOTH
    )
    pd.testing.assert_frame_equal(found, of_stack, check_exact=False, rtol=1e-9, atol=1e-12)


def test_other_nuclei_and_threads_change_no_value_of_a_stack(stack, of_stack):
    image, labels = stack
    alone = measure_stack(image, np.where(labels == 5, labels, 0), STAINS, (0.5, 0.2, 0.2), BOTH)
    pd.testing.assert_frame_equal(alone, of_stack.loc[[5]], check_exact=True)
    threads = MeasureConfig(name_space="both", workers=3)
    pd.testing.assert_frame_equal(
        measure_stack(image, labels, STAINS, (0.5, 0.2, 0.2), threads), of_stack, check_exact=True
    )


def test_order_of_channels_changes_no_value_of_a_stack(stack, of_stack):
    image, labels = stack
    found = measure_stack(image[[1, 2, 0]], labels, ("CD3", "gammaH2AX", "DAPI"), (0.5, 0.2, 0.2), BOTH)
    pd.testing.assert_frame_equal(found[list(of_stack)], of_stack, check_exact=True)
