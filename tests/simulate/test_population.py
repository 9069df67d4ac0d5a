"""Factors of simulated cells: which exist, who depends on whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from napari_apollo.errors import ConfigError
from napari_apollo.simulate import (
    CELL_FACTORS,
    CELL_TYPES,
    CONDITIONS,
    PANELS,
    STAINS,
    SceneConfig,
    make_donor,
)
from napari_apollo.simulate.population import draw_cells

EVEN = SceneConfig(batch_effect=0)


def cells_of(condition: str = "control", *, count: int = 20_000, **options: float) -> pd.DataFrame:
    return draw_cells(count, make_donor(EVEN, "D1", condition), np.random.default_rng(0), **options)


def test_every_factor_is_a_column_and_drives_known_stains() -> None:
    cells = cells_of(count=50)
    assert {factor.name for factor in CELL_FACTORS} <= set(cells.columns)
    for factor in CELL_FACTORS:
        assert set(factor.stains) <= set(STAINS)
        assert ("DAPI" in factor.stains) == (factor.block != "protein")
        assert len(factor.stains) > 1 or factor.block != "shared"
        assert factor.meaning
        if factor.block == "chromatin":
            assert factor.stains == ("DAPI",)


def test_panels_share_only_the_anchor_and_cover_every_stain() -> None:
    first, second = (set(panel.stains) for panel in PANELS)
    assert first & second == {"DAPI"}
    assert first | second == set(STAINS)


def test_chromatin_factors_do_not_depend_on_anything_else() -> None:
    cells = cells_of(condition_effect=0)
    others = [f.name for f in CELL_FACTORS if f.block != "chromatin" and f.name != "cell_type"]
    for factor in ("dna_content", "grain_um", "nucleoli"):
        for other in others:
            assert abs(stats.spearmanr(cells[factor], cells[other]).statistic) < 0.03, other


def test_residuals_and_foci_do_not_depend_on_shared_factors() -> None:
    cells = cells_of()
    shared = ["activation", "nucleus_area_um2", "heterochromatin", "elongation"]
    for factor in ("foci_count", "gammaH2AX_diffuse", "lamin_residual", "CD3_residual", "CD8_cap"):
        for other in shared:
            assert abs(stats.spearmanr(cells[factor], cells[other]).statistic) < 0.03, (factor, other)


def test_type_shows_in_the_nucleus_as_far_as_asked() -> None:
    for shown, significant in ((1.0, True), (0.0, False)):
        cells = cells_of(type_in_chromatin=shown)
        for factor in ("nucleus_area_um2", "heterochromatin", "indentation"):
            groups = [values.to_numpy() for _, values in cells.groupby("cell_type", observed=True)[factor]]
            assert (stats.kruskal(*groups).pvalue < 1e-6) == significant, factor


def test_levels_follow_type() -> None:
    cells = cells_of()
    means = cells.groupby("cell_type", observed=True)[
        [f"{s}_level" for s in ("CD3", "CD4", "CD8", "CD16")]
    ].median()
    positive = {
        (kind.name, f"{stain}_level")
        for kind in CELL_TYPES
        for stain, level in kind.levels.items()
        if level > 0.5
    }
    for (kind, stain), level in means.stack().items():
        assert (level > 0.5) == ((kind, stain) in positive)


def test_lamin_follows_heterochromatin_but_not_alone() -> None:
    cells = cells_of()
    assert 0.4 < stats.spearmanr(cells["lamin_level"], cells["heterochromatin"]).statistic < 0.95


def test_conditions_change_foci_and_chromatin_as_far_as_asked() -> None:
    for effect in (0.0, 1.0):
        means = {
            name: np.mean(
                [
                    draw_cells(
                        2000,
                        make_donor(EVEN, f"D{i}", name),
                        np.random.default_rng(i),
                        condition_effect=effect,
                    )[["foci_count", "heterochromatin"]].mean()
                    for i in range(12)
                ],
                axis=0,
            )
            for name in ("control", "glioma")
        }
        foci = means["glioma"][0] / means["control"][0]
        if effect:
            assert foci == pytest.approx(CONDITIONS["glioma"].foci / CONDITIONS["control"].foci, rel=0.25)
            assert means["glioma"][1] < means["control"][1] - 0.04
        else:
            assert foci == pytest.approx(1, rel=0.05)


def test_donors_differ_only_as_far_as_asked_and_not_by_company() -> None:
    even = make_donor(EVEN, "D1", "control")
    assert set(even.stain_gain.values()) == {1.0}
    assert even.blur == 1.0
    config = SceneConfig(seed=4)
    first = make_donor(config, "D1", "control")
    make_donor(config, "D2", "glioma")
    assert make_donor(config, "D1", "control") == first
    assert make_donor(config, "D2", "control").stain_gain != first.stain_gain
    gains = [make_donor(config, f"D{i}", "control").stain_gain["CD3"] for i in range(400)]
    assert np.std(np.log(gains)) == pytest.approx(0.2, abs=0.03)


def test_unknown_condition_is_named() -> None:
    with pytest.raises(ConfigError, match="none of control, headneck"):
        make_donor(EVEN, "D1", "cured")
