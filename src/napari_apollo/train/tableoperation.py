"""Training on tables of cells, from AnnData and MuData to a model in a run folder and latents in ``obsm``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_apollo.cells import CellStore
from napari_apollo.model.apollo import Apollo
from napari_apollo.model.device import describe_device, pick_device
from napari_apollo.model.modality import Architecture, paper_widths
from napari_apollo.model.precision import set_precision
from napari_apollo.progress import Progress, ShouldStop, Step
from napari_apollo.tables.files import FilePart, cell_names, cell_names_of_all, file_parts, modality_name
from napari_apollo.tables.writing import PREFIX, write_latents
from napari_apollo.train.build import seeded_network
from napari_apollo.train.cards import card_of_training
from napari_apollo.train.checkpoints import checkpoint_threads
from napari_apollo.train.folder import RunFolder
from napari_apollo.train.gap import encoding_gap
from napari_apollo.train.keeper import Keeper
from napari_apollo.train.loop import Loop, Position, own_random_numbers
from napari_apollo.train.machine import place_network
from napari_apollo.train.memory import free_memory, place_cells
from napari_apollo.train.objectives import get_objective, normal_codes
from napari_apollo.train.sampling import step_seed
from napari_apollo.train.split import TEST, VALIDATION
from napari_apollo.train.tableconfig import TableTrainConfig
from napari_apollo.train.tabledataset import TableDataset, open_table_dataset
from napari_apollo.train.tablefactors import start_factors
from napari_apollo.train.tableimages import STORE_SUFFIX
from napari_apollo.train.tablelatents import TableLatents, encode_cells
from napari_apollo.train.tablescores import score_tables
from napari_apollo.train.tablesources import SHARED
from napari_apollo.train.tablestart import start_at_means
from napari_apollo.train.verdict import judge

if TYPE_CHECKING:
    import anndata

_LATENTS = 2**31 - 2  # the "stage" whose random numbers make the first latents


def train_tables_into(
    folder: RunFolder,
    source: tuple[Path, ...],
    config: TableTrainConfig,
    *,
    progress: Progress,
    should_stop: ShouldStop,
) -> dict[str, dict[str, np.ndarray]]:
    """Train and write checkpoints, the model and latents; a folder that holds a checkpoint is gone on with.

    Returns
    -------
    dict
        By modality, what belongs in its ``obsm``: NaN for cells that were left out, or that lack a table. By
        path of a MuData file, what belongs in that of all its cells.
    """
    device = pick_device(config.device)
    threads = config.threads or checkpoint_threads(folder.checkpoints / "last")
    if threads:
        torch.set_num_threads(threads)
    progress(Step("Device", detail=describe_device(device)))
    memory = config.memory_gb * 1e9 or free_memory(torch.device("cpu")) / 2
    progress(Step("Reading tables", detail=", ".join(path.name for path in source)))
    dataset = open_table_dataset(source, config, memory=memory, should_stop=should_stop)
    progress(Step("Cells", detail=dataset.in_words()))
    made = seeded_network(table_architecture(dataset, config), config.seed)
    start_at_means(made, dataset.learnt_values())
    network = place_network(
        made,
        device,
        precision=config.precision,
        compiled=config.compiled,
    )
    chosen = dataset.learnt(config.seed)
    training = dataset.cells(chosen, device)
    validation = dataset.cells(dataset.split.cells(VALIDATION), device)
    place_cells(training, validation, network, config.memory_gb, progress)
    gain = dataset.gain()
    if np.isfinite(gain):
        progress(Step("Prices", detail=f"factors can gain {gain:.3g} nats a cell over the mean cell"))
    settings = in_nats(config, dataset, gain)
    with own_random_numbers(device):
        torch.manual_seed(step_seed(config.seed, _LATENTS, 0))
        objective = get_objective(config.objective, network, training, settings)
    fingerprint = dataset.fingerprint()
    keeper = Keeper(folder, network, objective, config, validation, fingerprint)
    position, losses = keeper.restore()
    if config.start_at_factors and position == Position():
        objective.begin_at(
            start_factors(
                dataset,
                chosen,
                network,
                seed=config.seed,
                progress=progress,
                should_stop=should_stop,
            )
        )
    loop = Loop(
        network,
        objective,
        training,
        validation,
        settings,
        names=lambda cell: str(dataset.matched.cells[int(chosen[cell])]),
        keeper=keeper,
        position=position,
        losses=losses,
    )
    loop.run(progress, should_stop)
    set_precision(network, torch.float32)
    progress(Step("Scoring held-out cells"))
    held_out = dataset.cells(dataset.split.cells(TEST), device)
    held_out.to_device()
    card = card_of_training(network, dataset.split, config, fingerprint, tables=dataset.cards())
    model = Apollo(network, card, device)
    model.card = model.card.model_copy(
        update={
            "scores": score_tables(network, held_out, should_stop),
            "sizes": network.sizes(),
            "gap": encoding_gap(network, objective, training, "mse"),
            "verdict": judge(network, validation),
        }
    )
    model.save(folder.model, overwrite=True)
    folder.forget_before()
    # All cells are compressed anew: what was learnt from makes room for them.
    del loop, keeper, objective, training, validation, held_out
    progress(Step("Placing all cells"))
    everything = dataset.cells(np.arange(len(dataset.matched.cells)), device)
    latents = obsm_of(dataset, encode_cells(network, everything, should_stop), source)
    _write(folder, source, latents, config.latents, progress)
    return latents


def table_architecture(dataset: TableDataset, config: TableTrainConfig) -> Architecture:
    """Networks for the tables of a training."""
    size = next((images.crop_size for images in dataset.images.values()), 0)
    return Architecture(
        modalities=dataset.modalities(config.specific),
        vocabulary=(),
        shared=config.shared,
        crop_size=size,
        widths=paper_widths(size, config.width, config.head) if size else (),
        specific_maps=config.specific_maps if size and config.specific else 0,
        hidden=config.hidden,
        depth=config.depth,
        table_blocks=config.table_blocks,
        shared_decoders=config.shared_decoders,
        normal_codes=normal_codes(config.objective),
    )


def in_nats(config: TableTrainConfig, dataset: TableDataset, gain: float) -> TableTrainConfig:
    """Prices as the loop takes them: losses are means over features, of which a table has this many.

    Where latents can bring but a part of ``eta``, so much is asked of ``eta``, and of ``gamma`` and
    ``opening``, which are factors, that power: where there is nothing to gain, the fair price of a nat is
    left. Encoders of weak tables differ by their noise; at several times the fair price what they share
    would never pay.

    Parameters
    ----------
    gain
        Nats a cell that latents can bring.
    """
    features, part = dataset.mean_features(), min(1.0, gain / config.eta) if config.eta else 1.0
    prices = {
        "beta": config.beta / features,
        "eta": config.eta * part / features,
        "gamma": config.gamma if config.gamma < 1 else config.gamma**part,
        "opening": config.opening**part,
        "nuisance_weight": config.nuisance_weight / features,
    }
    return config.model_copy(update=prices)


def obsm_of(
    dataset: TableDataset, latents: TableLatents, source: tuple[Path, ...]
) -> dict[str, dict[str, np.ndarray]]:
    """Latents in the order of the cells of every table as it was given, before any filter."""
    made = {}
    files = [path for path in source if not str(path).endswith(STORE_SUFFIX)]
    names = cell_names(files, tuple(dataset.tables))
    names |= {name: images.store.obs["cell_id"].to_numpy(object) for name, images in dataset.images.items()}
    for path in files:
        if path.suffix.lower() == ".h5mu":
            position = dataset.matched.positions(cell_names_of_all(path))
            made[str(path)] = {SHARED: _placed(latents.shared, position)}
    for name, cells in names.items():
        position = dataset.matched.positions(cells)
        blocks = {SHARED: latents.shared, f"{PREFIX}{name}": latents.specific[name]}
        made[name] = {key: _placed(values, position) for key, values in blocks.items() if values.shape[1]}
    return made


def _placed(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    placed = np.full((len(position), values.shape[1]), np.nan, np.float32)
    placed[position >= 0] = values[position[position >= 0]]
    return placed


def _write(
    folder: RunFolder,
    source: tuple[Path, ...],
    latents: Mapping[str, Mapping[str, np.ndarray]],
    where: str,
    progress: Progress,
) -> None:
    if where == "none":
        return
    for path in source:
        if str(path).endswith(STORE_SUFFIX):
            if where == "in-place":
                progress(Step("Writing latents", detail=str(path)))
                _write_store(path, latents)
            continue
        parts: dict[str, FilePart] = {
            name: part for name, part in file_parts(path).items() if name in latents
        }
        target = path if where == "in-place" else folder.path / "latents" / path.name
        progress(Step("Writing latents", detail=str(target)))
        blocks = {part.group: latents[name] for name, part in parts.items()}
        if str(path) in latents:
            blocks["/"] = latents[str(path)]
        write_latents(path, target, blocks)


def _write_store(path: Path, latents: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Latents into the table of a cell store: the shared one, and those of its stains."""
    store = CellStore.open(path)
    own = set(map(modality_name, (stain for panel in store.panels.values() for stain in panel.stains)))

    def with_latents(table: anndata.AnnData) -> anndata.AnnData:
        table = table.copy()
        for name, arrays in latents.items():
            if name in own:
                table.obsm.update(arrays)
        return table

    store.update_table(with_latents)
