"""Label images: numbers are identities and are kept; what is no label image is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_apollo.errors import LabelsError
from napari_apollo.study import open_labels

LARGEST = 2**31 - 1


def write(path: Path, labels: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, labels, **options)
    return path


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.uint32, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
        elements=st.integers(0, 120),
    )
)
def test_numbers_come_back_as_they_are(tmp_path_factory, labels: np.ndarray) -> None:
    path = write(tmp_path_factory.mktemp("l") / "l.tif", labels, compression="zlib")
    opened = open_labels(path, labels.shape)
    assert opened.shape == labels.shape
    assert opened.read().dtype == np.int32
    np.testing.assert_array_equal(opened.read(), labels)
    np.testing.assert_array_equal(opened.read(slice(1, -1), slice(2, 5)), labels[1:-1, 2:5])


def test_gaps_in_the_numbers_are_kept(tmp_path: Path) -> None:
    labels = np.zeros((40, 50), "u4")
    labels[3:6, 3:6], labels[10:20, 30:40] = 7, LARGEST
    opened = open_labels(write(tmp_path / "l.tif", labels))
    np.testing.assert_array_equal(opened.lazy(), labels)
    assert set(np.unique(opened.read())) == {0, 7, LARGEST}
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened)).read(), labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.ones((40, 50), "f4"), r"holds floats \(float32\).*astype\('int32'\)"),
        (np.ones((5, 40, 50), "u2"), "no label image of one plane"),
        (np.ones((40, 50, 3), "u1"), "no label image of one plane"),
        (np.ones((50, 40), "u2"), "50 x 40 pixels, its image 40 x 50"),
        (np.ones((40, 50), bool), "pixels of kind bool"),
    ],
)
def test_what_is_no_label_image(labels: np.ndarray, words: str, tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=rf"l\.tif: .*{words}"):
        open_labels(write(tmp_path / "l.tif", labels), (40, 50))


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (-3, "i4", "negative label -3"),
        (2**31, "u4", "label 2147483648"),
        (2**40, "i8", "label 1099511627776"),
    ],
)
def test_numbers_that_are_no_labels(value: int, dtype: str, words: str, tmp_path: Path) -> None:
    labels = np.ones((40, 50), dtype)
    labels[20, 30] = value
    opened = open_labels(write(tmp_path / "l.tif", labels))
    np.testing.assert_array_equal(opened.read(slice(0, 10)), 1)
    with pytest.raises(LabelsError, match=words):
        opened.read()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="no such file"):
        open_labels(tmp_path / "none.tif")
    (tmp_path / "l.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(LabelsError, match="not a TIFF but a PNG"):
        open_labels(tmp_path / "l.png")
    path = write(tmp_path / "l.tif", np.ones((40, 50), "u2"), compression="zlib")
    opened = open_labels(path)
    stored = bytearray(path.read_bytes())
    stored[-8:] = bytes(8)
    path.write_bytes(stored)
    with pytest.raises(LabelsError, match=r"l\.tif"):
        opened.read()
    with pytest.raises(LabelsError, match=r"l\.tif"):
        open_labels(path).read()
