"""Training of the network behind the engine ``nuclei``, from annotated nuclei; run as a module.

``python -m napari_apollo.cells.segmentation.nuclei_training FOLDER... --output nuclei.safetensors`` trains on
the part of each set that is not held out (``annotated.held_out``). The weights shipped with the package were
made by it from dsb2018 (Data Science Bowl 2018, BBBC038) and kromp (Kromp et al., Scientific Data 2020), both
CC0.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import Tensor

from napari_apollo.cells.segmentation.annotated import annotated_images
from napari_apollo.cells.segmentation.network import DIAMETER, NucleiNet, compressed
from napari_apollo.cells.segmentation.nuclei_scenes import Scene, Scenes
from napari_apollo.storage import whole_file

_log = logging.getLogger(__name__)

_AVERAGE = 0.998  # of the weights that are kept, per step


def train_network(
    folders: list[Path], output: Path, *, steps: int, batch: int, side: int, rate: float, seed: int
) -> None:
    """Train a network and write its weights.

    Parameters
    ----------
    folders
        Sets of annotated nuclei.
    output
        File to write, safetensors.
    steps, batch, side, rate
        Updates; scenes in each; their rows and columns; highest learning rate.
    seed
        Of the weights and the scenes.
    """
    torch.manual_seed(seed)
    images = [item for folder in folders for item in annotated_images(folder) if not item.held_out]
    scenes = Scenes(images, side, seed)
    network: torch.nn.Module = NucleiNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_AVERAGE), use_buffers=True
    )
    started, recent = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        drawn = [scenes.next() for _ in range(batch)]
        inputs = compressed(torch.from_numpy(np.stack([scene.image for scene in drawn])))[:, None]
        wanted, weight = (torch.from_numpy(np.stack(part)) for part in zip(*map(targets, drawn), strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            seen = network(inputs.contiguous(memory_format=torch.channels_last))
        loss = objective(seen.float(), wanted, weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        recent += (float(loss.detach()) - recent) * max(0.01, 1 / step)
        if step % 100 == 0 or step == steps:
            _log.info("step %d of %d, loss %.4f, %.0f s", step, steps, recent, time.monotonic() - started)
        if step % 1000 == 0 or step == steps:
            about = {
                "steps": step,
                "batch": batch,
                "side": side,
                "rate": rate,
                "seed": seed,
                "diameter": DIAMETER,
                "trained_on": [item.name for item in images],
            }
            weights = {name: value.contiguous() for name, value in average.module.state_dict().items()}
            with whole_file(output) as partial:
                save_file(weights, partial, metadata={"training": json.dumps(about)})


def targets(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """What the network should say of a scene, float32 (4, y, x), and the weight of each pixel, (y, x).

    Pixels of small nuclei weigh more, so that every nucleus counts and not only the large ones; pixels that
    nobody annotated weigh nothing.
    """
    labels = scene.labels
    rows, columns = np.indices(labels.shape, dtype=np.float32)
    inside = labels > 0
    wanted = np.zeros((4, *labels.shape), np.float32)
    wanted[0] = inside
    wanted[1] = np.where(inside, (scene.centres[labels, 0] - rows) / DIAMETER, 0)
    wanted[2] = np.where(inside, (scene.centres[labels, 1] - columns) / DIAMETER, 0)
    wanted[3] = np.where(inside, np.log2(np.maximum(scene.diameters[labels], 1) / DIAMETER), 0)
    weight = np.where(inside, np.clip(DIAMETER / np.maximum(scene.diameters[labels], 1), 0.5, 3), 1)
    weight[labels < 0] = 0
    return wanted, weight.astype(np.float32)


def objective(seen: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of being nucleus, and within nuclei the absolute error of the way to the centre and size.

    Parameters
    ----------
    seen, wanted
        (n, 4, y, x), as the network gives them and as they should be.
    weight
        (n, y, x).
    """
    inside = wanted[:, 0]
    nucleus = torch.nn.functional.binary_cross_entropy_with_logits(seen[:, 0], inside, weight)
    chance = torch.sigmoid(seen[:, 0])
    overlap = 1 - (2 * (chance * inside * weight).sum() + 1) / (((chance + inside) * weight).sum() + 1)
    way = (seen[:, 1:3] - wanted[:, 1:3]).square().sum(1).add(1e-4).sqrt()
    size = (seen[:, 3] - wanted[:, 3]).abs()
    total = (inside * weight).sum().clamp_min(1)
    return nucleus + 0.3 * overlap + (inside * weight * (2 * way + 0.2 * size)).sum() / total


def main(
    folders: Annotated[
        list[Path], typer.Argument(help="Sets of annotated nuclei: images/ and labels/ in each.")
    ],
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("nuclei.safetensors"),
    steps: Annotated[int, typer.Option(help="Updates.")] = 10_000,
    batch: Annotated[int, typer.Option(help="Scenes in an update.")] = 8,
    side: Annotated[int, typer.Option(help="Rows and columns of a scene.")] = 160,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 0,
) -> None:
    """Train the network of the engine nuclei."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train_network(folders, output, steps=steps, batch=batch, side=side, rate=rate, seed=seed)


if __name__ == "__main__":
    typer.run(main)
