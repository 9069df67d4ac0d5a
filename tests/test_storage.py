"""What is written appears whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_apollo.errors import FileError, StorageFull
from napari_apollo.storage import (
    one_writer,
    place_named,
    recover_folder,
    replace_folder,
    require_writable,
    sweep_partials,
    whole_file,
    whole_folder,
    write_json,
)


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
    (tmp_path / "table.replaced-by-napari-apollo").mkdir()
    (tmp_path / "table.replaced-by-napari-apollo" / "x").write_text("1")
    recover_folder(target)
    assert contents(target) == ["x"]
    new = tmp_path / "new"
    new.mkdir()
    replace_folder(new, target)
    assert contents(tmp_path) == ["table"]
    assert contents(target) == []


def test_what_was_cut_short_is_not_lost_to_the_next_writer(tmp_path: Path) -> None:
    target = tmp_path / "store"
    between = tmp_path / "store.replaced-by-napari-apollo"
    between.mkdir()
    (between / "x").write_text("1")
    with pytest.raises(FileError, match="exists already"), whole_folder(target):
        pass
    assert contents(target) == ["x"]


def test_a_copy_that_somebody_called_old_is_left_alone(tmp_path: Path) -> None:
    target, kept = tmp_path / "store", tmp_path / "store.old"
    for folder in (target, kept):
        folder.mkdir()
        (folder / "x").write_text(folder.name)
    with whole_folder(target, overwrite=True) as partial:
        (partial / "x").write_text("new")
    assert (kept / "x").read_text() == "store.old"
    target.rename(tmp_path / "elsewhere")
    recover_folder(target)
    assert contents(tmp_path) == ["elsewhere", "store.old"]


def test_somebody_elses_folder_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "images"
    target.mkdir()
    with whole_folder(target, overwrite=True, mark="zarr.json") as partial:  # an empty one may be
        (partial / "zarr.json").write_text("1")
    with whole_folder(target, overwrite=True, mark="zarr.json") as partial:
        (partial / "photo.tif").write_text("1")
    with (
        pytest.raises(FileError, match="holds other files"),
        whole_folder(target, overwrite=True, mark="zarr.json"),
    ):
        pass
    assert contents(target) == ["photo.tif"]
    with pytest.raises(FileError, match="is a file"), whole_folder(target / "photo.tif", overwrite=True):
        pass
    with pytest.raises(FileError, match="exists already"), whole_folder(Path()):
        pass


@pytest.mark.parametrize("name", ["file/store", "x" * 250])
def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    for whole in (whole_folder, whole_file):
        with pytest.raises(FileError, match="cannot be written"), whole(tmp_path / name):
            pass
    assert contents(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_are_followed(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "store"
    disk.mkdir()
    (disk / "x").write_text("1")
    link.symlink_to(disk)
    for number in "23":
        with whole_folder(link, overwrite=True) as partial:
            (partial / "x").write_text(number)
        assert (disk / "x").read_text() == number
        assert link.is_symlink()
    (tmp_path / "manifest").symlink_to(disk / "x")
    write_json(tmp_path / "manifest", 4)
    assert (disk / "x").read_text() == "4\n"
    disk.rename(tmp_path / "disk.replaced-by-napari-apollo")
    recover_folder(link)
    assert (link / "x").exists()
    assert contents(tmp_path) == ["disk", "manifest", "store"]


@pytest.mark.parametrize("name", ["status.json", "complete", "store.cells.zarr"])
def test_a_file_is_written_beside_its_place(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.write_text("old")
    with whole_file(target) as partial:
        assert partial != target
        assert partial.name.endswith(target.suffix)
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert contents(tmp_path) == [name]


def test_names_that_are_not_utf8_come_back_whole(tmp_path: Path) -> None:
    name = os.fsdecode(b"Pati\xebnt \xce\xb3.tif")
    write_json(tmp_path / "a.json", {"image": name, "stain": "γ"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"image": name, "stain": "γ"}
    write_json(tmp_path / "a.json", {"stain": "γ"})
    assert "γ" in (tmp_path / "a.json").read_text("utf-8")


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.json") as first, whole_file(tmp_path / "a.json") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert contents(tmp_path) == ["a.json"]


@pytest.mark.skipif(os.name == "nt", reason="a killed writer is only known by its age there")
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "store"
    code = (
        "import os, signal, sys; from pathlib import Path; from napari_apollo.storage import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert len(contents(tmp_path)) == 1
    assert not target.exists()
    with whole_folder(target) as partial:
        assert contents(tmp_path) == [partial.name]
    assert contents(tmp_path) == ["store"]


def test_a_writer_at_work_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "store"
    with whole_folder(target) as first:
        with whole_folder(target, overwrite=True) as second:
            assert first.exists()
            assert second.exists()
        assert first.exists()


def test_what_nobody_touched_for_long_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "store.partial-elsewhere-1-ab"
    (left / "c").mkdir(parents=True)
    sweep_partials(tmp_path / "store")
    assert left.exists()
    for path in (left / "c", left):
        os.utime(path, (0, 0))
    sweep_partials(tmp_path / "store")
    assert contents(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_what_may_not_be_written_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    told = r"cannot be written.*copy it to where you may write"
    with pytest.raises(FileError, match=told), one_writer(tmp_path / "a.cells.zarr"):
        raise AssertionError("nobody may write")


def test_other_faults_of_a_place_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="input/output"), place_named(tmp_path):
        raise OSError(errno.EIO, "input/output")


def test_a_place_is_tried_without_leaving_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path / "a.cells.zarr")
    assert contents(tmp_path) == []

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refused)
    with pytest.raises(FileError, match=r"a\.cells\.zarr.*cannot be written"):
        require_writable(tmp_path / "a.cells.zarr")
