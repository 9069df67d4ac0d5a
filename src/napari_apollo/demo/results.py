"""What a demonstration leaves, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_apollo.errors import FileError
from napari_apollo.storage import write_json

RESULTS = "demo.json"
"""File in the output folder that lists the results; written last."""


class SampleResults(BaseModel):
    """One sample taken through the chain; paths are relative to the demonstration's folder.

    Attributes
    ----------
    name, title
        Name used in files, and in words.
    manifest
        The study whose cells were cut.
    truth
        Manifest of the same cells with every stain, where some were hidden.
    store, run, predictions, images, csv, h5ad
        The cell store, the run folder, the predictions, the OME-Zarr images, the table twice.
    cells
        Number of cells.
    scores
        One row a stain and kind of score, as ``evaluate`` gives them.
    seconds
        Time of each stage.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    manifest: Path
    truth: Path | None = None
    store: Path
    run: Path
    predictions: Path
    images: tuple[Path, ...]
    csv: Path
    h5ad: Path
    cells: int
    scores: tuple[dict[str, Any], ...]
    seconds: dict[str, float]


class DemoResults(BaseModel):
    """Everything a demonstration leaves.

    Attributes
    ----------
    folder
        Where it is.
    report
        The HTML page, relative to the folder.
    samples
        Results of each sample.
    seconds
        Time of the whole.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    report: Path
    samples: tuple[SampleResults, ...]
    seconds: float

    @staticmethod
    def are_in(folder: Path) -> bool:
        """Whether a folder holds a demonstration that came to its end."""
        return (Path(folder) / RESULTS).is_file()

    @classmethod
    def read(cls, folder: Path) -> DemoResults:
        """Results that an earlier demonstration left.

        Raises
        ------
        FileError
            When the folder holds none, or they are damaged.
        """
        path = Path(folder) / RESULTS
        if not cls.are_in(folder):
            raise FileError(folder, "holds no demonstration.", "Make one with 'napari-apollo demo'.")
        try:
            return cls.model_validate_json(path.read_text("utf-8")).model_copy(
                update={"folder": Path(folder)}
            )
        except ValidationError as error:
            raise FileError(path, "is damaged.", "Make the demonstration anew.") from error

    def write(self) -> None:
        """Write the list of results into the folder."""
        write_json(self.folder / RESULTS, self.model_dump(mode="json"))

    def path(self, relative: Path) -> Path:
        """Where a result is."""
        return self.folder / relative

    def as_dict(self) -> dict[str, Any]:
        """The results as plain data."""
        return self.model_dump(mode="json")

    def summary(self) -> str:
        """The results in a few lines."""
        lines = []
        for sample in self.samples:
            lines.append(f"{sample.title}: {sample.cells} cells in {sum(sample.seconds.values()):.0f} s")
            for label in ("store", "run", "predictions", "csv", "h5ad"):
                lines.append(f"  {label:<12} {self.path(getattr(sample, label))}")
            lines += [f"  {'image':<12} {self.path(image)}" for image in sample.images]
        lines.append(f"Open {self.path(self.report)} in a browser ({self.seconds:.0f} s in all).")
        return "\n".join(lines)
