"""How much one image of a cell is like another: numbers that can be summed over cells.

Every cell keeps its own sums, so that cells can be pooled by donor, or drawn again for an interval,
without looking at images a second time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from napari_apollo.probes.gains import pearson_of_sums, region_sums

_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def structural_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Map of structural similarity of two stacks of images.

    Wang et al., IEEE Transactions on Image Processing 13, 600 (2004): Gaussian window of 1.5 pixels
    (11 x 11), K1 = 0.01, K2 = 0.03, intensities from 0 to 1.

    Parameters
    ----------
    first, second
        (n, y, x) in [0, 1].

    Returns
    -------
    numpy.ndarray
        (n, y, x) float64, 1 where they are alike.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)

    def smooth(images: np.ndarray) -> np.ndarray:
        out: np.ndarray = gaussian_filter(images, (0, _SIGMA, _SIGMA), truncate=3.5)
        return out

    a, b = smooth(first), smooth(second)
    aa = smooth(first * first) - a * a
    bb = smooth(second * second) - b * b
    ab = smooth(first * second) - a * b
    similarity: np.ndarray = ((2 * a * b + _C1) * (2 * ab + _C2)) / ((a * a + b * b + _C1) * (aa + bb + _C2))
    return similarity


def published_l1(made: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean absolute error of whole crops after the mode subtraction of the APOLLO study, image by image.

    The most frequent value of the made image is subtracted, what is negative becomes 0, and the rest is
    divided by its largest value; the truth is left as it is. The study did so for batches of images at once,
    by which a score depends on the batch; and took the mode of real numbers, here of 256 grey levels.

    Parameters
    ----------
    made, truth
        (n, y, x) in [0, 1].

    Returns
    -------
    numpy.ndarray
        (n,)
    """
    count = len(made)
    flat = np.asarray(made, np.float64).reshape(count, -1)
    grey = np.clip(np.rint(np.nan_to_num(flat) * 255), 0, 255).astype(np.int64)
    frequent = np.bincount((grey + 256 * np.arange(count)[:, None]).ravel(), minlength=256 * count)
    mode = frequent.reshape(count, 256).argmax(axis=1) / 255
    above = np.maximum(flat - mode[:, None], 0)
    top = above.max(axis=1, initial=0)
    above /= np.where(top > 0, top, 1)[:, None]
    error: np.ndarray = np.abs(above - np.asarray(truth, np.float64).reshape(count, -1)).mean(axis=1)
    return error


def cell_scores(made: np.ndarray, truth: np.ndarray, region: np.ndarray, span: np.ndarray) -> pd.DataFrame:
    """Sums over each cell's region.

    Parameters
    ----------
    made, truth
        (n, y, x) in [0, 1].
    region
        (n, y, x) bool: the pixels of the cell.
    span
        (n,) intensities from 0 to 1, to turn errors into the stain's own units.

    Returns
    -------
    pandas.DataFrame
        One row a cell: ``pixels``, sums of both (``made_sum``, ``truth_sum``), of their squares, of their
        product, of the absolute difference (``error``), the same in units, the mean ``ssim``, and
        ``published_l1``.
    """
    sums = region_sums(made, truth, region)
    similarity = np.einsum("nyx,nyx->n", structural_similarity(made, truth), region)
    return pd.DataFrame(
        {
            **sums,
            "error_units": sums["error"] * span,
            "ssim": similarity / np.maximum(sums["pixels"], 1),
            "published_l1": published_l1(made, truth),
        }
    )


def summarise(cells: pd.DataFrame) -> dict[str, float]:
    """Scores of many cells together.

    Parameters
    ----------
    cells
        Rows of ``cell_scores``.

    Returns
    -------
    dict
        ``cells``; ``mae`` over all pixels of all regions, as a part of the stain's range, and
        ``mae_units``; ``pearson`` over the same pixels; ``intensity_pearson`` of the cells' mean
        intensities; ``ssim`` and ``published_l1``, means over cells. NaN where something is constant.
    """
    used = cells[cells["pixels"] > 0]
    count = used["pixels"].sum()
    if not len(used):
        return dict.fromkeys(
            ("cells", "mae", "mae_units", "pearson", "intensity_pearson", "ssim", "published_l1"),
            float("nan"),
        ) | {"cells": 0}
    sums = used.sum(numeric_only=True)
    return {
        "cells": len(used),
        "mae": float(sums["error"] / count),
        "mae_units": float(sums["error_units"] / count),
        "pearson": float(
            pearson_of_sums(
                count,
                sums["made_sum"],
                sums["truth_sum"],
                sums["made_squared"],
                sums["truth_squared"],
                sums["product"],
            )
        ),
        "intensity_pearson": _correlation(
            used["made_sum"] / used["pixels"], used["truth_sum"] / used["pixels"]
        ),
        "ssim": float(used["ssim"].mean()),
        "published_l1": float(used["published_l1"].mean()),
    }


def _correlation(first: pd.Series, second: pd.Series) -> float:
    x, y = first.to_numpy(np.float64), second.to_numpy(np.float64)
    return float(pearson_of_sums(len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y))
