"""What a training frees lies ready for its next step, and goes back to the system at its end."""

from __future__ import annotations

import platform

import pytest
import torch

from napari_apollo.train.memory import memory_kept

resource = pytest.importorskip("resource", reason="the system does not count page faults")

CPU = torch.device("cpu")
BLOCKS, NUMBERS = 5, 2**24  # of 64 MB
PAGES = 4 * NUMBERS // resource.getpagesize()

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="memory is kept with the GNU C library alone"
)


def _faults_of_steps() -> int:
    """Pages that the system gave while blocks were filled and freed, but for the first one."""
    torch.zeros(NUMBERS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(BLOCKS):
        torch.zeros(NUMBERS)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


def test_blocks_are_asked_of_the_system_once():
    assert _faults_of_steps() > 0.9 * BLOCKS * PAGES
    with memory_kept(CPU):
        assert _faults_of_steps() < 2 * PAGES
    assert _faults_of_steps() > 0.9 * BLOCKS * PAGES


def test_memory_goes_back_at_the_end():
    before = _resident()
    with memory_kept(CPU):
        kept = [torch.zeros(NUMBERS) for _ in range(BLOCKS)]
        del kept
        inside = _resident()
    assert inside - before > 0.9 * BLOCKS * PAGES
    assert _resident() - before < PAGES


def test_memory_goes_back_after_an_error():
    before = _resident()
    with pytest.raises(ZeroDivisionError), memory_kept(CPU):
        torch.zeros(NUMBERS)
        _ = 1 / 0
    assert _resident() - before < PAGES


def test_other_devices_are_left_alone():
    with memory_kept(torch.device("meta")):
        held = _resident()
        torch.zeros(NUMBERS)
        assert _resident() - held < PAGES
