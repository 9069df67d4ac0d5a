"""Objectives: what a training makes smaller, and in which stages."""

from napari_apollo.train.objectives.agreement import Agreement
from napari_apollo.train.objectives.base import (
    OBJECTIVES,
    Objective,
    Stage,
    get_objective,
    normal_codes,
    one_protein,
)
from napari_apollo.train.objectives.one_step import OneStep
from napari_apollo.train.objectives.two_step import TwoStep

__all__ = [
    "OBJECTIVES",
    "Agreement",
    "Objective",
    "OneStep",
    "Stage",
    "TwoStep",
    "get_objective",
    "normal_codes",
    "one_protein",
]
