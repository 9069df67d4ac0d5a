from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_apollo.annotate import Journal, read_journal
from napari_apollo.errors import FileError

ENTRIES = st.lists(
    st.dictionaries(
        st.text(max_size=6), st.one_of(st.integers(), st.text(max_size=12), st.none()), max_size=4
    ),
    max_size=8,
)


@given(entries=ENTRIES, cut=st.integers(0, 400))
def test_whatever_is_cut_off_the_end_only_unfinished_lines_are_lost(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "a.jsonl"
    path.touch()
    with Journal(path) as journal:
        for entry in entries:
            journal.append(entry)
    content = path.read_bytes()
    kept = content[: max(0, len(content) - cut)]
    path.write_bytes(kept)
    whole = kept.count(b"\n")
    expected = entries[:whole]
    if len(entries) > whole and kept.split(b"\n")[-1] == content.split(b"\n")[whole]:
        expected = entries[: whole + 1]  # only the end of line is missing
    assert read_journal(path) == expected
    with Journal(path) as journal:
        assert journal.entries == expected
        journal.append({"new": 1})
    assert read_journal(path) == [*expected, {"new": 1}]


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.jsonl") as journal:
        assert not (tmp_path / "a.jsonl").exists()  # nothing said, nothing left behind
        late = Journal(tmp_path / "a.jsonl")
        journal.append({"a": 0})
        with pytest.raises(FileError, match="another window"):
            late.append({"b": 0})
        with pytest.raises(FileError, match="another window"):
            Journal(tmp_path / "a.jsonl")
        journal.append({"a": 1})
        assert read_journal(tmp_path / "a.jsonl") == [{"a": 0}, {"a": 1}]
    with pytest.raises(FileError, match="closed"):
        journal.append({"a": 2})
    Journal(tmp_path / "a.jsonl").close()


def test_a_journal_that_others_began_meanwhile(tmp_path: Path) -> None:
    late = Journal(tmp_path / "a.jsonl")
    with Journal(tmp_path / "a.jsonl") as journal:
        journal.append({"a": 1})
    with pytest.raises(FileError, match="meanwhile"):
        late.append({"b": 1})
    assert read_journal(tmp_path / "a.jsonl") == [{"a": 1}]


def test_damage_in_the_middle_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":\n{"c":3}\n')
    with pytest.raises(FileError, match="line 2"):
        Journal(path)
    with pytest.raises(FileError, match="line 2"):
        read_journal(path)
    assert path.read_bytes() == b'{"a":1}\n{"b":\n{"c":3}\n'
    with pytest.raises(FileError, match="cannot be read"):
        read_journal(tmp_path / "absent.jsonl")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.annotations").write_text("a file where the folder would be")
    with pytest.raises(FileError, match=r"ada\.jsonl: the journal cannot be written"):
        Journal(tmp_path / "a.annotations" / "ada.jsonl").append({"a": 1})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_was_said_before_a_kill_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.annotations" / "ada.jsonl"
    code = (
        "import sys; from napari_apollo.annotate import open_annotations\n"
        "mine = open_annotations(sys.argv[1], 'ada')\n"
        "for number in range(10**6):\n"
        "    mine.label([f'c{number}'], 'round' if number % 2 else 'flat')\n"
        "    sys.stdout.write(f'{number}\\n'); sys.stdout.flush()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a.cells.zarr")], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(30)]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    cells = [entry["cells"][0] for entry in read_journal(path) if entry.get("do") == "label"]
    assert cells[: len(said)] == [f"c{number}" for number in said]
    with Journal(path) as journal:  # the dead writer's lock is gone
        journal.append({"do": "undo", "at": time.strftime("%Y")})
    assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())
