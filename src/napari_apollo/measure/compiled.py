"""How the inner loops are compiled, and how compiled code is kept from outliving its source.

Code is compiled on first use and kept on disk. numba notices when the file of a function changes,
but not when a function or constant that it uses, from another file, does: a changed helper would
go on giving old values. Compiled code is therefore dropped whenever anything that it was made from
has changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba import njit

from napari_apollo.progress import Progress, Step


def _anything() -> int:
    return 0


def _folder_for_code() -> Path | None:
    """Where compiled code of this room is kept; None where no folder can be written.

    numba looks for one in ``NUMBA_CACHE_DIR``, beside the source and in the user's cache, and takes nothing
    for an answer as an error.
    """
    if numba.config.DISABLE_JIT:
        return None
    try:
        return Path(njit(cache=True)(_anything).stats.cache_path)
    except RuntimeError:
        return None


_FOLDER = _folder_for_code()
_KEPT = _FOLDER is not None

kernel: Any = njit(nogil=True, cache=_KEPT)
"""Compile a function without the interpreter's lock, so that threads share the cores."""

summing: Any = njit(nogil=True, cache=_KEPT, fastmath={"reassoc", "contract", "nsz"})
"""The same for sums, whose terms may be added in another order: several at a time. The order is that of the
compiled code, so equal input still gives equal bits."""

inlined: Any = njit(nogil=True, cache=_KEPT, inline="always")
"""The same for a small helper that becomes part of its callers."""

_IMPORT = re.compile(r"^from napari_apollo\.measure\.(\w+) import", re.MULTILINE)
_COMPILED = re.compile(r"^@(kernel|summing|inlined)$", re.MULTILINE)
_CONSTANTS = "reasons"


def say_if_compiling(families: Iterable[str], progress: Progress) -> None:
    """Tell the user to wait where code of these families is not yet compiled on this machine."""
    if numba.config.DISABLE_JIT:
        return
    folder = _cache_folder()
    if folder is None:
        once = "anew in every process: set NUMBA_CACHE_DIR to a folder that can be written"
        progress(Step("Compiling", detail=f"{once}; takes a minute or two"))
    elif not all(any(folder.glob(f"{name}.*.nbi")) for name in ("gather", *families)):
        progress(Step("Compiling", detail="once on this machine; takes a minute or two"))


def _cache_folder() -> Path | None:
    """Where compiled code of this room is kept."""
    return _FOLDER


def _drop_outdated(folder: Path) -> None:
    """Delete compiled code of this room in ``folder`` that was made from other sources."""
    texts = {path.stem: path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py")}
    texts = {name: text for name, text in texts.items() if name == _CONSTANTS or _COMPILED.search(text)}
    state = {
        name: sha256(f"{numba.__version__}\n{text}".encode()).hexdigest() for name, text in texts.items()
    }
    mark = folder / "measure-sources.json"
    # Where the folder cannot be written nothing is kept there either.
    with suppress(OSError):
        known = json.loads(mark.read_text("utf-8")) if mark.exists() else {}
        if known == state:
            return
        changed = {name for name in state if known.get(name) != state[name]}
        while more := {name for name in texts if changed & set(_IMPORT.findall(texts[name]))} - changed:
            changed |= more
        for file in folder.glob("*.nb[ic]"):
            if file.name.split(".")[0] in changed:
                file.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(json.dumps(state), "utf-8")


if _FOLDER is not None:
    _drop_outdated(_FOLDER)
