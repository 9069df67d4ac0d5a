"""What a representation holds: meaning of latents, phenotypes, probes, scores against known truth.

Names are imported when first used: settings and tables need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from napari_apollo.calling import make_callable

_PROBES = "napari_apollo.probes"
_OWN = "napari_apollo.interpret."

_HOMES = {
    "PAPER_SILHOUETTES": _OWN + "separation",
    "Directions": _OWN + "directions",
    "Goal": _OWN + "goals",
    "InterpretConfig": _OWN + "config",
    "Interpretation": _OWN + "interpretation",
    "LatentCells": _OWN + "cells",
    "Phenotypes": _OWN + "phenotypes",
    "ProbeMatrix": _PROBES,
    "Published": _OWN + "published",
    "SeparabilityWarning": _PROBES,
    "SeparationScores": _OWN + "separation",
    "Trial": _OWN + "trial",
    "TrialConfig": _OWN + "trial",
    "TrialRun": _OWN + "trial",
    "block_overlap": _PROBES,
    "cells_of_store": _OWN + "cells",
    "classify": _OWN + "phenotypes",
    "classify_images": _OWN + "imagephenotypes",
    "check_goals": _OWN + "goals",
    "feature_shares": _OWN + "shares",
    "find_directions": _OWN + "directions",
    "interpret": _OWN + "interpretation",
    "localisation_carriers": _OWN + "compartments",
    "median_scores": _OWN + "separation",
    "probe_matrix": _PROBES,
    "published_procedure": _OWN + "published",
    "run_trial": _OWN + "trial",
    "separability_warnings": _PROBES,
    "separation_scores": _OWN + "separation",
    "silhouette": _OWN + "separation",
    "silhouette_table": _OWN + "separation",
    "table_goals": _OWN + "goals",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


make_callable(__name__)
