"""What napari is told about the plugin, and what telling it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from npe2 import PluginManager, PluginManifest
from npe2.cli import app
from typer.testing import CliRunner

VERBS = {
    "Annotate", "Explore", "Measure", "Open", "Overlay", "Put", "Save", "Segment", "Train",
}  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def manifest(manifest_path: Path) -> PluginManifest:
    return PluginManifest.from_file(manifest_path)


def test_npe2_finds_nothing_wrong(manifest_path: Path) -> None:
    result = CliRunner().invoke(app, ["validate", str(manifest_path)])
    assert result.exit_code == 0, result.output


def test_every_command_exists_and_is_called_by_a_verb(manifest: PluginManifest) -> None:
    for command in manifest.contributions.commands or []:
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(import_module(module), name))
        assert command.title.split()[0] in VERBS, command.title


def test_commands_that_are_contributed_are_declared(manifest: PluginManifest) -> None:
    declared = {command.id for command in manifest.contributions.commands or []}
    used = {reader.command for reader in manifest.contributions.readers or []}
    used |= {sample.command for sample in manifest.contributions.sample_data or []}
    used |= {writer.command for writer in manifest.contributions.writers or []}
    used |= {widget.command for widget in manifest.contributions.widgets or []}
    assert used == declared


def test_menus_are_napari_s_own(manifest: PluginManifest) -> None:
    """npe2 takes any word for a menu, and napari drops what it does not know."""
    from napari._app_model.constants import MenuId

    known = {str(menu) for menu in MenuId.contributables()}
    assert set(manifest.contributions.menus or {}) <= known


def test_every_widget_is_in_a_menu_and_can_be_docked_by_name(manifest: PluginManifest) -> None:
    from napari_apollo.viewer.docking import TOOLS

    widgets = {widget.display_name: widget.command for widget in manifest.contributions.widgets or []}
    placed = {item.command for items in (manifest.contributions.menus or {}).values() for item in items}
    assert set(widgets) <= set(TOOLS)
    assert set(widgets.values()) <= placed


def test_preferences_are_what_the_tools_read(manifest: PluginManifest) -> None:
    from napari_apollo.viewer.preferences import DEVICES

    compute = (manifest.contributions.configurations or {})["compute"]
    assert set(compute.properties) == {"device", "workers", "folder"}
    assert tuple(compute.properties["device"].enum or ()) == DEVICES
    display = (manifest.contributions.configurations or {})["display"]
    assert set(display.properties) == {"colours"}


def test_the_root_link_leads_to_the_packaged_file(manifest_path: Path) -> None:
    assert (ROOT / "napari.yaml").resolve() == manifest_path.resolve()


def test_the_plugin_is_discovered() -> None:
    manager = PluginManager()
    manager.discover()
    found = manager.get_manifest("napari-apollo")
    assert found.display_name == "Apollo"
    assert {sample.key for sample in found.contributions.sample_data or []} == {
        "lymph_node",
        "u2os",
        "blood_cells",
    }


def test_other_people_s_tables_are_left_alone() -> None:
    manager = PluginManager()
    manager.discover()
    ours = [reader.plugin_name for reader in manager.iter_compatible_readers(["points.csv"])]
    assert "napari-apollo" not in ours
    for name in ("study.csv", "my_manifest.CSV", "truth.csv"):
        ours = [reader.plugin_name for reader in manager.iter_compatible_readers([name])]
        assert "napari-apollo" in ours, name


def test_discovery_loads_neither_torch_nor_qt() -> None:
    code = """
import json, sys, time
start = time.perf_counter()
import napari_apollo
took = time.perf_counter() - start
from npe2 import PluginManager
manager = PluginManager()
manager.discover()
manager.get_manifest("napari-apollo")
import napari_apollo.viewer, napari_apollo.viewer.reader
names = ("torch", "qtpy", "PyQt6", "PySide6", "napari", "numba", "anndata")
heavy = [name for name in names if name in sys.modules]
print(json.dumps({"took": took, "heavy": heavy}))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen["heavy"] == []
    # seconds, many times what it takes: this guards against a heavy import, not a slow machine
    assert seen["took"] < 1.0


def test_looking_at_predictions_needs_no_torch() -> None:
    code = """
import sys
from napari_apollo.viewer import open_study, add_predictions
from napari_apollo.predict import Canvas, PredictionStore
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
