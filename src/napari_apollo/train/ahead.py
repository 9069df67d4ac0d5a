"""Batches read by a thread while the loop is busy with those before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

READ_AHEAD = 4
"""Batches that wait, at most, between the reading thread and the loop."""

Result = TypeVar("Result")


def read_ahead(
    read: Callable[[np.ndarray], Result], plan: Sequence[np.ndarray], depth: int = READ_AHEAD
) -> Iterator[Result]:
    """Results of ``read`` for each part of a plan, in order, computed by a thread at most ``depth`` ahead.

    An error of ``read`` is raised here; the thread ends when the results are no longer asked for.
    """
    waiting: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()
    end = object()

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for cells in plan:
                if stopped.is_set():
                    return
                put(read(cells))
            put(end)
        except Exception as error:  # noqa: BLE001 - handed over to the loop, which raises it
            put(error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
