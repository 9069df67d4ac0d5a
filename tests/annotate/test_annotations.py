from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from napari_apollo.annotate import Annotations, Journal, open_annotations, read_annotations, read_journal
from napari_apollo.annotate.files import annotators_of
from napari_apollo.errors import FileError, InputError

CELLS = [f"f:{number}" for number in range(6)]
NAMES = ["round", "flat", "dividing"]


def state(annotations: Annotations) -> tuple[Any, ...]:
    return (
        list(annotations.classes.items()),
        dict(annotations.labels),
        set(annotations.excluded),
    )


class Session(RuleBasedStateMachine):
    """Any sequence of actions; the states before each are what undo and redo must go through."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []
        self.annotations = Annotations("ada", _Memory(self.entries))  # type: ignore[arg-type]
        self.past: list[tuple[Any, ...]] = []
        self.future: list[tuple[Any, ...]] = []

    def act(self, action: Any) -> None:
        before, entries = state(self.annotations), len(self.entries)
        steps: list[tuple[Any, ...]] = []
        leave = self.annotations.listen(lambda: steps.append(state(self.annotations)))
        try:
            action()
        except InputError:
            assert state(self.annotations) == before
        leave()
        assert len(steps) == len(self.entries) - entries
        if steps:
            self.past += [before, *steps[:-1]]
            self.future.clear()

    @rule(cells=st.lists(st.sampled_from(CELLS), max_size=4), name=st.sampled_from([*NAMES, ""]))
    def label(self, cells: list[str], name: str) -> None:
        self.act(lambda: self.annotations.label(cells, name))
        assert all(self.annotations.labels.get(cell, "") == name for cell in cells)

    @rule(cells=st.lists(st.sampled_from(CELLS), max_size=4), excluded=st.booleans())
    def exclude(self, cells: list[str], excluded: bool) -> None:
        self.act(lambda: self.annotations.exclude(cells, excluded))

    @rule(name=st.sampled_from(NAMES), colour=st.sampled_from([None, "#112233", "#445566", "red"]))
    def add_class(self, name: str, colour: str | None) -> None:
        self.act(lambda: self.annotations.add_class(name, colour))

    @rule(name=st.sampled_from(NAMES), to=st.sampled_from(NAMES))
    def rename(self, name: str, to: str) -> None:
        self.act(lambda: self.annotations.rename_class(name, to))

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.act(lambda: self.annotations.remove_class(name))

    @rule()
    def undo(self) -> None:
        now = state(self.annotations)
        assert self.annotations.undo() == bool(self.past)
        if self.past:
            self.future.append(now)
            assert state(self.annotations) == self.past.pop()

    @precondition(lambda self: self.future)
    @rule()
    def redo(self) -> None:
        now = state(self.annotations)
        assert self.annotations.redo()
        self.past.append(now)
        assert state(self.annotations) == self.future.pop()

    @invariant()
    def every_label_is_of_a_class(self) -> None:
        assert set(self.annotations.labels.values()) <= set(self.annotations.classes)

    @invariant()
    def replaying_the_journal_gives_the_same(self) -> None:
        again = Annotations.replayed("ada", self.entries)
        assert state(again) == state(self.annotations)
        assert again.can_undo == self.annotations.can_undo == bool(self.past)
        assert again.can_redo == self.annotations.can_redo == bool(self.future)


class _Memory:
    """A journal without a file."""

    path = Path("memory")

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries

    def append(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)


TestSession = Session.TestCase


def test_what_was_said_is_there_again(tmp_path: Path) -> None:
    store = tmp_path / "a.cells.zarr"
    with open_annotations(store, "Ada L.") as mine:
        mine.label(["c1", "c2"], "round")
        mine.label(["c3"], "flat")
        mine.exclude(["c4"])
        mine.undo()
    with open_annotations(store, "Ada L.") as mine:
        assert mine.labels == {"c1": "round", "c2": "round", "c3": "flat"}
        assert mine.excluded == set()
        assert mine.redo()
        assert mine.excluded == {"c4"}
    assert annotators_of(store) == ["Ada_L"]
    head = read_journal(tmp_path / "a.annotations" / "Ada_L.jsonl")[0]
    assert head["annotator"] == "Ada L."
    assert head["store"] == "a.cells.zarr"


def test_people_are_kept_apart(tmp_path: Path) -> None:
    store = tmp_path / "a.cells.zarr"
    with open_annotations(store, "ada") as one, open_annotations(store, "bob") as other:
        one.label(["c1"], "round")
        other.label(["c1"], "flat")
        with pytest.raises(FileError, match="another window"):
            open_annotations(store, "ada")
    everybody = read_annotations(store)
    assert {name: own.labels for name, own in everybody.items()} == {
        "ada": {"c1": "round"},
        "bob": {"c1": "flat"},
    }
    with pytest.raises(InputError, match="letters"):
        open_annotations(store, " / ")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"kind":"something","version":1}\n', "something"),
        ('{"kind":"napari-apollo annotations","version":99}\n', "newer"),
        ('{"do":"dance","name":"x"}\n', "line 1"),
        ('{"do":"undo"}\n', "line 1"),
        ('{"do":"remove","name":"absent"}\n', "line 1"),
    ],
)
def test_journals_that_are_something_else_are_refused(tmp_path: Path, lines: str, words: str) -> None:
    folder = tmp_path / "a.annotations"
    folder.mkdir()
    (folder / "ada.jsonl").write_text(lines)
    with pytest.raises(FileError, match=words):
        open_annotations(tmp_path / "a.cells.zarr", "ada")
    assert (folder / "ada.jsonl").read_text() == lines
    Journal(folder / "ada.jsonl").close()  # nobody holds it


def test_counts_by_class_and_donor() -> None:
    obs = pd.DataFrame({"cell_id": list("abcd"), "donor": ["one", "one", "two", "two"]})
    mine = Annotations("ada")
    mine.label(["a", "c"], "round")
    mine.label(["d"], "flat")
    mine.add_class("rare")
    counts = mine.counts(obs)
    assert counts.index.tolist() == ["round", "flat", "rare"]
    assert counts["all"].tolist() == [2, 1, 0]
    assert counts["one"].tolist() == [1, 0, 0]
    assert counts["two"].tolist() == [1, 1, 0]
    assert Annotations("bob").counts(obs).empty


@given(st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from(NAMES))))
def test_codes_number_the_classes(said: list[tuple[str, str]]) -> None:
    mine = Annotations("ada")
    for cell, name in said:
        mine.label([cell], name)
    names = list(mine.classes)
    for cell, code in zip(CELLS, mine.codes(CELLS), strict=True):
        assert (names[code] if code >= 0 else None) == mine.labels.get(cell)
