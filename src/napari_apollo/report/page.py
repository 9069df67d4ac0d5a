"""One self-contained HTML page: text, tables and pictures in a single file that can be mailed."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_apollo import __version__
from napari_apollo.storage import whole_file


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence that says what to see in it."""

    caption: str
    data_uri: str


@dataclass(frozen=True)
class Table:
    """A table; numbers are printed with three significant digits."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Section:
    """A heading with what stands below it, in the order in which it was added."""

    title: str
    text: str = ""
    level: int = 2
    parts: list[Picture | Table] = field(default_factory=list)

    def add_figure(self, figure: Figure, caption: str, *, dpi: int = 110) -> None:
        """Draw a figure into the page."""
        self.parts.append(Picture(caption, _as_data_uri(figure, dpi)))

    def add_table(self, frame: pd.DataFrame, caption: str) -> None:
        """Print a table into the page, its index as the first columns where it is named."""
        if any(name is not None for name in frame.index.names):
            frame = frame.reset_index()
        rows = tuple(tuple(_as_text(value) for value in row) for row in frame.itertuples(index=False))
        self.parts.append(Table(caption, tuple(str(column) for column in frame.columns), rows))


@dataclass
class Page:
    """The whole page.

    Attributes
    ----------
    title
        Heading of the page.
    summary
        A sentence or two: what was done to what, and what came out.
    facts
        Short facts shown at the top, name to value.
    """

    title: str
    summary: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)

    def section(self, title: str, text: str = "", *, level: int = 2) -> Section:
        """Begin a section (level 2), or a part of the last one (level 3)."""
        self.sections.append(Section(title, text, level))
        return self.sections[-1]

    def write(self, path: Path) -> Path:
        """Write the page whole or not at all.

        Raises
        ------
        StorageFull
            When no space is left.
        """
        environment = Environment(
            loader=PackageLoader("napari_apollo.report", "."), autoescape=select_autoescape(default=True)
        )
        html = environment.get_template("page.html.j2").render(
            page=self,
            version=__version__,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            is_picture=lambda part: isinstance(part, Picture),
        )
        with whole_file(path) as partial:
            partial.write_text(html, "utf-8")
        return path


def _as_data_uri(figure: Figure, dpi: int) -> str:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _as_text(value: object) -> str:
    if isinstance(value, float):
        if pd.isna(value):
            return "–"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
