"""Where the tables of a training come from: files, or objects in memory, which a run folder then keeps."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_apollo.errors import ConfigError, FileError
from napari_apollo.storage import whole_file
from napari_apollo.tables.files import file_parts, modality_name
from napari_apollo.tables.reading import open_tables
from napari_apollo.tables.writing import PREFIX
from napari_apollo.train.folder import RunFolder, prepare_folder
from napari_apollo.train.tableconfig import TableTrainConfig
from napari_apollo.train.tableimages import STORE_SUFFIX

SHARED = f"{PREFIX}shared"
"""Name of the shared latent in ``obsm``; that of a modality's own is ``X_apollo_<modality>``."""


def table_sources(source: Any) -> tuple[Path, ...] | None:
    """The files that a source of tables names; None where it is in memory."""
    if isinstance(source, (str, Path)):
        return (Path(source),)
    if isinstance(source, Sequence) and all(isinstance(each, (str, Path)) for each in source):
        return tuple(Path(each) for each in source)
    return None


def keep_in_folder(source: Any, folder: RunFolder, layer: str) -> tuple[Path, ...]:
    """Write tables in memory into a run folder, so that the run can be gone on with, and scored, later.

    Kept are the values that are learnt from, names, and what is known of cells; what was given stays as it
    is.
    """
    import anndata

    paths = []
    for name, _ in _in_memory(source):
        (table,) = open_tables(source, layer=layer, names=(name,)).values()
        kept = anndata.AnnData(
            None if layer else table.values,
            obs=_storable(table.obs),
            var=pd.DataFrame(index=table.features),
            layers={layer: table.values} if layer else None,
        )
        path = folder.path / "tables" / f"{name}.h5ad"
        with whole_file(path) as partial:
            kept.write_h5ad(partial)
        paths.append(path)
    return tuple(paths)


def _storable(obs: pd.DataFrame) -> pd.DataFrame:
    """What is known of cells as files take it: what is no number becomes words."""
    columns: dict[str, Any] = {}
    for name, values in obs.items():
        if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
            columns[str(name)] = values.array
        else:
            missing = values.isna().to_numpy()
            words = [None if lacks else str(value) for value, lacks in zip(values, missing, strict=True)]
            columns[str(name)] = pd.Categorical(words, sorted({word for word in words if word is not None}))
    return pd.DataFrame(columns, index=obs.index.rename(None))


def assign_latents(source: Any, latents: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Give tables in memory their latents."""
    from anndata import ImplicitModificationWarning

    for name, data in _in_memory(source):
        if name not in latents:
            continue  # it was not asked for
        with warnings.catch_warnings():
            # A view that is given latents becomes an object of its own, as is asked here.
            warnings.simplefilter("ignore", ImplicitModificationWarning)
            for stale in [key for key in data.obsm if key.startswith(PREFIX)]:
                del data.obsm[stale]
            for key, values in latents[name].items():
                data.obsm[key] = values
    if hasattr(source, "mod"):
        _assign_to_all(source)


def _assign_to_all(mudata: Any) -> None:
    """The shared latent of all cells of a MuData, from the tables that have them."""
    parts = [data for data in mudata.mod.values() if SHARED in data.obsm]
    if parts:
        shared = np.full((mudata.n_obs, parts[0].obsm[SHARED].shape[1]), np.nan, np.float32)
        for data in parts:
            position = mudata.obs_names.get_indexer(data.obs_names)
            known = np.isfinite(data.obsm[SHARED]).all(axis=1)
            shared[position[known]] = data.obsm[SHARED][known]
        mudata.obsm[SHARED] = shared


def _in_memory(source: Any) -> Iterator[tuple[str, Any]]:
    entries = source.mod if hasattr(source, "mod") else source
    if not isinstance(entries, Mapping):
        raise ConfigError(
            "Tables are wanted as paths, a MuData, or a mapping of names to AnnData; found "
            f"{type(source).__name__}. A single AnnData needs a name: {{'rna': adata}}."
        )
    for name, data in entries.items():
        if isinstance(data, (str, Path)):
            raise ConfigError(f"{name} is a path among tables in memory; give paths alone, or objects alone.")
        yield modality_name(name), data


def check_files(source: tuple[Path, ...], config: TableTrainConfig) -> None:
    """Refuse what can be refused before a process is begun: files that are not there, or may not be written.

    Raises
    ------
    FileError
        Naming the file.
    """
    names: dict[str, Path] = {}
    files: dict[str, Path] = {}
    for path in source:
        if config.latents == "copy" and files.setdefault(path.name, path) != path:
            raise ConfigError(
                f"{path} and {files[path.name]} are files of one name, of which copies would lie in one "
                "folder; rename one, or let latents go in-place."
            )
        for name in () if str(path).endswith(STORE_SUFFIX) else file_parts(path):
            if name in names:
                raise ConfigError(f"{path} and {names[name]} both hold a table called {name!r}.")
            names[name] = path
        if config.latents == "in-place" and not os.access(path, os.W_OK):
            raise FileError(path, "may not be written.", "Let latents go into copies.")


def prepare_table_folder(source: Any, config: TableTrainConfig) -> RunFolder:
    """Make a run folder for tables; those in memory are written into it.

    Raises
    ------
    RunError
        When it exists and may not be replaced, or is something else than a run folder.
    """
    files = table_sources(source)
    if files is not None:
        check_files(files, config)
        return prepare_folder(files, config)
    folder = prepare_folder((), config)
    try:
        folder.write_config(keep_in_folder(source, folder, config.layer), config)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return folder
