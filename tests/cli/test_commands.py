"""The commands, as a script would call them: one JSON object on stdout, progress on stderr, exit status."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from napari_apollo.cli.app import app
from napari_apollo.cli.console import in_json
from napari_apollo.simulate import SimulateConfig, simulate

COMMAND = (sys.executable, "-c", "from napari_apollo.cli import main; main()")


def call(*arguments: object, cwd: Path) -> Result:
    """Call a command in this process, which is much quicker than one of its own."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def result_of(*arguments: object, cwd: Path) -> dict[str, object]:
    outcome = call(*arguments, "--json", cwd=cwd)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout.count("\n") == 1, "one JSON object and nothing else"
    return json.loads(outcome.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated images of two panels in a tree of folders, as a lab would have them."""
    place = tmp_path_factory.mktemp("lab")
    simulate(
        SimulateConfig(
            output=place / "simulated",
            conditions=("control",),
            donors_per_condition=3,
            held_out_donors=1,
            field_size=320,
            cells_per_field=36,
            pixel_size_um=0.3,
            seed=1,
        )
    )
    return place


pytestmark = pytest.mark.timeout(600)  # the first to come waits for compiled code, too


@pytest.fixture(scope="module")
def chain(folder: Path) -> Path:
    """Every command of the chain, called one after the other."""
    steps = [
        ("study", "discover", "simulated/images", "--output", "study.csv"),
        ("study", "check", "study.csv"),
        ("segment", "study.csv", "--output", "segmentation", "--workers", "1"),
        ("crop", "segmentation/study.csv", "--output", "s.cells.zarr", "--size", "32", "--workers", "1"),
        ("measure", "s.cells.zarr"),
        (
            *("train", "s.cells.zarr", "--output", "s.run", "--width", "4", "--head", "16"),
            *("--specific-maps", "4", "--latent-epochs", "1", "--encoder-epochs", "1"),
        ),
        ("predict", "s.cells.zarr", "--model", "s.run"),
        ("evaluate", "s.cells.zarr", "--model", "s.run"),
        ("overlay", "s.cells.zarr", "s.predictions.zarr", "--output", "overlays"),
    ]
    results = [result_of(*step, cwd=folder) for step in steps]
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_the_chain_runs_from_a_folder_to_an_overlay(chain: Path) -> None:
    found, checked, segmented, cut, measured, trained, predicted, scores, overlays = json.loads(
        (chain / "results.json").read_text()
    )
    assert found["fields"] == 6
    assert {tuple(stains) for stains in found["panels"].values()} == {
        ("DAPI", "gammaH2AX", "lamin", "CD3"),
        ("DAPI", "CD16", "CD4", "CD8"),
    }
    assert checked["problems"] == []
    assert len(segmented["labels"]) == 6
    assert cut["cells"] > 50
    assert measured["features"] > 20
    assert trained["state"] == "done"
    assert predicted["cells"] == cut["cells"]
    assert {row["kind"] for row in scores["scores"]} >= {"reconstructed", "predicted"}
    assert all((chain / image).exists() for image in overlays["images"])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("study.csv", "manifest"),
        ("s.cells.zarr", "store"),
        ("s.predictions.zarr", "predictions"),
        ("s.run", "run"),
        ("s.run/model", "model"),
    ],
)
def test_info_says_what_a_path_holds(chain: Path, path: str, kind: str) -> None:
    assert result_of("info", path, cwd=chain)["kind"] == kind


def test_info_of_a_run_tells_when(chain: Path) -> None:
    facts = result_of("info", "s.run", cwd=chain)
    began, seen = (datetime.fromisoformat(facts[name]) for name in ("started", "heartbeat"))
    assert began <= seen <= datetime.now(UTC) < began + timedelta(hours=2)
    words = call("info", "s.run", cwd=chain).stdout
    assert f"{began:%Y-%m-%dT%H:%M:%S}" in words
    assert "error" not in words  # a run that is done met none
    assert facts["error"] == facts["message"] == ""


def test_info_of_a_model_tells_the_verdict_and_the_gap(chain: Path) -> None:
    words = call("info", "s.run", cwd=chain).stdout
    assert re.search(r"CD8: \d+% shared, \d+% specific, \d+% unexplained", words)
    model = result_of("info", "s.run/model", cwd=chain)
    assert set(model["gap"]) == {"chromatin", "protein"}
    for name, gap in model["gap"].items():
        said = next(line for line in words.splitlines() if line.strip().startswith(f"{name}: encoders"))
        assert f"{gap['shared']:.0%} of the optimised shared latents" in said
        assert ("decode better" in said) == (gap["encoded"] < gap["optimised"])
    assert set(model["verdict"]["parts"]) == {"chromatin", "gammaH2AX", "lamin", "CD3", "CD16", "CD4", "CD8"}
    assert model["sizes"]["shared"] == 64


def test_an_objective_is_tried_on_known_truth(tmp_path: Path) -> None:
    settings = ("--set", "2", "--seeds", "1", "--cells", "400", "--epochs", "2", "--permutations", "1")
    found = result_of("simulate", *settings, cwd=tmp_path)
    assert (found["set"], found["objective"]) == ("2", "agreement")
    assert {"goals", "median", "parts", "runs", "reached"} <= set(found)
    outcome = call("simulate", "--set", "8", "--json", cwd=tmp_path)
    assert outcome.exit_code == 2
    assert "does not exist" in json.loads(outcome.stdout)["error"]["message"]
    assert not list(tmp_path.iterdir())


def test_info_of_an_image_names_its_channels(chain: Path) -> None:
    image = next((chain / "simulated" / "images").rglob("*.ome.tif"))
    assert "DAPI" in result_of("info", image, cwd=chain)["channels"]


@pytest.mark.parametrize("text", ["{broken", "[]", '{"attributes": 3}'])
def test_a_store_whose_description_is_damaged_is_told_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.cells.zarr").mkdir()
    (tmp_path / "a.cells.zarr" / "zarr.json").write_text(text)
    for command in ("info", "verify"):
        outcome = call(command, "a.cells.zarr", cwd=tmp_path)
        assert outcome.exit_code == 2, outcome.stderr
        assert "a.cells.zarr" in outcome.stderr


@pytest.mark.parametrize("path", ["s.cells.zarr", "s.predictions.zarr", "s.run/model"])
def test_verify_finds_a_changed_byte(chain: Path, tmp_path: Path, path: str) -> None:
    copy = tmp_path / Path(path).name
    shutil.copytree(chain / path, copy)
    assert result_of("verify", copy, cwd=chain)["problems"] == []
    largest = max((file for file in copy.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    outcome = call("verify", copy, "--json", cwd=chain)
    assert outcome.exit_code == 2
    assert json.loads(outcome.stdout)["problems"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("segment", "absent.csv"), "StudyError"),
        (("measure", "absent.cells.zarr"), "StoreError"),
        (("info", "absent"), "FileError"),
        (("segment", "absent.csv", "--tile", "3"), "ConfigError"),
        (("predict", "absent.cells.zarr", "--model", "absent.run"), "StoreError"),
    ],
)
def test_wrong_input_exits_with_2_and_says_what(folder: Path, arguments: tuple[str, ...], kind: str) -> None:
    outcome = call(*arguments, "--json", cwd=folder)
    assert outcome.exit_code == 2
    error = json.loads(outcome.stdout)["error"]
    assert error["kind"] == kind
    assert error["message"] in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_process_ends_with_the_status_of_its_error(folder: Path) -> None:
    outcome = subprocess.run(
        [*COMMAND, "segment", "absent.csv"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("StudyError: ")


def test_the_json_of_a_command_is_json() -> None:
    found = {"a": float("nan"), "b": [np.float32("inf"), np.int64(3)], "c": {1: (Path("x"), None, True)}}
    strict = json.loads(in_json(found), parse_constant=lambda word: pytest.fail(word))
    assert strict == {"a": None, "b": [None, 3], "c": {"1": ["x", None, True]}}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_any_terminal_can_be_written_to(tmp_path: Path, encoding: str, more: tuple[str, ...]) -> None:
    (tmp_path / "s.csv").write_text("image,panel,donor,condition\na.tif,dapi_cd4,P1,γ é\n", "utf-8")
    outcome = subprocess.run(
        [*COMMAND, "info", "s.csv", *more],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        check=True,
    )
    text = outcome.stdout.decode(encoding)
    if more:
        assert json.loads(text)["conditions"] == ["γ é"]
    elif encoding == "utf-8":
        assert "γ é" in text


def test_a_manifest_that_was_corrected_is_not_drafted_over(folder: Path) -> None:
    (folder / "corrected.csv").write_text("by hand")
    draft = ("study", "discover", "simulated/images", "--output", "corrected.csv")
    outcome = call(*draft, cwd=folder)
    assert outcome.exit_code == 2
    assert "--overwrite" in outcome.stderr
    assert (folder / "corrected.csv").read_text() == "by hand"
    assert call(*draft, "--overwrite", cwd=folder).exit_code == 0
    kept = (folder / "corrected.csv").read_bytes()
    for output, words in (("corrected.csv", "is the manifest"), ("corrected.csv/x.csv", "cannot be written")):
        outcome = call("measure", "corrected.csv", "--output", output, cwd=folder)
        assert outcome.exit_code == 2, outcome.output
        assert words in outcome.stderr or "has no label image" in outcome.stderr
    assert (folder / "corrected.csv").read_bytes() == kept


def test_problems_of_a_study_are_listed_all_at_once(folder: Path) -> None:
    (folder / "wrong.csv").write_text(
        "image,panel,donor,condition\nabsent.tif,dapi_cd4,P1,control\nlost.tif,dapi_cd8,P1,glioma\n"
    )
    outcome = call("study", "check", "wrong.csv", cwd=folder)
    assert outcome.exit_code == 2
    assert "absent.tif" in outcome.stdout
    assert "lost.tif" in outcome.stdout
    assert "two conditions" in outcome.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal")
def test_control_c_stops_cleanly_with_130(chain: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "train", "s.cells.zarr", "--output", "endless.run", "--latent-epochs", "5000"],
        cwd=chain,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    status = chain / "endless.run" / "status.json"
    while time.monotonic() < deadline:
        if status.exists() and json.loads(status.read_text())["epoch"] > 0:
            break
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert json.loads(status.read_text())["state"] == "stopped"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom napari_apollo.cli.app import app\n"
        "assert CliRunner().invoke(app, ['train', '--help']).exit_code == 0\n"
        "assert 'torch' not in sys.modules and 'napari' not in sys.modules"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
