"""What napari opens by drag and drop: manifests, cell stores, predictions, run folders.

Readers answer at once whether a path is theirs, by its name and first line alone, and give the
least that is useful; ``open_study`` and ``add_predictions`` do more.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari_apollo.viewer.layers import About, Frame, LayerSpec, image_layer, labels_layer

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | list[str]], list[LayerData]]

_MANIFEST_COLUMNS = {"image", "panel", "donor", "condition"}
_CELLS_AT_ONCE = 64


def get_reader(path: str | list[str]) -> Reader | None:
    """Reader for a path, or None where it is not one of ours."""
    first = Path(path[0] if isinstance(path, list) else path)
    for is_ours, layers in (
        (is_manifest, _manifest_layers),
        (is_cell_store, cell_layers),
        (is_predictions, _prediction_layers),
        (is_run, run_layers),
    ):
        if is_ours(first):
            return partial(_read, layers)
    return None


def _read(layers: Callable[[Path], list[LayerSpec]], path: str | list[str]) -> list[LayerData]:
    paths = path if isinstance(path, list) else [path]
    return [layer.as_tuple() for one in paths for layer in layers(Path(one))]


def is_manifest(path: Path) -> bool:
    """Whether a file is a CSV with the columns of a manifest."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open("r", encoding="utf-8-sig", errors="replace", newline="") as stream:
        line = stream.readline(10_000)
    rows = (row for delimiter in ",;\t" for row in csv.reader([line], delimiter=delimiter))
    names = {name.strip().casefold() for row in rows for name in row}
    return names >= _MANIFEST_COLUMNS


def is_cell_store(path: Path) -> bool:
    """Whether a folder is called like a cell store."""
    return path.name.endswith(".cells.zarr") and path.is_dir()


def is_predictions(path: Path) -> bool:
    """Whether a folder is called like a store of predictions."""
    return path.name.endswith(".predictions.zarr") and path.is_dir()


def is_run(path: Path) -> bool:
    """Whether a folder holds what a training run writes."""
    return all((path / name).is_file() for name in ("config.json", "status.json"))


def _manifest_layers(path: Path) -> list[LayerSpec]:
    import napari

    from napari_apollo.viewer.open import study_layers
    from napari_apollo.viewer.overviews import fill, fill_beside, with_overview

    prepared = [with_overview(spec) for spec in study_layers(path)]
    overviews = [overview for _, overview in prepared if overview is not None]
    viewer = napari.current_viewer()
    if viewer is None:
        fill(overviews)
    else:
        fill_beside(viewer, overviews)
    return [spec for spec, _ in prepared]


def _prediction_layers(path: Path) -> list[LayerSpec]:
    from napari_apollo.predict.store import PredictionStore
    from napari_apollo.viewer.overlay import cell_store_of, prediction_layers

    predictions = PredictionStore.open(path)
    store = cell_store_of(predictions, None)
    return prediction_layers(predictions, store, str(store.obs["image"].iloc[0]), {})


def cell_layers(path: Path) -> list[LayerSpec]:
    """The crops of a cell store, one layer for each panel and stain, a slider running through the cells."""
    from napari_apollo.cells.store import CellStore
    from napari_apollo.predict.roles import ChannelRole
    from napari_apollo.viewer.preferences import stain_colours

    store = CellStore.open(path)
    layers = []
    for position, (name, panel) in enumerate(store.panels.items()):
        if not store.count(name):
            continue
        colours = stain_colours(panel.stains)
        frame = _stack_frame(store.pixel_size_um)
        for channel, stain in enumerate(panel.stains):
            low, high = store.normalisation.limits(stain, ["*"])[0]
            layers.append(
                image_layer(
                    _crops(store, name, channel),
                    About(ChannelRole.MEASURED, str(path), stain, name, panel.anchor, opened=str(path)),
                    frame,
                    contrast_limits=(float(low), float(high)),
                    colour=colours[stain],
                    visible=position == 0,
                    name=f"{stain}, cells of {name}",
                )
            )
        masks = About("cells", str(path), panel=name, opened=str(path))
        layers.append(
            labels_layer(_crops(store, name, None), masks, frame, visible=False, name=f"masks of {name}")
        )
    return layers


def run_layers(path: Path) -> list[LayerSpec]:
    """The previews of a training run, a slider running through the epochs."""
    import numpy as np
    from skimage.io import imread

    sheets = [imread(file) for file in sorted((path / "previews").glob("*.png"))]
    by_shape: dict[tuple[int, ...], list[np.ndarray]] = {}
    for sheet in sheets:
        by_shape.setdefault(sheet.shape, []).append(sheet)
    return [
        image_layer(
            np.stack(group),
            About("preview", str(path), model=path.name, opened=str(path)),
            Frame({"axis_labels": ("epoch", "y", "x"), "units": ("pixel",) * 3}),
            name=f"previews of {path.name}",
        )
        for group in by_shape.values()
    ]


def _stack_frame(pixel_size_um: float | None) -> Frame:
    values = Frame.from_pixel_size(pixel_size_um).values
    return Frame(
        {
            "scale": (1.0, *values["scale"]),
            "units": ("pixel", *values["units"]),
            "axis_labels": ("cell", *values["axis_labels"]),
        }
    )


def _crops(store: Any, panel: str, channel: int | None) -> Any:
    """Crops of a stain, or masks, as a lazy array (cell, y, x)."""
    import dask.array as da
    import numpy as np

    count, size = store.count(panel), store.crop_size

    def block(block_info: Any = None) -> np.ndarray:
        start, stop = block_info[None]["array-location"][0]
        rows = np.arange(start, stop)
        if channel is None:
            return store.read_masks(panel, rows).astype(np.int32)
        return store.read_images(panel, rows)[:, channel]

    chunks = da.core.normalize_chunks((_CELLS_AT_ONCE, size, size), (count, size, size))
    dtype = np.dtype(np.int32) if channel is None else store.dtype(panel)
    return da.map_blocks(block, chunks=chunks, dtype=dtype, meta=np.empty((0, 0, 0), dtype))
