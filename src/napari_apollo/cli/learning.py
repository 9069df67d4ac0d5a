"""What ``napari-apollo train`` is given: a cell store, or tables, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_apollo.cli.options import GivenSettings
from napari_apollo.errors import ConfigError
from napari_apollo.tables.files import are_tables


def learnt(sources: Sequence[Path], given: GivenSettings) -> tuple[Any, Any]:
    """The cell store or the tables, and the settings of a training on them.

    Raises
    ------
    ConfigError
        When several stores are given, or what is neither, or an option is for the other kind.
    """
    tables = [path for path in sources if are_tables(path)]
    if not tables:
        if len(sources) > 1:
            raise ConfigError(
                f"{len(sources)} cell stores are given; a model learns from one. Tables end in .h5ad, .h5mu."
            )
        return sources[0], given.of("images")
    others = [path for path in sources if path not in tables]
    foreign = [str(path) for path in others if not path.name.endswith(".cells.zarr")]
    if foreign or len(others) > 1:
        raise ConfigError(
            f"{', '.join(foreign) or 'Several cell stores'} cannot go beside tables; one cell store can: its "
            "stains are then modalities."
        )
    return tuple(sources), given.of("tables")
