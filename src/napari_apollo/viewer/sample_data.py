"""Sample data in napari's menu: real images that come with the package."""

from __future__ import annotations

from typing import Any

from napari_apollo.viewer.layers import About, Frame, LayerSpec, image_layer
from napari_apollo.viewer.reader import LayerData

_GAP = 20


def lymph_node_layers() -> list[LayerData]:
    """The lymph node as a two-panel experiment: DAPI everywhere, other stains in the blocks given them."""
    from napari_apollo import samples
    from napari_apollo.predict.roles import ChannelRole
    from napari_apollo.viewer.open import OpenImage
    from napari_apollo.viewer.preferences import stain_colours

    opened = OpenImage(samples.lymph_node().fields)
    panels = samples.LYMPH_NODE_PANELS
    which = samples.panel_map(opened.images[0].shape)
    colours = stain_colours(samples.LYMPH_NODE_STAINS)
    layers = []
    for stain in samples.LYMPH_NODE_STAINS:
        having = [k for k, panel in enumerate(panels) if stain in panel]
        pixels = opened.images[0].read([stain])[0]
        if len(having) < len(panels):
            pixels[which != having[0]] = 0
        about = About(
            ChannelRole.MEASURED, str(opened.path), stain, ", ".join(panels[k].name for k in having)
        )
        layers.append(
            image_layer(
                pixels,
                about,
                opened.frame,
                contrast_limits=opened.contrast_limits(stain),
                colour=colours[stain],
            )
        )
    return [layer.as_tuple() for layer in layers]


def u2os_layers() -> list[LayerData]:
    """Four wells side by side, dose rising from the left: FKHR moves into the nucleus."""
    from napari_apollo import samples
    from napari_apollo.predict.roles import ChannelRole
    from napari_apollo.viewer.open import OpenImage

    layers: list[LayerSpec] = []
    for column, field in enumerate(samples.u2os_wells()):
        opened = OpenImage((field,))
        image = opened.images[0]
        values: dict[str, Any] = dict(opened.frame.values)
        values["translate"] = (0.0, column * (image.shape[1] + _GAP) * values["scale"][1])
        for stain in opened.stains:
            layers.append(
                image_layer(
                    image.read([stain])[0],
                    About(ChannelRole.MEASURED, str(opened.path), stain, field.panel.name),
                    Frame(values),
                    contrast_limits=opened.contrast_limits(stain),
                    name=f"{stain}, {field.donor}, {field.condition}",
                )
            )
    return [layer.as_tuple() for layer in layers]


def blood_cell_layers() -> list[LayerData]:
    """Simulated blood cells of one donor, a field in each panel, with the nuclei that are truly there."""
    from napari_apollo.predict.roles import ChannelRole
    from napari_apollo.simulate import STAINS, sample_blood_cells
    from napari_apollo.viewer.layers import labels_layer
    from napari_apollo.viewer.preferences import stain_colours

    colours = stain_colours(STAINS)
    layers: list[LayerSpec] = []
    for column, field in enumerate(sample_blood_cells()):
        image = field.measured()
        values: dict[str, Any] = dict(Frame.from_pixel_size(field.pixel_size_um).values)
        values["translate"] = (0.0, column * (image.shape[2] + _GAP) * field.pixel_size_um)
        frame = Frame(values)
        for stain, plane in zip(field.panel.stains, image, strict=True):
            layers.append(
                image_layer(
                    plane,
                    About(ChannelRole.MEASURED, field.name, stain, field.panel.name),
                    frame,
                    colour=colours[stain],
                    name=f"{stain}, {field.name}",
                )
            )
        nuclei = About("nuclei", field.name, panel=field.panel.name)
        layers.append(labels_layer(field.nuclei, nuclei, frame, contour=1, name=f"nuclei, {field.name}"))
    return [layer.as_tuple() for layer in layers]
