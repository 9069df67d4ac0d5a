"""What a training frees lies ready for its next step, and goes back to the system at its end."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="memory is kept with the GNU C library alone"
)

# In a process of its own: what others have freed before would be found again outside the block, too.
COUNT = """
import json, resource
import torch
from napari_apollo.train.memory import memory_kept

BLOCKS, NUMBERS = 5, 2**24  # of 64 MB
PAGE = resource.getpagesize()

def faults():
    "Blocks that the system gave, page by page, while as many were filled and freed, but for the first."
    torch.zeros(NUMBERS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(BLOCKS):
        torch.zeros(NUMBERS)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * PAGE / (4 * NUMBERS)

def held():
    "Blocks that the process holds."
    return int(open("/proc/self/statm").read().split()[1]) * PAGE / (4 * NUMBERS)

found = {"outside": faults()}
start = held()
with memory_kept(torch.device("cpu")):
    found["inside"] = faults()
    many = [torch.zeros(NUMBERS) for _ in range(BLOCKS)]
    del many
    found["kept"] = held() - start
found["left"] = held() - start
try:
    with memory_kept(torch.device("cpu")):
        torch.zeros(NUMBERS)
        raise ZeroDivisionError
except ZeroDivisionError:
    found["left after an error"] = held() - start
start = held()
with memory_kept(torch.device("meta")):
    many = [torch.zeros(NUMBERS) for _ in range(BLOCKS)]
    del many
    found["kept elsewhere"] = held() - start
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_blocks_are_asked_of_the_system_once(found):
    assert found["inside"] < 2
    assert found["kept"] > 4.5


def test_other_devices_are_left_alone(found):
    assert found["kept elsewhere"] < 2.5


def test_memory_goes_back_at_the_end(found):
    assert found["left"] < 0.5
    assert found["left after an error"] < 0.5


def test_without_it_every_step_asks_again(found):
    assert found["outside"] > 4.5
