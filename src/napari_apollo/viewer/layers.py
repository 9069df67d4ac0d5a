"""The one way in which output layers are made.

A layer takes its place in the world (scale, translation, rotation, shear, affine, units and axis
labels) from the layer it was computed from, and says in its metadata what it shows. Layers are found
again by that metadata, never by their names, which people may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_apollo.predict.colours import stain_colormap
from napari_apollo.predict.roles import ChannelRole, channel_name
from napari_apollo.viewer.preferences import stain_colours

if TYPE_CHECKING:
    from napari.layers import Layer

KEY = "napari_apollo"
"""Under this key a layer's metadata holds what napari-apollo knows about it."""

AXES = ("y", "x")
_GREY = (0.85, 0.85, 0.85, 1.0)


@dataclass(frozen=True)
class About:
    """What a layer shows.

    Attributes
    ----------
    role
        A ``ChannelRole``, or ``nuclei`` or ``cells`` for label images.
    image
        The image it belongs to, as the study names it.
    stain
        Canonical name; empty for label images.
    panel
        Panels whose cells it shows, joined by ``", "``.
    anchor
        Stain that a prediction was made from.
    model
        Folder and fingerprint of the model.
    source
        ``unique_id`` of the layer it was made from, as text.
    opened
        Manifest, cell store, predictions or run folder that it was opened from.
    """

    role: str
    image: str = ""
    stain: str = ""
    panel: str = ""
    anchor: str = ""
    model: str = ""
    source: str = ""
    opened: str = ""

    def as_metadata(self) -> dict[str, str]:
        """Plain text for the metadata of a layer."""
        return {key: str(value) for key, value in asdict(self).items()}

    @property
    def name(self) -> str:
        """Name that people see."""
        if not self.stain:
            return self.role
        return channel_name(self.stain, self.role, self.anchor or "chromatin")


@dataclass(frozen=True)
class Frame:
    """Where the (y, x) pixels of a layer lie in the world, as arguments of a layer."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, layer: Layer) -> Frame:
        """Frame of a layer; of a stack, that of its last two axes."""
        affine = np.asarray(layer.affine.affine_matrix)
        kept = [-3, -2, -1]
        return cls(
            {
                "scale": np.array(layer.scale)[-2:],
                "translate": np.array(layer.translate)[-2:],
                "rotate": np.array(layer.rotate)[-2:, -2:],
                # shear is the upper triangle row by row: its last entry shears y along x
                "shear": np.atleast_1d(layer.shear)[-1:],
                "affine": affine[np.ix_(kept, kept)],
                "units": tuple(layer.units[-2:]),
                "axis_labels": tuple(layer.axis_labels[-2:]),
            }
        )

    def shifted(self, y: float, x: float) -> Frame:
        """Frame of a part of the layer that begins at pixel (y, x)."""
        values = dict(self.values)
        shear = np.eye(2)
        shear[0, 1] = float(np.ravel(values.get("shear", 0.0))[0])
        linear = np.asarray(values.get("rotate", np.eye(2))) @ shear @ np.diag(values["scale"])
        values["translate"] = np.asarray(values.get("translate", (0.0, 0.0))) + linear @ np.array([y, x])
        return Frame(values)

    @classmethod
    def from_pixel_size(cls, pixel_size_um: float | Sequence[float] | None) -> Frame:
        """Frame of an image from disk: micrometres where the pixel size is known, else pixels."""
        if pixel_size_um is None:
            return cls({"scale": (1.0, 1.0), "units": ("pixel", "pixel"), "axis_labels": AXES})
        y, x = np.broadcast_to(np.asarray(pixel_size_um, float), 2)
        return cls({"scale": (float(y), float(x)), "units": ("um", "um"), "axis_labels": AXES})


@dataclass(frozen=True)
class LayerSpec:
    """A layer before it is in a viewer: what ``viewer.add_...`` and readers are given.

    Attributes
    ----------
    kind
        ``image`` or ``labels``.
    data
        An array, or a list of arrays, each half as large as the one before.
    kwargs
        Arguments of the layer.
    contour
        Width in pixels of the outlines of labels; 0 fills them.
    stored
        How many of the levels, the finest first, a file holds; coarser ones are made from the last of these.
    """

    kind: Literal["image", "labels"]
    data: Any
    kwargs: Mapping[str, Any]
    contour: int = 0
    stored: int = 1

    def add(self, viewer: Any) -> Layer:
        """Add the layer to a viewer, with or without a window."""
        layer = getattr(viewer, f"add_{self.kind}")(self.data, **self.kwargs)
        if self.contour:
            layer.contour = self.contour
        return layer

    def realised(self, most: int, overview: int) -> LayerSpec:
        """The same layer with its data computed, so that they are shown at once.

        Parameters
        ----------
        most
            Pixels of all levels together up to which everything is computed.
        overview
            Pixels up to which coarse levels of a larger layer are, the coarsest first; what is not computed
            is read when it is looked at.
        """
        levels = list(self.data) if isinstance(self.data, (list, tuple)) else [self.data]
        sizes = [int(np.prod(level.shape)) for level in levels]
        left = most if sum(sizes) <= most else overview
        for place in reversed(range(len(levels))):
            left -= sizes[place]
            if left < 0:
                break
            levels[place] = np.asarray(levels[place])
        return replace(self, data=levels if isinstance(self.data, (list, tuple)) else levels[0])

    def as_tuple(self) -> tuple[Any, dict[str, Any], str]:
        """The layer as readers and sample data give it."""
        return self.data, dict(self.kwargs), self.kind


def image_layer(
    data: Any,
    about: About,
    frame: Frame,
    *,
    contrast_limits: tuple[float, float] | None = None,
    colour: str | tuple[str, ...] | None = None,
    visible: bool = True,
    name: str | None = None,
    stored: int = 1,
) -> LayerSpec:
    """An image layer.

    Parameters
    ----------
    data
        (Y, X) or a list of its levels.
    about
        What it shows; names the layer unless ``name`` is given.
    frame
        Where it lies.
    contrast_limits
        Intensities shown black and in full colour.
    colour
        ``#rrggbb``, or several that the map passes; that of the stain where not given.
    stored
        How many of the levels a file holds.
    """
    if colour is None and about.stain:
        colour = stain_colours([about.stain])[about.stain]
    kwargs = {
        "name": name or about.name,
        "metadata": {KEY: about.as_metadata()},
        "blending": "additive",
        "visible": visible,
        **frame.values,
    }
    if colour:
        kwargs["colormap"] = stain_colormap(*((colour,) if isinstance(colour, str) else colour))
    if contrast_limits is not None:
        kwargs["contrast_limits"] = contrast_limits
    return replace(_spec("image", data, kwargs), stored=stored)


def labels_layer(
    data: Any,
    about: About,
    frame: Frame,
    *,
    contour: int = 0,
    visible: bool = True,
    name: str | None = None,
    colour: tuple[float, float, float, float] = _GREY,
    opacity: float = 0.3,
) -> LayerSpec:
    """A labels layer, (Y, X) integers or a list of their levels; arguments as of ``image_layer``.

    Labels are grey unless told otherwise, so that the stains alone have colours.
    """
    from napari.utils.colormaps import CyclicLabelColormap

    kwargs = {
        "name": name or about.name,
        "metadata": {KEY: about.as_metadata()},
        "visible": visible,
        "opacity": opacity,
        "colormap": CyclicLabelColormap(colors=[(0.0, 0.0, 0.0, 0.0), colour, colour], name="apollo cells"),
        **frame.values,
    }
    return _spec("labels", data, kwargs, contour)


def about(layer: Layer) -> About | None:
    """What a layer shows, or None where it is not ours."""
    known = layer.metadata.get(KEY)
    return About(**known) if isinstance(known, Mapping) else None


def find_layers(viewer: Any, **wanted: str) -> list[Layer]:
    """Layers whose metadata agree with everything wanted, bottom first.

    Parameters
    ----------
    viewer
        A napari viewer, with or without a window.
    **wanted
        Attributes of ``About``: ``stain``, ``role``, ``image``, ``panel``, ``model``, ``source``.

    Examples
    --------
    >>> find_layers(viewer, role="predicted", stain="CD3")  # doctest: +SKIP
    """
    return [
        layer
        for layer in viewer.layers
        if (shown := about(layer)) is not None
        and all(str(getattr(shown, key)) == str(value) for key, value in wanted.items())
    ]


def roles_in_order(roles: Iterable[ChannelRole | str]) -> tuple[ChannelRole, ...]:
    """Roles in the order in which their layers are stacked."""
    wanted = {ChannelRole(role) for role in roles}
    return tuple(role for role in ChannelRole if role in wanted)


def _spec(kind: Literal["image", "labels"], data: Any, kwargs: dict[str, Any], contour: int = 0) -> LayerSpec:
    levels = list(data) if isinstance(data, (list, tuple)) else [data]
    several = len(levels) > 1
    return LayerSpec(kind, levels if several else levels[0], {**kwargs, "multiscale": several}, contour)
