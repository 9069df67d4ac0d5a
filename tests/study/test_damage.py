"""Damaged files: an error that names the file, or the right pixels; never anything else.

What is checked is the promise of the reading room: whatever bytes are in a file, opening and
reading it ends in a typed error or in an array of the size and kind that it declares, without
taking memory at the word of the file. Where the codec carries checksums, the pixels are right too.
"""

from __future__ import annotations

import logging
import os
import struct
import tracemalloc
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_apollo.errors import ImageError, InputError
from napari_apollo.study import StudyField, open_field

NAMES = ["DAPI", "CD4", "CD8"]
METADATA = {"axes": "CYX", "Channel": {"Name": NAMES}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
KINDS: dict[str, dict[str, Any]] = {
    "ome": {"ome": True, "metadata": METADATA},
    "ome deflate": {"ome": True, "tile": (16, 16), "compression": "zlib", "metadata": METADATA},
    "imagej": {"imagej": True, "metadata": {"axes": "CYX", "Labels": NAMES}},
    "pages": {"photometric": "minisblack", "metadata": None},
    "lzw": {"photometric": "minisblack", "metadata": None, "compression": "lzw", "rowsperstrip": 8},
    "big": {"photometric": "minisblack", "bigtiff": True, "byteorder": ">", "compression": "zstd"},
    "planar": {"photometric": "rgb", "planarconfig": "separate", "metadata": None},
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, bytes]:
    y, x = np.mgrid[:20, :24]
    pixels = np.stack([500 * np.sin(y / 5 + c) * np.cos(x / 7) + 900 for c in range(3)]).astype("u2")
    folder = tmp_path_factory.mktemp("originals")
    content = {"pixels": pixels.tobytes()}
    for kind, options in KINDS.items():
        tifffile.imwrite(folder / "a.tif", pixels, **options)
        content[kind] = (folder / "a.tif").read_bytes()
    return content


def outcome(path: Path, content: bytes) -> np.ndarray | InputError:
    """What reading these bytes ends in; anything but pixels or a typed error fails the test."""
    path.write_bytes(content)
    try:
        image = open_field(StudyField(image=path, panel="dapi_cd4_cd8", donor="P", condition="c"))
        pixels = image.read()
    except InputError as error:
        return error if str(path) in str(error) else pytest.fail(f"the file is not named: {error}")
    assert pixels.shape == (3, *image.shape)
    assert pixels.dtype == image.dtype
    return pixels


def is_right(pixels: np.ndarray | InputError, originals: dict[str, bytes]) -> bool:
    return isinstance(pixels, np.ndarray) and pixels.tobytes() == originals["pixels"]


def directories(content: bytes) -> Iterator[tuple[int, int]]:
    """First byte and number of entries of every directory of a classic or big TIFF."""
    order = "<" if content[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    number, offset_size, entry = ("Q", 8, 20) if big else ("H", 4, 12)
    offset_format = order + ("Q" if big else "I")
    (offset,) = struct.unpack_from(offset_format, content, 8 if big else 4)
    while offset:
        (entries,) = struct.unpack_from(order + number, content, offset)
        yield offset, entries
        after = offset + struct.calcsize(order + number) + entries * entry
        assert len(content) >= after + offset_size
        (offset,) = struct.unpack_from(offset_format, content, after)


@pytest.mark.parametrize("kind", KINDS)
def test_the_originals_are_right(kind: str, tmp_path: Path, originals: dict[str, bytes]) -> None:
    assert is_right(outcome(tmp_path / "a.tif", originals[kind]), originals)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_at_every_boundary(kind: str, tmp_path: Path, originals: dict[str, bytes]) -> None:
    content = originals[kind]
    ends = {0, 1, 2, 4, 8, 16, len(content) // 2, len(content) - 200}
    for offset, entries in directories(content):
        ends |= {offset - 1, offset, offset + 1, offset + 2, offset + 8, offset + 2 + 12 * entries}
    for end in sorted(end for end in ends if 0 <= end < len(content)):
        result = outcome(tmp_path / "a.tif", content[:end])
        # A file may end in padding; without that it still is whole.
        assert isinstance(result, InputError) or is_right(result, originals), end


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_that_are_cut_off_are_no_zeros(kind: str, tmp_path: Path, originals: dict[str, bytes]) -> None:
    content = originals[kind]
    with tifffile.TiffFile(tmp_path / "a.tif") if (tmp_path / "a.tif").write_bytes(content) else None as file:
        last = max(
            offset + count
            for page in file.pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
        if kind == "imagej":
            last = file.pages[0].dataoffsets[0] + len(originals["pixels"])
    assert isinstance(outcome(tmp_path / "a.tif", content[: last - 1]), InputError)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits(kind: str, seed: int, tmp_path: Path, originals: dict[str, bytes]) -> None:
    random = np.random.default_rng(seed)
    for _ in range(60):
        content = bytearray(originals[kind])
        content[random.integers(len(content))] ^= 1 << int(random.integers(8))
        result = outcome(tmp_path / "a.tif", bytes(content))
        if kind == "ome deflate":  # zlib has checksums: what comes out is right
            assert isinstance(result, InputError) or is_right(result, originals)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 255])
def test_overwritten_stretches(kind: str, value: int, tmp_path: Path, originals: dict[str, bytes]) -> None:
    random = np.random.default_rng(value)
    for _ in range(40):
        content = bytearray(originals[kind])
        start, length = int(random.integers(len(content))), int(random.integers(1, 80))
        content[start : start + length] = bytes([value]) * len(content[start : start + length])
        outcome(tmp_path / "a.tif", bytes(content))


@pytest.mark.parametrize("kind", ["pages", "ome", "lzw", "big"])
def test_the_directories_of_a_damaged_file(kind: str, tmp_path: Path, originals: dict[str, bytes]) -> None:
    """Every bit of the first directory: a flip there is found, or does not change the pixels.

    Left undetected may be what no reader can tell: an offset of pixels that lands between others,
    or a codec that decodes to as many bytes as the right one.
    """
    content = originals[kind]
    offset, entries = next(directories(content))
    wrong = 0
    for position in range(offset, offset + 2 + entries * (20 if kind == "big" else 12)):
        for bit in (0, 2, 7):
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            result = outcome(tmp_path / "a.tif", bytes(flipped))
            wrong += isinstance(result, np.ndarray) and not is_right(result, originals)
    assert wrong <= 3


def patched(content: bytes, tag: int, value: int) -> bytes:
    """A classic little-endian TIFF with the value of a tag of its first directory changed."""
    offset, entries = next(directories(content))
    changed = bytearray(content)
    for place in range(offset + 2, offset + 2 + 12 * entries, 12):
        code, kind = struct.unpack_from("<HH", content, place)
        if code == tag:
            struct.pack_into("<H2x" if kind == 3 else "<I", changed, place + 8, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("kind", "tag", "value"),
    [
        *product(["pages", "lzw", "ome", "ome deflate", "planar"], [256, 257], [0, 60_000]),
        *product(["pages", "lzw", "ome", "ome deflate"], [258], [64]),
        *product(["pages", "lzw", "ome", "ome deflate", "planar"], [277], [5_000]),
        *product(["pages", "lzw", "ome", "planar"], [278], [60_000]),
        *product(["ome deflate"], [322, 323], [60_000]),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_allocated(
    kind: str, tag: int, value: int, tmp_path: Path, originals: dict[str, bytes]
) -> None:
    content = patched(originals[kind], tag, value)
    assert content != originals[kind]
    tracemalloc.start()
    try:
        result = outcome(tmp_path / "a.tif", content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # More rows in a strip than the image has means one strip, which may be what it is.
    assert isinstance(result, InputError) or (tag == 278 and is_right(result, originals))
    assert peak < 20_000_000


def test_an_enormous_size_is_refused(tmp_path: Path, originals: dict[str, bytes], make_field) -> None:
    content = patched(patched(originals["lzw"], 256, 2**31), 257, 2**31)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"incorrect StripByteCounts|which cannot be"):
        open_field(make_field(tmp_path / "a.tif"))


def test_a_strip_cannot_grow_beyond_what_its_codec_can_do(tmp_path: Path, make_field) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((20, 24), "u2"), compression="lzw", metadata=None)
    content = path.read_bytes()
    for tag in (256, 257, 278):
        content = patched(content, tag, 60_000)
    path.write_bytes(content)
    with pytest.raises(ImageError, match="7200000000 bytes cannot come from the"):
        open_field(make_field(path, panel="DAPI"))


def test_directories_in_a_circle(tmp_path: Path, originals: dict[str, bytes], make_field) -> None:
    content = bytearray(originals["pages"])
    (first, _), *_, (last, entries) = directories(originals["pages"])
    struct.pack_into("<I", content, last + 2 + 12 * entries, first)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match="reached twice"):
        open_field(make_field(tmp_path / "a.tif"))


def test_a_directory_of_very_many_entries(tmp_path: Path, make_field) -> None:
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 65535) + bytes(12 * 65535 + 4))
    with pytest.raises(ImageError, match="claims 65535 entries"):
        open_field(make_field(tmp_path / "a.tif"))


def test_a_tag_of_a_bogus_length(tmp_path: Path, originals: dict[str, bytes], make_field) -> None:
    content = bytearray(originals["planar"])
    offset, entries = next(directories(originals["planar"]))
    for place in range(offset + 2, offset + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, place)[0] == 273:
            struct.pack_into("<I", content, place + 4, 2**32 - 1)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"entry 273.*outside of the"):
        open_field(make_field(tmp_path / "a.tif"))


def test_tiles_that_were_never_written(tmp_path: Path, make_field) -> None:
    def tiles() -> Iterator[np.ndarray | None]:
        yield np.ones((16, 16), "u2")
        yield None
        yield from [np.ones((16, 16), "u2")] * 10

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tiles(), shape=(3, 32, 32), dtype="u2", tile=(16, 16), photometric="minisblack")
    with pytest.raises(ImageError, match="1 of the 4 parts of a plane were never written"):
        open_field(make_field(path))


def test_pages_that_are_missing(tmp_path: Path, make_field) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.ones((3, 20, 20), "u2"), metadata=METADATA, compression="zlib")
    content = path.read_bytes()
    last, entries = list(directories(content))[-2]
    broken = bytearray(content)
    struct.pack_into("<I", broken, last + 2 + 12 * entries, 0)
    path.write_bytes(broken)
    with pytest.raises(ImageError, match=r"a\.ome\.tif"):
        open_field(make_field(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"just some text, no image at all", "is not a TIFF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is not a TIFF but a PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "is not a TIFF but a JPEG"),
        (b"PK\x03\x04" + bytes(40), "is not a TIFF but a ZIP"),
        (b"II*\0", "ends after 4 bytes"),
        (b"II*\0\0\0\0\0", "did not finish"),
        (b"II*\0\xff\xff\xff\0", "a directory should be at byte"),
        (b"II+\0\x08\0\0\0", "beginning of a BigTIFF"),
    ],
)
def test_what_is_no_tiff(content: bytes, words: str, tmp_path: Path, make_field) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\.tif: {words}|a\.tif: .*{words}"):
        open_field(make_field(tmp_path / "a.tif"))


def test_what_is_no_file(tmp_path: Path, make_field) -> None:
    with pytest.raises(ImageError, match="no such file"):
        open_field(make_field(tmp_path / "none.tif"))
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(ImageError, match="names no TIFF file"):
        open_field(make_field(tmp_path / "folder.tif"))
    with pytest.raises(ImageError, match="cannot be read"):
        open_field(make_field(tmp_path / ("long" * 200 + ".tif")))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.tif")
        with pytest.raises(ImageError, match=r"pipe\.tif: is no file"):
            open_field(make_field(tmp_path / "pipe.tif"))
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    with pytest.raises(ImageError):
        open_field(make_field(tmp_path / "loop.tif"))


def test_a_file_that_vanishes_while_it_is_read(
    tmp_path: Path, originals: dict[str, bytes], make_field
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(originals["ome deflate"])
    image = open_field(make_field(path))
    path.unlink()
    with pytest.raises(ImageError, match="no such file"):
        image.read()


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_pixels_of_another_kind(dtype: str, tmp_path: Path, make_field) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 20, 30), dtype), photometric="minisblack")
    with pytest.raises(ImageError, match=f"pixels of kind {dtype}"):
        open_field(make_field(tmp_path / "a.tif"))


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.CRITICAL + 1])
def test_damage_is_found_whatever_is_logged(
    level: int, tmp_path: Path, originals: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("tifffile")
    monkeypatch.setattr(logger, "level", level)
    handlers = list(logger.handlers)
    content = originals["ome deflate"].replace(b'SizeC="3"', b'SizeC="4"')
    assert isinstance(outcome(tmp_path / "a.tif", content), ImageError)
    assert (logger.level, logger.handlers) == (level, handlers)


def test_the_header_of_ome_has_to_fit_the_pages(tmp_path: Path, originals: dict[str, bytes]) -> None:
    for old, new in [
        (b'SizeX="24"', b'SizeX="25"'),
        (b'SizeC="3"', b'SizeC="4"'),
        (b'"uint16"', b'"uint32"'),
    ]:
        assert old in originals["ome deflate"]
        result = outcome(tmp_path / "a.tif", originals["ome deflate"].replace(old, new))
        assert isinstance(result, ImageError)
