"""From tables of cells to the cells of a training: what is learnt from, and what is kept away."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.model.card import TableCard
from napari_apollo.model.modality import COUNTED, LIKELIHOODS, Activation, Modality
from napari_apollo.progress import ShouldStop, never
from napari_apollo.tables.checking import check_values, guess_loss
from napari_apollo.tables.gain import CELLS as GAIN_CELLS
from napari_apollo.tables.gain import likelihood_gain
from napari_apollo.tables.matching import Matched, match_cells
from napari_apollo.tables.preparing import Prepared, filter_tables, prepare
from napari_apollo.tables.reading import Table, open_tables
from napari_apollo.train.data import CellData, Observed, Values
from napari_apollo.train.rows import rows_of
from napari_apollo.train.sampling import generator
from napari_apollo.train.split import MIN_HELD_OUT, MIN_TRAIN, TEST, TRAIN, VALIDATION, Split, hash_of
from napari_apollo.train.tableconfig import TableTrainConfig
from napari_apollo.train.tableimages import STORE_SUFFIX, StainImages, stain_images

_SPLIT, _ORDER = 11, 12  # purposes of random numbers, apart from those of train.sampling

_ROWS = 2048  # looked at together

_LEAST_OF_A_KIND = 4
"""Cells of each kind of a nuisance, on average; of numbers that differ from cell to cell there would be 1."""

_PREPARATION = {
    "nb": "none",
    "poisson": "none",
    "bernoulli": "binarise",
    "bce": "paper",
}


@dataclass(frozen=True)
class TableDataset:
    """Tables, as a training uses them.

    Attributes
    ----------
    tables
        After filters, by modality.
    prepared
        Their values as networks take them.
    matched
        Which row of which table is which cell.
    losses, preparations
        By modality.
    split
        Which cells are for what.
    nuisance
        (cell,) kinds of the declared nuisance; None where none is.
    kinds
        Names of the kinds.
    positive_weights
        By modality.
    images
        By modality, stains of a cell store that stand beside the tables.
    layer
        Of the tables, which holds the values; ``X`` where it is empty.
    """

    tables: dict[str, Table]
    prepared: dict[str, Prepared]
    matched: Matched
    losses: dict[str, str]
    preparations: dict[str, str]
    split: Split
    nuisance: np.ndarray | None
    kinds: tuple[str, ...]
    positive_weights: dict[str, float]
    images: dict[str, StainImages] = field(default_factory=dict)
    layer: str = ""

    def cells(self, chosen: np.ndarray, device: torch.device) -> CellData:
        """Cells (n,) int64, positions in ``matched``, in that order."""
        observed = {}
        for name, rows in self.matched.rows.items():
            own = rows[chosen]
            there = own >= 0
            place = np.full((len(chosen), 1), -1, np.int64)
            place[there, 0] = np.arange(there.sum())
            values: Values
            if name in self.images:
                values = self.images[name].crops(own[there])
            else:
                values = rows_of(self.prepared[name], own[there])
            observed[name] = Observed(values, place, np.zeros(there.sum(), np.int64))
        return CellData(observed, device, None if self.nuisance is None else self.nuisance[chosen])

    def learnt(self, seed: int) -> np.ndarray:
        """Training cells in an order of their own, so that neighbours in a file do not share batches."""
        cells = self.split.cells(TRAIN)
        return cells[generator(seed, _ORDER).permutation(len(cells))]

    def learnt_values(self) -> dict[str, Prepared]:
        """Values of the training cells, by table."""
        chosen = self.split.cells(TRAIN)
        found = {}
        for name, prepared in self.prepared.items():
            rows = self.matched.rows[name][chosen]
            found[name] = replace(prepared, values=prepared.values[rows[rows >= 0]])
        return found

    def modalities(self, specific: int) -> tuple[Modality, ...]:
        """What networks are made for. Likelihoods are added up over features; distances are their mean."""
        mean = self.mean_features()
        pictures = tuple(
            Modality(name, specific=specific, loss="mse", weight=images.weight / mean)
            for name, images in self.images.items()
        )
        return pictures + tuple(
            Modality(
                name,
                kind="table",
                specific=specific,
                features=table.shape[1],
                activation=_activation(self.losses[name]),
                loss=self.losses[name],
                positive_weight=self.positive_weights[name],
                weight=table.shape[1] / mean if self.losses[name] in LIKELIHOODS else 1.0,
            )
            for name, table in self.tables.items()
        )

    def gain(self) -> float:
        """Nats a cell that latents can bring to a table, on average over tables; no bound beside images."""
        if self.images:
            return math.inf
        gains, chosen = [], self.split.cells(TRAIN)
        for name, prepared in self.prepared.items():
            rows = self.matched.rows[name][chosen]
            rows = rows[rows >= 0]
            seen = prepared.values[rows[:: -(-len(rows) // GAIN_CELLS)]]  # a copy of all would take memory
            gains.append(likelihood_gain(seen, counts=self.losses[name] in COUNTED))
        return float(np.mean(gains))

    def mean_features(self) -> float:
        """Features of a table, on average."""
        return float(np.mean([table.shape[1] for table in self.tables.values()]))

    def cards(self) -> dict[str, TableCard]:
        """What a model must know of its tables."""
        return {
            name: TableCard(
                features=tuple(map(str, table.features)),
                preparation=self.preparations[name],
                centre=() if (centre := self.prepared[name].centre) is None else tuple(centre.tolist()),
                scale=scale
                if isinstance(scale := self.prepared[name].scale, float)
                else tuple(scale.tolist()),
                layer=self.layer,
            )
            for name, table in self.tables.items()
        }

    def fingerprint(self) -> str:
        """SHA-256 over the training cells, the features, and all values of them."""
        digest = hashlib.sha256()
        chosen = self.split.cells(TRAIN)
        digest.update("\n".join(map(str, self.matched.cells[chosen])).encode())
        for name, table in self.tables.items():
            digest.update("\n".join([name, *map(str, table.features)]).encode())
            rows = self.matched.rows[name][chosen]
            for part in _in_parts(table.values, rows[rows >= 0]):
                digest.update(np.ascontiguousarray(part).data)
        for name, images in self.images.items():
            digest.update(f"{name}\n{images.store.normalisation.model_dump_json()}".encode())
            rows = self.matched.rows[name][chosen]
            there = rows[rows >= 0]
            digest.update(np.ascontiguousarray(images.sample(there)).tobytes())
        return digest.hexdigest()

    def in_words(self) -> str:
        """What is learnt from, and what is held out."""
        counts = self.split.counts()
        losses = ", ".join(f"{name} by {loss}" for name, loss in self.losses.items())
        return (
            f"{self.matched.in_words()}; {counts[TRAIN]} to learn from, {counts[VALIDATION]} to decide "
            f"when to stop, {counts[TEST]} held out for the test (by {self.split.by}); {losses}"
        )


def open_table_dataset(
    source: Any, config: TableTrainConfig, *, memory: float = np.inf, should_stop: ShouldStop = never
) -> TableDataset:
    """Read, filter, check, match, split and prepare tables.

    Parameters
    ----------
    source
        As ``tables.open_tables`` takes it.
    config
        Settings.
    memory
        Bytes that the tables may take.

    Raises
    ------
    FileError, ConfigError, DataError
        When tables cannot be read, do not go together, or hold what cannot be learnt from.
    """
    images, source = _images(source, config.modalities)
    wanted = tuple(name for name in config.modalities if name not in images)
    found = open_tables(source, layer=config.layer, names=wanted, memory=memory, should_stop=should_stop)
    if len(found) + len(images) < 2:
        raise ConfigError(f"One table alone ({', '.join(found)}) shares nothing; two or more are needed.")
    losses = config.of("loss", found)
    asked = config.of("prepare", found)
    tables = filter_tables(found, least_cells=config.least_cells, least_features=config.least_features)
    del found  # what was filtered need not lie in memory twice
    preparations = {}
    for name, table in tables.items():
        losses[name] = guess_loss(table) if losses[name] == "auto" else losses[name]
        preparations[name] = _preparation(table, losses[name]) if asked[name] == "auto" else asked[name]
        check_values(table, losses[name], preparations[name])
    matched = match_cells({**{name: stain.stub(name) for name, stain in images.items()}, **tables})
    split = _split(matched, config)
    nuisance, kinds = _nuisance(matched, config.nuisance)
    prepared, weights = {}, {}
    for name, table in tables.items():
        rows = matched.rows[name][split.cells(TRAIN)]
        learnt = rows[rows >= 0]
        if not len(learnt):
            raise DataError(f"No cell of {table.origin} is left to learn from: all are held out.")
        prepared[name] = prepare(table, preparations[name], learnt=learnt)
        weights[name] = _positive_weight(table, config.positive_weight) if losses[name] == "bce" else 1.0
    return TableDataset(
        tables, prepared, matched, losses, preparations, split, nuisance, kinds, weights, images, config.layer
    )


def _images(source: Any, names: tuple[str, ...]) -> tuple[dict[str, StainImages], Any]:
    """Stains of cell stores among paths, those asked for, and the paths that are left."""
    if not isinstance(source, tuple):
        return {}, source
    images: dict[str, StainImages] = {}
    for path in source:
        if str(path).endswith(STORE_SUFFIX):
            found = stain_images(path)
            if taken := sorted(set(found) & set(images)):
                raise ConfigError(f"{path} and another store both hold {', '.join(taken)}; give one of them.")
            images |= {name: stain for name, stain in found.items() if not names or name in names}
    return images, tuple(path for path in source if not str(path).endswith(STORE_SUFFIX))


def _preparation(table: Table, loss: str) -> str:
    """What suits a loss: features have units of their own, unless most values are 0, which is one for all."""
    return _PREPARATION.get(loss) or ("centre" if sparse.issparse(table.values) else "standardise")


def _in_parts(values: Any, rows: np.ndarray) -> Iterator[np.ndarray]:
    """What rows (n,) of values hold, a part at a time: of sparse ones their starts, columns, and values."""
    parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    if not sparse.issparse(values):
        yield from (values[part] for part in parts)
        return
    yield np.concatenate([[0], np.cumsum(np.diff(values.indptr)[rows])]).astype(values.indptr.dtype)
    yield from (values[part].indices for part in parts)
    yield from (values[part].data for part in parts)


def _activation(loss: str) -> Activation:
    if loss in COUNTED:
        return "composition"
    return "sigmoid" if loss in ("bce", "bernoulli") else "linear"


def _positive_weight(table: Table, by: str) -> float:
    if by == "none":
        return 1.0
    stored = table.stored()
    there = float(stored.sum(dtype=np.float64)) if by == "sum" else float((stored > 0).sum())
    weight = (float(table.shape[0]) * table.shape[1] - there) / there
    if weight <= 0:
        raise DataError(
            f"{table.origin}: counts add up to {there:g}, more than there are entries, so that the "
            "reference's weight of what is there would be negative. Say positive_weight positives, or none."
        )
    return weight


def _column(matched: Matched, column: str, setting: str) -> np.ndarray:
    obs = matched.obs
    if column not in obs:
        known = ", ".join(map(str, obs.columns)) or "none"
        raise ConfigError(f"{setting} = {column!r}: no table has such a column in obs; there are {known}.")
    lacking = obs[column].isna()
    if lacking.any():
        raise DataError(
            f"{int(lacking.sum())} cells have no {column} ({setting}), the first {obs.index[lacking][0]!r}."
        )
    if column in matched.disputed:
        raise DataError(
            f"{setting} = {column!r}: {matched.disputed[column]}. Names that stand for different cells would "
            "be matched; if they are the same cells, rename the column in all tables but one."
        )
    return obs[column].astype(str).to_numpy(object)


def _nuisance(matched: Matched, column: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if not column:
        return None, ()
    kinds, codes = np.unique(_column(matched, column, "nuisance").astype(str), return_inverse=True)
    if len(kinds) < 2:
        raise ConfigError(
            f"nuisance = {column!r}: all cells have {kinds[0]!r}; there is nothing to keep out."
        )
    if len(kinds) * _LEAST_OF_A_KIND > len(codes):
        raise ConfigError(
            f"nuisance = {column!r}: {len(kinds)} kinds among {len(codes)} cells; {_LEAST_OF_A_KIND} cells "
            "of a kind are needed on average. Cut numbers into ranges, as pandas.qcut does."
        )
    return codes.astype(np.int64), tuple(kinds.tolist())


def _split(matched: Matched, config: TableTrainConfig) -> Split:
    part = np.full(len(matched.cells), TRAIN, object)
    # What is shared can be judged on cells that have two tables or more.
    several = np.sum([rows >= 0 for rows in matched.rows.values()], axis=0) > 1
    if config.held_out and not config.group:
        raise ConfigError("held_out names groups; say by group which column of obs they are in.")
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    if config.group:
        groups = _column(matched, config.group, "group")
        test = config.held_out or _chosen(groups, several, config.test_fraction, config.seed, TEST)
        unknown = sorted(set(test) - set(groups))
        if unknown:
            known = ", ".join(sorted(set(groups))[:20])
            raise ConfigError(f"held_out names {', '.join(unknown)}; the groups are {known}.")
        part[np.isin(groups, test)] = TEST
        left = part == TRAIN
        validation = _chosen(groups[left], several[left], config.validation_fraction, config.seed, VALIDATION)
        part[np.isin(groups, validation)] = VALIDATION
    else:
        order = generator(config.seed, _SPLIT).permutation(np.flatnonzero(several))
        n_test = round(config.test_fraction * len(order))
        n_validation = round(config.validation_fraction * (len(order) - n_test))
        part[order[:n_test]], part[order[n_test : n_test + n_validation]] = TEST, VALIDATION
    split = Split(part, config.group or "cell", test, validation)
    counts = split.counts()
    for name, least in ((TRAIN, MIN_TRAIN), (VALIDATION, MIN_HELD_OUT), (TEST, MIN_HELD_OUT)):
        if counts[name] < least:
            raise DataError(
                f"{counts[name]} cells for {name} are too few; {least} or more are needed of {len(part)}. "
                "Hold out less, or other groups."
            )
    return split


def _chosen(
    groups: np.ndarray, several: np.ndarray, fraction: float, seed: int, purpose: str
) -> tuple[str, ...]:
    """Groups in the order of their hash, until the fraction is reached; none that is far more than that."""
    sizes = dict(zip(*np.unique(groups[several].astype(str), return_counts=True), strict=True))
    if len(sizes) < 2:
        raise DataError(
            f"One group alone ({', '.join(sizes)}) is left for {TRAIN} and {purpose}; it cannot be held out "
            "from itself. Hold out fewer groups, or take a column of more."
        )
    wanted = fraction * several.sum()
    most = len(sizes) - (2 if purpose == TEST else 1)  # of what is left of the test, one is for validation
    chosen: list[str] = []
    total = 0
    for name in sorted(sizes, key=lambda name: hash_of(seed, purpose, name)):
        if total >= wanted or len(chosen) >= max(1, most):
            break
        if total + sizes[name] <= max(2 * wanted, min(sizes.values())):
            chosen.append(str(name))
            total += sizes[name]
    return tuple(chosen)
