"""Separation of shared and specific factors on simulated tables: every set, by either objective.

Usage: python benchmarks/separation.py [--sets 1 2 3] [--objectives agreement two-step] [--seeds 5]

Prints the rows of the tables in docs/training.md, and a line of JSON for each: goals reached, and, for sets
of the paper, every silhouette beside the published one, with its spread over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections import Counter, defaultdict
from typing import Any

import torch

from napari_apollo.interpret import PAPER_SILHOUETTES, TrialConfig, run_trial
from napari_apollo.simulate import TABLE_SETS

HEAD = (
    "| set | objective | sizes given, found | Z1, Z2 from s | Z3, Z4, Z5 from their block "
    "| most of Z3 (Z4, Z5) in s | most of Z1, Z2 in x, y | silhouettes s:Z1, x:Z3, s:Z3 (paper) | goals |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
MIXING = ("1", "4", "5")
CELLS = [("shared", "Z1"), ("shared", "Z3"), ("x", "Z3"), ("x", "Z1"), ("y", "Z1"), ("y", "Z3")]
_ROUNDED = 5e-4  # the paper gives three digits
SPREAD_HEAD = (
    "| set, objective, seeds | " + " | ".join(f"{block}: {factor}" for block, factor in CELLS) + " |\n"
    "|---" + "|---" * len(CELLS) + "|"
)


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(TABLE_SETS), default=list(TABLE_SETS))
    parser.add_argument("--objectives", nargs="+", default=["agreement"])
    parser.add_argument("--sizes", nargs="+", default=["2+2", "6+4"], help="shared+specific")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    print(HEAD)
    rows = []
    for objective in arguments.objectives:
        for name in arguments.sets:
            for size in arguments.sizes:
                shared, specific = map(int, size.split("+"))
                config = TrialConfig(
                    set=name, objective=objective, seeds=arguments.seeds, shared=shared, specific=specific
                )
                found = run_trial(config).to_dict()
                print(row(found), flush=True)
                print(json.dumps(found), flush=True)
                rows.append(found)
    print(spreads([found for found in rows if found["set"] in PAPER_SILHOUETTES.index]))


def row(found: dict[str, Any]) -> str:
    """A row of the table from what ``napari-apollo simulate --json`` prints."""
    name = found["set"]
    if not found["separable"]:
        words = f"warning in {found['warned']} of {len(found['runs'])}"
        return f"| {name} | {found['objective']} | {_sizes(found)} | | | | | | {words} |"
    r2, silhouettes = found["median"]["nonlinear"]["r2"], found["median"]["silhouettes"]
    mixing = name in MIXING
    own = "shared+" if mixing else ""
    leaks = ["Z3"] if mixing else ["Z3", "Z4", "Z5"]
    cells = [
        name,
        found["objective"],
        _sizes(found),
        ", ".join(_short(r2["shared"][factor]) for factor in ("Z1", "Z2")),
        ", ".join(_short(r2[b][f]) for b, f in (("x", "Z3"), (f"{own}x", "Z4"), (f"{own}y", "Z5"))),
        _short(max(r2["shared"][factor] for factor in leaks)),
        "–" if mixing else _short(max(r2[block][f] for block in ("x", "y") for f in ("Z1", "Z2"))),
        ", ".join(
            f"{silhouettes[block][factor]:.2f}"
            + (
                f" ({PAPER_SILHOUETTES.loc[name, (block, factor)]:.2f})"
                if name in PAPER_SILHOUETTES.index
                else ""
            )
            for block, factor in (("shared", "Z1"), ("x", "Z3"), ("shared", "Z3"))
        ),
        f"{sum(goal['reached'] for goal in found['goals'])} of {len(found['goals'])}",
    ]
    return f"| {' | '.join(cells)} |"


def spreads(rows: list[dict[str, Any]]) -> str:
    """Silhouettes: the paper's one draw, and the median, lowest and highest of ours.

    One more draw of the same kind lies between the lowest and the highest of n others with a chance of
    (n - 1) / (n + 1): that many of the paper's values are to be expected there where its procedure is the
    same.
    """
    lines = [SPREAD_HEAD]
    inside: Counter[str] = Counter()
    values: Counter[str] = Counter()
    expected: defaultdict[str, float] = defaultdict(float)
    for found in rows:
        count, objective = len(found["runs"]), found["objective"]
        cells = [f"{found['set']}, {objective} {_given(found)}, {count}"]
        for block, factor in CELLS:
            own = sorted(run["silhouettes"][block][factor] for run in found["runs"])
            paper = PAPER_SILHOUETTES.loc[found["set"], (block, factor)]
            median = found["median"]["silhouettes"][block][factor]
            between = f" ({own[0]:.2f} to {own[-1]:.2f})" if count > 1 else ""
            cells.append(f"{paper:.2f}: {median:.2f}{between}")
            values[objective] += 1
            inside[objective] += own[0] - _ROUNDED <= paper <= own[-1] + _ROUNDED
            expected[objective] += (count - 1) / (count + 1)
        lines.append(f"| {' | '.join(cells)} |")
    for objective, count in values.items():
        lines.append(
            f"{objective}: {inside[objective]} of {count} published values lie between our draws; "
            f"of draws of the same kind {expected[objective]:.0f} would"
        )
    return "\n".join(lines)


def _given(found: dict[str, Any]) -> str:
    return f"{found['shared']}+{found['specific']}+{found['specific']}"


def _sizes(found: dict[str, Any]) -> str:
    counts = Counter("+".join(map(str, run["sizes"].values())) for run in found["runs"])
    return f"{_given(found)}, " + " ".join(
        f"{size}{f' ({n}x)' if n > 1 else ''}" for size, n in counts.most_common()
    )


def _short(value: float) -> str:
    return f"{max(value, 0):.2f}".replace("0.", ".", 1)


if __name__ == "__main__":
    main()
