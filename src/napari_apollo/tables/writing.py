"""Latents into the ``obsm`` of files of tables: a file is changed whole or not at all."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from napari_apollo.errors import DataError, FileError
from napari_apollo.storage import whole_file

PREFIX = "X_apollo_"
"""What the names of latents in ``obsm`` begin with."""


def write_latents(source: Path, target: Path, blocks: Mapping[str, Mapping[str, np.ndarray]]) -> Path:
    """Write a file of tables again, with latents in ``obsm``; everything else in it stays as it is.

    Parameters
    ----------
    source
        A ``.h5ad`` or ``.h5mu`` file.
    target
        Where to write; the source itself changes it in place, and it stays as it was until the new file is
        whole.
    blocks
        By group of the file (``/`` for an AnnData, or for all cells of a MuData; ``mod/NAME``), arrays (cell,
        dimension) float32 by their name in ``obsm``. What an earlier
        model left there is removed.

    Raises
    ------
    DataError
        When an array has another number of cells than its group.
    FileError
        When the file may not be written.
    StorageFull
        When no space is left.
    """
    from anndata.io import read_elem, write_elem

    try:
        with whole_file(target) as partial:
            shutil.copyfile(source, partial)
            # Nobody may read the copy who could not read the file; who writes it may change it.
            partial.chmod(stat.S_IMODE(source.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
            with h5py.File(partial, "r+") as file:
                for group, arrays in blocks.items():
                    own = file[group]
                    cells = len(read_elem(own["obs"]))
                    if "obsm" not in own:
                        write_elem(own, "obsm", {})
                    for stale in [name for name in own["obsm"] if name.startswith(PREFIX)]:
                        del own["obsm"][stale]
                    for name, values in arrays.items():
                        if len(values) != cells:
                            raise DataError(f"{source}: {len(values)} latents do not go with {cells} cells.")
                        write_elem(own["obsm"], name, np.asarray(values, np.float32))
    except PermissionError as error:
        raise FileError(
            target, f"cannot be written: {error}", "Name another place, or take copies."
        ) from error
    return target
