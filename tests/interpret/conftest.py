"""Probes solve many small systems, on which threads of the linear algebra only wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from napari_apollo.interpret.cells import LatentCells
from napari_apollo.simulate.population import draw_cells, draw_donor


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def planted() -> SimpleNamespace:
    """Simulated blood cells of eight donors with latents that hold what each block should hold.

    The factors are those of the simulator; latents are turned, noisy, monotone functions of them, and
    features are factors as a microscope would see them, with staining that differs between donors.
    """
    rng = np.random.default_rng(11)
    donors, parts = [], []
    for number in range(8):
        condition = ("control", "glioma")[number % 2]
        donor = draw_donor(f"D{number}", condition, rng, batch_effect=1, condition_effect=1)
        donors.append(donor)
        parts.append(draw_cells(90, donor, rng).assign(donor=donor.name, condition=condition))
    truth = pd.concat(parts, ignore_index=True)
    donor_of = truth["donor"].map({donor.name: at for at, donor in enumerate(donors)}).to_numpy()
    gain = np.array([donor.stain_gain["gammaH2AX"] for donor in donors])[donor_of]

    def turned(columns: list[np.ndarray], dimensions: int) -> np.ndarray:
        values = np.column_stack(columns)
        values = (values - values.mean(0)) / values.std(0)
        turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
        padded = np.hstack([values, 0.1 * rng.normal(size=(len(values), dimensions - values.shape[1]))])
        return np.tanh(0.4 * padded) @ turn + 0.05 * rng.normal(size=padded.shape)

    log_area = np.log(truth["nucleus_area_um2"].to_numpy())
    condensed = truth["heterochromatin"].to_numpy()
    foci = np.sqrt(truth["foci_count"].to_numpy())
    grain, diffuse = np.log(truth["grain_um"].to_numpy()), np.log(truth["gammaH2AX_diffuse"].to_numpy())
    blocks = {
        "shared": turned([log_area, condensed], 4),
        "chromatin_specific": turned([grain], 3),
        "protein_specific_gammaH2AX": turned([foci, diffuse], 3),
    }
    noise = rng.normal(size=(len(truth), 2))
    features = pd.DataFrame(
        {
            "nucleus_area": np.exp(log_area + 0.03 * noise[:, 0]),
            "heterochromatin": condensed,
            "grain_DAPI": np.exp(grain),
            "foci_count_gammaH2AX": truth["foci_count"].to_numpy(float),
            "mean_gammaH2AX": gain * np.exp(diffuse),
            "noise": noise[:, 1],
        }
    )
    obs = truth[["donor", "condition"]].assign(
        cell_id=[f"c{k}" for k in range(len(truth))], field=truth["donor"], panel="a"
    )
    cells = LatentCells(obs, blocks, features, ("", "DAPI", "DAPI", "gammaH2AX", "gammaH2AX", ""))
    return SimpleNamespace(cells=cells, truth=truth)


SIDE = 24


@pytest.fixture(scope="session")
def blood(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A measured store of simulated blood cells in two panels, of six donors, and an untrained model."""
    import torch

    from napari_apollo.cells import CellStore, CellStoreWriter
    from napari_apollo.measure import MeasureConfig, measure
    from napari_apollo.model import Apollo, Architecture, Modality, ModelCard, Network
    from napari_apollo.simulate import PANELS, simulate_crops

    folder = tmp_path_factory.mktemp("blood")
    crops = simulate_crops(240, SIDE, donors=6, workers=1)
    path = folder / "blood.cells.zarr"
    with CellStoreWriter(path, PANELS, crop_size=SIDE, dtype="uint16", pixel_size_um=0.6) as writer:
        for panel in PANELS:
            rows, images = crops.of_panel(panel)
            truth = crops.truth.iloc[rows].reset_index(drop=True)
            obs = truth[["donor", "condition", "label", "y", "x"]].copy()
            obs["condition"] = np.where(obs["donor"].isin(["D01", "D03", "D05"]), "control", "glioma")
            obs = obs.assign(
                field=[f"{donor}_{panel.name}" for donor in obs["donor"]],
                image="image.tif",
                centre_y=np.floor(obs["y"] + 0.5).astype(int),
                centre_x=np.floor(obs["x"] + 0.5).astype(int),
                scale=1.0,
                split=np.where(obs["donor"].isin(["D05", "D06"]), "test", "train"),
            )
            obs["label"] = np.arange(len(obs)) + 1
            writer.append(panel.name, images, crops.masks[rows], obs)
    store = measure(CellStore.open(path), MeasureConfig(families=("shape", "intensity"), workers=1))
    torch.manual_seed(1)
    stains = tuple(dict.fromkeys(stain for panel in PANELS for stain in panel.proteins))
    architecture = Architecture(
        modalities=(Modality("chromatin", specific=2), Modality("protein", specific=2, conditional=True)),
        vocabulary=stains,
        shared=3,
        embedding=2,
        crop_size=SIDE,
        widths=(4, 4),
        specific_maps=2,
        normal_codes=True,
    )
    card = ModelCard(
        architecture=architecture,
        panels=PANELS,
        normalisation=store.normalisation.model_dump(mode="json"),
        pixel_size_um=0.6,
    )
    network = Network(architecture)
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(3)
    return SimpleNamespace(folder=folder, store=store, model=Apollo(network, card).save(folder / "model"))
