"""Digests of content: what a finished step of an interpretation is kept under."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def digest(value: Any) -> str:
    """SHA-256 of arrays, tables, and plain values, by their content.

    Parameters
    ----------
    value
        None, numbers, text, arrays, data frames, and mappings, lists or tuples of these.
    """
    sums = hashlib.sha256()
    _feed(sums, value)
    return sums.hexdigest()


def _feed(sums: Any, value: Any) -> None:
    if isinstance(value, pd.DataFrame):
        _feed(sums, {"columns": [str(name) for name in value.columns]})
        for name in value.columns:
            _feed(sums, value[name].to_numpy())
    elif isinstance(value, np.ndarray) and value.dtype.kind in "OUT":
        _feed(sums, [str(item) for item in value.ravel()])
    elif isinstance(value, np.ndarray):
        sums.update(f"{value.dtype.str}{value.shape}".encode())
        sums.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for name in sorted(value):
            sums.update(f"{len(name)}:{name}=".encode())
            _feed(sums, value[name])
    elif isinstance(value, (list, tuple)):
        sums.update(f"[{len(value)}".encode())
        for item in value:
            _feed(sums, item)
    else:
        text = repr(value)
        sums.update(f"{type(value).__name__}{len(text)}:{text}".encode())
