"""Measuring a stack from its file and a label image of three dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from napari_apollo.cells.table import export
from napari_apollo.errors import ConfigError, FileError, ImageError, LabelsError
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.field import square_pixel
from napari_apollo.measure.study import obs_of
from napari_apollo.measure.table import record_of, with_columns
from napari_apollo.measure.volume import measure_stack
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.study import StudyField, open_field
from napari_apollo.study.images import open_source

if TYPE_CHECKING:
    import anndata


def holds_stack(labels: Path) -> bool:
    """Whether a label image has planes, and so is for ``measure_stack_file``.

    Parameters
    ----------
    labels
        The file; one that cannot be read holds none, and is told of where it is opened.
    """
    try:
        return set(open_source(labels).layout.axes) in ({"Z", "Y", "X"}, {"Q", "Y", "X"})
    except ImageError:
        return False


def measure_stack_file(
    field: StudyField,
    z_step_um: float | None = None,
    config: MeasureConfig | None = None,
    *,
    output: Path | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> anndata.AnnData:
    """Measure every labelled nucleus of a stack; the stack is held in memory.

    Parameters
    ----------
    field
        Image with planes, and labels (z, y, x).
    z_step_um
        Distance of planes in micrometres, needed where the size of pixels is known.
    config
        Settings; the defaults where not given.
    output
        Where to write the table too: ``.csv`` or ``.h5ad``.
    progress, should_stop
        Told the planes read and nuclei done; asked between them.

    Returns
    -------
    anndata.AnnData
        As ``measure_study``, with ``z`` (planes) in ``obs``, and the columns of ``measure_stack``.

    Raises
    ------
    ConfigError
        When one of pixel size and distance of planes is known without the other.
    ImageError, LabelsError
        When a file cannot be read, or they do not have the same planes and pixels.
    FileError
        When the table cannot be written as what ``output`` is called.
    Cancelled
        When ``should_stop`` says so; nothing is written.
    """
    import anndata

    config = config or MeasureConfig()
    if output is not None and output.suffix.lower() not in (".csv", ".h5ad"):
        raise FileError(output, "is no name for a table.", "Use .csv or .h5ad.")
    image = open_field(field)
    pixel = square_pixel(image.pixel_size_um)
    if (pixel is None) != (z_step_um is None):
        known, lacking = ("pixel size", "z_step_um") if z_step_um is None else ("z_step_um", "pixel size")
        raise ConfigError(
            f"{field.image}: the {known} is known; give the {lacking}, too, or neither of them."
        )
    planes = open_source(field.image).layout.length("Z")
    labels = _labels(field, (planes, *image.shape))
    stack = np.empty((len(image.stains), *labels.shape), image.dtype)
    for z in range(planes):
        stop_if_asked(should_stop)
        stack[:, z] = open_field(field.model_copy(update={"z": z})).read()
        progress(Step("Reading planes", z + 1, planes))
    voxel = None if pixel is None or z_step_um is None else (z_step_um, pixel, pixel)
    found = measure_stack(
        stack, labels, image.stains, voxel, config, anchor=field.panel.anchor, progress=progress,
        should_stop=should_stop,
    )  # fmt: skip
    ids = found.index.to_numpy(np.int64)
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, ids)).reshape(-1, 3)
    frame = obs_of(field, ids, centres[:, 1:]).assign(z=centres[:, 0])
    frame.index = pd.Index(frame["cell_id"].to_numpy(object))
    record = {**record_of(config, pixel, np.empty(0, np.uint8)), "missing": found.attrs["missing"]}
    record["z_step_um"] = np.nan if z_step_um is None else float(z_step_um)
    var = pd.DataFrame.from_dict(found.attrs["var"], orient="index").rename_axis("name")
    table = with_columns(anndata.AnnData(obs=frame), found.to_numpy(np.float32), var, record)
    if output is not None:
        export(table, output)
    return table


def _labels(field: StudyField, shape: tuple[int, ...]) -> NDArray[np.integer]:
    """Labels (z, y, x) of this shape."""
    assert field.labels is not None
    source = open_source(field.labels)
    order = ["ZQ" if axis in "ZQ" else axis for axis in source.layout.axes]
    have = tuple(source.layout.shape[order.index(axis)] for axis in ("ZQ", "Y", "X"))
    if have != shape:
        sizes = [" x ".join(map(str, size)) for size in (have, shape)]
        raise LabelsError(
            field.labels,
            f"has {sizes[0]} planes and pixels, its image {sizes[1]}.",
            "Labels must cover the stack voxel by voxel; a flat label image is measured on the maximum.",
        )
    if source.layout.dtype.kind == "f":
        raise LabelsError(
            field.labels, f"holds floats ({source.layout.dtype}), and labels are whole numbers.",
            "Convert it once, for example with labels.round().astype('int32'), and save it as TIFF.",
        )  # fmt: skip
    pixels = source.read(tuple(slice(0, length) for length in source.layout.shape))
    labels = np.ascontiguousarray(pixels.transpose([order.index(axis) for axis in ("ZQ", "Y", "X")]))
    if labels.size and labels.min() < 0:
        raise LabelsError(
            field.labels, f"holds the negative label {labels.min()}.",
            "Labels are 0 for background and positive numbers.",
        )  # fmt: skip
    return labels
