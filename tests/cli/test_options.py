"""Command-line options are the settings of the config: same names, defaults, help and bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import typer
from pydantic import Field
from typer.testing import CliRunner

from napari_apollo.cli.options import with_options
from napari_apollo.config import OperationConfig


class CookConfig(OperationConfig):
    """Settings of a made-up operation."""

    dish: Literal["soup", "stew"] = "soup"
    """What to cook."""
    minutes: float = Field(20.0, gt=0)
    """How long it is on the fire."""
    spices: tuple[str, ...] = ()
    """What goes in; may be given several times."""
    courses: tuple[Literal["first", "second"], ...] = ("first",)
    """Which courses; may be given several times."""
    pot: Path | None = None
    """Where it is cooked."""
    lid: bool = True
    """Whether the pot is covered."""
    helpings: int | None = Field(None, ge=1)
    """For how many."""


def cook(guest: str, config: CookConfig) -> None:
    """Cook a dish."""
    typer.echo(json.dumps({"guest": guest, **config.model_dump(mode="json")}))


def result_of(*arguments: str) -> dict[str, object]:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(with_options(CookConfig)(cook))
    outcome = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


def test_without_options_the_defaults_of_the_config_hold() -> None:
    assert result_of("Ada") == {"guest": "Ada", **CookConfig().model_dump(mode="json")}


def test_every_kind_of_setting_has_an_option() -> None:
    given = result_of(
        *("Ada", "--dish", "stew", "--minutes", "5.5", "--spices", "salt", "--spices", "dill"),
        *("--courses", "second", "--pot", "clay", "--no-lid", "--helpings", "3"),
    )
    assert given == {
        "guest": "Ada",
        "dish": "stew",
        "minutes": 5.5,
        "spices": ["salt", "dill"],
        "courses": ["second"],
        "pot": "clay",
        "lid": False,
        "helpings": 3,
    }


def test_help_shows_the_docstring_and_the_default() -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(with_options(CookConfig)(cook))
    text = " ".join(CliRunner().invoke(app, ["--help"], terminal_width=200).stdout.split())
    assert "How long it is on the fire. [default: 20.0]" in text
    assert "Cook a dish." in text


def test_a_value_out_of_bounds_is_refused_with_its_name() -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(with_options(CookConfig)(cook))
    outcome = CliRunner().invoke(app, ["Ada", "--minutes", "-1"])
    assert outcome.exit_code == 2
    assert "minutes = -1" in outcome.stderr
