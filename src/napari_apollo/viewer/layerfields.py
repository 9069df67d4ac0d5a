"""Open layers as fields of a study; what is in memory alone is written to files first."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from napari_apollo.errors import DataError, InputError, PanelError
from napari_apollo.panels import Panel, canonical_stain, same_stain
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.samples import lymph_node, u2os_wells
from napari_apollo.study import Study, StudyField
from napari_apollo.study.fields import default_name
from napari_apollo.study.images import open_source
from napari_apollo.viewer.layers import about
from napari_apollo.viewer.writing import Picture, as_picture, save_ome_tiff


def fields_from_layers(layers: Iterable[Any], folder: Path) -> list[StudyField]:
    """Fields of a study for image layers that are open.

    Layers that came from a study give the fields of that study; bundled samples give theirs. Other layers
    are put together by size and place and written to ``<folder>/images`` as OME-TIFF.

    Parameters
    ----------
    layers
        Layers of a viewer.
    folder
        Where images go that are in memory alone.

    Raises
    ------
    DataError
        When there is no image layer, or one is not (Y, X).
    PanelError
        When no layer of an image is called by the name of a DNA stain.
    """
    images = [layer for layer in layers if type(layer).__name__ == "Image"]
    if not images:
        raise DataError("No image is open. Open images, or a sample from the File menu, first.")
    fields: dict[str, StudyField] = {}
    loose = []
    for layer in images:
        shown = about(layer)
        if shown is not None and shown.role != ChannelRole.MEASURED:
            continue
        known = _fields_of(shown.opened, shown.image) if shown is not None else []
        fields |= {one.field: one for one in known}
        if not known:
            loose.append(layer)
    groups = _together(loose)
    for group in groups:
        try:
            made = _written(group, folder, taken=fields)
        except PanelError as error:
            if len(groups) == 1:
                raise
            names = ", ".join(layer.name for layer in group)
            raise PanelError(
                f"{error} The stains of one image have one size, scale and place; {names} differ in that "
                "from the other open layers."
            ) from error
        fields[made.field] = made
    if not fields:
        raise DataError("The open images are predictions or previews; open measured images.")
    return list(fields.values())


def _shows(path: Path, pixels: np.ndarray, stains: Sequence[str]) -> bool:
    """Whether a file that was written here has these stains and pixels (stain, y, x)."""
    import tifffile

    try:
        named = open_source(path).layout.channel_names
        return tuple(named or ()) == tuple(stains) and np.array_equal(
            np.squeeze(tifffile.imread(path)), np.squeeze(pixels)
        )
    except (OSError, ValueError, InputError):
        return False


def is_two_panel_sample(study: Study | None) -> bool:
    """Whether a study is the bundled lymph node, whose cells can be divided over two panels."""
    sample = lymph_node().fields[0].image
    return study is not None and len(study) == 1 and study.fields[0].image == sample


def _fields_of(opened: str, image: str) -> list[StudyField]:
    if opened and Path(opened).suffix.lower() == ".csv":
        return list(Study.from_csv(opened))
    return [known for known in (*lymph_node(), *u2os_wells()) if str(known.image) == image]


def _together(layers: Sequence[Any]) -> list[list[Any]]:
    """Layers of one size in one place, turned and scaled alike."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for layer in layers:
        shape = layer.data[0].shape if layer.multiscale else layer.data.shape
        parts = (layer.scale, layer.translate, layer.rotate, layer.shear, layer.affine.affine_matrix)
        place = tuple(np.round(np.concatenate([np.ravel(part) for part in parts]), 9))
        groups.setdefault((tuple(shape), place, tuple(map(str, layer.units))), []).append(layer)
    return list(groups.values())


def _written(layers: Sequence[Any], folder: Path, taken: Container[str]) -> StudyField:
    picture: Picture = as_picture([layer.as_layer_data_tuple() for layer in layers])
    stains = [canonical_stain(name.split(",")[0].split(" [")[0]) for name in picture.names]
    for position, stain in enumerate(stains):
        if any(same_stain(stain, other) for other in stains[:position]):
            raise DataError(f"Two open layers are called {stain}; give each layer the name of its stain.")
    panel = Panel(name="/".join(stains), stains=tuple(stains))
    shown = about(layers[0])
    source = next((layer.source.path for layer in layers if layer.source.path), None)
    source = source or (shown.image if shown is not None else None)
    stem = default_name(Path(source)) if source else "open_layers"
    pixels = np.stack([np.asarray(plane) for plane in picture.planes])
    for name in chain([stem], (f"{stem}_{number}" for number in count(2))):
        path = folder / "images" / f"{name}.ome.tif"
        if name not in taken and not path.exists():
            save_ome_tiff(path, pixels, stains, picture.pixel_size_um)
            break
        if name not in taken and _shows(path, pixels, stains):
            break  # the same layers, used once before
    return StudyField(
        image=path, panel=panel, donor=name, condition="all", field=name, channels=tuple(stains)
    )
