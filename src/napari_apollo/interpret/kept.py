"""Finished steps of an interpretation, kept on disk under what they depend on.

A step that is asked for again with the same inputs is read, not done again: an interpretation that was
stopped goes on where it was, and one whose settings changed does again only what they concern. Keys are
digests of content, so nothing can be out of date; of each step the latest is kept. Files hold arrays and
JSON.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from napari_apollo.interpret.axes import PrincipalAxes
from napari_apollo.interpret.digests import digest
from napari_apollo.interpret.directions import Directions
from napari_apollo.interpret.phenotypes import Phenotypes
from napari_apollo.interpret.published import Published
from napari_apollo.interpret.walks import Walk
from napari_apollo.storage import whole_file

Result = TypeVar("Result")

SCHEMA_VERSION = 1
_ROOMS = ("interpret", "probes", "predict", "model", "measure")
_CLASSES = {kind.__name__: kind for kind in (PrincipalAxes, Directions, Phenotypes, Published, Walk)}
_JSON = "json"


class KeptSteps:
    """Finished steps in a folder.

    Parameters
    ----------
    folder
        Where they lie; made when the first is kept. Nothing is kept where there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.reused: list[str] = []

    def take(self, name: str, inputs: Mapping[str, Any], make: Callable[[], Result]) -> Result:
        """Result of a step: as it was kept, or made and kept.

        Parameters
        ----------
        name
            Of the step.
        inputs
            Everything that it depends on: settings, and digests of what it reads.
        make
            Does the step.
        """
        if self.folder is None:
            return make()
        key = digest({"schema": SCHEMA_VERSION, "code": _code(), "step": name, **inputs})
        path = self.folder / f"{name}-{key[:20]}.npz"
        kept = _read(path)
        if kept is not None:
            self.reused.append(name)
            return cast(Result, kept[0])
        result = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(path, result)
        for older in self.folder.glob(f"{name}-*.npz"):
            if older != path:
                older.unlink(missing_ok=True)
        return result


@lru_cache
def _code() -> str:
    """Digest of the rooms that steps are made of: what another version says is another result."""
    rooms = Path(__file__).parents[1]
    sources = sorted(path for room in _ROOMS for path in (rooms / room).glob("*.py"))
    return digest([path.read_bytes() for path in sources])


def _write(path: Path, result: object) -> None:
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_packed(result, arrays)).encode()
    with whole_file(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **{_JSON: np.frombuffer(tree, np.uint8)}, **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[Any] | None:
    """What is kept, in a tuple; None where there is nothing, or what is there is damaged."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return (_unpacked(json.loads(arrays.pop(_JSON).tobytes()), arrays),)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        return None


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value as JSON; arrays of numbers are put aside and named."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "OUT":
            return {"texts": [_packed(item, arrays) for item in value.ravel()]}
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, pd.DataFrame):
        return {
            "table": [[str(name), _packed(value[name].to_numpy(), arrays)] for name in value.columns],
            "index": None
            if isinstance(value.index, pd.RangeIndex)
            else _packed(value.index.to_numpy(), arrays),
            "index_name": value.index.name,
            "rows": len(value),
        }
    if dataclasses.is_dataclass(value) and type(value).__name__ in _CLASSES:
        own = {f.name: _packed(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, "fields": own}
    if isinstance(value, Mapping):
        return {"mapping": [[str(name), _packed(item, arrays)] for name, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_packed(item, arrays) for item in value]}
    raise TypeError(f"A step gives {type(value).__name__}, which cannot be kept.")


def _unpacked(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "texts" in tree:
        texts = np.empty(len(tree["texts"]), object)
        texts[:] = tree["texts"]
        return texts
    if "table" in tree:
        index = pd.RangeIndex(tree["rows"]) if tree["index"] is None else _unpacked(tree["index"], arrays)
        table = pd.DataFrame({name: _unpacked(column, arrays) for name, column in tree["table"]})
        table.index = pd.Index(index, name=tree["index_name"])
        return table
    if "class" in tree:
        own = {name: _unpacked(item, arrays) for name, item in tree["fields"].items()}
        return _CLASSES[tree["class"]](**own)
    if "mapping" in tree:
        return {name: _unpacked(item, arrays) for name, item in tree["mapping"]}
    if "tuple" in tree:
        return tuple(_unpacked(item, arrays) for item in tree["tuple"])
    return [_unpacked(item, arrays) for item in tree["list"]]
