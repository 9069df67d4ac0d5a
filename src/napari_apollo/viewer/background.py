"""One thread that answers the last question: for what changes with every movement of the mouse.

Jobs (``session.jobs``) are for work that people start and may cancel. What follows a slider or a scroll bar
is asked again and again; only the newest question counts, and nobody wants to read about it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_apollo.errors import ApolloError

_PATIENCE = 5.0


class Background(QObject):
    """Answers questions in a thread of its own, the newest first, older ones not at all.

    Parameters
    ----------
    work
        Called with a question, in the thread; it may touch neither layers nor widgets.
    owner
        When Qt destroys it, the thread ends.
    close
        Called in the end, in the thread.
    """

    answered = Signal(object, object)
    """A question and its answer, in the thread of the window; a question that was replaced has none."""

    failed = Signal(object, object)
    """A question and the error of napari-apollo that it met."""

    _arrived = Signal(int, object, object)

    def __init__(
        self, work: Callable[[Any], Any], owner: QObject, *, close: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._work, self._close_work = work, close
        self._condition = threading.Condition()
        self._question: Any = None
        self._number = 0
        self._waiting = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._arrived.connect(self._take)
        owner.destroyed.connect(lambda *_: self.close())  # keeps this alive as long as its owner

    @property
    def closed(self) -> bool:
        """Whether it was closed; long work asks, and stops."""
        return self._closed

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._waiting

    def ask(self, question: Any) -> None:
        """Ask; the answer to an older question is dropped."""
        with self._condition:
            if self._closed:
                return
            self._number += 1
            self._question = question
            self._waiting = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="apollo-background", daemon=True)
                self._thread.start()
            self._condition.notify()

    def forget(self) -> None:
        """Want no answer any more."""
        with self._condition:
            self._number += 1
            self._question = None
            self._waiting = False

    def close(self, *_: object) -> None:
        """End the thread."""
        with self._condition:
            self._closed = True
            self._question = None
            self._condition.notify()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_PATIENCE)

    def _run(self) -> None:
        try:
            while True:
                with self._condition:
                    while self._question is None and not self._closed:
                        self._condition.wait()
                    if self._closed:
                        return
                    question, number = self._question, self._number
                    self._question = None
                try:
                    answer = self._work(question)
                except ApolloError as error:
                    answer = error
                with contextlib.suppress(RuntimeError):  # the window was closed meanwhile
                    self._arrived.emit(number, question, answer)
        finally:
            if self._close_work is not None:
                self._close_work()

    def _take(self, number: int, question: Any, answer: Any) -> None:
        if number != self._number or self._closed:
            return
        self._waiting = False
        (self.failed if isinstance(answer, ApolloError) else self.answered).emit(question, answer)
