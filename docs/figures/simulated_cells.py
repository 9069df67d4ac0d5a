"""Make docs/images/simulated_cells.png: the plugin's sample in every stain, and its labels."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from napari_apollo.simulate import STAINS, sample_blood_cells

PICTURE = Path(__file__).parents[1] / "images" / "simulated_cells.png"


def main() -> None:
    """Write the picture."""
    field, _ = sample_blood_cells()
    part = slice(100, 356)
    figure, axes = plt.subplots(2, 4, figsize=(12, 6.3))
    for axis, stain, plane in zip(axes.flat, STAINS, field.image, strict=False):
        low, high = np.percentile(plane, (1, 99.9))
        axis.imshow(plane[part, part], cmap="gray", vmin=low, vmax=high)
        axis.set_title(stain if stain in field.panel else f"{stain} (hidden)", fontsize=10)
    cells, nuclei = field.cells[part, part], field.nuclei[part, part]
    colours = np.random.default_rng(1).uniform(0.3, 1, (field.cells.max() + 1, 3))
    colours[0] = 0
    axes.flat[-1].imshow(colours[cells] * np.where(nuclei > 0, 1.0, 0.55)[..., None])
    axes.flat[-1].set_title("nuclei and cells", fontsize=10)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    main()
