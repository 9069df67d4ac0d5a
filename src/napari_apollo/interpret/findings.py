"""What an interpretation finds, as tables, words, and files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_apollo.interpret.cells import LatentCells
from napari_apollo.interpret.compartments import carriers_in_words, in_words
from napari_apollo.interpret.directions import Directions
from napari_apollo.interpret.phenotypes import Phenotypes
from napari_apollo.interpret.published import Published
from napari_apollo.interpret.walks import Walk
from napari_apollo.storage import whole_folder, write_json

if TYPE_CHECKING:
    import anndata

SCHEMA_VERSION = 1
REPORT = "interpretation.html"
RESULTS = "interpretation.json"


@dataclass
class Interpretation:
    """What came out.

    Attributes
    ----------
    cells
        The cells that were interpreted.
    about
        Model, store, settings, in plain values.
    notes
        What could not be done and why; what to be careful about.
    directions, shares, published
        See ``find_directions``, ``feature_shares``, ``published_procedure``; None where it could not be done.
    walks
        Images along directions.
    phenotypes
        See ``classify``; None where it was not asked for or could not be done.
    compartments
        See ``compartments``; None likewise.
    image_features
        See ``regress_features``; None likewise.
    """

    cells: LatentCells
    about: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    directions: Directions | None = None
    shares: pd.DataFrame | None = None
    published: Published | None = None
    walks: list[Walk] = field(default_factory=list)
    phenotypes: Phenotypes | None = None
    compartments: pd.DataFrame | None = None
    image_features: pd.DataFrame | None = None

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file."""
        tables: dict[str, pd.DataFrame] = {}
        if self.directions is not None:
            tables |= {"directions": self.directions.summary, "features": self.directions.table}
        if self.shares is not None:
            tables["shares"] = self.shares
        if self.published is not None:
            tables |= {"published": self.published.table, "published_shares": self.published.shares}
        if self.phenotypes is not None:
            tables |= {"phenotypes": self.phenotypes.table, "ablation": self.phenotypes.ablation}
            confusion = [_flat(name, table) for name, table in self.phenotypes.confusion.items()]
            tables |= {"confusion": pd.concat(confusion, ignore_index=True)} if confusion else {}
        if self.compartments is not None:
            tables["compartments"] = self.compartments
        if self.image_features is not None:
            tables["image_features"] = self.image_features
        return {name: table for name, table in tables.items() if len(table.columns)}

    def to_json(self) -> dict[str, Any]:
        """Facts, notes and short tables as plain JSON; NaN becomes null."""
        tables = self.tables().items()
        short = {
            name: table
            for name, table in tables
            if name not in ("features", "published", "ablation", "confusion", "image_features")
        }
        return {
            "schema_version": SCHEMA_VERSION,
            **self.about,
            "notes": self.notes,
            **{name: _records(table) for name, table in short.items()},
        }

    def in_words(self) -> str:
        """A few lines: what each direction is, which features each block carries, notes."""
        lines = [self.about["cells"]]
        if self.directions is not None:
            for row in self.directions.summary.itertuples():
                lines.append(f"{row.block} {row.axis} ({row.explained:.0%} of its variance): {row.name}")
        if self.shares is not None:
            counts = self.shares["carried_by"].value_counts()
            carried = ", ".join(f"{name} {count}" for name, count in counts.items())
            lines.append(f"features carried by: {carried}")
        if self.phenotypes is not None and len(self.phenotypes.table):
            best = self.phenotypes.table.sort_values("accuracy", ascending=False).iloc[0]
            lines.append(
                f"best told from {best['input']}: balanced accuracy {in_words(best, 'accuracy')}, "
                f"chance {best['chance']:.2f}"
            )
            lines += [] if self.phenotypes.any_sure() else [self.phenotypes.nothing_sure()]
        if self.compartments is not None:
            lines += carriers_in_words(self.compartments)
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])

    def to_anndata(self) -> anndata.AnnData:
        """Cells with features, latents and positions along directions, and the tables in ``uns``."""
        import anndata

        cells = self.cells
        obs = cells.obs.set_index(cells.obs["cell_id"].astype(str)).rename_axis(None)
        obsm = {name: np.asarray(values, np.float32) for name, values in cells.blocks.items()}
        if self.directions is not None:
            for name, axes in self.directions.axes.items():
                obsm[f"{name}_directions"] = np.asarray(axes.scores, np.float32)
        return anndata.AnnData(
            X=cells.features.to_numpy(np.float32),
            obs=obs,
            var=pd.DataFrame({"stain": list(cells.stains)}, index=cells.features.columns.astype(str)),
            obsm=obsm,
            uns={name: table.copy() for name, table in self.tables().items()},
        )

    def write(self, folder: Path, *, overwrite: bool = False) -> Path:
        """Write the report, the tables and the AnnData, whole or not at all.

        Returns
        -------
        pathlib.Path
            The report.

        Raises
        ------
        FileError
            When the folder exists and ``overwrite`` is not set.
        """
        from napari_apollo.interpret.report import interpretation_page

        with whole_folder(folder, overwrite=overwrite, mark=RESULTS) as partial:
            for name, table in self.tables().items():
                table.to_csv(partial / f"{name}.csv", index=False)
            write_json(partial / RESULTS, self.to_json())
            self.to_anndata().write_h5ad(partial / "interpretation.h5ad")
            interpretation_page(self).write(partial / REPORT)
        return Path(folder) / REPORT


def _flat(name: str, confusion: pd.DataFrame) -> pd.DataFrame:
    """A table of confusion with columns for its input and the true class, whatever classes are called."""
    taken = {own: f"{own} (class)" for own in ("true", "input")}
    return confusion.rename(columns=taken).assign(input=name).reset_index()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
