"""Work that goes on beside the window: one place for progress, cancelling and late results.

A job calls a function of the core, ``call(progress, should_stop)``. Where there is a window it runs in a
thread that napari knows of, so that napari asks before it closes; without one it runs at once. Every
signal and every callback comes in the thread of the window.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from psygnal import Signal

from napari_apollo.errors import ApolloError, Cancelled
from napari_apollo.progress import Progress, ShouldStop, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

JobState = Literal["running", "done", "failed", "cancelled"]
Call = Callable[[Progress, ShouldStop], Any]


class Job:
    """A piece of work under way, or over.

    Attributes
    ----------
    title
        What is done, in the user's words.
    key
        Jobs of one key replace each other: what an older one brings is dropped.
    state
        ``running``, ``done``, ``failed`` or ``cancelled``.
    step
        Where it stands.
    error
        What ended it, where it failed.
    """

    stepped = Signal(object)
    ended = Signal(object)

    def __init__(
        self,
        title: str,
        call: Call,
        key: str = "",
        then: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self.title = title
        self.key = key
        self.state: JobState = "running"
        self.step: Step | None = None
        self.error: Exception | None = None
        self._call = call
        self._then = then
        self._failed = failed
        self._stop = threading.Event()
        self._latest: Step | None = None

    def __str__(self) -> str:
        return self.title

    @property
    def running(self) -> bool:
        """Whether it has not come to an end."""
        return self.state == "running"

    def cancel(self) -> None:
        """Ask it to stop. It counts as cancelled at once; whatever it may still bring is dropped."""
        self._stop.set()
        self._end("cancelled")

    def note(self, step: Step) -> None:
        """Take a step, from whichever thread; it is shown when the window has time."""
        self._latest = step

    def should_stop(self) -> bool:
        """Whether it was asked to stop, from whichever thread."""
        return self._stop.is_set()

    def work(self) -> Any:
        """Do it, in whichever thread."""
        return self._call(self.note, self.should_stop)

    def show(self) -> None:
        """Tell listeners the latest step, in the thread of the window."""
        if self.running and self._latest is not self.step:
            self.step = self._latest
            self.stepped.emit(self.step)

    def succeed(self, result: Any) -> None:
        """Hand over what came out, unless nobody waits for it any more."""
        if not self.running:
            return
        self.show()
        self._end("done")
        if self._then is not None:
            self._then(result)

    def fail(self, error: Exception) -> None:
        """Tell what went wrong, unless nobody waits for it any more."""
        if isinstance(error, Cancelled):
            self._end("cancelled")
            return
        if not self.running:
            return
        self.error = error
        self._end("failed")
        if self._failed is not None:
            self._failed(error)

    def _end(self, state: JobState) -> None:
        if self.running:
            self.state = state
            self.ended.emit(self)


class Executor(Protocol):
    """Where jobs run."""

    def start(self, job: Job) -> None:
        """Run a job, now or beside the caller."""
        ...

    def wait(self, jobs: Jobs, seconds: float) -> bool:
        """Wait until no job is left; whether that came about in time."""
        ...

    def soon(self, action: Callable[[], None]) -> None:
        """Call something in the window's thread, after the window has had its turn."""
        ...


class AtOnce:
    """Runs jobs in the calling thread: for scripts and tests without a window."""

    def start(self, job: Job) -> None:
        """Run a job to its end. Only errors of napari-apollo are kept in the job; others are raised."""
        try:
            result = job.work()
        except ApolloError as error:
            job.fail(error)
        else:
            job.succeed(result)

    def wait(self, jobs: Jobs, seconds: float) -> bool:
        """Nothing is ever under way."""
        return True

    def soon(self, action: Callable[[], None]) -> None:
        """Call it now."""
        action()


class Jobs:
    """The work of one viewer.

    Parameters
    ----------
    executor
        Where jobs run; at once, in the calling thread, where not given.

    Examples
    --------
    >>> jobs = Jobs()
    >>> jobs.run("Adding", lambda progress, should_stop: 1 + 1, then=print).state
    2
    'done'
    """

    started = Signal(object)
    ended = Signal(object)

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor or AtOnce()
        self._active: list[Job] = []

    def run(
        self,
        title: str,
        call: Call,
        *,
        key: str = "",
        then: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> Job:
        """Start a job.

        Parameters
        ----------
        title
            What is done, in the user's words: ``"Segmenting the study"``.
        call
            ``call(progress, should_stop)``: a function of the core with its other arguments bound. It may
            touch neither layers nor widgets.
        key
            A running job of the same key is cancelled first and what it brings is dropped.
        then
            Given what came out, in the thread of the window.
        failed
            Given the error, after the person was told.

        Returns
        -------
        Job
            Under way, or over already.
        """
        job = self._begin(Job(title, call, key, then, failed))
        self._executor.start(job)
        return job

    @property
    def active(self) -> tuple[Job, ...]:
        """Jobs under way, oldest first."""
        return tuple(self._active)

    def of(self, *keys: str) -> Iterator[Job]:
        """Jobs under way of some keys; of all where none is given."""
        return (job for job in self.active if not keys or job.key in keys)

    def cancel(self, *keys: str) -> None:
        """Cancel the jobs of some keys, or all."""
        for job in list(self.of(*keys)):
            job.cancel()

    def step_by_step(self, title: str, steps: Sequence[Callable[[], Any]], *, key: str = "") -> Job:
        """Do small things that must happen in the thread of the window, which has its turn in between.

        Parameters
        ----------
        title
            What is done, in the user's words.
        steps
            Each short: adding one layer.
        key
            As of ``run``.
        """
        job = self._begin(Job(title, lambda progress, should_stop: None, key))
        rest = list(steps)

        def take() -> None:
            if not job.running:
                return
            if not rest:
                job.succeed(None)
                return
            job.note(Step(title, len(steps) - len(rest), len(steps)))
            job.show()
            rest.pop(0)()
            self._executor.soon(take)

        self._executor.soon(take)
        return job

    def wait(self, seconds: float = 60) -> bool:
        """Wait until none is left, the window staying alive; whether that came about in time."""
        return self._executor.wait(self, seconds)

    def _begin(self, job: Job) -> Job:
        if job.key:
            self.cancel(job.key)
        self._active.append(job)
        job.ended.connect(self._forget, check_nargs=False)
        self.started.emit(job)
        return job

    def _forget(self, job: Job) -> None:
        if job in self._active:
            self._active.remove(job)
        self.ended.emit(job)


def executor_for(viewer: Any) -> Executor:
    """Threads where the viewer has a window, else the calling thread."""
    if getattr(viewer, "window", None) is None:
        return AtOnce()
    from napari_apollo.viewer.threads import Threads

    return Threads()
