"""What a representation holds: probes, and scores of separation against known truth."""

from napari_apollo.interpret.goals import Goal, check_goals, table_goals
from napari_apollo.interpret.separation import (
    PAPER_SILHOUETTES,
    SeparationScores,
    median_scores,
    separation_scores,
    silhouette,
    silhouette_table,
)
from napari_apollo.interpret.trial import Trial, TrialConfig, TrialRun, run_trial
from napari_apollo.probes import (
    ProbeMatrix,
    SeparabilityWarning,
    block_overlap,
    probe_matrix,
    separability_warnings,
)

__all__ = [
    "PAPER_SILHOUETTES",
    "Goal",
    "ProbeMatrix",
    "SeparabilityWarning",
    "SeparationScores",
    "Trial",
    "TrialConfig",
    "TrialRun",
    "block_overlap",
    "check_goals",
    "median_scores",
    "probe_matrix",
    "run_trial",
    "separability_warnings",
    "separation_scores",
    "silhouette",
    "silhouette_table",
    "table_goals",
]
