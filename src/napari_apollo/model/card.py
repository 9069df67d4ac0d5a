"""What is known about a model besides its weights; the content of ``model.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_apollo.errors import ConfigError, ModelDamaged, ModelError, ModelTooNew, PanelError
from napari_apollo.model.modality import Architecture
from napari_apollo.panels import Panel

SCHEMA_VERSION = 1
"""Raised whenever an older reader would misread a newer model."""

CARD = "model.json"

_CARD_LIMIT = 64 * 2**20


class HeldOut(BaseModel):
    """Which cells a model never learnt from, decided before training.

    Attributes
    ----------
    by
        What was held out as a whole: ``donor``, ``field``, ``split`` (the study said so) or
        ``region`` (parts of a single field: the weakest kind).
    test
        Donors, fields or regions never used before the final scores.
    validation
        Donors, fields or regions that decided when to stop, and nothing else.
    cells
        Number of cells of each part: ``train``, ``validation``, ``test``.
    fields
        Of a split that the study stated, the fields of the cells in ``train`` and in ``validation``: another
        study may state another split.
    """

    model_config = ConfigDict(frozen=True)

    by: str
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    cells: dict[str, int] = {}
    fields: dict[str, tuple[str, ...]] = {}


class Verdict(BaseModel):
    """What of each modality is shared, what is its own, what stays unexplained.

    Attributes
    ----------
    cells
        Validation cells that it is drawn from.
    parts
        By modality or stain: ``shared`` (predicted by the other modalities of the same cell), ``specific``
        (rebuilt from its own codes beyond that) and ``unexplained``, parts of the variance between cells
        that add up to 1.
    warnings
        Reasons to doubt the separation, in words; none where it holds.
    kinds
        Their kinds: ``contained``, ``disagreement`` (see ``probes.separability``), ``empty`` where a
        modality was left with no latent of its own, ``unknown`` where there are too few cells to tell.
    """

    model_config = ConfigDict(frozen=True)

    cells: int = 0
    parts: dict[str, dict[str, float]] = {}
    warnings: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def in_words(self) -> list[str]:
        """Lines for people: one for every modality or stain, then the warnings."""
        lines = [
            f"{name}: {part['shared']:.0%} shared, {part['specific']:.0%} specific, "
            f"{part['unexplained']:.0%} unexplained"
            for name, part in self.parts.items()
        ]
        return [*lines, *(f"Warning: {warning}" for warning in self.warnings)]


class TableCard(BaseModel):
    """What the columns of a table modality are, and how its values became what networks take.

    Attributes
    ----------
    features
        Names, in the order of the networks.
    preparation
        See ``tables.preparing``.
    centre, scale
        Of the preparations ``standardise`` and ``centre``: what is subtracted from each feature, and what
        each of them, or all, are divided by.
    layer
        Of the tables that were learnt from, which held the values; ``X`` where it is empty.
    """

    model_config = ConfigDict(frozen=True)

    features: tuple[str, ...]
    preparation: str = "none"
    centre: tuple[float, ...] = ()
    scale: float | tuple[float, ...] = 1.0
    layer: str = ""


class ModelCard(BaseModel):
    """Everything that makes a model usable on other cells, and its numbers readable.

    Attributes
    ----------
    schema_version
        Of this description.
    architecture
        Modalities, vocabulary, sizes, output activations.
    panels
        The panels it learnt from.
    tables
        By name, what is known of the modalities that are tables.
    normalisation
        How acquired intensities became values in [0, 1]: the normalisation of the training store
        as plain JSON.
    pixel_size_um
        Of the crops, in micrometres; None where it was not known.
    objective
        Name of the objective.
    training
        Every setting of the training.
    fingerprint
        SHA-256 over the training data: the cells, their order, their images and limits.
    held_out
        What it never learnt from.
    scores
        Scores on the test cells: stain, then name of the score (``reconstruction_mae``, ...).
    sizes
        Dimensions in use, of the shared latent and of each modality's own; less than ``architecture``
        says where the objective closed unused ones.
    gap
        By modality, how far encoded latents fall behind optimised ones on training cells: see
        ``train.gap``.
    verdict
        What is shared, specific and unexplained, on validation cells.
    versions
        Of napari-apollo, torch and Python.
    licence
        Under which the weights may be used, as their maker stated it.
    weights_sha256
        Of ``weights.safetensors``; filled in when the model is saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    architecture: Architecture
    panels: tuple[Panel, ...] = ()
    tables: dict[str, TableCard] = {}
    normalisation: dict[str, Any] = {}
    pixel_size_um: float | None = Field(default=None, gt=0)
    objective: str = ""
    training: dict[str, Any] = {}
    fingerprint: str = ""
    held_out: HeldOut = HeldOut(by="none")
    scores: dict[str, dict[str, float]] = {}
    sizes: dict[str, int] = {}
    gap: dict[str, dict[str, float]] = {}
    verdict: Verdict = Verdict()
    versions: dict[str, str] = {}
    licence: str = ""
    weights_sha256: str = ""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Protein stains that the model knows, in the order of their embedding."""
        return self.architecture.vocabulary

    @property
    def crop_size(self) -> int:
        """Height and width of a crop in pixels."""
        return self.architecture.crop_size

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(modality.name for modality in self.architecture.modalities)


def read_card(folder: Path | str) -> ModelCard:
    """The description of a model, without its weights.

    Raises
    ------
    ModelError
        When the folder is no model folder.
    ModelTooNew
        When a newer version wrote it.
    ModelDamaged
        When the description cannot be read.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        raise ModelError(
            Path(folder), f"is no model: it holds no {CARD}.", "Name the folder that a training wrote."
        )
    values = _read_json(path)
    version = values.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise ModelDamaged(path, f"names no schema version (found {version!r}).")
    if version > SCHEMA_VERSION:
        raise ModelTooNew(
            path,
            f"has schema version {version}; this napari-apollo reads up to {SCHEMA_VERSION}.",
            "Update napari-apollo.",
        )
    try:
        return ModelCard.model_validate(values)
    except (ValidationError, ConfigError, PanelError) as error:
        raise ModelDamaged(path, f"is no description of a model: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _CARD_LIMIT:
        raise ModelDamaged(path, f"is {path.stat().st_size} bytes long, too long for a description.")
    try:
        values = json.loads(path.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise ModelDamaged(path, f"is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelDamaged(path, "is not a JSON object.")
    return values
