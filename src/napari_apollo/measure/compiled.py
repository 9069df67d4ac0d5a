"""How the inner loops are compiled, and how compiled code is kept from outliving its source.

Code is compiled on first use and kept on disk. numba notices when the file of a function changes,
but not when a function that it calls, in another file, does: a changed helper would go on giving
old values. Compiled code is therefore dropped as a whole whenever any source of this room changes.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba import njit

kernel: Any = njit(nogil=True, cache=True)
"""Compile a function without the interpreter's lock, so that threads share the cores."""

inlined: Any = njit(nogil=True, cache=True, inline="always")
"""The same for a small helper that becomes part of its callers."""


@kernel
def _anything() -> int:
    return 0


def _drop_outdated(folder: Path) -> None:
    """Delete the compiled code of this room in ``folder`` if it was made from other sources."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    state = sha256(numba.__version__.encode())
    for source in sources:
        state.update(source.name.encode() + source.read_bytes())
    mark = folder / "measure-sources.sha256"
    # Where the folder cannot be written nothing is kept there either.
    with suppress(OSError):
        if mark.exists() and mark.read_text("ascii") == state.hexdigest():
            return
        names = {source.stem for source in sources}
        for file in folder.glob("*.nb[ic]"):
            if file.name.split(".")[0] in names:
                file.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(state.hexdigest(), "ascii")


_drop_outdated(Path(_anything.stats.cache_path))
