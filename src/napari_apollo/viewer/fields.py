"""What a form needs to know of a config: its fields in plain words, and what is wrong with values.

Nothing here needs a window.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError

from napari_apollo.config import OperationConfig
from napari_apollo.errors import ConfigError

Kind = Literal["flag", "choice", "choices", "whole", "number", "path", "text", "texts"]

_UNITS = {"um": "(µm)", "um2": "(µm²)", "px": "(px)", "gb": "(GB)"}


@dataclass(frozen=True)
class FieldSpec:
    """A field of a config.

    Attributes
    ----------
    name, title, help
        As in Python; in words; the help text that is written under it in the config.
    kind
        ``flag``, ``choice`` (one of ``choices``), ``choices`` (several of them), ``whole`` and ``number``,
        ``path``, ``text``, ``texts`` (several, separated by commas).
    default
        Value where none is given.
    optional
        Whether it may be left empty.
    low, high
        Bounds, both included as far as a form can tell.
    choices
        Values to choose from.
    """

    name: str
    title: str
    help: str
    kind: Kind
    default: Any
    optional: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def tooltip(self) -> str:
        """Help text with the bounds and the default."""
        words = [" ".join(self.help.split())]
        if self.kind in ("whole", "number") and (self.low is not None or self.high is not None):
            low = "" if self.low is None else f"from {self.low:g} "
            high = "" if self.high is None else f"up to {self.high:g}"
            words.append(f"Allowed: {low}{high}".strip() + ".")
        if self.kind != "flag" and self.default not in (None, "", ()):
            shown = ", ".join(map(str, self.default)) if isinstance(self.default, tuple) else self.default
            words.append(f"Default: {shown}.")
        return "\n\n".join(words)


def describe(config: type[OperationConfig]) -> dict[str, FieldSpec]:
    """The fields of a config by name."""
    specs = {}
    for name, info in config.model_fields.items():
        optional, annotation = _without_none(info.annotation)
        kind, choices = _kind(annotation)
        specs[name] = FieldSpec(
            name,
            title_of(name),
            info.description or "",
            kind,
            info.default,
            optional,
            _bound(info.metadata, (Ge, Gt)),
            _bound(info.metadata, (Le, Lt)),
            choices,
        )
    return specs


def problems_of(config: type[OperationConfig], values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with values, by field; what concerns several fields stands under ``""``."""
    try:
        config(**values)
    except ConfigError as error:
        cause = error.__cause__
        if not isinstance(cause, ValidationError):
            return {"": str(error)}
        found: dict[str, str] = {}
        for problem in cause.errors(include_url=False, include_context=False):
            name = str(problem["loc"][0]) if problem["loc"] else ""
            found.setdefault(name, _sentence(problem["msg"], config))
        return found
    return {}


def title_of(name: str) -> str:
    """``pixel_size_um`` as ``Pixel size (µm)``."""
    words = name.split("_")
    if len(words) > 1 and words[-1] in _UNITS:
        words[-1] = _UNITS[words[-1]]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _sentence(message: str, config: type[OperationConfig]) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    for name in sorted(config.model_fields, key=len, reverse=True):
        if "_" in name:
            text = text.replace(name, f"“{title_of(name)}”")
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _without_none(annotation: Any) -> tuple[bool, Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        return len(kept) < len(get_args(annotation)), kept[0]
    return False, annotation


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", tuple(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        kind, choices = _kind(get_args(annotation)[0])
        return ("choices", choices) if kind == "choice" else ("texts", ())
    simple: dict[Any, Kind] = {bool: "flag", int: "whole", float: "number", Path: "path"}
    return simple.get(annotation, "text"), ()


def _bound(metadata: Any, kinds: tuple[type, ...]) -> float | None:
    for one in metadata:
        for kind, attribute in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
            if kind in kinds and isinstance(one, kind):
                return float(getattr(one, attribute))
    return None
