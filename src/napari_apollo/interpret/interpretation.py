"""Interpret: what the latents of a trained model mean, and what they say about the phenotype."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_apollo.interpret.config import InterpretConfig
from napari_apollo.interpret.findings import RESULTS, Interpretation
from napari_apollo.interpret.kept import KeptSteps
from napari_apollo.interpret.source import gather, open_source
from napari_apollo.interpret.steps import Interpreting
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.storage import require_replaceable

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore
    from napari_apollo.train import Run

KEPT = ".steps"
"""What is added to the name of the output to name the folder of finished steps beside it."""


def interpret(
    run_or_store: Run | CellStore | Path | str,
    config: InterpretConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Interpretation:
    """Say what latents mean: which features lie along them, which block carries each, what they predict.

    Parameters
    ----------
    run_or_store
        A run or its folder (its model places the cells of its store); a model folder, with ``config.store``;
        or a cell store whose table holds latents.
    config
        Settings; the defaults where not given.

    Returns
    -------
    Interpretation
        With ``config.output``, also written there. What the data do not allow is left out, and the notes
        say why.

    Raises
    ------
    DataError
        When there are no cells with latents.
    FileError
        When there is no run or store, or the output exists.
    Cancelled
        When ``should_stop`` says so; no report is written. Steps that were finished are kept and not done
        again the next time.
    """
    config = config or InterpretConfig()
    source = open_source(run_or_store, config)
    if config.output is not None:
        require_replaceable(config.output, overwrite=config.overwrite, mark=RESULTS)
    kept = KeptSteps(_kept_in(config))
    cells = gather(source, config, kept, progress, should_stop)
    found = Interpreting(source, config, cells, kept, progress, should_stop).run()
    if config.output is not None:
        progress(Step("Writing the report"))
        found.write(config.output, overwrite=config.overwrite)
    return found


def _kept_in(config: InterpretConfig) -> Path | None:
    if config.output is None or not config.keep_steps:
        return None
    return config.output.with_name(config.output.name + KEPT)
