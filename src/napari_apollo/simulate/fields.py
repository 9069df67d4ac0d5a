"""Whole fields of simulated blood cells, with everything about them known."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from napari_apollo.config import OperationConfig
from napari_apollo.panels import Panel, match_stains
from napari_apollo.simulate import optics, render, shapes
from napari_apollo.simulate.population import MEMBRANE_STAINS, PANELS, STAINS, Donor, draw_cells, draw_donor
from napari_apollo.simulate.textures import TILE, gaussian_tile

# Structures are 0.15 µm thin; coarser cameras are simulated on finer pixels and binned.
_FINEST_NEEDED_UM = 0.25


class SceneConfig(OperationConfig):
    """What a simulated field looks like."""

    field_size: int = Field(512, ge=64, le=4096)
    """Side of a field in pixels."""
    pixel_size_um: float = Field(0.2, ge=0.05, le=0.6)
    """Side of a pixel in micrometres."""
    cells_per_field: int = Field(60, ge=1, le=20_000)
    """Cells aimed at in a field; there are fewer where they find no room."""
    brightness: float = Field(1.0, ge=0.02, le=100)
    """Light of the cells and of the background, relative to the default: less light, more noise."""
    noise: bool = True
    """Photon and camera noise; without it, pixels hold their expected counts."""
    numerical_aperture: float = Field(0.9, ge=0.2, le=1.49)
    """Of the objective: a lower one blurs more."""
    batch_effect: float = Field(1.0, ge=0, le=5)
    """How far staining, background and blur differ between donors and fields; 0 for not at all."""
    condition_effect: float = Field(1.0, ge=0, le=3)
    """How far foci, chromatin and composition differ between conditions; 0 for not at all."""
    type_in_chromatin: float = Field(1.0, ge=0, le=1)
    """How far a cell's type shows in its nucleus; at 0 the CD levels are wholly protein-specific."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """The same seed gives the same images."""


@dataclass(frozen=True)
class SimulatedField:
    """A field in all stains, and what was planted in it.

    Attributes
    ----------
    name
        Of the field.
    panel
        The stains that a microscope would have measured; the others are the hidden truth.
    image
        uint16, (7, Y, X), every stain in the order of ``STAINS``, camera counts.
    nuclei, cells
        int32, (Y, X), labels; a nucleus and its cell have one number.
    pixel_size_um
        Side of a pixel, µm.
    truth
        One row a cell, indexed by label: field, panel, donor, condition, centroid ``y, x`` (pixels),
        ``nucleus_pixels``, ``at_border`` (whether the field cuts its nucleus), every factor of
        ``CELL_FACTORS`` and the levels they come to.
    foci
        One row a focus: ``label, y, x`` (pixels), ``sigma_um``, ``peak`` (relative to the stain's strength).
    """

    name: str
    panel: Panel
    image: NDArray[np.uint16]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    pixel_size_um: float
    truth: pd.DataFrame
    foci: pd.DataFrame

    def measured(self) -> NDArray[np.uint16]:
        """The stains of the panel, in its order, (stain, Y, X)."""
        return self.image[list(match_stains(self.panel.stains, STAINS, "the simulated stains"))]


def make_donor(config: SceneConfig, name: str, condition: str) -> Donor:
    """The donor of a name: the same for a seed, whichever other donors there are.

    Raises
    ------
    ConfigError
        When the condition is unknown.
    """
    return draw_donor(
        name,
        condition,
        _rng(config.seed, "donor", name),
        batch_effect=config.batch_effect,
        condition_effect=config.condition_effect,
    )


def simulate_field(
    config: SceneConfig, donor: Donor, panel: Panel = PANELS[0], index: int = 0
) -> SimulatedField:
    """Simulate one field.

    Parameters
    ----------
    config
        What it looks like; ``field_memory`` says what it takes.
    donor
        From ``make_donor``.
    panel
        Stains that are measured; all are simulated.
    index
        Number of the field among those of donor and panel; each is another one.
    """
    name = f"{donor.name}_{panel.name}_{index + 1:02d}"
    rng = _rng(config.seed, "field", name)
    tile = gaussian_tile()
    cells = draw_cells(
        config.cells_per_field,
        donor,
        rng,
        condition_effect=config.condition_effect,
        type_in_chromatin=config.type_in_chromatin,
    )
    bodies, centres, cells = _lay_out(cells, config, tile, rng)
    oversampling = _oversampling(config)
    fine_um = config.pixel_size_um / oversampling
    foci = _foci(bodies, cells, config, tile, rng)
    cells["foci_count"] = foci.groupby("label").size().reindex(cells.index, fill_value=0)
    # Truth on the camera's pixels; light on finer ones where the camera's are coarse.
    shape = (config.field_size, config.field_size)
    light, nuclei, regions = render.render_cells(bodies, shape, config.pixel_size_um, tile)
    if oversampling > 1:
        fine_shape = (shape[0] * oversampling, shape[1] * oversampling)
        light, _, _ = render.render_cells(_finer(bodies, oversampling), fine_shape, fine_um, tile)
    spots = foci[["y", "x", "sigma_um", "peak"]].to_numpy(dtype=np.float64)
    spots[:, :2] = _finer_places(spots[:, :2], oversampling)
    render.add_spots(light[STAINS.index("gammaH2AX")], spots, fine_um)
    # Noise has a stream of its own: without it, everything else is the same.
    exposures = [_exposure(stain, config, donor, rng) for stain in STAINS]
    noise = _rng(config.seed, "noise", name) if config.noise else None
    image = np.empty((len(STAINS), *shape), dtype=np.uint16)
    for channel, exposure in enumerate(exposures):
        photons = optics.expected_photons(
            light[channel], exposure, config.pixel_size_um, oversampling=oversampling
        )
        image[channel] = optics.camera_counts(photons, noise)
    truth = _truth_table(cells, centres, nuclei, donor, panel, name)
    return SimulatedField(name, panel, image, nuclei, regions, config.pixel_size_um, truth, foci)


def field_memory(config: SceneConfig) -> int:
    """Bytes that simulating one field takes at its height."""
    pixels, fine = config.field_size**2, _oversampling(config) ** 2
    # Light of all stains and copies of one on fine pixels; image, labels and copies on the camera's.
    return pixels * (4 * (len(STAINS) + 4) * fine + 2 * len(STAINS) + 4 * 8)


def _oversampling(config: SceneConfig) -> int:
    return int(np.ceil(config.pixel_size_um / _FINEST_NEEDED_UM - 1e-9))


def _lay_out(
    cells: pd.DataFrame, config: SceneConfig, tile: NDArray[np.float32], rng: np.random.Generator
) -> tuple[render.CellBodies, NDArray[np.float64], pd.DataFrame]:
    def column(name: str) -> NDArray[np.float64]:
        return cells[name].to_numpy(dtype=np.float64)

    nucleus = shapes.nucleus_outlines(
        column("nucleus_area_um2"),
        column("elongation"),
        column("indentation"),
        column("orientation_rad"),
        rng,
    )
    membrane = shapes.cell_outlines(nucleus, column("cytoplasm_um"), rng)
    # Places are those of nuclear centroids; radii from there, with the way from the pole added.
    shift = shapes.outline_centroid(nucleus)
    away = np.hypot(*shift.T)
    extent = config.field_size * config.pixel_size_um
    positions, placed = shapes.scatter_cells(
        nucleus.max(axis=1) + away, membrane.max(axis=1) + away, extent, rng
    )
    pole = (positions - shift) / config.pixel_size_um - 0.5
    count = len(cells)
    turn = rng.uniform(0, 2 * np.pi, count)
    pattern = np.stack([*rng.uniform(0, TILE, (2, count)), np.cos(turn), np.sin(turn)], axis=1)
    levels = np.stack([column(f"{stain}_level") for stain in MEMBRANE_STAINS], axis=1)
    caps = np.stack([column(f"{stain}_cap") for stain in MEMBRANE_STAINS], axis=1)
    nucleoli = _nucleoli(column("nucleoli"), nucleus, rng)
    threshold, density = render.settle_chromatin(
        nucleus, column("heterochromatin"), column("grain_um"), pattern, nucleoli, tile
    )
    # The same DNA in a larger nucleus is thinner; a microscope's depth of field halves the effect.
    thinness = np.sqrt(40 / column("nucleus_area_um2"))
    bodies = render.CellBodies(
        pole=pole[placed],
        nucleus=nucleus[placed],
        membrane=membrane[placed],
        threshold=threshold[placed],
        grain=column("grain_um")[placed],
        pattern=pattern[placed],
        nucleoli=nucleoli[placed],
        dna=(0.8 * thinness * column("dna_content") / density)[placed],
        lamin=column("lamin_level")[placed],
        diffuse=0.10 * column("gammaH2AX_diffuse")[placed],
        membranes=np.stack([levels, caps, rng.uniform(-np.pi, np.pi, levels.shape)], axis=2)[placed],
    )
    centres = positions[placed] / config.pixel_size_um - 0.5
    labels = pd.Index(np.arange(1, placed.sum() + 1), name="label")
    return bodies, centres, cells[placed].set_axis(labels, axis=0)


def _nucleoli(
    counts: NDArray[np.float64], nucleus: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    shape = (len(counts), render.MAX_NUCLEOLI)
    reach = 0.6 * nucleus.min(axis=1)[:, None] * np.sqrt(rng.random(shape))
    angle = rng.uniform(0, 2 * np.pi, shape)
    size = rng.uniform(0.4, 0.75, shape) * (np.arange(render.MAX_NUCLEOLI) < counts[:, None])
    return np.stack([reach * np.sin(angle), reach * np.cos(angle), size], axis=2)


def _foci(
    bodies: render.CellBodies,
    cells: pd.DataFrame,
    config: SceneConfig,
    tile: NDArray[np.float32],
    rng: np.random.Generator,
) -> pd.DataFrame:
    counts = cells["foci_count"].to_numpy(dtype=np.int64)
    rows = []
    for i, places in enumerate(render.plant_foci(bodies, counts, tile, rng)):
        n = len(places)
        peaks = cells["foci_brightness"].iloc[i] * np.exp(0.2 * rng.standard_normal(n))
        at = places / config.pixel_size_um + bodies.pole[i]
        rows.append(np.column_stack([np.full(n, i + 1), at, rng.uniform(0.16, 0.24, n), peaks]))
    table = np.concatenate(rows) if rows else np.zeros((0, 5))
    foci = pd.DataFrame(table, columns=["label", "y", "x", "sigma_um", "peak"])
    return foci.astype({"label": np.int64})


def _finer_places(places: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    return (places + 0.5) * factor - 0.5


def _finer(bodies: render.CellBodies, factor: int) -> render.CellBodies:
    return replace(bodies, pole=_finer_places(bodies.pole, factor))


def _exposure(stain: str, config: SceneConfig, donor: Donor, rng: np.random.Generator) -> optics.Exposure:
    uneven = config.batch_effect * rng.standard_normal(4)
    return optics.Exposure(
        photons=optics.PHOTONS[stain]
        * config.brightness
        * donor.stain_gain[stain]
        * float(np.exp(0.06 * uneven[0])),
        background=optics.BACKGROUND_PHOTONS[stain] * config.brightness * donor.background[stain],
        gradient=(float(np.clip(0.3 * uneven[1], -0.9, 0.9)), float(np.clip(0.3 * uneven[2], -0.9, 0.9))),
        vignette=float(min(0.5, 0.08 * abs(uneven[3]))),
        sigma_um=optics.point_spread_sigma(stain, config.numerical_aperture) * donor.blur,
    )


def _truth_table(
    cells: pd.DataFrame,
    centres: NDArray[np.float64],
    nuclei: NDArray[np.int32],
    donor: Donor,
    panel: Panel,
    name: str,
) -> pd.DataFrame:
    border = np.unique(np.concatenate([nuclei[0], nuclei[-1], nuclei[:, 0], nuclei[:, -1]]))
    seen = np.bincount(nuclei.ravel(), minlength=len(cells) + 1)[1:]
    where = pd.DataFrame(
        {
            "field": name,
            "panel": panel.name,
            "donor": donor.name,
            "condition": donor.condition,
            "y": centres[:, 0],
            "x": centres[:, 1],
            "nucleus_pixels": seen,
            "at_border": np.isin(cells.index, border),
        },
        index=cells.index,
    )
    return pd.concat([where, cells], axis=1)


def _rng(seed: int, *what: str) -> np.random.Generator:
    # Named streams: a donor or field is the same whatever else is simulated.
    key = tuple(zlib.crc32(word.encode()) for word in what)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
