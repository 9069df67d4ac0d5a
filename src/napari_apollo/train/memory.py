"""How much memory a training takes, worked out before it starts, and that what it frees is kept for it."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from napari_apollo.model.network import Network
from napari_apollo.progress import Progress, Step
from napari_apollo.train.data import CellData

_FALLBACK = 4e9  # bytes taken to be free where the system does not say

# Numbers that <malloc.h> gives to what can be set, and what the GNU C library comes to by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}


@dataclass(frozen=True)
class MemoryPlan:
    """What lies where.

    Attributes
    ----------
    resident
        Whether all crops go onto the device.
    crops, latents, network
        Bytes of the crops; of latents with the moments of their optimiser; of weights, gradients
        and moments.
    limit
        Bytes allowed for the crops.
    """

    resident: bool
    crops: int
    latents: int
    network: int
    limit: float

    def in_words(self) -> str:
        """For the user, before the job starts."""
        where = "kept on the device" if self.resident else "read from the store, batch by batch"
        others = f"latents {_size(self.latents)}; networks {_size(self.network)}"
        return f"crops {_size(self.crops)}, {where}; {others}"


def plan_memory(
    training: CellData, validation: CellData, network: Network, memory_gb: float = 0
) -> MemoryPlan:
    """Decide whether the crops go onto the device.

    Parameters
    ----------
    training, validation
        All cells that are used.
    network
        What is trained.
    memory_gb
        GB (10^9 bytes) allowed for crops; 0 allows half of what is free.
    """
    limit = memory_gb * 1e9 or free_memory(training.device) / 2
    crops = training.nbytes + validation.nbytes
    architecture = network.architecture
    numbers = training.n_cells * architecture.shared + sum(
        training.n_rows(modality.name) * modality.specific for modality in architecture.modalities
    )
    if architecture.normal_codes:  # a mean and a log variance for each dimension
        numbers *= 2
    weights = sum(parameter.numel() for parameter in network.parameters())
    # Values and two moments of latents; values, gradients and two moments of weights.
    return MemoryPlan(crops <= limit, crops, 4 * 3 * numbers, 4 * 4 * weights, limit)


def free_memory(device: torch.device) -> float:
    """Bytes free on a device; the system's memory for a processor or an Apple GPU."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    names = getattr(os, "sysconf_names", {})
    if "SC_AVPHYS_PAGES" not in names:
        return _FALLBACK
    return float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


def _size(number: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"


def place_cells(
    training: CellData, validation: CellData, network: Network, memory_gb: float, progress: Progress
) -> None:
    """Bring cells onto the device where they fit, and say how much memory the job takes."""
    plan = plan_memory(training, validation, network, memory_gb)
    progress(Step("Memory", detail=plan.in_words()))
    if plan.resident:
        training.to_device()
        validation.to_device()


@contextmanager
def memory_kept(device: torch.device) -> Iterator[None]:
    """Let what a training on the processor frees lie ready for its next step.

    The GNU C library gives large blocks back to the system as soon as they are freed, and every step asks for
    them again, page by page: on wide tables that takes as long as the step itself. Inside the block it
    keeps them; at the end what is free is given back. Elsewhere nothing is done.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        for what, value in _USUAL.items():
            library.mallopt(what, value)
        library.malloc_trim(0)
