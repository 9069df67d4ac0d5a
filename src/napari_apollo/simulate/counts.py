"""Counts of RNA and surface proteins of the same cells, with factors that are known.

The type of a cell and its activation drive both tables; the cycle and the batch drive RNA alone; a factor of
its own, ``binding``, drives proteins alone. Counts are negative binomial around a library size that varies
from cell to cell: mean = library x softmax(base + loadings x factors), variance = mean + mean² / ``size``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from napari_apollo.errors import ConfigError

if TYPE_CHECKING:
    import anndata

CountTable = Literal["rna", "protein"]

COUNT_BLOCK_OF = {
    "type": "shared",
    "activation": "shared",
    "cycle": "rna",
    "batch": "rna",
    "binding": "protein",
}
"""The block that each factor belongs to."""

_LIBRARY = {"rna": 4000.0, "protein": 3000.0}
_LIBRARY_SPREAD = 0.35
_SIZE = {"rna": 8.0, "protein": 12.0}
_BASE_SPREAD = {"rna": 1.0, "protein": 0.7}
_TYPE_EFFECT = 1.0
_EFFECT = 0.7
_MARKED = 0.3
"""Part of the features that a factor acts on."""


@dataclass(frozen=True)
class CountSet:
    """Two tables of counts and what they were made from.

    Attributes
    ----------
    rna, protein
        (cell, feature) int, counts.
    factors
        (cell, ...) ``type`` and ``batch`` (str), ``activation``, ``cycle``, ``binding`` (float, mean 0,
        variance 1).
    loadings
        By table and factor, (feature,) or (feature, kind): natural logarithm by which the rate of a feature
        changes.
    """

    rna: sparse.csr_matrix
    protein: sparse.csr_matrix
    factors: pd.DataFrame
    loadings: dict[str, dict[str, NDArray[np.float64]]]

    def numbers(self) -> pd.DataFrame:
        """Factors as numbers: a column of zeros and ones for each type, and one for the second batch on."""
        kinds = pd.get_dummies(self.factors[["type", "batch"]], dtype=float)
        first = f"batch_{sorted(self.factors['batch'].unique())[0]}"
        return pd.concat(
            [kinds.drop(columns=first), self.factors[["activation", "cycle", "binding"]]], axis=1
        )

    def to_anndata(self, table: CountTable) -> anndata.AnnData:
        """One table, factors in ``obs``, loadings of its features in ``varm``."""
        import anndata

        counts = self.rna if table == "rna" else self.protein
        names = [f"{'gene' if table == 'rna' else 'protein'}{i + 1}" for i in range(counts.shape[1])]
        loadings = {name: np.atleast_2d(values.T).T.copy() for name, values in self.loadings[table].items()}
        return anndata.AnnData(
            counts.astype(np.float32),
            obs=self.factors.copy(),
            var=pd.DataFrame(index=names),
            varm=loadings,
        )


def simulate_counts(
    *,
    cells: int = 2000,
    genes: int = 400,
    proteins: int = 40,
    types: int = 4,
    batches: int = 2,
    depth: float = 1.0,
    effect: float = 1.0,
    seed: int = 0,
) -> CountSet:
    """Draw RNA and protein counts of the same cells.

    Parameters
    ----------
    cells, genes, proteins, types, batches
        How many.
    depth
        Factor on the counts of a cell, which are 4,000 of RNA and 3,000 of proteins in the median.
    effect
        Factor on all loadings: how far factors change rates.
    seed
        The same seed gives the same counts.

    Raises
    ------
    ConfigError
        When there are too few of something.
    """
    if min(cells, genes, proteins) < 10 or min(types, batches) < 2:
        raise ConfigError(
            f"cells = {cells}, genes = {genes}, proteins = {proteins}, types = {types}, batches = {batches}: "
            "at least 10 of the first three and 2 of the others are needed."
        )
    if not (depth > 0 and effect >= 0):
        raise ConfigError(f"depth = {depth}, effect = {effect}: above 0, and not below 0, would do.")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(101,)))
    factors = pd.DataFrame(
        {
            "type": np.array([f"T{i + 1}" for i in range(types)], object)[rng.integers(0, types, cells)],
            "batch": np.array([f"B{i + 1}" for i in range(batches)], object)[rng.integers(0, batches, cells)],
            "activation": rng.standard_normal(cells),
            "cycle": rng.standard_normal(cells),
            "binding": rng.standard_normal(cells),
        },
        index=[f"cell{i}" for i in range(cells)],
    )
    tables, loadings = {}, {}
    for table, features in (("rna", genes), ("protein", proteins)):
        tables[table], loadings[table] = _table(table, features, factors, depth, effect, rng)
    return CountSet(tables["rna"], tables["protein"], factors, loadings)


def _table(
    table: str,
    features: int,
    factors: pd.DataFrame,
    depth: float,
    strength: float,
    rng: np.random.Generator,
) -> tuple[sparse.csr_matrix, dict[str, NDArray[np.float64]]]:
    cells = len(factors)
    logits = np.tile(_BASE_SPREAD[table] * rng.standard_normal(features), (cells, 1))
    loadings: dict[str, NDArray[np.float64]] = {}
    for name, block in COUNT_BLOCK_OF.items():
        if block not in ("shared", table):
            continue
        if name in ("type", "batch"):
            kinds, codes = np.unique(factors[name].to_numpy(str), return_inverse=True)
            scale = strength * (_TYPE_EFFECT if name == "type" else _EFFECT)
            effect = scale * _sparse_normal(features, len(kinds), rng)
            logits += effect[:, codes].T
            loadings[name] = effect
        else:
            effect = strength * _EFFECT * _sparse_normal(features, 1, rng)[:, 0]
            logits += factors[name].to_numpy(np.float64)[:, None] * effect
            loadings[name] = effect
    parts = np.exp(logits - logits.max(axis=1, keepdims=True))
    parts /= parts.sum(axis=1, keepdims=True)
    library = depth * _LIBRARY[table] * np.exp(_LIBRARY_SPREAD * rng.standard_normal(cells))
    mean = library[:, None] * parts
    counts = rng.poisson(rng.gamma(_SIZE[table], mean / _SIZE[table]))
    return sparse.csr_matrix(counts.astype(np.int32)), loadings


def _sparse_normal(features: int, columns: int, rng: np.random.Generator) -> NDArray[np.float64]:
    acts = rng.random((features, columns)) < _MARKED
    effect: NDArray[np.float64] = rng.standard_normal((features, columns)) * acts
    return effect
