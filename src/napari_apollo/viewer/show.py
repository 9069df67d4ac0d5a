"""Results in a window: the ones of the demonstration, or of any study with predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_apollo.demo.results import DemoResults
from napari_apollo.predict.store import PredictionStore
from napari_apollo.study import Study
from napari_apollo.viewer.compare import set_visible
from napari_apollo.viewer.layers import about, find_layers
from napari_apollo.viewer.open import open_study
from napari_apollo.viewer.overlay import add_predictions, cell_store_of

if TYPE_CHECKING:
    from napari.layers import Layer


def show_demo(viewer: Any, folder: Path | str, *, sample: int = 0) -> list[Layer]:
    """Add the layers of a sample that the demonstration took through the chain.

    Parameters
    ----------
    viewer
        A napari viewer, or a ``napari.components.ViewerModel``.
    folder
        What the demonstration wrote.
    sample
        Which of its samples: 0 the lymph node, 1 the U2OS wells.

    Raises
    ------
    FileError
        When the folder holds no demonstration.
    """
    results = DemoResults.read(Path(folder))
    chosen = results.samples[sample]
    return show_results(viewer, results.path(chosen.manifest), results.path(chosen.predictions))


def show_results(
    viewer: Any, study: Study | Path | str, predictions: PredictionStore | Path | str
) -> list[Layer]:
    """Add an image of a study with everything that was predicted for it.

    The image is the first one of the study that has cells in the predictions' store.
    """
    study = study if isinstance(study, Study) else Study.from_csv(study)
    if not isinstance(predictions, PredictionStore):
        predictions = PredictionStore.open(predictions)
    store = cell_store_of(predictions)
    fields = set(store.obs["field"].astype(str))
    shown = next((field.field for field in study if field.field in fields), None)
    layers = open_study(viewer, study, image=shown)
    layers += add_predictions(viewer, predictions, store, image=shown)
    _begin_calmly(viewer)
    viewer.reset_view()
    return layers


def _begin_calmly(viewer: Any) -> None:
    """Show the anchor stain and one other, measured and predicted; all at once would only be noise."""
    for outlines in (*find_layers(viewer, role="nuclei"), *find_layers(viewer, role="cells")):
        outlines.visible = False
    predicted = [shown for layer in find_layers(viewer, role="predicted") if (shown := about(layer))]
    if predicted:
        first = min(predicted, key=lambda shown: shown.stain)
        set_visible(viewer, ["measured", "predicted"], [first.anchor, first.stain])
