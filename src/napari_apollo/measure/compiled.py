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

kernel: Any = njit(nogil=True, cache=True)
"""Compile a function without the interpreter's lock, so that threads share the cores."""

summing: Any = njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
"""The same for sums, whose terms may be added in another order: several at a time. The order is that of the
compiled code, so equal input still gives equal bits."""

inlined: Any = njit(nogil=True, cache=True, inline="always")
"""The same for a small helper that becomes part of its callers."""

_IMPORT = re.compile(r"^from napari_apollo\.measure\.(\w+) import", re.MULTILINE)
_COMPILED = re.compile(r"^@(kernel|summing|inlined)$", re.MULTILINE)
_CONSTANTS = "reasons"


@kernel
def _anything() -> int:
    return 0


def say_if_compiling(families: Iterable[str], progress: Progress) -> None:
    """Tell the user to wait where code of these families is not yet compiled on this machine."""
    if numba.config.DISABLE_JIT:
        return
    folder = _cache_folder()
    if not all(any(folder.glob(f"{name}.*.nbi")) for name in ("gather", *families)):
        progress(Step("Compiling", detail="once on this machine; takes a minute or two"))


def _cache_folder() -> Path:
    """Where compiled code of this room is kept."""
    return Path(_anything.stats.cache_path)


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


if not numba.config.DISABLE_JIT:
    _drop_outdated(_cache_folder())
