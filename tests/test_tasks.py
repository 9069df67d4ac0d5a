"""Tasks come back in the order of their items, here and on a cluster, and stop when asked."""

from __future__ import annotations

import pytest

from napari_apollo.errors import Cancelled, ConfigError
from napari_apollo.tasks import map_tasks


def square(number: int) -> int:
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("window", [None, 1, 100])
def test_order_is_kept(workers: int, window: int | None) -> None:
    results = map_tasks(square, range(20), workers=workers, window=window)
    assert list(results) == [n * n for n in range(20)]


def test_no_items_no_results() -> None:
    assert list(map_tasks(square, [])) == []


def test_no_more_results_wait_than_the_window_allows() -> None:
    begun: list[int] = []

    def note(number: int) -> int:
        begun.append(number)
        return number

    results = map_tasks(note, range(100), workers=2, window=4)
    next(results)
    assert len(begun) <= 4


def test_an_error_in_a_task_reaches_the_caller() -> None:
    with pytest.raises(ValueError, match="three"):
        list(map_tasks(fail_at_three, range(5)))


def test_stopping_drops_what_has_not_begun() -> None:
    done: list[int] = []
    with pytest.raises(Cancelled):
        for result in map_tasks(square, range(100), window=2, should_stop=lambda: len(done) >= 4):
            done.append(result)
    assert len(done) == 4


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        list(map_tasks(square, [1], scheduler="tcp://nowhere.invalid:1"))
