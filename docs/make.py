"""Write the generated parts of the docs again.

    python docs/make.py                       the pages that are made from the code
    python docs/make.py --demo demo           the pictures too, from a demonstration's results

Pictures need a screen; a virtual one will do: ``xvfb-run python docs/make.py --demo demo``.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo

from napari_apollo.cli.app import app
from napari_apollo.train.presets import PRESETS

DOCS = Path(__file__).resolve().parent
COMMAND_LINE = DOCS / "command-line.md"
TRAINING = DOCS / "training.md"

_PRESETS = re.compile(
    r"(?<=<!-- presets: written by docs/make\.py -->\n).*?(?=<!-- end of presets -->)", re.DOTALL
)

_INTRODUCTION = """\
# Command line

<!-- Written by docs/make.py; change the commands and their settings, not this page. -->

Every command takes `--help`. Long work shows its progress on stderr; the result goes to stdout, with `--json`
as one JSON object. Exit status: 0 done, 2 what you gave cannot be used, 1 a fault, 130 stopped
([errors.md](errors.md)).

A setting here is the setting of the same name in Python: `--high-percentile 99` is
`CropConfig(high_percentile=99)`. A setting marked *repeat* may be given several times.
"""


def command_line_page() -> str:
    """Every command with its arguments and settings, as Markdown."""
    commands = sorted(_commands(app, "napari-apollo"))
    listed = [f"* [{name}](#{name.replace(' ', '-')}): {about}" for name, about, _ in commands]
    parts = [_INTRODUCTION, "\n".join(listed) + "\n"]
    for name, about, callback in commands:
        arguments, options = [], []
        for parameter in inspect.signature(callback, eval_str=True).parameters.values():
            kind, info = _parts(parameter)
            if isinstance(info, ArgumentInfo):
                arguments.append(_argument(parameter, info))
            elif isinstance(info, OptionInfo):
                options.append(_option(parameter, kind, info))
        usage = " ".join(
            [name, *(argument for argument, _ in arguments), *(["[OPTIONS]"] if options else [])]
        )
        parts.append(f"## {name}\n\n{about}\n\n```text\n{usage.strip()}\n```\n")
        if arguments:
            parts.append("".join(f"* `{argument}`: {text}\n" for argument, text in arguments))
        if options:
            rows = [f"| {option} | {text} |\n" for option, text in options]
            parts.append("| option | meaning |\n|---|---|\n" + "".join(rows))
    return "\n".join(parts)


def training_page() -> str:
    """The page on training, with the settings in which presets differ."""
    head = f"| setting | {' | '.join(f'`{name}`' for name in PRESETS)} |\n|---|{'---|' * len(PRESETS)}\n"
    first, *others = PRESETS.values()
    rows = [
        f"| `{setting}` | {' | '.join(_plain(values[setting]) for values in PRESETS.values())} |\n"
        for setting in first
        if any(values[setting] != first[setting] for values in others)
    ]
    return _PRESETS.sub(head + "".join(rows), TRAINING.read_text("utf-8"))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _commands(group: typer.Typer, name: str) -> Iterator[tuple[str, str, Any]]:
    for command in group.registered_commands:
        about = " ".join((command.help or inspect.getdoc(command.callback) or "").split())
        yield f"{name} {command.name}", about, command.callback
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from _commands(inner.typer_instance, f"{name} {inner.name}")


def _parts(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """Kind of a parameter, and what typer was told about it."""
    if get_origin(parameter.annotation) is not Annotated:
        return parameter.annotation, None
    kind, info, *_ = get_args(parameter.annotation)
    if get_origin(kind) is Union:
        kind = next(inner for inner in get_args(kind) if inner is not type(None))
    return kind, info


def _argument(parameter: inspect.Parameter, info: ArgumentInfo) -> tuple[str, str]:
    return (info.metavar or parameter.name).upper(), info.help or ""


def _option(parameter: inspect.Parameter, kind: Any, info: OptionInfo) -> tuple[str, str]:
    # In an annotation typer keeps the first name that was given where a default would be.
    given = [name for name in (info.default, *(info.param_decls or ())) if str(name).startswith("-")]
    names = given or [f"--{parameter.name.replace('_', '-')}"]
    value, note = _value(kind)
    shown = ", ".join(f"`{name}{value}`".replace("/", "`, `") for name in names)
    text = _cell(info.help or "")
    if parameter.default is inspect.Parameter.empty:
        text += " Required."
    elif parameter.default not in (None, False):
        text += f" [default: {parameter.default}]"
    return shown, text + note


def _value(kind: Any) -> tuple[str, str]:
    """What follows an option's name, and a note on it."""
    if kind is bool:
        return "", ""
    if get_origin(kind) is list:
        return _value(get_args(kind)[0])[0], " *(repeat)*"
    if get_origin(kind) is Literal:
        return " NAME", f" One of {', '.join(f'`{choice}`' for choice in get_args(kind))}."
    return {int: " N", float: " X", Path: " PATH"}.get(kind, " TEXT"), ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(
    demo: Annotated[
        Path | None, typer.Option(help="Results of 'napari-apollo demo', to take pictures of.")
    ] = None,
) -> None:
    """Write what is made from the code; with ``--demo``, the pictures of the window, too."""
    for path, text in ((COMMAND_LINE, command_line_page()), (TRAINING, training_page())):
        path.write_text(text, "utf-8")
        print(path)
    features = DOCS / "make_features.py"
    if features.is_file():
        subprocess.run([sys.executable, str(features)], check=True)
    if demo is not None:
        sample = demo / "lymph_node"
        arguments = ["--study", sample / "two_panels" / "study.csv"]
        arguments += ["--predictions", sample / "lymph_node.predictions.zarr", "--output", DOCS / "images"]
        subprocess.run([sys.executable, DOCS / "make_pictures.py", *arguments], check=True)


if __name__ == "__main__":
    typer.run(main)
