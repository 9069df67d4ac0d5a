"""Settings of the demonstration."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from napari_apollo.config import OperationConfig


class DemoConfig(OperationConfig):
    """Settings of the demonstration."""

    output: Path = Path("demo")
    """Folder that gets the results; what an earlier demonstration left there is replaced."""

    epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Epochs of each training step, the preset's where not given; fewer are quicker and poorer."""

    seed: int = Field(default=3, ge=0)
    """Seed of the trainings."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda or mps."""
