"""Speed and memory of the simulators, and of the separation scores.

Usage: python benchmarks/simulate.py [--cells 2000] [--workers 1]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time

import numba
import numpy as np

from napari_apollo.interpret import separation_scores
from napari_apollo.simulate import TABLE_SETS, simulate_crops, simulate_tables


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000, help="cells simulated at each crop size")
    parser.add_argument("--workers", type=int, default=1, help="threads")
    arguments = parser.parse_args()
    result: dict[str, object] = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
        "workers": arguments.workers,
    }
    simulate_crops(4, 32, donors=1)  # compiles
    print(f"{'crop':>6} {'cells/s':>9} {'cells/cpu s':>12}")
    for size in (32, 64, 128):
        wall, cpu = time.perf_counter(), time.process_time()
        simulate_crops(arguments.cells, size, donors=4, workers=arguments.workers)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        result[f"crops_{size}_per_s"] = round(arguments.cells / wall)
        result[f"crops_{size}_per_cpu_s"] = round(arguments.cells / cpu)
        print(f"{size:>6} {arguments.cells / wall:>9.0f} {arguments.cells / cpu:>12.0f}")
    print(f"\n{'set':>12} {'scores, s':>10} {'cpu s':>7}")
    for name in TABLE_SETS:
        tables = simulate_tables(name)
        wall, cpu = time.perf_counter(), time.process_time()
        separation_scores(tables.true_blocks(), tables.factor_table())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        result[f"scores_{name}_s"] = round(wall, 2)
        print(f"{name:>12} {wall:>10.2f} {cpu:>7.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
