"""What is written appears whole or not at all."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from napari_apollo.errors import FileError, StorageFull
from napari_apollo.storage import recover_folder, replace_folder, whole_file, whole_folder, write_json


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_complete(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "store") as partial:
        (partial / "data").write_text("x")
        assert not (tmp_path / "store").exists()
    assert contents(tmp_path) == ["store"]
    assert contents(tmp_path / "store") == ["data"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "store"
    target.mkdir()
    (target / "old").write_text("x")
    with pytest.raises(RuntimeError), whole_folder(target, overwrite=True) as partial:
        (partial / "new").write_text("y")
        raise RuntimeError("power cut")
    assert contents(tmp_path) == ["store"]
    assert contents(target) == ["old"]


def test_an_existing_folder_is_not_overwritten_unasked(tmp_path: Path) -> None:
    target = tmp_path / "store"
    target.mkdir()
    with pytest.raises(FileError, match="exists already"), whole_folder(target):
        pass
    assert contents(tmp_path) == ["store"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_named_and_nothing_stays(tmp_path: Path, wrapped: bool) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StorageFull, match="study") as caught, whole_folder(tmp_path / "study") as partial:
        (partial / "half").write_text("x")
        if wrapped:
            raise RuntimeError("write failed") from full
        raise full
    assert caught.value.exit_code == 1
    assert contents(tmp_path) == []


def test_other_errors_keep_their_kind(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole_file(tmp_path / "a.json"):
        raise PermissionError(errno.EACCES, "denied")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "status.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), whole_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"a": 1}
    assert contents(tmp_path) == ["status.json"]


def test_an_interrupted_replacement_is_recovered(tmp_path: Path) -> None:
    target = tmp_path / "table"
    (tmp_path / "table.old").mkdir()
    (tmp_path / "table.old" / "x").write_text("1")
    recover_folder(target)
    assert contents(target) == ["x"]
    new = tmp_path / "new"
    new.mkdir()
    replace_folder(new, target)
    assert contents(tmp_path) == ["table"]
    assert contents(target) == []
