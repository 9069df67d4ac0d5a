"""Command-line options made from an operation's config, so that both are one definition."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from napari_apollo.cli.console import errors_in_words
from napari_apollo.config import OperationConfig


def with_options(config: type[OperationConfig]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for every setting of a config.

    The command is called with its own arguments and with ``config``, an instance made from the
    options that were given; everything else keeps the default of the config.

    Parameters
    ----------
    config
        The operation's settings. A setting's docstring is the help text of its option.
    """
    fields = config.model_fields

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in fields}
            settings = {name: value for name, value in given.items() if value not in (None, [])}
            with errors_in_words(as_json=bool(values.get("as_json"))):
                checked = config(**settings)
            command(config=checked, **values)

        own = [
            parameter
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.name != "config"
        ]
        options = [_option(name, field) for name, field in fields.items()]
        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
        run.__name__ = command.__name__
        run.__doc__ = command.__doc__
        return run

    return decorate


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    kind = _command_line_type(field.annotation)
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=_help(field),
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Union[kind, None], option],  # noqa: UP007  (typer reads this at run time)
    )


def _help(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined or default is None or default == ():
        return text
    shown = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"{text} [default: {shown}]"


def _command_line_type(annotation: Any) -> Any:
    """Type that typer understands for a setting's type."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        kinds = [_command_line_type(kind) for kind in get_args(annotation) if kind is not type(None)]
        return next((kind for kind in (Path, str) if kind in kinds), kinds[0])
    if origin is Literal:
        return annotation
    if origin in (tuple, list):
        inner = _command_line_type(get_args(annotation)[0])
        # typer knows no list of choices; the config names the choices when a word is none of them.
        return list[inner] if inner in (int, float, Path) else list[str]  # type: ignore[valid-type]
    return annotation
