"""Paired tables with known shared and specific factors.

Five sets follow the simulations of the APOLLO paper (two modalities X and Y, factors Z1 to Z5, linear
noise-free observations); three more are harder: private variation that drowns the shared one, and two
cases in which shared and specific cannot be told apart, where the right answer is a warning.

Who depends on whom (``B`` a fair coin, ``G(k, t)`` a gamma draw of shape k and scale t)::

    Z1 = B                               shared
    Z2 = Z1 + sqrt(.0045) G(5, 1)        shared
    Z3 = B                               X only
    Z4 = Z3 + sqrt(.00125) G(2, 2)       X only, plus 2 Z2 where latents mix
    Z5 = B + sqrt(.0075) G(3, 2)         Y only, with Z2 in the place of B where latents mix
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import ConfigError

if TYPE_CHECKING:
    import anndata

Modality = Literal["x", "y"]
Block = Literal["shared", "x", "y"]
Parents = tuple[str, ...]

FACTORS = ("Z1", "Z2", "Z3", "Z4", "Z5")
"""Names of the true factors, in the order of the columns of ``TableSet.factors``."""

BLOCK_OF: dict[str, Block] = {"Z1": "shared", "Z2": "shared", "Z3": "x", "Z4": "x", "Z5": "y"}
"""The block that each factor belongs to."""

BINARY_FACTORS = ("Z1", "Z3")
"""Factors of two values: the groups of the paper's silhouette scores."""

FEATURES_PER_BLOCK = 10

_MIXING_X: tuple[Parents, ...] = (
    ("Z4",),
    ("Z3",),
    ("Z2",),
    ("Z2", "Z3"),
    ("Z2", "Z4"),
    ("Z3", "Z4"),
    ("Z2", "Z3", "Z4"),
    ("Z1", "Z2", "Z3", "Z4"),
)
_MIXING_Y: tuple[Parents, ...] = (("Z5",), ("Z2",), ("Z2", "Z5"), ("Z1", "Z2", "Z5"))
_SINGLE_X: tuple[Parents, ...] = (("Z4",), ("Z3",), ("Z2",), ("Z1",))
_SINGLE_Y: tuple[Parents, ...] = (("Z5",), ("Z2",), ("Z1",))


@dataclass(frozen=True)
class TableDesign:
    """How one set is generated.

    Attributes
    ----------
    name
        What the set is called on the command line.
    description
        One line on what is hard about it.
    latents
        Law of the factors; see the module's first lines and ``_draw_factors``.
    x_parents, y_parents
        For every block of ten features, the factors that it is a combination of.
    single_parent_gain
        What the loadings of one-parent blocks are multiplied by.
    private_ratio
        Variance that private factors give to each modality, over what shared factors give it; None
        leaves it as the loadings have it.
    tied
        Every parent of a feature has the same loading: only the sum of the parents is ever seen.
    separable
        Whether shared and specific can be told apart; where not, the right answer is a warning.
    published_epochs, published_seed
        Training length and seed of the paper's run; None for sets that are not the paper's.
    """

    name: str
    description: str
    latents: Literal["mixing", "independent", "determined"]
    x_parents: tuple[Parents, ...]
    y_parents: tuple[Parents, ...]
    single_parent_gain: float = 1.0
    private_ratio: float | None = None
    tied: bool = False
    separable: bool = True
    published_epochs: int | None = None
    published_seed: int | None = None


_DESIGNS = (
    TableDesign(
        "1",
        "mixing latents, mixing observations",
        "mixing",
        _MIXING_X,
        _MIXING_Y,
        published_epochs=8000,
        published_seed=1,
    ),
    TableDesign(
        "2",
        "independent latents, one parent per feature",
        "independent",
        _SINGLE_X,
        _SINGLE_Y,
        published_epochs=3000,
        published_seed=1,
    ),
    TableDesign(
        "3",
        "independent latents, mixing observations",
        "independent",
        _MIXING_X,
        _MIXING_Y,
        published_epochs=3000,
        published_seed=3,
    ),
    TableDesign(
        "4",
        "mixing latents, one parent per feature",
        "mixing",
        _SINGLE_X,
        _SINGLE_Y,
        published_epochs=3000,
        published_seed=3,
    ),
    TableDesign(
        "5",
        "as 1, loadings of one-parent features times 4",
        "mixing",
        _MIXING_X,
        _MIXING_Y,
        single_parent_gain=4.0,
        published_epochs=3000,
        published_seed=1,
    ),
    TableDesign(
        "private",
        "as 3, private variation ten times the shared one",
        "independent",
        _MIXING_X,
        _MIXING_Y,
        private_ratio=10.0,
    ),
    TableDesign(
        "determined",
        "as 3, private factors are functions of the shared ones",
        "determined",
        _MIXING_X,
        _MIXING_Y,
        separable=False,
    ),
    TableDesign(
        "confounded",
        "each modality sees only sums of a shared and a private factor",
        "independent",
        (("Z1", "Z3"), ("Z1", "Z3"), ("Z2", "Z4"), ("Z2", "Z4")),
        (("Z2", "Z5"), ("Z2", "Z5"), ("Z2", "Z5")),
        tied=True,
        separable=False,
    ),
)

TABLE_SETS: dict[str, TableDesign] = {design.name: design for design in _DESIGNS}
"""Every set by its name: the paper's ``"1"`` to ``"5"``, and ours."""


@dataclass(frozen=True)
class TableSet:
    """Two paired tables and what they were made from.

    Attributes
    ----------
    design
        How the set is generated.
    seed
        Seed that it was drawn with.
    x, y
        Observations, float64, (cell, feature), no unit, no noise.
    factors
        True factors, float64, (cell, 5), columns as in ``FACTORS``.
    x_loadings, y_loadings
        float64, (feature, 5): ``x == factors @ x_loadings.T``.
    """

    design: TableDesign
    seed: int
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    factors: NDArray[np.float64]
    x_loadings: NDArray[np.float64]
    y_loadings: NDArray[np.float64]

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.design.name

    @property
    def n_cells(self) -> int:
        """Number of paired samples."""
        return len(self.factors)

    def parents(self, modality: Modality) -> list[Parents]:
        """Factors that each feature of a modality depends on, in the order of its columns."""
        blocks = self.design.x_parents if modality == "x" else self.design.y_parents
        return [block for block in blocks for _ in range(FEATURES_PER_BLOCK)]

    def factor_table(self) -> pd.DataFrame:
        """True factors, one row a cell, columns ``Z1`` to ``Z5``."""
        return pd.DataFrame(self.factors, columns=list(FACTORS), index=self._cells())

    def true_blocks(self) -> dict[str, NDArray[np.float64]]:
        """The factors by block, as a method that found the truth would return its latents."""
        return {
            block: self.factors[:, [i for i, name in enumerate(FACTORS) if BLOCK_OF[name] == block]]
            for block in ("shared", "x", "y")
        }

    def split(self, *, validation: float = 0.05, test: float = 0.10, seed: int = 3) -> NDArray[np.str_]:
        """Random split of the cells, 5 % and 10 % held out unless told otherwise, as in the paper.

        Returns
        -------
        ndarray of str, (cell,)
            ``"train"``, ``"validation"`` or ``"test"``.
        """
        if min(validation, test) < 0 or validation + test >= 1:
            raise ConfigError(
                f"validation = {validation}, test = {test}: shares of the cells, together below 1."
            )
        order = np.random.default_rng(seed).permutation(self.n_cells)
        n_validation, n_test = round(self.n_cells * validation), round(self.n_cells * test)
        result = np.full(self.n_cells, "train", dtype="<U10")
        result[order[:n_validation]] = "validation"
        result[order[n_validation : n_validation + n_test]] = "test"
        return result

    def to_anndata(self, modality: Modality) -> anndata.AnnData:
        """One modality as AnnData.

        Factors and split stand in ``obs``, the parents of every feature in ``var`` and the loadings in
        ``varm["loadings"]``; cells have the same names and order in both modalities.
        """
        import anndata

        values, loadings = (self.x, self.x_loadings) if modality == "x" else (self.y, self.y_loadings)
        obs = self.factor_table().assign(split=pd.Categorical(self.split()))
        var = pd.DataFrame(
            {"parents": ["+".join(parents) for parents in self.parents(modality)]},
            index=[f"{modality}{i + 1}" for i in range(values.shape[1])],
        )
        return anndata.AnnData(
            values.copy(),
            obs=obs,
            var=var,
            varm={"loadings": loadings.copy()},
            uns={"set": self.name, "seed": self.seed, "modality": modality},
        )

    def _cells(self) -> list[str]:
        return [f"cell{i}" for i in range(self.n_cells)]


def simulate_tables(name: str | int, *, cells: int = 2048, seed: int = 0) -> TableSet:
    """Draw one set of paired tables.

    Parameters
    ----------
    name
        A name in ``TABLE_SETS``: 1 to 5 are the paper's.
    cells
        Number of paired samples.
    seed
        The same seed gives the same bytes.

    Raises
    ------
    ConfigError
        When no set has that name, or there would be fewer than 10 cells.
    """
    design = TABLE_SETS.get(str(name))
    if design is None:
        raise ConfigError(f"set = {name!r}: no such set of tables; there are {', '.join(TABLE_SETS)}.")
    if cells < 10:
        raise ConfigError(f"cells = {cells}: a set of tables needs at least 10.")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_DESIGNS.index(design),)))
    factors = _draw_factors(design.latents, cells, rng)
    loadings = {
        modality: _draw_loadings(parents, design, rng)
        for modality, parents in (("x", design.x_parents), ("y", design.y_parents))
    }
    if design.private_ratio is not None:
        for modality in loadings:
            _set_private_ratio(loadings[modality], factors, design.private_ratio)
    return TableSet(
        design,
        seed,
        factors @ loadings["x"].T,
        factors @ loadings["y"].T,
        factors,
        loadings["x"],
        loadings["y"],
    )


def _draw_factors(latents: str, cells: int, rng: np.random.Generator) -> NDArray[np.float64]:
    def coin() -> NDArray[np.float64]:
        return rng.integers(0, 2, cells).astype(np.float64)

    z1 = coin()
    z2 = z1 + np.sqrt(0.0045) * rng.gamma(5, 1, cells)
    if latents == "determined":
        # The X factors copy and bend the shared ones, the Y factor bends them another way: whatever a
        # specific block could hold, the shared one holds as well.
        return np.stack([z1, z2, z1, z2**2, np.exp(-z2)], axis=1)
    z3 = coin()
    z4 = z3 + np.sqrt(0.00125) * rng.gamma(2, 2, cells)
    if latents == "mixing":
        z4 = z4 + 2 * z2
        cause_of_z5 = z2
    else:
        cause_of_z5 = coin()
    z5 = cause_of_z5 + np.sqrt(0.0075) * rng.gamma(3, 2, cells)
    return np.stack([z1, z2, z3, z4, z5], axis=1)


def _draw_loadings(
    blocks: tuple[Parents, ...], design: TableDesign, rng: np.random.Generator
) -> NDArray[np.float64]:
    loadings = np.zeros((len(blocks) * FEATURES_PER_BLOCK, len(FACTORS)))
    for i, parents in enumerate(blocks):
        rows = slice(i * FEATURES_PER_BLOCK, (i + 1) * FEATURES_PER_BLOCK)
        columns = [FACTORS.index(parent) for parent in parents]
        drawn = rng.standard_normal((FEATURES_PER_BLOCK, 1 if design.tied else len(columns)))
        gain = design.single_parent_gain if len(parents) == 1 else 1.0
        loadings[rows, columns] = gain * drawn
    return loadings


def _set_private_ratio(loadings: NDArray[np.float64], factors: NDArray[np.float64], ratio: float) -> None:
    # One gain for all private loadings, such that the variance they give, summed over features, is
    # exactly `ratio` times that of the shared ones in this very sample.
    private = np.array([BLOCK_OF[name] != "shared" for name in FACTORS])
    given = [
        np.var(factors[:, columns] @ loadings[:, columns].T, axis=0).sum() for columns in (private, ~private)
    ]
    loadings[:, private] *= np.sqrt(ratio * given[1] / given[0])
