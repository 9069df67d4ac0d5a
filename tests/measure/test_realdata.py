"""Features of real nuclei: plain NumPy's values, biology that is known, and no value without a reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage, stats
from skimage import measure as sk

from napari_apollo.cells.segmentation import SegmentConfig, expand_nuclei, segment_image
from napari_apollo.measure import MeasureConfig, measure_field, measure_study
from napari_apollo.measure.study import study_of_image

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def annotated(data_dir):
    """The smallest annotated images and their labels."""
    folder = data_dir / "nuclei_gt" / "kromp"
    images = sorted((folder / "images").glob("*.tif*"), key=lambda path: (path.stat().st_size, path.name))
    pairs = [(image, next((folder / "labels").glob(f"{image.stem}.*"))) for image in images[:3]]
    assert pairs
    return pairs


def test_annotated_nuclei_have_the_values_of_other_libraries(annotated):
    for image, labels in annotated:
        table = measure_study(
            study_of_image(image, labels, ("DAPI",)),
            MeasureConfig(workers=1, families=("shape", "intensity", "condensation", "texture"), expand_px=0),
        )
        found = pd.DataFrame(table.X, index=table.obs["label"], columns=table.var_names)
        numbers, light = tifffile.imread(labels), tifffile.imread(image)
        props = [p for p in sk.regionprops(numbers.astype(np.int32)) if p.area >= 4]
        assert len(found) == len(np.unique(numbers)) - 1 > 3
        row = found.loc[[p.label for p in props]]
        for name, theirs in (
            ("area", "area"),
            ("convex_area", "area_convex"),
            ("major_axis", "axis_major_length"),
            ("solidity", "solidity"),
        ):
            np.testing.assert_allclose(row[f"nucleus_{name}"], [getattr(p, theirs) for p in props], rtol=1e-5)
        values = [light[numbers == p.label].astype(float) for p in props]
        np.testing.assert_allclose(row["nucleus_median_DAPI"], [np.median(v) for v in values], rtol=1e-5)
        np.testing.assert_allclose(row["nucleus_skewness_DAPI"], [stats.skew(v) for v in values], atol=1e-4)
        record = table.uns["measure"]["missing"]
        assert np.isnan(table.X).sum() == sum(record.values())
        assert not np.isinf(table.X).any()
        assert "the formula gives no finite number for this cell" not in record


def test_both_name_spaces_of_real_lymphocytes_have_reasons_for_all_that_is_missing(data_dir):
    image = tifffile.imread(data_dir / "lymph_node_codex" / "lymph_node.tiff")[:, :220, :220]
    labels = segment_image(image[0], config=SegmentConfig(engine="threshold"))
    stains = ("DAPI", "CD4", "CD8", "FOXP3", "BCL6")
    config = MeasureConfig(name_space="both", foci_stains=("BCL6",), workers=1)
    table = measure_field(image, labels, expand_nuclei(labels, 3), stains, 0.5, config)
    assert len(table) > 150
    values = table.to_numpy()
    assert not np.isinf(values).any()
    assert np.isnan(values).sum() == sum(table.attrs["missing"].values())
    # By their published definition: normalised moments below order 2.
    undefined = table.attrs["missing"]["the formula gives no finite number for this cell"]
    assert undefined <= table.filter(like="moments_normalized").isna().to_numpy().sum()
    # Known of lymphocytes: small, round nuclei; CD4 and CD8 on the membrane, outside of the nucleus.
    assert 2 < table["nucleus_equivalent_diameter"].median() < 8
    assert table["nucleus_solidity"].median() > 0.85


def test_fkhr_moves_into_the_nucleus_with_the_dose(data_dir):
    """Wortmannin keeps FKHR in the nucleus: its share there rises from no dose to the highest."""
    folder = data_dir / "u2os_fkhr_bbbc013"
    doses = pd.read_csv(folder / "doses.csv")
    wells = doses[doses["Row"] == "A"].sort_values("SBS_Doses")
    ratios = []
    for well in (wells.iloc[0], wells.iloc[-1]):
        image = tifffile.imread(folder / f"well_{well['Row']}{int(well['Column']):02d}.ome.tif")
        labels = segment_image(image[0], config=SegmentConfig(engine="threshold"))
        table = measure_field(
            image, labels, expand_nuclei(labels, 6), ("DNA", "FKHR"),
            config=MeasureConfig(families=("intensity", "radial"), workers=1),
        )  # fmt: skip
        whole = table.dropna(subset=["cytoplasm_mean_FKHR"])
        ratios.append(whole["nucleus_mean_FKHR"] / whole["cytoplasm_mean_FKHR"])
        assert len(whole) > 30
    assert ratios[1].median() > 1.15 * ratios[0].median()
    assert stats.mannwhitneyu(ratios[1], ratios[0], alternative="greater").pvalue < 1e-6


def test_tiles_change_no_value_of_a_real_field(data_dir):
    image = tifffile.imread(data_dir / "lymph_node_codex" / "lymph_node.tiff")[:, :160, :200]
    smooth = ndimage.gaussian_filter(image[0].astype(float), 1.5)
    labels = ndimage.label(smooth > np.percentile(smooth, 70))[0].astype(np.int32)
    stains = ("DAPI", "CD4", "CD8", "FOXP3", "BCL6")
    first = measure_field(image, labels, None, stains, config=MeasureConfig(workers=1))
    second = measure_field(image, labels, None, stains, config=MeasureConfig(workers=2, tile_px=64, batch=7))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
