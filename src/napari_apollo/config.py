"""The one definition that widget, command and function share: a pydantic config per operation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_apollo.errors import ConfigError


class OperationConfig(BaseModel):
    """Base of every operation's settings.

    A field's default, bounds (``Field(ge=..., le=...)``) and help text (the docstring under it)
    are written once, here in Python; forms and command-line options are made from them.
    Frozen, so a config that was checked stays right; unknown names are refused.

    Raises
    ------
    ConfigError
        When a value is out of its bounds, of another kind, or not a setting at all; every wrong
        setting is named with the value it was given.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_in_words(type(self).__name__, error)) from error


def _in_words(config: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in problem["loc"]) or config
        lines.append(f"{name} = {problem['input']!r}: {problem['msg']}")
    return "\n".join([f"{config} cannot be used:", *(f"  - {line}" for line in lines)])
