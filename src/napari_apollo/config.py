"""The one definition that widget, command and function share: a pydantic config per operation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class OperationConfig(BaseModel):
    """Base of every operation's settings.

    A field's default, bounds (``Field(ge=..., le=...)``) and help text (the docstring under it)
    are written once, here in Python; forms and command-line options are made from them.
    Frozen, so a config that was checked stays right; unknown names are refused.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )
