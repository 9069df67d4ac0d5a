"""Training, from a cell store to a model in a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_apollo.cells import CellStore
from napari_apollo.errors import Cancelled, ConfigError
from napari_apollo.model.apollo import Apollo
from napari_apollo.model.device import describe_device, pick_device
from napari_apollo.model.precision import set_precision
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.cards import card_of_training
from napari_apollo.train.checkpoints import checkpoint_threads
from napari_apollo.train.config import TrainConfig
from napari_apollo.train.dataset import TEST, TRAIN, VALIDATION, Dataset, open_dataset
from napari_apollo.train.folder import AnyConfig, RunFolder, prepare_folder
from napari_apollo.train.gap import encoding_gap
from napari_apollo.train.keeper import Keeper
from napari_apollo.train.loop import Loop, own_random_numbers
from napari_apollo.train.machine import place_network
from napari_apollo.train.memory import place_cells
from napari_apollo.train.objectives import get_objective, one_protein
from napari_apollo.train.sampling import step_seed
from napari_apollo.train.scores import score_model
from napari_apollo.train.tableconfig import TableTrainConfig
from napari_apollo.train.team import Team, joined, launched_together, own_device
from napari_apollo.train.verdict import judge

if TYPE_CHECKING:
    from napari_apollo.train.run import Run

_LATENTS = 2**31 - 2  # the "stage" whose random numbers make the first latents


def train(
    source: Any,
    config: AnyConfig,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Run:
    """Train a model in this process, together with others where ``torchrun`` started several.

    Parameters
    ----------
    source
        A cell store, or its path. With a ``TableTrainConfig``, tables: files of AnnData or MuData, a MuData,
        or a mapping of names to AnnData; those in memory are given their latents in ``obsm``.
    config
        Settings; ``config.output`` is the run folder that is written.

    Returns
    -------
    Run
        The finished run; ``run.model()`` is the model.

    Raises
    ------
    RunError
        When the run folder exists and ``overwrite`` is not set.
    DataError
        When the cells cannot be learnt from; see ``open_dataset``.
    ConfigError
        When settings do not go with cells or machine.
    TrainingFailed
        When a loss is not finite.
    Cancelled
        When ``should_stop`` says so.
    """
    from napari_apollo.train.run import Run
    from napari_apollo.train.worker import execute

    if isinstance(config, TableTrainConfig):
        return _train_tables(source, config, progress, should_stop)
    cells = source if isinstance(source, CellStore) else CellStore.open(source)
    with joined() as team:
        with team.failing_together():
            folder = prepare_folder(cells.path, config) if team.leads else RunFolder(config.output)
        execute(folder, cells, config, progress, should_stop, team)
    return Run(folder.path)


def _train_tables(source: Any, config: TableTrainConfig, progress: Progress, should_stop: ShouldStop) -> Run:
    from napari_apollo.train.run import Run
    from napari_apollo.train.tablesources import assign_latents, prepare_table_folder, table_sources
    from napari_apollo.train.worker import execute

    if launched_together():
        raise ConfigError(
            "torchrun started several processes, but one alone trains on tables. Start it without torchrun; "
            "--threads says how many threads it takes."
        )
    folder = prepare_table_folder(source, config)
    files, _ = folder.read_config()
    latents = execute(folder, files, config, progress, should_stop)
    if table_sources(source) is None and config.latents != "none" and latents is not None:
        assign_latents(source, latents)
    return Run(folder.path)


def train_into(
    folder: RunFolder,
    store: CellStore,
    config: TrainConfig,
    *,
    progress: Progress,
    should_stop: ShouldStop,
    team: Team | None = None,
) -> Apollo | None:
    """Train and write checkpoints, previews and the model into a run folder.

    Of the processes of a ``team`` the first one gives the model, the others None.

    A folder that holds a checkpoint is gone on with: on a processor the model is the one that an
    uninterrupted training would have given, to the byte.
    """
    team = team or Team()
    device = pick_device(own_device(config.device))
    threads = config.threads or checkpoint_threads(folder.checkpoints / "last")
    if threads:
        torch.set_num_threads(threads)
    progress(Step("Device", detail=describe_device(device)))
    dataset = open_dataset(store, config)
    progress(Step("Cells", detail=_in_words(dataset)))
    architecture = image_architecture(config, dataset.vocabulary, store.crop_size)
    network = place_network(
        seeded_network(architecture, config.seed),
        device,
        precision=config.precision,
        compiled=config.compiled,
        team=team,
    )
    every_protein = not one_protein(config.objective)
    training = dataset.cells(TRAIN, device, every_protein=every_protein, team=team)
    validation = dataset.cells(VALIDATION, device, every_protein=every_protein, team=team)
    place_cells(training, validation, network, config.memory_gb, progress)
    with own_random_numbers(device):
        torch.manual_seed(step_seed(config.seed, _LATENTS, 0, *team.counters))
        objective = get_objective(config.objective, network, training, config)
    chosen = team.own(dataset.split.cells(TRAIN))
    fingerprint = dataset.fingerprint()
    keeper = Keeper(folder, network, objective, config, validation, fingerprint, team)
    position, losses = keeper.restore()
    loop = Loop(
        network,
        objective,
        training,
        validation,
        config,
        names=lambda cell: dataset.cell_name(int(chosen[cell])),
        keeper=keeper,
        position=position,
        losses=losses,
        team=team,
    )
    loop.run(progress, should_stop)
    set_precision(network, torch.float32)
    if not team.leads:
        return None
    if not team.alone:  # the verdict is about all of them
        validation = dataset.cells(VALIDATION, device, every_protein=every_protein)
    card = card_of_training(
        network,
        dataset.split,
        config,
        fingerprint,
        panels=tuple(dataset.panels.values()),
        normalisation=dataset.store.normalisation.model_dump(mode="json"),
        pixel_size_um=dataset.store.pixel_size_um,
    )
    model = Apollo(network, card, device)
    progress(Step("Scoring held-out cells"))
    model.card = model.card.model_copy(
        update={
            "scores": score_model(model, dataset),
            "sizes": network.sizes(),
            "gap": encoding_gap(network, objective, training, config.loss),
            "verdict": judge(network, validation),
        }
    )
    model.save(folder.model, overwrite=True)
    folder.forget_before()
    return model


def _in_words(dataset: Dataset) -> str:
    counts = dataset.split.counts()
    held = ", ".join(dataset.split.test[:5]) + (", ..." if len(dataset.split.test) > 5 else "")
    words = (
        f"{counts[TRAIN]} to learn from, {counts[VALIDATION]} to decide when to stop, "
        f"{counts[TEST]} held out for the test (by {dataset.split.by}: {held})"
    )
    if dataset.split.left_out:
        words += f"; {dataset.split.left_out} left out, as their crops show what is held out beside them"
    if dataset.split.by == "region":
        words += "; there are too few fields to hold any out whole, so scores say nothing of new ones"
    return words


__all__ = ["Cancelled", "prepare_folder", "train", "train_into"]
