"""Fields and tiles as tasks of a Dask graph: on this machine, or on a cluster.

An operation hands over a picklable function and its items; the results come back in the order of
the items, only ``window`` of them at a time, so memory is bounded by the window and not by the
size of the study. On a ``dask.distributed`` cluster a task whose worker dies is run again
elsewhere; tasks are therefore pure: they read files and return arrays, and only the caller writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import dask

from napari_apollo.errors import ConfigError
from napari_apollo.progress import ShouldStop, never, stop_if_asked

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Cores this process may use (affinity and container limits included)."""
    count = getattr(os, "process_cpu_count", os.cpu_count)()
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return max(1, count or 1)


def map_tasks(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    window: int | None = None,
    should_stop: ShouldStop = never,
) -> Iterator[Result]:
    """Run ``function`` on every item and yield the results in the order of the items.

    Parameters
    ----------
    function
        A module-level function without side effects (a task may run twice when a worker dies).
    items
        Arguments, one a task, small and picklable: paths and slices rather than arrays.
    scheduler
        Address of a ``dask.distributed`` scheduler such as ``tcp://host:8786``; without one the
        tasks run in threads of this process.
    workers
        Threads used on this machine; every core where not given.
    window
        Results that may wait at the same time; twice the workers where not given.
    should_stop
        Asked between results.

    Yields
    ------
    Result
        What ``function`` returned, in the order of ``items``.

    Raises
    ------
    Cancelled
        When ``should_stop`` says so; tasks not yet begun are dropped.
    ConfigError
        When no scheduler answers at the address.
    """
    if scheduler is None:
        yield from _map_here(function, items, workers or available_cores(), window, should_stop)
    else:
        yield from _map_on_cluster(function, items, scheduler, window, should_stop)


def _map_here(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    window: int | None,
    should_stop: ShouldStop,
) -> Iterator[Result]:
    remaining = iter(items)
    delayed = dask.delayed(function, pure=False)
    while batch := list(islice(remaining, window or 2 * workers)):
        stop_if_asked(should_stop)
        yield from dask.compute(*[delayed(item) for item in batch], scheduler="threads", num_workers=workers)
    stop_if_asked(should_stop)


def _map_on_cluster(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    scheduler: str,
    window: int | None,
    should_stop: ShouldStop,
) -> Iterator[Result]:
    client = _connect(scheduler)
    try:
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        remaining = iter(items)
        waiting: list[Any] = [
            client.submit(function, item, pure=False) for item in islice(remaining, window or 4 * workers)
        ]
        while waiting:
            stop_if_asked(should_stop)
            future = waiting.pop(0)
            yield future.result()
            waiting.extend(client.submit(function, item, pure=False) for item in islice(remaining, 1))
    finally:
        client.close()


def _connect(scheduler: str) -> Any:
    from distributed import Client

    try:
        return Client(scheduler, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Dask scheduler answers at {scheduler!r}; start one with 'dask scheduler' and give "
            "its address, for example tcp://127.0.0.1:8786."
        ) from error
