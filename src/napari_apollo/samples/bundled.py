"""The files that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from napari_apollo.errors import FileError
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField

LYMPH_NODE_STAINS = ("DAPI", "CD4", "CD8", "FOXP3", "BCL6")
"""Channels of the lymph node, in the order of the file, which does not name them."""

LYMPH_NODE_PANELS = (
    Panel(name="DAPI/CD4/FOXP3", stains=("DAPI", "CD4", "FOXP3")),
    Panel(name="DAPI/CD8/BCL6", stains=("DAPI", "CD8", "BCL6")),
)
"""The two panels that its cells are divided over."""

# Well, ordinal dose of wortmannin (0 none ... 10 highest), part of the data.
_WELLS: tuple[tuple[str, int, Literal["train", "validation", "test"]], ...] = (
    ("A02", 0, "train"),
    ("B06", 4, "validation"),
    ("C09", 7, "test"),
    ("D12", 10, "train"),
)


def sample_path(name: str) -> Path:
    """Path of a bundled file, for example ``"lymph_node.tiff"``.

    Raises
    ------
    FileError
        When it did not come with this installation.
    """
    path = Path(__file__).with_name(name)
    if not path.is_file():
        raise FileError(path, "is not among the bundled samples.", "Install the package again.")
    return path


def licences() -> str:
    """Sources and licences of the bundled files, as Markdown."""
    return sample_path("LICENSES.md").read_text("utf-8")


def lymph_node() -> Study:
    """The lymph node as one field whose cells have all five stains: what segmentation works on.

    Human lymph node, CODEX, 500 x 500 pixels, about 1,900 cells. ``two_panel_study`` makes of it
    and its labels the two-panel experiment.
    """
    return Study(
        [
            StudyField(
                image=sample_path("lymph_node.tiff"),
                panel=Panel(name="all stains", stains=LYMPH_NODE_STAINS),
                donor="lymph node",
                condition="lymph node",
                field="lymph_node",
                channels=LYMPH_NODE_STAINS,
            )
        ]
    )


def u2os_wells() -> Study:
    """Four wells of U2OS cells; FKHR moves from cytoplasm to nucleus as the dose of wortmannin rises.

    Wells are the donors. The lowest and the highest dose train; the well of dose 4 decides when to
    stop, the well of dose 7 is held out for the scores.
    """
    panel = Panel(name="DNA/FKHR", stains=("DNA", "FKHR"))
    return Study(
        [
            StudyField(
                image=sample_path(f"well_{well}.ome.tif"),
                panel=panel,
                donor=f"well {well}",
                condition=f"dose {dose}",
                field=f"well_{well}",
                split=split,
                channels=panel.stains,
            )
            for well, dose, split in _WELLS
        ]
    )
