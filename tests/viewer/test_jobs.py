from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_apollo.errors import Cancelled, DataError
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked
from napari_apollo.viewer.jobs import Job, Jobs


class Waiting:
    """Runs no job until it is told to, so that a test decides what is late."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def start(self, job: Job) -> None:
        self.jobs.append(job)

    def wait(self, jobs: Jobs, seconds: float) -> bool:
        return not jobs.active


def adds(*numbers: int) -> Callable[[Progress, ShouldStop], int]:
    def call(progress: Progress, should_stop: ShouldStop) -> int:
        for done, _ in enumerate(numbers):
            progress(Step("Adding", done, len(numbers)))
            stop_if_asked(should_stop)
        return sum(numbers)

    return call


def test_a_job_hands_over_its_result_and_its_steps() -> None:
    jobs, results, ended = Jobs(), [], []
    jobs.ended.connect(ended.append)
    job = jobs.run("Adding", adds(1, 2), then=results.append)
    assert results == [3]
    assert ended == [job]
    assert job.state == "done"
    assert job.step == Step("Adding", 1, 2)
    assert jobs.active == ()


def test_an_error_stays_in_the_job() -> None:
    def broken(progress: Progress, should_stop: ShouldStop) -> None:
        raise DataError("no cells")

    told: list[Exception] = []
    results: list[Any] = []
    job = Jobs().run("Adding", broken, then=results.append, failed=told.append)
    assert job.state == "failed"
    assert isinstance(job.error, DataError)
    assert told == [job.error]
    assert results == []


def test_other_errors_are_not_swallowed() -> None:
    def broken(progress: Progress, should_stop: ShouldStop) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Jobs().run("Adding", broken)


def test_cancelled_at_once_and_what_comes_late_is_dropped() -> None:
    waiting, results = Waiting(), []
    jobs = Jobs(waiting)
    job = jobs.run("Adding", adds(1, 2), then=results.append)
    assert jobs.active == (job,)
    job.cancel()
    assert jobs.active == ()
    assert job.state == "cancelled"
    with pytest.raises(Cancelled):
        job.work()
    job.succeed(3)
    job.fail(DataError("late"))
    assert results == []
    assert job.state == "cancelled"


def test_a_newer_job_of_the_same_key_makes_the_older_one_outdated() -> None:
    waiting, results = Waiting(), []
    jobs = Jobs(waiting)
    older = jobs.run("Adding", adds(1), key="sum", then=results.append)
    other = jobs.run("Adding", adds(5), key="other", then=results.append)
    newer = jobs.run("Adding", adds(2), key="sum", then=results.append)
    for job in (newer, older, other):
        job.succeed(waiting.jobs.index(job))
    assert older.state == "cancelled"
    assert results == [2, 1]


def test_cancel_by_key() -> None:
    jobs = Jobs(Waiting())
    kept = jobs.run("Adding", adds(1), key="a")
    gone = jobs.run("Adding", adds(1), key="b")
    jobs.cancel("b")
    assert (kept.running, gone.running) == (True, False)
    assert list(jobs.of("a")) == [kept]


def test_small_steps_are_taken_in_their_order() -> None:
    jobs, taken, steps = Jobs(), [], []
    jobs.started.connect(lambda job: job.stepped.connect(steps.append))
    job = jobs.step_by_step("Adding layers", [lambda n=n: taken.append(n) for n in range(5)], key="layers")
    assert taken == [0, 1, 2, 3, 4]
    assert job.state == "done"
    assert [step.done for step in steps] == [0, 1, 2, 3, 4]


def test_small_steps_end_when_they_are_cancelled() -> None:
    jobs, taken = Jobs(), []
    jobs.step_by_step(
        "Adding layers",
        [lambda: taken.append(1), lambda: jobs.cancel("layers"), lambda: taken.append(3)],
        key="layers",
    )
    assert taken == [1]
    assert jobs.active == ()
