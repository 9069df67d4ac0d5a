"""The page docs/features.md, made from the definitions of the features.

``python -m napari_apollo.measure.page docs/features.md`` writes it again.
"""

# ruff: noqa: E501 - a table row of Markdown is one line.

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from napari_apollo.measure import neighbours
from napari_apollo.measure.compat_stack import columns_of_compat_stack
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.engine import FAMILIES
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.registry import Column, Context
from napari_apollo.measure.volume import default_columns_of_stack
from napari_apollo.storage import whole_file

_ANCHOR, _FIRST, _SECOND = "DAPI", "gammaH2AX", "lamin"

_HEAD = """# Features

Made from the code by `python -m napari_apollo.measure.page docs/features.md`; do not edit.

`napari-apollo measure STORE` fills the table of a cell store; `napari-apollo measure IMAGE --labels LABELS` and `napari-apollo
measure STUDY.csv` write a table of the labelled nuclei of an image or of all fields of a study. Labels with planes measure a stack in
three dimensions (`--z-step-um`); with flat labels a stack is measured on its maximum. From Python: `measure`,
`measure_study`, `measure_field` (arrays) and `measure_stack` (three dimensions). Where a field is measured, the cell is the
nucleus expanded by `expand_px`. The code is compiled on first use, which takes a minute or two, is said, and is kept on disk: beside
the package, else in the user's cache, or where `NUMBA_CACHE_DIR` says.
`python benchmarks/measure.py` prints how fast it is then: 1,159 nuclei a second and core for all 549 columns of four stains (nuclei of
1,262 pixels), 1.85 times as many with two threads; beside it, twelve properties of scikit-image 656, its co-occurrence matrices 23.
`table.uns["measure"]` holds `measure_version`, the settings and the pixel
size; measuring again replaces the columns that are listed here and no others.

A column is called `<region>_<feature>`, `<region>_<feature>_<stain>` or `<region>_<feature>_<stain>_<stain>`. The
regions are `nucleus`, `cytoplasm` (the cell without its nucleus), `cell`, `perinucleus` (the nucleus grown by
`protein_grow_px` within the cell) and `neighbour` (other cells in the same image). Names never change with units:
lengths are in µm where the pixel size is known and in px where it is not, and `table.var["unit"]` says which.
*intensity* is what was acquired, in the numbers of the file.

A value that cannot be measured is NaN, never 0 or infinity, and has a reason that is counted in
`table.uns["measure"]["missing"]` (for a field, in `DataFrame.attrs["missing"]`). Below, "missing" is what NaN means.
Beyond that, every column of a stain is NaN for cells whose panel lacks it, and for cells with pixels that are not finite.

Features of form, moments and depth describe what is visible: `<region>_at_edge` is 1 where crop or field cuts the
region. Features marked ↻ change when the image is turned, as angles and directed moments must.
"""

_COMPAT = """
The name space `compat` (`name_space="compat"` or `"both"`) gives what chrometrics (nmco, GVS-Lab, MIT licence) and the
APOLLO study publish, under their names and by their definitions, computed anew: in pixels, on the DNA stain in the
nucleus, on grey levels 0 to 255 (`compat_white` is the intensity that counts as 255). Where the default families
differ they mend something:

| published | what is wrong with it | default |
|---|---|---|
| curvature | edge pixels ordered by their angle about the middle, wrong for nuclei that are not star-shaped | outline followed in its order |
| callipers | longest column of the turned mask, 36 angles | exact widths of the convex hull |
| texture, entropy | count the zeros around the nucleus in its box | pixel pairs and pixels of the region only |
| weighted moments, Hu | depend on exposure | weights over their mean |
| perimeter | biased by direction | Crofton formula |
| `i80_i20`, ratios | infinite where the denominator is 0 | missing, with a reason |

Published values that are not defined for a nucleus (no negative curvature, no prominent peak, no pair at a
distance, normalised moments below order 2) are NaN; `label` is the table's own column. Ties between equally
high curvature peaks closer than 10 px are broken by SciPy's `find_peaks`.
"""

_COMPAT_STACK = """
`measure_stack` with `name_space="compat"` or `"both"` gives what the APOLLO study measured on stacks, in voxels and whatever
the voxel size. Quirks that are kept: dense chromatin lies strictly above its threshold; the radial profile `rdp`
begins with the empty mask that erosion ends in, so `rdp_0` is 0; proteins but gammaH2AX and lamin are measured in the nucleus
dilated twice by a cross of 1 voxel in z and 5 in y and x, other nuclei included; foci are counted on the maximum over z.
"""


def features_page() -> str:
    """Text of docs/features.md."""
    parts = [_HEAD]
    context = Context((_ANCHOR, _FIRST, _SECOND), _ANCHOR, MeasureConfig(name_space="both"))
    for family in FAMILIES.values():
        if family.name != "compat":
            parts.append(f"\n## {family.name}\n\n{family.summary}\n")
            parts.append(_table(family.columns(context)))
    parts.append(f"\n## neighbours\n\n{neighbours.SUMMARY}\n")
    parts.append(_table(neighbours.COLUMNS))
    parts.append("\n## volume\n\nStacks with masks in three dimensions, by `measure_stack`.\n")
    parts.append(_table(default_columns_of_stack(context)))
    parts.append("\n## compat\n" + _COMPAT)
    parts.append(_table(FAMILIES["compat"].columns(context)))
    parts.append("\n### compat, in stacks\n" + _COMPAT_STACK)
    parts.append(_table(columns_of_compat_stack(context)))
    parts.append("\n## Reasons\n\n")
    parts.append("".join(f"- {reason.text}\n" for reason in Reason if reason))
    return "".join(parts)


def _table(columns: Iterable[Column]) -> str:
    """One row a feature; its regions and stains are put together."""
    rows: dict[str, list[Column]] = {}
    for column in columns:
        key = _pattern(column)
        rows.setdefault(key, []).append(column)
    lines = ["\n| column | regions | definition | unit | source | missing |\n|---|---|---|---|---|---|\n"]
    for pattern, found in rows.items():
        feature = found[0].feature
        regions = ", ".join(dict.fromkeys(column.region for column in found))
        mark = " ↻" if feature.turns else ""
        cells = (
            f"`{pattern}`{mark}",
            regions,
            _escaped(feature.formula),
            feature.unit_in("µm"),
            _escaped(feature.origin),
            _escaped(feature.missing),
        )
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def _pattern(column: Column) -> str:
    if column.label:
        label = column.label.replace("dna", "<stain>") if column.label.endswith("_3d_int") else column.label
        return label.replace("gh2ax", "<stain>").replace("lamin", "<stain>")
    stains = ["<DNA>" if stain == _ANCHOR else "<stain>" for stain in column.stains]
    # A stain that every stain could stand for is no particular one.
    if column.family in ("intensity", "texture", "radial", "colocalisation"):
        stains = ["<stain>"] * len(stains)
    return "_".join(["<region>" if column.region else "", column.feature.name, *stains]).strip("_")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main(target: str) -> None:
    """Write the page."""
    with whole_file(Path(target)) as partial:
        partial.write_text(features_page(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
