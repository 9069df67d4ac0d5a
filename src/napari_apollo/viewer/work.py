"""What the working process does for the tools: operations of the core with plain values in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_apollo.progress import Progress, ShouldStop, never, silent

_MIDDLE = 512  # pixels a side of the part of a field that the size of its nuclei is estimated from


def measure_store(
    store: str, settings: dict[str, Any], *, progress: Progress = silent, should_stop: ShouldStop = never
) -> str:
    """Measure the cells of a store; its path comes back."""
    from napari_apollo.measure import MeasureConfig, measure

    return str(measure(store, MeasureConfig(**settings), progress=progress, should_stop=should_stop).path)


def crop_study(
    study: str, settings: dict[str, Any], *, progress: Progress = silent, should_stop: ShouldStop = never
) -> str:
    """Cut the cells of a labelled study; the path of the store comes back."""
    from napari_apollo.cells import CropConfig, crop

    return str(crop(study, CropConfig(**settings), progress=progress, should_stop=should_stop).path)


def predict_store(
    store: str,
    model: str,
    settings: dict[str, Any],
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> str:
    """Predict for the cells of a store; the path of the predictions comes back."""
    from napari_apollo.predict import PredictConfig, predict

    return str(
        predict(store, model, PredictConfig(**settings), progress=progress, should_stop=should_stop).path
    )


def interpret_store(
    store: str, settings: dict[str, Any], *, progress: Progress = silent, should_stop: ShouldStop = never
) -> str:
    """Interpret the latents in the table of a store; the folder of the interpretation comes back."""
    from napari_apollo.interpret import InterpretConfig, interpret

    config = InterpretConfig(**settings)
    interpret(store, config, progress=progress, should_stop=should_stop)
    return str(config.output)


def segment_study(
    study: str,
    settings: dict[str, Any],
    fields: Sequence[str] = (),
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> str:
    """Find nuclei in some fields of a study, or in all; the path of the manifest with labels comes back."""
    from napari_apollo.cells import SegmentConfig
    from napari_apollo.viewer.segmenting import segment_fields

    segmented = segment_fields(
        study, SegmentConfig(**settings), fields, progress=progress, should_stop=should_stop
    )
    return str(segmented.path)


def segment_array(
    image: str,
    labels: str,
    settings: dict[str, Any],
    pixel_size_um: Sequence[float] | None = None,
    field: str = "",
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> str:
    """Find nuclei in an image kept as ``.npy``; labels are written beside it as ``.npy``.

    Where no diameter is given, that of the nuclei of a field is estimated once, which takes half as long as
    finding them, and remembered by the field's name; ``ready`` does so in advance.
    """
    import numpy as np

    from napari_apollo.cells import SegmentConfig
    from napari_apollo.cells.segmentation import segment_image

    values, config = np.load(image), SegmentConfig(**settings)
    pixel = None if pixel_size_um is None else (pixel_size_um[0], pixel_size_um[1])
    if config.diameter is None and config.engine != "labels":
        diameter = _diameters.get((field, config.engine)) or _estimate(values, config.engine, pixel, field)
        config = config.model_copy(update={"diameter": diameter, "diameter_unit": "px"})
    found = segment_image(values, pixel_size_um=pixel, config=config, should_stop=should_stop)
    np.save(Path(labels), found)
    return labels


_diameters: dict[tuple[str, str], float] = {}


def _estimate(image: Any, engine: str, pixel_size_um: tuple[float, float] | None, field: str) -> float:
    """Diameter in pixels of the nuclei of an image (y, x), as segmentation itself estimates it.

    It is remembered for a field that has a name, where there is something to see.
    """
    from napari_apollo.cells.segmentation.engines import get_engine
    from napari_apollo.cells.segmentation.scale import survey
    from napari_apollo.tasks import available_cores

    def read(y: slice, x: slice) -> Any:
        return image[y, x]

    found = survey(read, image.shape, "image", get_engine(engine, available_cores()), None, pixel_size_um)
    if field and not found.empty:
        _diameters[field, engine] = found.diameter
    return found.diameter


def ready(
    engine: str = "nuclei",
    field: dict[str, Any] | None = None,
    stain: str = "",
    name: str = "",
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> float | None:
    """Load, compile and estimate what the first preview would otherwise wait for.

    Parameters
    ----------
    engine
        Engine of the previews.
    field, stain
        A field of a study, as plain values, and its stain that shows nuclei. The size of its nuclei is
        estimated from its middle.
    name
        By which previews ask for the field.

    Returns
    -------
    float or None
        Diameter of the field's nuclei in pixels, where it shows.
    """
    import numpy as np

    from napari_apollo.cells import SegmentConfig
    from napari_apollo.cells.segmentation import segment_image
    from napari_apollo.study import StudyField, open_field

    y, x = np.indices((128, 128)) % 32 - 16
    config = SegmentConfig(engine=engine, diameter=16)
    segment_image(np.clip(9 - np.hypot(y, x), 0, 2), config=config, should_stop=should_stop)
    if field is not None and (name, engine) not in _diameters and not should_stop():
        image = open_field(StudyField(**field), stains=[stain])
        middle = (slice(max(0, (side - _MIDDLE) // 2), (side + _MIDDLE) // 2) for side in image.shape)
        _estimate(image.read([stain], *middle)[0], engine, image.pixel_size_um, name)
    return _diameters.get((name, engine))


def umap_array(
    latents: str, points: str, *, progress: Progress = silent, should_stop: ShouldStop = never
) -> str:
    """UMAP of latents kept as ``.npy``; points (cell, 2) are written beside them as ``.npy``."""
    import numpy as np

    from napari_apollo.viewer.exploring import umap_of

    np.save(Path(points), umap_of(np.load(latents)))
    return points


def segment_two_panels(
    study: str, settings: dict[str, Any], *, progress: Progress = silent, should_stop: ShouldStop = never
) -> str:
    """Find the nuclei of the lymph node sample and divide them over its two panels; the path of the
    two-panel manifest comes back.
    """
    from napari_apollo.cells import SegmentConfig, segment
    from napari_apollo.samples import two_panel_study
    from napari_apollo.study import open_labels

    config = SegmentConfig(**settings)
    segmented = segment(study, config, progress=progress, should_stop=should_stop)
    labels = segmented.fields[0].labels
    assert labels is not None  # written by segment
    divided = two_panel_study(open_labels(labels).read(), Path(config.output) / "two_panels")
    return str(divided.study.path)


def estimate_training(
    store: str, settings: dict[str, Any], *, progress: Progress = silent, should_stop: ShouldStop = never
) -> str:
    """What a training would learn from, where, and how much memory it takes, in words."""
    from napari_apollo.cells import CellStore
    from napari_apollo.model.device import describe_device, pick_device
    from napari_apollo.train import TrainConfig
    from napari_apollo.train.build import image_architecture, seeded_network
    from napari_apollo.train.dataset import TEST, TRAIN, VALIDATION, open_dataset
    from napari_apollo.train.memory import plan_memory

    config = TrainConfig(**settings)
    cells = CellStore.open(store)
    device = pick_device(config.device)
    dataset = open_dataset(cells, config)
    network = seeded_network(image_architecture(config, dataset.vocabulary, cells.crop_size), config.seed)
    training = dataset.cells(TRAIN, device, every_protein=True)
    validation = dataset.cells(VALIDATION, device, every_protein=True)
    plan = plan_memory(training, validation, network, config.memory_gb)
    counts = dataset.split.counts()
    held = dataset.split.test
    names = f"{len(held)} {dataset.split.by}s" if len(held) > 3 else ", ".join(held)
    if dataset.split.by == "split":
        names = "as the study says"
    beside = f", {dataset.split.left_out} beside these left out" if dataset.split.left_out else ""
    return (
        f"{counts[TRAIN]} cells to learn from, {counts[VALIDATION]} to decide when to stop, {counts[TEST]} "
        f"held out for the test ({names}){beside}. On the {describe_device(device)}: {plan.in_words()}."
    )
