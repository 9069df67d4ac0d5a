"""Command-line options made from an operation's config, so that both are one definition."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from napari_apollo.cli.console import errors_in_words
from napari_apollo.config import OperationConfig
from napari_apollo.errors import ConfigError


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
            with errors_in_words(as_json=bool(values.get("as_json"))):
                checked = config(**_given(given))
            command(config=checked, **values)

        return _described(run, command, [_option(name, field) for name, field in fields.items()])

    return decorate


@dataclass(frozen=True)
class GivenSettings:
    """Options that were given to a command, before it is known which config they are for.

    Attributes
    ----------
    values
        By name of the setting.
    configs
        By what the command may be given, in words, the config of it.
    """

    values: Mapping[str, Any]
    configs: Mapping[str, type[OperationConfig]]

    def of(self, what: str) -> Any:
        """The config for ``what`` the command was given.

        Raises
        ------
        ConfigError
            When an option is not for it.
        """
        config = self.configs[what]
        foreign = [f"--{name.replace('_', '-')}" for name in self.values if name not in config.model_fields]
        if foreign:
            raise ConfigError(f"{', '.join(foreign)} cannot go with {what}.")
        return config(**{name: _single(config, name, value) for name, value in self.values.items()})


def with_either(
    **configs: type[OperationConfig],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the settings of several configs, of which what it is given decides.

    The command is called with its own arguments and with ``config``, the ``GivenSettings``.

    Parameters
    ----------
    configs
        By what the command may be given.
    """
    names = list(dict.fromkeys(name for config in configs.values() for name in config.model_fields))

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            given = _given({name: values.pop(name) for name in names})
            command(config=GivenSettings(given, configs), **values)

        return _described(run, command, [_either(name, configs) for name in names])

    return decorate


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [])}


def _described(
    run: Callable[..., None], command: Callable[..., None], options: list[inspect.Parameter]
) -> Callable[..., None]:
    """The function that typer sees: the command's own arguments, and an option for every setting."""
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != "config"
    ]
    run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def _either(name: str, configs: Mapping[str, type[OperationConfig]]) -> inspect.Parameter:
    """An option for a setting that some of the configs have."""
    having = {what: config for what, config in configs.items() if name in config.model_fields}
    told: dict[str, list[str]] = {}
    for what, config in having.items():
        told.setdefault(" ".join((config.model_fields[name].description or "").split()), []).append(what)
    everywhere = len(having) == len(configs) and len(told) == 1
    help_ = " ".join(
        text if everywhere else f"{' and '.join(whats).capitalize()}: {text}" for text, whats in told.items()
    )
    defaults: dict[str, list[str]] = {}
    for what, config in having.items():
        shown = _shown(getattr(config(), name))
        if shown:
            defaults.setdefault(shown, []).append(what)
    if defaults:
        words = [
            text if len(defaults) == 1 else f"{text} for {' and '.join(whats)}"
            for text, whats in defaults.items()
        ]
        help_ += f" [default: {'; '.join(words)}]"
    kinds = [_command_line_type(config.model_fields[name].annotation) for config in having.values()]
    return _parameter(name, _common(kinds), help_)


def _common(kinds: list[Any]) -> Any:
    """A type of which all are special cases."""
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    if all(get_origin(kind) is Literal for kind in kinds):
        return Literal[tuple(dict.fromkeys(choice for kind in kinds for choice in get_args(kind)))]
    return list[str] if any(get_origin(kind) is list for kind in kinds) else str


def _single(config: type[OperationConfig], name: str, value: Any) -> Any:
    """A value that was given as a list of one, where the config wants no list."""
    many = get_origin(_command_line_type(config.model_fields[name].annotation)) is list
    return value[0] if isinstance(value, list) and not many and len(value) == 1 else value


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    return _parameter(name, _command_line_type(field.annotation), _help(field))


def _parameter(name: str, kind: Any, help_: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=help_,
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
    shown = "" if default is PydanticUndefined else _shown(default)
    return f"{text} [default: {shown}]" if shown else text


def _shown(default: Any) -> str:
    """A default for people; nothing where there is none."""
    if default is None or default == ():
        return ""
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)


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
