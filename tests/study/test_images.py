"""Images of every kind come back as they were written: by stain name, in any part, with their scale."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_apollo.errors import ImageError, PanelMismatch, UnknownStain
from napari_apollo.study import FieldImage, StudyField, open_field

NAMES = ["DAPI", "CD4", "CD8"]
MINISBLACK: dict[str, Any] = {"photometric": "minisblack"}

# How a (c, y, x) image may lie in a TIFF: options for the writer, and the axes it is written with.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "ome": ("CYX", {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": NAMES}}}),
    "ome tiled": (
        "CYX",
        {"ome": True, "tile": (16, 32), "metadata": {"axes": "CYX", "Channel": {"Name": NAMES}}},
    ),
    "ome deflate": (
        "CYX",
        {
            "ome": True,
            "tile": (16, 16),
            "compression": "zlib",
            "predictor": True,
            "metadata": {"axes": "CYX"},
        },
    ),
    "ome samples": ("YXC", {"ome": True, "photometric": "rgb", "metadata": {"axes": "YXS"}}),
    "imagej": ("CYX", {"imagej": True, "metadata": {"axes": "CYX"}}),
    "pages": ("CYX", {**MINISBLACK, "metadata": None}),
    "pages big endian": ("CYX", {**MINISBLACK, "metadata": None, "byteorder": ">"}),
    "pages in strips": ("CYX", {**MINISBLACK, "metadata": None, "rowsperstrip": 5}),
    "shaped": ("CYX", MINISBLACK),
    "shaped with axes": ("CYX", {**MINISBLACK, "metadata": {"axes": "CYX"}}),
    "channels last": ("YXC", {**MINISBLACK, "metadata": {"axes": "YXC"}}),
    "channels last deflate": ("YXC", {**MINISBLACK, "compression": "zlib", "metadata": {"axes": "YXC"}}),
    "x before y": ("CXY", {**MINISBLACK, "metadata": {"axes": "CXY"}}),
    "channels in the middle": ("YCX", {**MINISBLACK, "compression": "zstd", "metadata": {"axes": "YCX"}}),
    "interleaved": ("YXC", {"photometric": "rgb", "planarconfig": "contig"}),
    "interleaved tiles": ("YXC", {"photometric": "rgb", "planarconfig": "contig", "tile": (16, 16)}),
    "planar": ("CYX", {"photometric": "rgb", "planarconfig": "separate", "metadata": None}),
    "planar lzw": ("CYX", {"photometric": "rgb", "planarconfig": "separate", "compression": "lzw"}),
    "lzw": ("CYX", {**MINISBLACK, "compression": "lzw", "rowsperstrip": 8}),
    "zstd": ("CYX", {**MINISBLACK, "compression": "zstd"}),
    "packbits": ("CYX", {**MINISBLACK, "compression": "packbits"}),
    "lzma tiles": ("CYX", {**MINISBLACK, "compression": "lzma", "tile": (32, 16)}),
    "jpeg 2000": ("CYX", {**MINISBLACK, "compression": "jpeg2000", "tile": (32, 32)}),
    "big": ("CYX", {**MINISBLACK, "bigtiff": True, "byteorder": ">", "tile": (16, 16)}),
}


def write(path: Path, pixels: np.ndarray, kind: str) -> Path:
    axes, options = KINDS[kind]
    tifffile.imwrite(
        path, np.ascontiguousarray(pixels.transpose(["CYX".index(axis) for axis in axes])), **options
    )
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tiff(kind: str, tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    image = open_field(make_field(write(tmp_path / "a.tif", pixels, kind)))
    assert image.stains == ("DAPI", "CD4", "CD8")
    assert image.shape == (37, 45)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    np.testing.assert_array_equal(image.read(), pixels)
    np.testing.assert_array_equal(image.lazy(), pixels)
    np.testing.assert_array_equal(
        image.read(["cd8", "DAPI"], slice(5, 30), slice(17, 18)), pixels[[2, 0], 5:30, 17:18]
    )


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("kind", ["pages big endian", "ome deflate", "planar lzw"])
def test_pixels_keep_their_kind(
    dtype: str, kind: str, tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    wanted = (pixels // 40).astype(dtype)
    image = open_field(make_field(write(tmp_path / "a.tif", wanted, kind)))
    assert image.read().dtype == image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image.read(), wanted)


edges = st.tuples(st.integers(-50, 50) | st.none(), st.integers(-50, 50) | st.none()).map(
    lambda ends: slice(*ends)
)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    y=edges,
    x=edges,
    stains=st.lists(st.sampled_from(NAMES), max_size=4),
)
def test_any_region_is_what_numpy_would_cut(
    tmp_path_factory, kind: str, y: slice, x: slice, stains: list[str]
) -> None:
    pixels = np.arange(3 * 37 * 45, dtype="u2").reshape(3, 37, 45)
    folder = tmp_path_factory.getbasetemp() / "regions"
    folder.mkdir(exist_ok=True)
    path = folder / f"{kind}.tif"
    if not path.exists():
        write(path, pixels, kind)
    image = open_field(StudyField(image=path, panel="dapi_cd4_cd8", donor="P", condition="c"))
    wanted = pixels[[NAMES.index(stain) for stain in stains], y, x]
    np.testing.assert_array_equal(image.read(stains, y, x), wanted)


def test_stains_are_found_by_name_never_by_position(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": ["cd8a", "CD-4", "dapi"]}})
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels[::-1])
    few = open_field(make_field(path, panel="DAPI/CD8"))
    np.testing.assert_array_equal(few.read(), pixels[[2, 0]])
    asked = open_field(make_field(path), stains=["CD4", "DAPI"])
    assert asked.stains == ("CD4", "DAPI")
    np.testing.assert_array_equal(asked.read(), pixels[[1, 2]])


def test_a_panel_that_the_file_does_not_have(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": NAMES}})
    with pytest.raises(PanelMismatch, match=r"a\.ome\.tif.*missing: CD16"):
        open_field(make_field(path, panel="DAPI/CD4/CD16"))
    image = open_field(make_field(path))
    with pytest.raises(UnknownStain, match="CD16"):
        image.read(["CD16"])
    with pytest.raises(UnknownStain, match="CD16"):
        open_field(make_field(path), stains=["CD16"])


def test_channels_of_the_manifest_name_the_file(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write(tmp_path / "a.tif", pixels, "pages")
    image = open_field(make_field(path, panel="DAPI/CD4", channels="CD4;-;DAPI"))
    np.testing.assert_array_equal(image.read(), pixels[[2, 0]])
    with pytest.raises(ImageError, match=r"has 3 channels.*names 2 \(CD4;DAPI\)"):
        open_field(make_field(path, panel="DAPI/CD4", channels="CD4;DAPI"))


def test_channels_of_the_manifest_overrule_names_without_meaning(
    tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": ["Cy5", "FITC", "UV"]}})
    image = open_field(make_field(path, channels="CD8;CD4;DAPI"))
    np.testing.assert_array_equal(image.read(), pixels[::-1])


def test_channels_of_the_manifest_may_not_swap_what_the_file_names(
    tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": NAMES}})
    with pytest.raises(PanelMismatch, match="contradicts"):
        open_field(make_field(path, channels="DAPI;CD8;CD4"))


@pytest.mark.parametrize(
    "names", [["C:0", "C:1", "C:2"], ["Channel 1", "Channel 2", "Channel 3"], ["0", "1", "2"]]
)
def test_names_that_only_count_are_no_names(
    names: list[str], tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": names}})
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels)


def test_a_file_that_names_some_channels_is_not_read_by_position(
    tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    """Its second channel has no name, and its third is CD8, which the panel has second."""
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "", "CD8"]}})
    with pytest.raises(PanelMismatch, match="missing: CD4; not asked for: channel 2"):
        open_field(make_field(path, panel="DAPI/CD8/CD4"))
    told = open_field(make_field(path, panel="DAPI/CD8/CD4", channels="DAPI;CD4;CD8"))
    np.testing.assert_array_equal(told.read(), pixels[[0, 2, 1]])
    with pytest.raises(PanelMismatch, match="contradicts"):
        open_field(make_field(path, panel="DAPI/CD8/CD4", channels="DAPI;CD8;CD4"))


def test_a_wrong_number_of_channels(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write(tmp_path / "a.tif", pixels, "pages")
    with pytest.raises(ImageError, match=r"has 3 channels.*has 4 stains.*column 'channels'"):
        open_field(make_field(path, panel="dapi_cd4_cd8_cd16"))


def test_a_file_of_one_channel(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels[0])
    np.testing.assert_array_equal(open_field(make_field(tmp_path / "a.tif", panel="DAPI")).read(), pixels[:1])


# --- where names are found ---------------------------------------------------------------------


def test_names_of_imagej_slices(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX", "Labels": ["CD8", "CD4", "DAPI"]})
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels[::-1])
    tifffile.imwrite(
        path, pixels, imagej=True, metadata={"axes": "CYX", "Labels": ["s1.tif", "s2.tif", "s3.tif"]}
    )
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels)


def test_names_of_pages(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for name, page in zip(["CD8", "CD4", "DAPI"], pixels, strict=True):
            file.write(page, metadata=None, extratags=[(285, "s", 0, name, True)])
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels[::-1])


@pytest.mark.parametrize(
    "description",
    ['{{"channel.target": "{}", "mibi": 1}}', "<?xml?><Image><Name>{}</Name></Image>"],
)
def test_names_in_the_descriptions_of_pages(
    description: str, tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for name, page in zip(["CD8", "CD4", "DAPI"], pixels, strict=True):
            file.write(page, metadata=None, description=description.format(name))
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels[::-1])


def test_names_in_the_json_of_tifffile(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, **MINISBLACK, metadata={"axes": "CYX", "Channel": {"Name": NAMES[::-1]}})
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels[::-1])


# --- z, t and axes that are not explained --------------------------------------------------------


@pytest.mark.parametrize("axes", ["ZCYX", "CZYX", "TZCYX", "TCZYX"])
@pytest.mark.parametrize("ome", [True, False])
def test_stacks_give_their_maximum_or_one_plane(axes: str, ome: bool, tmp_path: Path, make_field) -> None:
    stack = np.random.default_rng(0).integers(0, 60000, (4, 3, 20, 30), dtype="u2")  # z, c, y, x
    written = stack.transpose(["ZCYX".index(axis) for axis in axes if axis != "T"])
    written = written[None] if "T" in axes else written
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, written, ome=ome, photometric="minisblack", metadata={"axes": axes})
    np.testing.assert_array_equal(open_field(make_field(path)).read(), stack.max(axis=0))
    region = open_field(make_field(path, z=2)).read(["CD8"], slice(3, 9), slice(4, 20))
    np.testing.assert_array_equal(region, stack[2, 2:, 3:9, 4:20])
    with pytest.raises(ImageError, match=r"has 4 planes, and plane 4 is asked for.*0 to 3"):
        open_field(make_field(path, z=4))


def test_an_imagej_hyperstack_with_planes(tmp_path: Path, make_field) -> None:
    stack = np.random.default_rng(0).integers(0, 60000, (4, 3, 20, 30), dtype="u2")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(open_field(make_field(path)).read(), stack.max(axis=0))


def test_time_series_are_refused(tmp_path: Path, make_field) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((5, 3, 20, 30), "u2"), metadata={"axes": "TCYX"})
    with pytest.raises(ImageError, match="holds 5 time points"):
        open_field(make_field(path))


def test_planes_that_may_be_channels_are_not_guessed(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(ImageError, match=r"z-stack of one channel.*column 'channels'"):
        open_field(make_field(path))
    image = open_field(make_field(path, channels="CD8;CD4;DAPI"))
    np.testing.assert_array_equal(image.read(), pixels[::-1])


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((4, 3, 20, 30), MINISBLACK, "not explained"),
        ((4, 20, 30, 3), {"photometric": "rgb"}, "two axes"),
        ((20, 30, 5), MINISBLACK, "20 channels.*looks like the channels"),
        ((4, 3, 20, 30), {"photometric": "minisblack", "metadata": {"axes": "HCYX"}}, "axis 'H'"),
    ],
)
def test_axes_that_nobody_explained_are_refused(
    shape: tuple[int, ...], options: dict, words: str, tmp_path: Path, make_field
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, "u2"), **options)
    with pytest.raises(ImageError, match=words):
        open_field(make_field(path, panel="dapi_cd4_cd8_cd16_cd3"))


def test_a_file_of_several_images_is_refused(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, photometric="minisblack")
        file.write(pixels[:, :20, :20], photometric="minisblack")
    with pytest.raises(ImageError, match=r"holds 2 images \(3x37x45, 3x20x20\)"):
        open_field(make_field(path))


def test_pyramids_are_read_at_full_resolution(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        options: dict[str, Any] = {"tile": (16, 16), "compression": "zlib", **MINISBLACK}
        file.write(pixels, subifds=2, metadata={"axes": "CYX", "Channel": {"Name": NAMES}}, **options)
        file.write(pixels[:, ::2, ::2], subfiletype=1, **options)
        file.write(pixels[:, ::4, ::4], subfiletype=1, **options)
    np.testing.assert_array_equal(open_field(make_field(path)).read(), pixels)


def test_an_ome_tiff_spread_over_files(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    header = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">'
        '<Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="45" SizeY="37" SizeC="3" '
        'SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.25">{channels}{data}</Pixels></Image></OME>'
    )
    channels = "".join(
        f'<Channel ID="Channel:0:{i}" Name="{n}" SamplesPerPixel="1"/>' for i, n in enumerate(NAMES)
    )
    data = "".join(
        f'<TiffData IFD="0" FirstC="{i}" PlaneCount="1">'
        f'<UUID FileName="c{i}.ome.tif">urn:uuid:{i}</UUID></TiffData>'
        for i in range(3)
    )
    for i, page in enumerate(pixels):
        text = header.format(own=i, channels=channels, data=data)
        tifffile.imwrite(tmp_path / f"c{i}.ome.tif", page, description=text, metadata=None)
    image = open_field(make_field(tmp_path / "c0.ome.tif"))
    np.testing.assert_array_equal(image.read(), pixels)
    assert image.pixel_size_um == (0.25, 0.5)
    (tmp_path / "c2.ome.tif").unlink()
    with pytest.raises(ImageError):
        open_field(make_field(tmp_path / "c0.ome.tif"))


# --- scale -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "unit", "wanted"),
    [(0.5, "µm", 0.5), (325.0, "nm", 0.325), (0.0005, "mm", 0.5), (0.5, None, 0.5), (1.0, "pixel", None)],
)
def test_pixel_sizes_of_ome(
    size: float, unit: str | None, wanted: float | None, tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = tmp_path / "a.ome.tif"
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit} if unit else {}
    metadata = {"axes": "CYX", "PhysicalSizeX": size, "PhysicalSizeY": 2 * size, **units}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata)
    assert open_field(make_field(path)).pixel_size_um == (
        wanted if wanted is None else pytest.approx((2 * wanted, wanted))
    )


@pytest.mark.parametrize(
    ("resolution", "unit", "wanted"),
    [
        ((2, 4), "um", (0.25, 0.5)),
        ((2, 2), "\\u00B5m", (0.5, 0.5)),
        ((2000, 2000), "mm", (0.5, 0.5)),
        ((1, 1), "", None),
    ],
)
def test_pixel_sizes_of_imagej(
    resolution: tuple[float, float], unit: str, wanted: Any, tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, imagej=True, resolution=resolution, metadata={"axes": "CYX", "unit": unit})
    assert open_field(make_field(path)).pixel_size_um == (wanted and pytest.approx(wanted))


@pytest.mark.parametrize(
    ("resolution", "unit", "wanted"),
    [
        ((20000, 20000), "centimeter", (0.5, 0.5)),
        ((50800, 50800), "inch", (0.5, 0.5)),
        ((300, 300), "inch", None),
    ],
)
def test_pixel_sizes_of_plain_tiffs(
    resolution: tuple[float, float], unit: str, wanted: Any, tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, **MINISBLACK, resolution=resolution, resolutionunit=unit)
    assert open_field(make_field(path)).pixel_size_um == (wanted and pytest.approx(wanted))


def test_the_manifest_overrules_the_scale_of_a_file(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
    image = open_field(make_field(path, pixel_size_um=0.65))
    assert image.pixel_size_um == (0.65, 0.65)
    assert image.pixel_size_in_file == (0.5, 0.5)


# --- how it behaves ----------------------------------------------------------------------------------


@pytest.fixture
def tiled(tmp_path: Path) -> Path:
    path = tmp_path / "tiled.ome.tif"
    pixels = np.random.default_rng(0).integers(0, 60000, (3, 1024, 1024), dtype="u2")
    metadata = {"axes": "CYX", "Channel": {"Name": NAMES}}
    tifffile.imwrite(path, pixels, tile=(128, 128), compression="zlib", metadata=metadata)
    return path


def test_only_what_a_region_needs_is_read(tiled: Path, make_field, monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_field(make_field(tiled))
    read = []
    opened = Path.open

    def counting(path: Path, *args: Any, **kwargs: Any) -> Any:
        stream = opened(path, *args, **kwargs)
        original = stream.read

        class Counting:
            def __enter__(self) -> Counting:
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

            def seek(self, offset: int) -> int:
                return stream.seek(offset)

            def read(self, size: int) -> bytes:
                read.append(size)
                return original(size)

        return Counting()

    monkeypatch.setattr(Path, "open", counting)
    image.read(["CD4"], slice(100, 300), slice(130, 140))
    assert len(read) == 3  # tiles 0-127, 128-255 and 256-383 of one column
    assert sum(read) < tiled.stat().st_size / 50


def test_reading_holds_little_memory(tiled: Path, make_field) -> None:
    import tracemalloc

    image = open_field(make_field(tiled))
    image.read(["CD4"], slice(0, 1), slice(0, 1))
    tracemalloc.start()
    try:
        for start in range(0, 1024, 128):
            image.read(y=slice(start, start + 128), x=slice(start, start + 128))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # the region is 0.1 MB, the image 6.3 MB


def test_threads_share_an_image(tiled: Path, make_field) -> None:
    image = open_field(make_field(tiled))
    whole = image.read()
    parts = [(slice(y, y + 200), slice(x, x + 90)) for y in range(0, 1024, 200) for x in range(0, 1024, 90)]
    with ThreadPoolExecutor(8) as pool:
        for (y, x), part in zip(parts, pool.map(lambda part: image.read(None, *part), parts), strict=True):
            np.testing.assert_array_equal(part, whole[:, y, x])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")
@pytest.mark.parametrize("kind", ["ome", "ome deflate", "pages"])
def test_no_file_stays_open(kind: str, tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    field = make_field(write(tmp_path / "a.tif", pixels, kind))
    broken = tmp_path / "broken.tif"
    broken.write_bytes(field.image.read_bytes()[:-4000])
    open_field(field).read()
    before = open_files()
    kept: list[FieldImage] = []
    for _ in range(5):
        kept.append(open_field(field))
        kept[-1].read()
        with pytest.raises(ImageError):
            open_field(field.model_copy(update={"image": broken}))
    assert open_files() == before


def test_an_image_is_picklable(tiled: Path, make_field) -> None:
    image = open_field(make_field(tiled), stains=["CD8", "DAPI"])
    again = pickle.loads(pickle.dumps(image))
    assert again.stains == image.stains
    np.testing.assert_array_equal(again.read(x=slice(9)), image.read(x=slice(9)))


def test_the_lazy_image_has_blocks_of_stored_tiles(tiled: Path, make_field) -> None:
    lazy = open_field(make_field(tiled)).lazy()
    assert lazy.shape == (3, 1024, 1024)
    assert lazy.chunksize == (1, 1024, 1024)
    assert lazy.dtype == np.uint16


@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ({"tile": (256, 512)}, (1, 1024, 1024)),
        ({"rowsperstrip": 100, "compression": "zlib"}, (1, 300, 3000)),
        ({}, (1, 1024, 1024)),
    ],
)
def test_lazy_blocks_hold_whole_tiles_or_strips(
    options: dict[str, Any], chunks: tuple[int, ...], tmp_path: Path, make_field
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2000, 3000), "u1"), metadata=None, **options)
    assert open_field(make_field(tmp_path / "a.tif", panel="DAPI")).lazy().chunksize == chunks


def test_a_file_that_changes_is_not_read_by_old_knowledge(
    tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    image = open_field(make_field(write(tmp_path / "a.tif", pixels, "ome deflate")))
    write(tmp_path / "a.tif", pixels[:, :30], "pages")
    with pytest.raises(ImageError, match="was changed after it was opened"):
        image.read()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers(value: float, tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    wrong = pixels.astype("f4")
    wrong[1, 20, 31] = wrong[1, 30, 3] = value
    image = open_field(make_field(write(tmp_path / "a.tif", wrong, "pages")))
    with pytest.raises(ImageError, match=r"a\.tif: 2 pixels of CD4 are not finite.*y 20, x 31"):
        image.read()
    with pytest.raises(ImageError, match=r"1 pixels of CD4.*y 20, x 31"):
        image.read(y=slice(15, 25), x=slice(30, 40))
    image.read(["DAPI", "CD8"])


def test_steps_are_not_read(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    image = open_field(make_field(write(tmp_path / "a.tif", pixels, "pages")))
    with pytest.raises(ValueError, match="step of 1"):
        image.read(y=slice(0, 10, 2))


def test_reading_a_study_loads_neither_torch_nor_qt(tmp_path: Path, run_python: Callable[[str], str]) -> None:
    loaded = run_python(
        "import sys, napari_apollo.study; heavy = {'torch', 'qtpy', 'napari', 'zarr', 'pandas', 'skimage', "
        "'tifffile', 'dask'}; print(sorted(heavy & set(sys.modules)))"
    )
    assert loaded.strip() == "[]"


def test_a_slide_of_akoya(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    """QPTIFF: the channels in full, a thumbnail, the channels at half the size; names in the pages."""
    page = "<PerkinElmer-QPI-ImageDescription><Biomarker>{}</Biomarker></PerkinElmer-QPI-ImageDescription>"
    options: dict[str, Any] = {"metadata": None, "software": "PerkinElmer-QPI", "tile": (16, 16)}
    path = tmp_path / "slide.qptiff"
    with tifffile.TiffWriter(path) as file:
        for scale in (1, 2):
            for name, channel in zip(["CD8", "DAPI", "CD4"], pixels, strict=True):
                file.write(
                    channel[::scale, ::scale],
                    **options,
                    description=page.format(name),
                    subfiletype=scale - 1,
                    resolution=(20000, 20000),
                    resolutionunit="centimeter",
                )
            if scale == 1:
                file.write(
                    np.zeros((32, 32, 3), "u1"), photometric="rgb", **options, description=page.format("")
                )
    image = open_field(make_field(path))
    assert image.pixel_size_um == pytest.approx((0.5, 0.5))
    np.testing.assert_array_equal(image.read(), pixels[[1, 2, 0]])
