"""Training on paired tables in memory: the same networks' halls, loop and objectives as for images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_apollo.errors import DataError
from napari_apollo.model.card import Verdict
from napari_apollo.model.modality import Architecture, Modality, TableBlocks
from napari_apollo.model.network import Network
from napari_apollo.progress import Progress, ShouldStop, never, silent
from napari_apollo.train.build import seeded_network
from napari_apollo.train.data import CellData, Observed, Vectors
from napari_apollo.train.gap import encoding_gap
from napari_apollo.train.loop import Epoch, Loop, Position, own_random_numbers
from napari_apollo.train.objectives import Objective, Stage, get_objective, normal_codes
from napari_apollo.train.presets import TABLES
from napari_apollo.train.sampling import step_seed
from napari_apollo.train.verdict import judge

_LATENTS = 2**31 - 3  # the "stage" whose random numbers make the first latents


@dataclass(frozen=True)
class TableSettings:
    """How a model of tables is trained; names and meaning are those of ``TrainConfig``.

    Attributes
    ----------
    objective
        ``two-step`` or ``agreement``.
    shared, specific
        Lengths of the shared latent, and by modality of its own.
    hidden, depth, table_blocks
        Of the networks: see ``Architecture``.
    standardise
        Centre each feature, and divide each modality by one number so that its features have variance
        1 on average. The paper takes its tables as they are.
    shared_decoders, loss, ...
        See ``TrainConfig``.
    """

    objective: str
    shared: int
    specific: Mapping[str, int]
    hidden: int
    depth: int
    table_blocks: TableBlocks
    standardise: bool
    shared_decoders: bool
    loss: str
    schedule: str
    batch_size: int
    decoder_rate: float
    latent_rate: float
    encoder_rate: float
    latent_epochs: int
    encoder_epochs: int
    latent_patience: int
    encoder_patience: int
    fixed_order: bool
    dense_latents: bool
    regression_weight: float
    reconstruction_weight: float
    tune_decoders: bool
    turn_cells: bool
    noise: float
    penalty: float
    beta: float
    gamma: float
    eta: float
    opening: float
    sharpening: float
    follow: float
    tuning_rate: float
    shared_cost: float
    cross_weight: float
    product_weight: float
    unused_below: float
    told_above: float
    unwound_after: float
    seed: int = 0

    @classmethod
    def preset(cls, objective: str, **changes: Any) -> TableSettings:
        """Settings that suit an objective, with changes."""
        return cls(**{**TABLES[objective], "objective": objective, **changes})


@dataclass
class TableModel:
    """A model of tables, and what its training found.

    Attributes
    ----------
    network
        In evaluation mode.
    blocks
        Optimised latents of the training cells, float32, (cell, dimension), dimensions in use: of all
        cells under ``shared``, of those that have it under the name of each modality.
    sizes
        Dimensions in use.
    gap
        See ``encoding_gap``.
    verdict
        On validation cells.
    history
        Every epoch.
    """

    network: Network
    blocks: dict[str, np.ndarray]
    sizes: dict[str, int]
    gap: dict[str, dict[str, float]]
    verdict: Verdict
    history: list[Epoch] = field(repr=False)


def train_tables(
    tables: Mapping[str, ArrayLike],
    settings: TableSettings,
    *,
    validation: np.ndarray | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> TableModel:
    """Train a model on tables whose rows are the same cells.

    Parameters
    ----------
    tables
        By name of the modality, float, (cell, feature). A row of NaN is a cell that lacks the modality;
        every cell has at least one.
    settings
        Sizes and objective; ``settings.specific`` names the same modalities.
    validation
        (cell,) bool: cells that are not learnt from; by them step 2 is stopped and the verdict drawn.

    Raises
    ------
    DataError
        When tables do not fit together, or hold values that are not finite in rows that are not all NaN.
    TrainingFailed
        When a loss is not finite.
    Cancelled
        When ``should_stop`` says so.
    """
    checked = _check(tables, settings)
    n = len(next(iter(checked.values())))
    held = np.zeros(n, bool) if validation is None else np.asarray(validation, bool)
    device = torch.device("cpu")
    scales = {name: _scale(values[~held], settings) for name, values in checked.items()}
    scaled = {name: (values - scales[name][0]) / scales[name][1] for name, values in checked.items()}
    training = _cells({name: values[~held] for name, values in scaled.items()}, device)
    kept_away = _cells({name: values[held] for name, values in scaled.items()}, device)
    architecture = Architecture(
        modalities=tuple(
            Modality(
                name,
                kind="table",
                specific=settings.specific[name],
                features=values.shape[1],
                activation="linear",
            )
            for name, values in checked.items()
        ),
        vocabulary=(),
        shared=settings.shared,
        hidden=settings.hidden,
        depth=settings.depth,
        table_blocks=settings.table_blocks,
        shared_decoders=settings.shared_decoders,
        normal_codes=normal_codes(settings.objective),
    )
    network = seeded_network(architecture, settings.seed)
    with own_random_numbers(device):
        torch.manual_seed(step_seed(settings.seed, _LATENTS, 0))
        objective = get_objective(settings.objective, network, training, settings)
    keeper = _Memory(network)
    loop = Loop(
        network,
        objective,
        training,
        kept_away if held.any() else None,
        settings,
        names=lambda cell: f"cell {np.flatnonzero(~held)[cell]}",
        keeper=keeper,
    )
    loop.run(progress, should_stop)
    return TableModel(
        network.eval(),
        _blocks(network, objective, training),
        network.sizes(),
        encoding_gap(network, objective, training, settings.loss),
        judge(network, kept_away if held.any() else training),
        keeper.epochs,
    )


class _Memory:
    """Keeps metrics and the best weights in memory; nothing is written."""

    def __init__(self, network: Network) -> None:
        self.epochs: list[Epoch] = []
        self._network = network
        self._best: dict[str, Tensor] | None = None

    def due(self) -> bool:
        return False

    def checkpoint(self, position: Position, losses: Tensor | None) -> None:
        """Nothing to write."""

    def after_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        if epoch.improved and epoch.validation:
            self._best = {name: value.detach().clone() for name, value in self._network.state_dict().items()}

    def last_good(self) -> str:
        """Nothing is kept."""
        return "No checkpoint is kept."

    def after_stage(self, stage: Stage, following: Position) -> None:
        if stage.watches_validation and self._best is not None:
            self._network.load_state_dict(self._best)
        self._best = None


def _check(tables: Mapping[str, ArrayLike], settings: TableSettings) -> dict[str, np.ndarray]:
    checked = {name: np.asarray(values, np.float64) for name, values in tables.items()}
    if set(checked) != set(settings.specific):
        raise DataError(
            f"Tables {', '.join(checked)} do not go with sizes of {', '.join(settings.specific)}."
        )
    shapes = {name: values.shape for name, values in checked.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        raise DataError(f"Tables of one number of cells (cell, feature) are wanted, found {shapes}.")
    present = []
    for name, values in checked.items():
        lacking = np.isnan(values).all(axis=1)
        bad = ~np.isfinite(values).all(axis=1) & ~lacking
        if bad.any():
            raise DataError(f"Table {name!r} is not finite in {bad.sum()} cells, the first {bad.argmax()}.")
        present.append(~lacking)
    bare = ~np.any(present, axis=0)
    if bare.any():
        raise DataError(f"{bare.sum()} cells lack every modality, the first {bare.argmax()}.")
    return checked


def _scale(values: np.ndarray, settings: TableSettings) -> tuple[np.ndarray, float]:
    if not settings.standardise:
        return np.zeros(values.shape[1]), 1.0
    spread = math.sqrt(float(np.nanmean(np.nanvar(values, axis=0))))
    return np.nanmean(values, axis=0), spread if spread > 0 else 1.0


def _cells(tables: Mapping[str, np.ndarray], device: torch.device) -> CellData:
    observed = {}
    for name, values in tables.items():
        there = ~np.isnan(values).any(axis=1)
        rows = np.full((len(values), 1), -1, np.int64)
        rows[there, 0] = np.arange(there.sum())
        observed[name] = Observed(Vectors(values[there]), rows, np.zeros(there.sum(), np.int64))
    data = CellData(observed, device)
    data.to_device()
    return data


def _blocks(network: Network, objective: Objective, cells: CellData) -> dict[str, np.ndarray]:
    blocks = {}
    names = [m.name for m in network.architecture.modalities if m.specific]
    for name in ("shared", *names):
        n = cells.n_cells if name == "shared" else cells.n_rows(name)
        latents = objective.optimised(name, torch.arange(n)).detach()
        used = network.kept(name).bool() if network.architecture.normal_codes else slice(None)
        blocks[name] = latents[:, used].numpy().copy()
    return blocks
