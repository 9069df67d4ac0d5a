"""Which stain's shared or specific part accompanies where a protein lies: planted cells, and two real
tissues.

python benchmarks/compartments.py --set planted --folder planted
python benchmarks/compartments.py --set lymphoid --folder lymphoid --data FOLDER
python benchmarks/compartments.py --set breast --folder breast --data FOLDER
python benchmarks/compartments.py --set planted --folder planted --pairs

In the planted cells the nuclear share of protein A follows how far the ER reaches, which nothing else shows;
that of B follows the size of the nucleus, which every stain shows; that of C follows nothing. FOLDER holds
``lymphoid_mibi`` and ``breast_mif``. Trains one model of all stains, small, on one thread; with ``--pairs``
three models instead, of DNA and ER, DNA and tubulin, tubulin and ER, as the APOLLO study did.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch
from meaning_data import tissue

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.interpret import InterpretConfig, interpret
from napari_apollo.measure import MeasureConfig, measure
from napari_apollo.panels import Panel
from napari_apollo.train import TrainConfig, train

_SIDE = 32
_PART = 384  # pixels of a side of the part of each lymphoid field that is used
_LYMPHOID = ("dsDNA", "CD45", "CD20", "CD3", "HLA-DR", "NaKATPase", "Vimentin")
_BREAST = ("DAPI", "PDL1", "GZMB", "PD1", "CK-EPCAM", "CD8a", "FOXP3")


def planted(path: Path, *, donors: int = 6, cells: int = 120, seed: int = 0) -> CellStore:
    """Cells with DNA, ER, tubulin and three proteins, whose nuclear shares have known causes."""
    if path.exists():
        return CellStore.open(path)
    rng = np.random.default_rng(seed)
    count = donors * cells
    y, x = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    size, reach, cause = rng.normal(size=(3, count))
    gain = np.repeat(np.exp(0.2 * rng.normal(size=(donors, 6))), cells, axis=0)
    angle = rng.uniform(0, np.pi, count)
    along = x * np.cos(angle)[:, None, None] + y * np.sin(angle)[:, None, None]
    across = -x * np.sin(angle)[:, None, None] + y * np.cos(angle)[:, None, None]
    ratio = np.exp(0.12 * rng.normal(size=count))[:, None, None]
    radius = np.sqrt((along * ratio) ** 2 + (across / ratio) ** 2)
    nucleus = radius < (6 + 0.8 * size)[:, None, None]
    cell = (radius < 14) & ~nucleus
    texture = rng.random((count, 6, _SIDE, _SIDE))
    er = cell * np.exp(-(radius - 6) / np.exp(1.2 + 0.4 * reach)[:, None, None])
    fibres = cell * (1 + np.sin(along * 1.5 + rng.uniform(0, 6, count)[:, None, None])) / 2
    inside = {
        "A": 1 / (1 + np.exp(-1.2 * reach)),
        "B": 1 / (1 + np.exp(-1.2 * size)),
        "C": 1 / (1 + np.exp(-1.2 * cause)),
    }
    area, outside = nucleus.sum((1, 2)), cell.sum((1, 2))
    images = [nucleus * 1.0, er, fibres]
    for share in inside.values():
        images.append(
            nucleus * (share / area)[:, None, None] * 120
            + cell * ((1 - share) / outside)[:, None, None] * 300
        )
    stack = np.stack(images, axis=1) * (0.7 + 0.6 * texture) + 0.02
    stack = np.clip(stack * gain[:, :, None, None] * 8000, 0, 65535).astype(np.uint16)
    masks = (2 * nucleus + cell).astype(np.uint8)
    donor = np.repeat([f"D{k}" for k in range(donors)], cells)
    obs = pd.DataFrame({"field": donor, "donor": donor, "condition": "none", "label": np.arange(count) + 1})
    panel = Panel.parse("DAPI/ER/tubulin/A/B/C", "all")
    with CellStoreWriter(path, [panel], crop_size=_SIDE, dtype=np.uint16) as writer:
        writer.append(panel.name, stack, masks, obs.assign(y=_SIDE / 2, x=_SIDE / 2, qc=True))
    return measure(CellStore.open(path), MeasureConfig(families=("shape", "intensity"), workers=1))


def lymphoid(path: Path, data: Path) -> CellStore:
    """Parts of four MIBI fields of lymphoid tissue, each taken for a donor."""
    panel = Panel.parse("/".join(_LYMPHOID), "lymphoid")
    if path.exists():
        return CellStore.open(path)
    parts = []
    for source in sorted((data / "lymphoid_mibi").glob("*.ome.tif")):
        with tifffile.TiffFile(source) as file:
            names = [
                channel["Name"]
                for channel in tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
            ]
            image = file.asarray()[:, :_PART, :_PART]
        chosen = [names.index(stain) for stain in _LYMPHOID]
        part = path.parent / source.name.replace(".ome", "")
        tifffile.imwrite(part, image[chosen], metadata={"axes": "CYX"})
        parts.append(part)
    return tissue(path, parts, panel, _LYMPHOID, size=_SIDE, diameter=12)


def breast(path: Path, data: Path) -> CellStore:
    """Two fields of breast carcinoma, each taken for a donor."""
    images = sorted((data / "breast_mif").glob("*.ome.tif"))
    return tissue(path, images, Panel.parse("/".join(_BREAST), "breast"), _BREAST, size=_SIDE, diameter=12)


PAIRS = (("DAPI", "ER"), ("DAPI", "tubulin"), ("tubulin", "ER"))


def of_pair(path: Path, store: CellStore, stains: tuple[str, str]) -> CellStore:
    """The same cells with two of their stains; the first takes the place of the chromatin."""
    if not path.exists():
        (name, whole), panel = (
            next(iter(store.panels.items())),
            Panel(name="pair", stains=stains, anchor=stains[0]),
        )
        rows = np.arange(store.count(name))
        images = store.read_images(name, rows)[:, [whole.index(stain) for stain in stains]]
        with CellStoreWriter(path, [panel], crop_size=store.crop_size, dtype=np.uint16) as writer:
            obs = store.obs.iloc[store.rows(name)][["field", "donor", "condition", "label", "y", "x", "qc"]]
            writer.append(panel.name, images, store.read_masks(name, rows), obs.reset_index(drop=True))
    return CellStore.open(path)


def trained(run: Path, store: CellStore, epochs: int) -> Path:
    """A small run, unless it is there."""
    if not run.exists():
        settings = TrainConfig(
            output=run,
            preset="agreement",
            device="cpu",
            threads=1,
            width=8,
            head=32,
            shared=24,
            specific=24,
            latent_epochs=epochs,
            encoder_epochs=2 * epochs,
            previews_every=0,
        )
        train(store, settings)
    return run


def main() -> None:
    """Train, interpret, print what goes with each protein, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=("planted", "lymphoid", "breast"), required=True)
    parser.add_argument("--folder", type=Path, required=True, help="Where everything is written.")
    parser.add_argument("--data", type=Path, help="Folder of the development data.")
    parser.add_argument("--epochs", type=int, default=5, help="Of the latents; encoders get twice as many.")
    parser.add_argument("--pairs", action="store_true", help="Models of pairs of stains; planted cells only.")
    options = parser.parse_args()
    if options.pairs and options.set != "planted":
        parser.error("--pairs goes with --set planted.")
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    path, seconds = options.folder / f"{options.set}.cells.zarr", {}
    started = time.process_time()
    store = (
        {"lymphoid": lymphoid, "breast": breast}[options.set](path, options.data) if options.data else None
    )
    store = store or planted(path)
    seconds["cells"] = time.process_time() - started
    started = time.process_time()
    if options.pairs:
        runs = [
            trained(
                options.folder / f"{'_'.join(pair)}.run",
                of_pair(options.folder / f"{'_'.join(pair)}.cells.zarr", store, pair),
                options.epochs,
            )
            for pair in PAIRS
        ]
    else:
        runs = [trained(options.folder / f"{options.set}.run", store, options.epochs)]
    seconds["training"] = time.process_time() - started
    started = time.process_time()
    config = InterpretConfig(
        output=options.folder / ("meaning_of_pairs" if options.pairs else "meaning"),
        overwrite=True,
        store=store.path,
        compartments=True,
        pairs=tuple(runs[1:]),
        phenotypes=False,
        probe="linear",
        walks=0,
        device="cpu",
    )
    found = interpret(runs[0], config)
    seconds["interpreting"] = time.process_time() - started
    table = found.compartments
    assert table is not None, found.notes
    table = table.assign(name=table["protein"] + ", " + table["measure"])
    print(found.about["cells"])
    print(table.pivot_table(index="name", columns="block", values="r2", sort=False).round(2).to_string())
    print(table[table["leads"]][["name", "block", "r2", "low", "high", "q"]].round(3).to_string(index=False))
    print(json.dumps({"cells": len(found.cells), "cpu_seconds": {k: round(v) for k, v in seconds.items()}}))


if __name__ == "__main__":
    main()
