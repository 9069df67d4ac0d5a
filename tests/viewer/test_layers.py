"""Output layers lie exactly where their source lies, and say what they show."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from napari_apollo.predict.colours import stain_colours
from napari_apollo.viewer import find_layers, preferences
from napari_apollo.viewer.layers import About, Frame, about, image_layer, labels_layer

NUMBER = st.floats(-50, 50)
SCALE = st.floats(0.05, 20)
UNITS = st.sampled_from(["um", "nm", "mm", "pixel"])


@given(
    scale=st.tuples(SCALE, SCALE),
    translate=st.tuples(NUMBER, NUMBER),
    rotate=st.floats(-180, 180),
    shear=st.floats(-1, 1),
    affine=st.tuples(st.floats(-30, 30), NUMBER, NUMBER, SCALE),
    unit=UNITS,
    point=st.tuples(st.floats(0, 20), st.floats(0, 30)),
)
@settings(max_examples=15, deadline=None)
def test_a_layer_lies_where_its_source_lies(
    scale: tuple[float, float],
    translate: tuple[float, float],
    rotate: float,
    shear: float,
    affine: tuple[float, float, float, float],
    unit: str,
    point: tuple[float, float],
) -> None:
    angle = np.deg2rad(affine[0])
    matrix = np.array(
        [
            [affine[3] * np.cos(angle), -np.sin(angle), affine[1]],
            [np.sin(angle), affine[3] * np.cos(angle), affine[2]],
            [0, 0, 1],
        ]
    )
    source = Image(
        np.zeros((20, 30)),
        scale=scale,
        translate=translate,
        rotate=rotate,
        shear=[shear],
        affine=matrix,
        units=(unit, unit),
        axis_labels=("row", "column"),
    )
    viewer = ViewerModel()
    for spec in (
        image_layer(np.ones((20, 30)), About("predicted", "i", "CD3"), Frame.of(source)),
        labels_layer(np.ones((20, 30), int), About("cells", "i"), Frame.of(source)),
    ):
        made = spec.add(viewer)
        assert np.allclose(made.data_to_world(point), source.data_to_world(point), rtol=1e-6, atol=1e-6)
        assert made.units == source.units
        assert made.axis_labels == source.axis_labels


def test_of_a_stack_the_last_two_axes_count() -> None:
    stack = Image(
        np.zeros((4, 20, 30)),
        scale=(3, 0.5, 0.25),
        translate=(7, 5, 6),
        units=("um",) * 3,
        axis_labels=("z", "y", "x"),
    )
    made = image_layer(np.zeros((20, 30)), About("predicted", "i", "CD3"), Frame.of(stack)).add(ViewerModel())
    assert np.allclose(made.data_to_world((2, 4)), stack.data_to_world((0, 2, 4))[1:])
    assert made.axis_labels == ("y", "x")


def test_micrometres_and_nanometres_still_line_up() -> None:
    """A layer without units would make napari forget those of all others."""
    viewer = ViewerModel()
    in_um = viewer.add_image(np.zeros((20, 30)), scale=(0.5, 0.5), units=("um", "um"))
    in_nm = viewer.add_image(np.zeros((20, 30)), scale=(500, 500), units=("nm", "nm"))
    for source in (in_um, in_nm):
        image_layer(np.zeros((20, 30)), About("predicted", "i", "CD3"), Frame.of(source)).add(viewer)
        labels_layer(np.zeros((20, 30), int), About("cells", "i"), Frame.of(source)).add(viewer)
    assert viewer.layers.units is not None
    to_um = [float((1 * layer.units[0]).to("um").magnitude) for layer in viewer.layers]
    extents = [layer.extent.world[1] * factor for layer, factor in zip(viewer.layers, to_um, strict=True)]
    assert np.allclose(extents, extents[0])


def test_pixel_size_gives_micrometres_and_none_gives_pixels() -> None:
    viewer = ViewerModel()
    known = image_layer(np.zeros((4, 4)), About("measured", "i", "CD3"), Frame.from_pixel_size((0.4, 0.3)))
    layer = known.add(viewer)
    assert np.allclose(layer.scale, (0.4, 0.3))
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    unknown = image_layer(np.zeros((4, 4)), About("measured", "i", "CD3"), Frame.from_pixel_size(None))
    assert [str(unit) for unit in unknown.add(viewer).units] == ["pixel"] * 2


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("measured", "CD3"),
        ("predicted", "CD3 (predicted from DAPI)"),
        ("reconstructed", "CD3 (reconstructed)"),
        ("reconstructed_shared", "CD3 (reconstructed, shared part)"),
    ],
)
def test_only_a_measured_channel_bears_the_bare_name(role: str, name: str) -> None:
    assert About(role, "i", "CD3", anchor="DAPI").name == name


def test_layers_are_found_by_what_they_show_not_by_their_names() -> None:
    viewer = ViewerModel()
    frame = Frame.from_pixel_size(None)
    for stain in ("CD3", "CD4"):
        image_layer(np.zeros((4, 4)), About("predicted", "i", stain, anchor="DAPI", model="m"), frame).add(
            viewer
        )
    viewer.add_image(np.zeros((4, 4)), name="CD3 (predicted from DAPI)")
    viewer.layers[0].name = "renamed"
    assert [layer.name for layer in find_layers(viewer, stain="CD3")] == ["renamed"]
    assert len(find_layers(viewer, role="predicted", model="m")) == 2
    assert about(viewer.layers[2]) is None
    assert viewer.layers[0].metadata["napari_apollo"]["role"] == "predicted"


def test_levels_become_one_multiscale_layer() -> None:
    viewer = ViewerModel()
    levels = [np.zeros((16, 16)), np.zeros((8, 8))]
    layer = image_layer(levels, About("measured", "i", "CD3"), Frame.from_pixel_size(0.5)).add(viewer)
    assert layer.multiscale
    single = image_layer(levels[:1], About("measured", "i", "CD3"), Frame.from_pixel_size(0.5)).add(viewer)
    assert not single.multiscale


def test_colours_are_stable_and_distinct() -> None:
    panel = ("DAPI", "CD4", "FOXP3", "CD8", "BCL6")
    colours = stain_colours(panel)
    assert len(set(colours.values())) == len(panel)
    assert stain_colours(("CD8", "DAPI"))["CD8"] == colours["CD8"]
    unknown = stain_colours(("DAPI", "Foo", "Bar", "CD4"))
    assert len(set(unknown.values())) == 4
    assert stain_colours(("Hoechst",))["Hoechst"] == colours["DAPI"]


def test_colours_may_be_the_person_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(preferences, "tell", told.append)
    given = preferences._read_colours("cd4 = #FF8800; gH2AX: magenta, CD8 = nothing, CD3")
    chosen = preferences.Preferences(colours=given)
    assert len(told) == 1
    assert "CD8 = nothing, CD3 cannot be read" in told[0]
    monkeypatch.setattr(preferences, "preferences", lambda: chosen)
    own = preferences.stain_colours(("DAPI", "CD4", "CD8", "gammaH2AX"))
    assert own["CD4"] == "#ff8800"
    assert own["gammaH2AX"] == "#ff00ff"
    assert {stain: own[stain] for stain in ("DAPI", "CD8")} == stain_colours(("DAPI", "CD8"))
    layer = image_layer(np.zeros((4, 4)), About("measured", "a", "CD4"), Frame.from_pixel_size(None))
    assert layer.kwargs["colormap"]["colors"][-1] == "#ff8800"


def test_of_a_large_layer_the_coarse_levels_are_computed() -> None:
    levels = [da.zeros((side, side), chunks=side) for side in (64, 32, 16)]
    spec = image_layer(levels, About("measured", "a.tif", "DAPI"), Frame.from_pixel_size(None))
    for most, overview, computed in (
        (10_000, 0, [True, True, True]),
        (5_000, 1_500, [False, True, True]),
        (5_000, 256, [False, False, True]),
        (5_000, 0, [False, False, False]),
    ):
        data = spec.realised(most, overview).data
        assert [isinstance(level, np.ndarray) for level in data] == computed
    assert all(isinstance(level, da.Array) for level in spec.data)
