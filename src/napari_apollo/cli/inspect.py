"""What a file or folder is, in a few words and as data."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_apollo.errors import FileError, StoreDamaged
from napari_apollo.progress import Progress, ShouldStop, never, silent
from napari_apollo.tables.files import are_tables

KINDS = "a manifest (.csv), an image, tables (.h5ad, .h5mu), a cell store, predictions, a run or model folder"

_IN_LINES = ("verdict", "gap")
"""Facts that are told in lines of their own."""

_IF_ANY = ("stage", "detail", "error", "error_values", "message")
"""Facts of a run that say something only where there is something to say."""

Description = tuple[dict[str, Any], str]


def kind_of(path: Path) -> str:
    """What a path holds: ``manifest``, ``tables``, ``store``, ``predictions``, ``run``, ``model``, ``image``.

    Raises
    ------
    FileError
        When there is nothing at the path; ``StoreDamaged`` when what is there cannot be read.
    """
    if not path.exists():
        raise FileError(path, "does not exist.", f"Give {KINDS}.")
    if path.is_file():
        if are_tables(path):
            return "tables"
        return "manifest" if path.suffix.lower() == ".csv" else "image"
    if (path / "status.json").is_file():
        return "run"
    if (path / "model.json").is_file():
        return "model"
    attributes = path / "zarr.json"
    if attributes.is_file():
        stated = _attributes(attributes)
        if "crop_size" in stated:
            return "predictions" if "vocabulary" in stated else "store"
    return "image"


def _attributes(description: Path) -> dict[str, Any]:
    """What a zarr group says of itself.

    Raises
    ------
    StoreDamaged
        When its description cannot be read.
    """
    try:
        content = json.loads(description.read_text("utf-8"))
    except ValueError as error:
        raise StoreDamaged(description, "the file cannot be read as JSON.") from error
    stated = content.get("attributes") if isinstance(content, dict) else None
    return stated if isinstance(stated, dict) else {}


def describe(path: Path) -> Description:
    """Facts about a path, and the same as a few lines for people.

    Raises
    ------
    FileError
        When the path holds nothing that napari-apollo knows.
    """
    facts = {"kind": kind_of(path), "path": str(path), **_DESCRIBERS[kind_of(path)](path)}
    lines = [f"{path}: {facts['kind']}"]
    hidden = {"kind", "path", *_IN_LINES} | {name for name in _IF_ANY if not facts.get(name)}
    shown = {name: value for name, value in facts.items() if name not in hidden}
    lines += [f"  {name.replace('_', ' ')}: {_in_words(value)}" for name, value in shown.items()]
    return facts, "\n".join([*lines, *_judgement(facts.get("model", facts))])


def _judgement(model: Any) -> list[str]:
    """What training found out about a model, one line a modality, from its facts; none of other things."""
    if not isinstance(model, dict) or "verdict" not in model:
        return []
    from napari_apollo.model.card import Verdict
    from napari_apollo.probes.gains import verdict_of_scores

    lines = Verdict(**model["verdict"]).in_words()
    for stain, scores in model["scores"].items():
        if words := verdict_of_scores(scores):
            lines.append(f"{stain} predicted: {words}")
    lines += [_gap_in_words(name, gap) for name, gap in model["gap"].items()]
    return [f"  {line}" for line in lines]


def _gap_in_words(name: str, gap: dict[str, float]) -> str:
    """How far encoders are from what was optimised, and whether that costs anything."""
    blocks = f"{gap['shared']:.0%} of the optimised shared latents"
    if "specific" in gap:
        blocks += f" and {gap['specific']:.0%} of the specific ones"
    losses = f"loss {gap['encoded']:.4g} instead of {gap['optimised']:.4g}"
    if gap["encoded"] < gap["optimised"]:
        return (
            f"{name}: encoders are off by {blocks}, and decode better ({losses}): step 1 was too short "
            "for its latents to settle, and decoders followed the encoders"
        )
    return f"{name}: encoders miss {blocks}; {losses}"


def verify_path(path: Path, progress: Progress = silent, should_stop: ShouldStop = never) -> list[str]:
    """Everything in a store, in predictions or in a model that does not fit its checksums.

    Raises
    ------
    FileError
        When the path holds none of these.
    """
    kind = kind_of(path)
    if kind == "store":
        from napari_apollo.cells import CellStore

        return CellStore.open(path).verify(progress=progress, should_stop=should_stop)
    if kind == "predictions":
        from napari_apollo.predict import PredictionStore

        return PredictionStore.open(path).verify(progress=progress, should_stop=should_stop)
    if kind in ("model", "run"):
        from napari_apollo.errors import ModelError
        from napari_apollo.model import Apollo

        try:
            Apollo.load(path / "model" if kind == "run" else path)
        except ModelError as error:
            return [str(error)]
        return []
    raise FileError(
        path, f"is a {kind} and carries no checksums.", "Give a cell store, predictions or a model."
    )


def _study(path: Path) -> dict[str, Any]:
    from napari_apollo.study import Study

    study = Study.from_csv(path)
    return {
        "fields": len(study),
        "donors": sorted({field.donor for field in study}),
        "conditions": sorted({field.condition for field in study}),
        "panels": {name: list(panel.stains) for name, panel in study.panels.items()},
        "with_labels": sum(field.labels is not None for field in study),
    }


def _image(path: Path) -> dict[str, Any]:
    from napari_apollo.study.images import open_source

    layout = open_source(path).layout
    return {
        "axes": layout.axes,
        "shape": list(layout.shape),
        "dtype": str(layout.dtype),
        "channels": list(layout.channel_names or ()),
        "pixel_size_um": layout.pixel_size_um,
    }


def _tables(path: Path) -> dict[str, Any]:
    from napari_apollo.tables import open_tables
    from napari_apollo.tables.checking import guess_loss

    found = {}
    for name, table in open_tables(path).items():
        stored = table.stored()
        found[name] = {
            "cells": table.shape[0],
            "features": table.shape[1],
            "not_zero": round(float((stored != 0).sum()) / max(1, table.shape[0] * table.shape[1]), 4),
            "suits": guess_loss(table),
            "columns": list(map(str, table.obs.columns)),
        }
    return {"tables": found}


def _store(path: Path) -> dict[str, Any]:
    from napari_apollo.cells import CellStore
    from napari_apollo.cells.quality import count_reasons

    store = CellStore.open(path)
    obs = store.obs
    return {
        "cells": store.n_cells,
        "panels": {name: list(panel.stains) for name, panel in store.panels.items()},
        "cells_of_panel": {name: store.count(name) for name in store.panels},
        "crop_size": store.crop_size,
        "pixel_size_um": store.pixel_size_um,
        "donors": sorted(obs["donor"].unique()),
        "fields": int(obs["field"].nunique()),
        "passed_quality": int(obs["qc"].sum()),
        "flagged": count_reasons(obs),
        "features": store.table.n_vars,
        "latents": sorted(store.table.obsm),
    }


def _predictions(path: Path) -> dict[str, Any]:
    from napari_apollo.predict import PredictionStore

    card = PredictionStore.open(path).card
    return {
        "cells": sum(panel.cells for panel in card.panels.values()),
        "channels": {
            name: {str(role): list(stains) for role, stains in panel.roles.items()}
            for name, panel in card.panels.items()
        },
        "model": card.model,
        "store": card.store,
    }


def _run(path: Path) -> dict[str, Any]:
    from napari_apollo.train import Run

    status = Run(path).status()
    facts: dict[str, Any] = json.loads(status.model_dump_json(exclude_none=True))
    for name in ("started", "heartbeat"):
        facts[name] = datetime.fromtimestamp(facts[name], UTC).isoformat(timespec="seconds")
    if (path / "model" / "model.json").is_file():
        facts["model"] = _model(path / "model")
    return facts


def _model(path: Path) -> dict[str, Any]:
    from napari_apollo.model import Apollo

    card = Apollo.load(path).card
    return {
        "objective": card.objective,
        "panels": {panel.name: list(panel.stains) for panel in card.panels},
        "vocabulary": list(card.vocabulary),
        "tables": {name: f"{len(table.features)} features" for name, table in card.tables.items()},
        "crop_size": card.crop_size,
        "pixel_size_um": card.pixel_size_um,
        "held_out": card.held_out.model_dump(exclude={"fields"}),
        "scores": card.scores,
        "sizes": card.sizes,
        "gap": card.gap,
        "verdict": card.verdict.model_dump(mode="json"),
        "versions": card.versions,
    }


_DESCRIBERS = {
    "manifest": _study,
    "tables": _tables,
    "image": _image,
    "store": _store,
    "predictions": _predictions,
    "run": _run,
    "model": _model,
}


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        parts = [f"{key} {_in_words(item)}" for key, item in value.items() if key not in _IN_LINES]
        return "; ".join(parts) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None or value == "" else str(value)
