"""Who the simulated blood cells are: types, conditions, donors, and the factors of every cell.

A factor belongs to one of three blocks. *Shared* factors show in the chromatin image and in protein images;
*chromatin* factors in the chromatin image alone; *protein* factors in protein images alone. Which factor
drives which stain is listed in ``CELL_FACTORS``.

Sizes and compositions are of the order known of human blood mononuclear cells (resting lymphocyte nuclei near
7 µm, monocytes larger, less condensed and indented); they make plausible images and estimate nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import ConfigError
from napari_apollo.panels import Panel

STAINS = ("DAPI", "gammaH2AX", "lamin", "CD3", "CD16", "CD4", "CD8")
"""Every stain of a simulated cell, in the order of the channels."""

MEMBRANE_STAINS = ("CD3", "CD16", "CD4", "CD8")

PANELS = (
    Panel.parse("DAPI_gammaH2AX_lamin_CD3", name="dapi_gh2ax_lamin_cd3"),
    Panel.parse("DAPI_CD16_CD4_CD8", name="dapi_cd16_cd4_cd8"),
)
"""The two panels: each cell is measured in one of them, and the other's stains are its hidden truth."""

FactorBlock = Literal["shared", "chromatin", "protein"]


@dataclass(frozen=True)
class CellFactor:
    """A cause that differs from cell to cell.

    Attributes
    ----------
    name
        Column of the truth table.
    block
        Where it shows: see the module's first lines.
    stains
        Stains whose image it changes.
    meaning
        What it is, with its unit.
    """

    name: str
    block: FactorBlock
    stains: tuple[str, ...]
    meaning: str


_PROTEINS = STAINS[1:]
_NUCLEAR = ("DAPI", "gammaH2AX", "lamin")

CELL_FACTORS: tuple[CellFactor, ...] = (
    CellFactor("cell_type", "shared", STAINS, "type of blood cell; decides means of all that follows"),
    CellFactor("activation", "shared", STAINS, "standard normal: larger, looser nucleus, other CD levels"),
    CellFactor("nucleus_area_um2", "shared", STAINS, "area of the nucleus, µm²"),
    CellFactor("elongation", "shared", STAINS, "long over short axis of the nucleus"),
    CellFactor("indentation", "shared", STAINS, "depth of the dent of the nucleus, share of its radius"),
    CellFactor("orientation_rad", "shared", STAINS, "angle of the long axis from x towards y, radians"),
    CellFactor("heterochromatin", "shared", ("DAPI", "lamin", "gammaH2AX"), "condensed share of the nucleus"),
    CellFactor("dna_content", "chromatin", ("DAPI",), "DNA stain taken up, relative"),
    CellFactor("grain_um", "chromatin", ("DAPI",), "correlation length of the chromatin texture, µm"),
    CellFactor("nucleoli", "chromatin", ("DAPI",), "nucleoli: holes in the chromatin"),
    CellFactor("foci_count", "protein", ("gammaH2AX",), "foci in the nucleus"),
    CellFactor("foci_brightness", "protein", ("gammaH2AX",), "mean brightness of its foci, relative"),
    CellFactor("gammaH2AX_diffuse", "protein", ("gammaH2AX",), "nucleoplasmic level, relative"),
    CellFactor("lamin_residual", "protein", ("lamin",), "log lamin level that heterochromatin leaves open"),
    CellFactor("cytoplasm_um", "protein", MEMBRANE_STAINS, "mean width of the cytoplasm, µm"),
    *(
        factor
        for stain in MEMBRANE_STAINS
        for factor in (
            CellFactor(
                f"{stain}_residual", "protein", (stain,), "log level that type and activation leave open"
            ),
            CellFactor(f"{stain}_cap", "protein", (stain,), "how far the stain gathers on one side, 0 to 1"),
        )
    ),
)
"""Every factor of a cell: the truth that a representation is scored against."""


@dataclass(frozen=True)
class CellType:
    """Means of one type of blood cell; levels are relative to a strongly positive cell."""

    name: str
    share: float
    nucleus_area_um2: float
    elongation: float
    indentation: float
    heterochromatin: float
    cytoplasm_um: float
    levels: dict[str, float]


_NEGATIVE = 0.02

CELL_TYPES: tuple[CellType, ...] = (
    CellType("T helper", 0.43, 35.0, 1.08, 0.03, 0.50, 0.60, {"CD3": 1.0, "CD4": 1.0}),
    CellType("T cytotoxic", 0.23, 38.0, 1.12, 0.05, 0.43, 0.65, {"CD3": 0.9, "CD8": 1.0, "CD16": 0.05}),
    CellType("NK", 0.11, 43.0, 1.16, 0.10, 0.37, 1.00, {"CD16": 1.0, "CD8": 0.15}),
    CellType("B", 0.10, 37.0, 1.05, 0.02, 0.55, 0.60, {}),
    CellType("monocyte", 0.13, 60.0, 1.22, 0.32, 0.26, 1.70, {"CD4": 0.22, "CD16": 0.25}),
)


@dataclass(frozen=True)
class Condition:
    """What a condition changes.

    Attributes
    ----------
    name
        As in the manifest.
    foci
        Mean number of gammaH2AX foci of a nucleus.
    activation
        Shift of the mean activation, in its standard deviations.
    heterochromatin
        Shift of the logit of the condensed share.
    monocytes
        What the share of monocytes is multiplied by.
    """

    name: str
    foci: float
    activation: float
    heterochromatin: float
    monocytes: float


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("control", 2.0, 0.0, 0.0, 1.0),
        Condition("headneck", 5.0, 0.4, -0.15, 1.6),
        Condition("meningioma", 3.5, 0.2, 0.10, 1.2),
        Condition("glioma", 6.5, 0.5, -0.30, 2.0),
    )
}


@dataclass(frozen=True)
class Donor:
    """A person whose cells were stained and imaged together: biology and batch.

    Attributes
    ----------
    name, condition
        As in the manifest.
    foci_factor
        What the condition's mean foci count is multiplied by.
    heterochromatin
        Shift of the logit of the condensed share.
    shares
        Composition: share of every type in ``CELL_TYPES``.
    stain_gain
        Staining strength by stain: a batch effect, no property of the cells.
    background
        Background relative to that of an average donor, by stain.
    blur
        Width of the point spread relative to the ideal one.
    """

    name: str
    condition: str
    foci_factor: float
    heterochromatin: float
    shares: tuple[float, ...]
    stain_gain: dict[str, float]
    background: dict[str, float]
    blur: float


def condition_named(name: str) -> Condition:
    """A condition by its name.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    if name not in CONDITIONS:
        raise ConfigError(f"condition = {name!r}: none of {', '.join(CONDITIONS)}.")
    return CONDITIONS[name]


def draw_donor(
    name: str, condition: str, rng: np.random.Generator, *, batch_effect: float, condition_effect: float
) -> Donor:
    """Draw a donor.

    Parameters
    ----------
    batch_effect
        1 for staining that differs by about a fifth between donors, 0 for none.
    condition_effect
        1 for the differences of ``CONDITIONS``, 0 for none.
    """
    monocytes = condition_named(condition).monocytes ** condition_effect
    weights = np.array([kind.share for kind in CELL_TYPES])
    weights[-1] *= monocytes
    shares = rng.dirichlet(60 * weights / weights.sum())
    return Donor(
        name=name,
        condition=condition,
        foci_factor=float(np.exp(0.2 * rng.standard_normal())),
        heterochromatin=float(0.08 * rng.standard_normal()),
        shares=tuple(float(share) for share in shares),
        stain_gain={stain: float(np.exp(0.2 * batch_effect * rng.standard_normal())) for stain in STAINS},
        background={stain: float(np.exp(0.3 * batch_effect * rng.standard_normal())) for stain in STAINS},
        blur=float(1 + 0.25 * batch_effect * rng.random()),
    )


def draw_cells(
    count: int,
    donor: Donor,
    rng: np.random.Generator,
    *,
    condition_effect: float = 1.0,
    type_in_chromatin: float = 1.0,
) -> pd.DataFrame:
    """Draw the factors of cells.

    Parameters
    ----------
    count
        Number of cells.
    donor
        Whose cells they are.
    condition_effect
        1 for the differences of ``CONDITIONS``, 0 for none.
    type_in_chromatin
        How far a cell's type shows in its nucleus: 1 as in blood, 0 not at all, so that CD levels
        become wholly protein-specific.

    Returns
    -------
    DataFrame
        One row a cell: every factor of ``CELL_FACTORS``, and ``<stain>_level``, the relative level of lamin
        and of each membrane stain that the factors come to.
    """
    condition = condition_named(donor.condition)
    kinds = rng.choice(len(CELL_TYPES), size=count, p=donor.shares)

    def normal() -> NDArray[np.float64]:
        return rng.standard_normal(count)

    def mean_of(attribute: str) -> NDArray[np.float64]:
        values = np.array([getattr(kind, attribute) for kind in CELL_TYPES])
        overall = np.average(values, weights=[kind.share for kind in CELL_TYPES])
        return (overall + type_in_chromatin * (values - overall))[kinds]

    names = np.array([kind.name for kind in CELL_TYPES])
    activation = normal() + condition_effect * condition.activation
    condensed = mean_of("heterochromatin")
    logit = np.log(condensed / (1 - condensed)) - 0.2 * activation + 0.22 * normal()
    logit = logit + donor.heterochromatin + condition_effect * condition.heterochromatin
    baseline = CONDITIONS["control"].foci
    foci_mean = donor.foci_factor * baseline * (condition.foci / baseline) ** condition_effect
    lamin_residual = 0.2 * normal()
    cells = {
        "cell_type": pd.Categorical(names[kinds], categories=names),
        "activation": activation,
        "nucleus_area_um2": mean_of("nucleus_area_um2") * np.exp(0.08 * activation + 0.09 * normal()),
        "elongation": 1 + (mean_of("elongation") - 1) * rng.gamma(3, 1 / 3, count),
        "indentation": np.clip(mean_of("indentation") * rng.gamma(3, 1 / 3, count), 0, 0.5),
        "orientation_rad": rng.uniform(0, np.pi, count),
        "heterochromatin": 1 / (1 + np.exp(-logit)),
        "dna_content": np.exp(0.14 * normal()) * np.where(rng.random(count) < 0.03, 1.6, 1.0),
        "grain_um": 0.26 * np.exp(0.22 * normal()),
        "nucleoli": np.minimum(rng.poisson(1.1, count), 4),
        "foci_count": rng.negative_binomial(4, 4 / (4 + foci_mean), count),
        "foci_brightness": np.exp(0.2 * normal()),
        "gammaH2AX_diffuse": np.exp(0.35 * normal()),
        "lamin_residual": lamin_residual,
        # Lamin follows condensation: heterochromatin is tethered to the lamina.
        "lamin_level": np.exp(0.45 * (logit + 0.2) + lamin_residual),
        "cytoplasm_um": np.array([kind.cytoplasm_um for kind in CELL_TYPES])[kinds] * np.exp(0.15 * normal()),
    }
    activated = {"CD3": -0.15, "CD4": -0.1, "CD8": 0.15, "CD16": -0.2}
    for stain in MEMBRANE_STAINS:
        mean = np.array([kind.levels.get(stain, _NEGATIVE) for kind in CELL_TYPES])[kinds]
        residual = 0.28 * normal()
        cells[f"{stain}_residual"] = residual
        cells[f"{stain}_level"] = mean * np.exp(activated[stain] * activation + residual)
        cells[f"{stain}_cap"] = rng.beta(1.3, 4.0, count)
    return pd.DataFrame(cells)
