"""What trainings and models survive: a table of faults, each of which is made to happen by tests.

    python benchmarks/faults.py

Runs those tests (some minutes) and prints, fault by fault, what happens, and whether it did.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent

TABLE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "kill -9 at any step of step 1 or 2",
        "resumed, ends with the same bytes",
        ("train/test_resume.py::test_killed_at_any_step_and_resumed_to_the_same_bytes",),
    ),
    (
        "stopped by the user",
        "goes on later, same bytes",
        ("train/test_resume.py::test_a_stopped_run_goes_on_in_a_child",),
    ),
    (
        "one of several processes dies",
        "all end; all go on to the same bytes",
        ("train/test_team.py::test_a_process_that_dies_ends_all_and_all_go_on_to_the_same_bytes",),
    ),
    (
        "GPU out of memory",
        "batch halved and said so, every cell visited",
        (
            "train/test_resume.py::test_when_memory_runs_out_the_batch_is_halved_and_every_cell_visited",
            "train/test_resume.py::test_memory_that_never_suffices_ends_in_words",
        ),
    ),
    (
        "a loss is NaN or infinite",
        "ends with step, cells, last good checkpoint; that one is good",
        (
            "train/test_faults.py::test_a_loss_that_is_no_number_ends_with_step_cells_and_last_good_checkpoint",
        ),
    ),
    (
        "crops with NaN",
        "refused before training, cells named",
        ("train/test_train.py::test_values_that_are_not_finite_are_refused_with_their_cells",),
    ),
    (
        "disk full",
        "ends in words, nothing half-written; goes on when there is room",
        (
            "train/test_faults.py::test_a_disk_that_takes_no_more_ends_cleanly_and_goes_on_when_there_is_room",
            "train/test_faults.py::test_a_disk_that_is_really_full",
            "train/test_resume.py::test_a_full_disk_leaves_the_last_checkpoint",
        ),
    ),
    (
        "cells cannot be read any more",
        "ends with file and rows",
        ("train/test_faults.py::test_cells_that_cannot_be_read_any_more_end_it_with_their_rows",),
    ),
    (
        "training process killed or crashed",
        "seen within a second, shown with its last words",
        (
            "train/test_run.py::test_a_killed_process_is_seen_and_shown_with_its_last_words",
            "train/test_faults.py::test_a_training_that_died_at_once_shows_its_last_words",
        ),
    ),
    (
        "training process hangs or is held up",
        "ended when asked; a busy machine alone kills nothing",
        (
            "train/test_run.py::test_a_process_that_hangs_is_ended",
            "train/test_faults.py::test_a_child_that_is_held_up_is_alive_and_a_foreign_process_is_not",
        ),
    ),
    (
        "run resumed on other cells",
        "refused",
        ("train/test_resume.py::test_a_run_is_not_resumed_on_other_cells",),
    ),
    (
        "model of an old version",
        "loads, and says what it said then",
        ("model/test_archive.py",),
    ),
    (
        "model cut off, changed, of other sizes, newer",
        "refused with what is wrong",
        (
            "model/test_apollo.py::test_truncated_weights_are_refused",
            "model/test_apollo.py::test_changed_weights_are_refused",
            "model/test_apollo.py::test_a_header_that_claims_too_much_is_refused",
            "model/test_apollo.py::test_weights_of_another_model_are_refused",
            "model/test_apollo.py::test_newer_models_are_refused",
            "model/test_apollo.py::test_a_damaged_description_is_refused",
        ),
    ),
)


def outcomes(report: Path) -> Iterator[tuple[str, str]]:
    """Test (file::name, without parameters) and how it ended."""
    for case in ElementTree.parse(report).iter("testcase"):
        place = case.attrib["classname"].split(".")
        name = f"{'/'.join(place[1:])}.py::{case.attrib['name'].split('[')[0]}"
        ended = next(
            (kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed"
        )
        yield name, ended


def main() -> None:
    """Run and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    wanted = [f"tests/{test}" for _, _, tests in TABLE for test in tests]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *wanted]
        subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
        ended = list(outcomes(report))
    rows = []
    print("| fault | what happens | tests |\n|---|---|---|")
    for fault, happens, tests in TABLE:
        own = [how for name, how in ended if any(name.startswith(test) for test in tests)]
        counts = {how: own.count(how) for how in sorted(set(own))}
        words = ", ".join(f"{count} {how}" for how, count in counts.items()) or "did not run"
        print(f"| {fault} | {happens} | {words} |")
        rows.append({"fault": fault, "happens": happens, "tests": counts})
    print(json.dumps({"python": platform.python_version(), "faults": rows}))


if __name__ == "__main__":
    main()
