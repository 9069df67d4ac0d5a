"""Jobs in threads of their own, for viewers with a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from napari.qt.threading import WorkerBase, create_worker
from napari.utils import cancelable_progress
from qtpy.QtCore import QCoreApplication, QTimer

from napari_apollo.progress import Step
from napari_apollo.viewer.jobs import Job, Jobs
from napari_apollo.viewer.notices import tell_error

_LOOK = 60  # milliseconds between two looks at how jobs stand


class _Worker(WorkerBase):
    """Does a job in a thread; napari asks it to quit when the window closes."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job
        self._future: Future[Any] | None = None

    def quit(self) -> None:
        """Ask the job to stop."""
        self._job.cancel()
        super().quit()

    def work(self) -> None:
        """Do the job, and keep what came of it.

        Nothing is raised and nothing returned: with PySide6 napari cannot take the signals of either.
        """
        with ThreadPoolExecutor(1, "apollo-job") as pool:
            self._future = pool.submit(self._job.work)
            self._future.exception()

    def hand_over(self) -> BaseException | None:
        """Give the job what came of it, in the thread of the window; the error, where there was one."""
        error = None if self._future is None else self._future.exception()
        if isinstance(error, Exception):
            self._job.fail(error)
        elif self._future is not None:
            self._job.succeed(self._future.result())
        return error


class _Shown:
    """A job in napari's activity dock."""

    def __init__(self, job: Job) -> None:
        # gui: the bar is napari's; nothing is written to the terminal
        self._bar = cancelable_progress(total=0, desc=job.title, cancel_callback=job.cancel, gui=True)

    def show(self, job: Job, step: Step | None) -> None:
        if step is None:
            return
        if self._bar.total != step.total:
            self._bar.total = step.total
        self._bar.set_description(f"{job.title}: {step.stage}")
        if step.total:
            self._bar.update(step.done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class Threads:
    """Runs jobs in threads that napari knows of, and shows them in its activity dock."""

    def __init__(self) -> None:
        self._shown: dict[Job, _Shown] = {}
        self._working: set[Job] = set()
        self._timer = QTimer()
        self._timer.setInterval(_LOOK)
        self._timer.timeout.connect(self._look)

    def start(self, job: Job) -> None:
        """Begin a job."""
        self._shown[job] = _Shown(job)
        self._working.add(job)
        job.ended.connect(self._hide)
        worker = create_worker(job, _worker_class=_Worker, _ignore_errors=True, _start_thread=False)
        worker.finished.connect(lambda: self._over(job, worker))
        worker.start()
        self._timer.start()

    def wait(self, jobs: Jobs, seconds: float) -> bool:
        """Keep the window alive until no job and no thread of one is left."""
        end = time.monotonic() + seconds
        while (jobs.active or self._working) and time.monotonic() < end:
            QCoreApplication.processEvents()
            time.sleep(0.005)
        return not jobs.active and not self._working

    def soon(self, action: Callable[[], None]) -> None:
        """Call something when the window has had its turn."""
        QTimer.singleShot(0, action)

    def _over(self, job: Job, worker: _Worker) -> None:
        self._working.discard(job)
        error = worker.hand_over()
        if error is not None and job.state == "failed":
            tell_error(error, job.title)

    def _look(self) -> None:
        for job, shown in list(self._shown.items()):
            job.show()
            shown.show(job, job.step)
        if not self._shown:
            self._timer.stop()

    def _hide(self, job: Job) -> None:
        shown = self._shown.pop(job, None)
        if shown is not None:
            shown.close()
