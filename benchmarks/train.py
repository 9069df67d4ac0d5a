"""Training speed beside the reference's procedure, in one run on one machine, at the paper's sizes.

The reference's procedure is done again in plain words here: latents in embedding tables on the processor, one
dense Adam over all their rows, images kept as float64 on the processor and copied batch by batch, float32,
default memory layout, cells in storage order, and every loss read with ``.item()`` at every step. Beside it
runs the loop of this package, on the same networks and the same crops, which are made in memory. Both take
turns, an epoch each, so that whatever else the machine does slows both.

    python benchmarks/train.py                      # steps: cells/s of step 1 and step 2
    python benchmarks/train.py --quality            # and the time to the reference's held-out error

It needs torch and NumPy, and of this package the rooms ``model`` and ``train`` alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_apollo.model.device import describe_device, pick_device
from napari_apollo.model.modality import CHROMATIN, PROTEIN
from napari_apollo.model.network import Network
from napari_apollo.progress import never, silent
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.data import CellData, Crops, Observed
from napari_apollo.train.loop import Epoch, Loop
from napari_apollo.train.machine import place_network
from napari_apollo.train.objectives import get_objective
from napari_apollo.train.presets import PRESETS

STAINS = ("CD16", "CD3", "CD4", "CD8", "gammaH2AX", "lamin")
PAPER_CELLS, PAPER_BATCH = 29_174, 256
NAMES = (CHROMATIN, PROTEIN)
PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "L40": 181e12, "A10": 125e12, "4090": 165e12}
"""Dense bf16 rates of matrix products, operations per second, as the vendor states them."""


MISSING = (
    "cells/s of both steps on a GPU beside the reference's (wanted: 15 times)",
    "part of the card's bf16 matrix rate that step 1 reaches (wanted: 30 %)",
    "time to the reference's held-out error at the paper's sizes (wanted: a tenth)",
)
"""What only an NVIDIA GPU can show."""


# --- cells ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cells:
    """Crops (cell, y, x) uint8 of chromatin and of one protein, and which protein (cell,) int64."""

    images: dict[str, np.ndarray]
    stain: np.ndarray

    def __len__(self) -> int:
        return len(self.stain)

    def part(self, rows: slice) -> Cells:
        return Cells({name: values[rows] for name, values in self.images.items()}, self.stain[rows])


def make_cells(count: int, size: int, seed: int = 0) -> Cells:
    """Nuclei with texture, and a protein that is a rim or fills the nucleus, as its stain is, with spots."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    grid = np.arange(size) - (size - 1) / 2
    stain = np.sort(rng.integers(0, len(STAINS), count))
    images = {name: np.empty((count, size, size), np.uint8) for name in NAMES}
    for cell in range(count):
        radius, squeeze, turn = rng.uniform(0.18, 0.38) * size, rng.uniform(0.75, 1), rng.uniform(0, np.pi)
        u, v = np.cos(turn) * x + np.sin(turn) * y, (np.cos(turn) * y - np.sin(turn) * x) / squeeze
        distance = np.hypot(u, v)
        inside = 1 / (1 + np.exp(0.1 * size / radius * (distance - radius)))
        rim = np.exp(-(((distance - radius) / (0.05 * size)) ** 2))

        def spots(number: int, width: float, radius: float = radius) -> np.ndarray:
            places = rng.normal(0, radius / 2, (number, 2, 1))
            each = np.exp(-((grid - places) ** 2) / (2 * width**2))
            return np.einsum("ky,kx->yx", each[:, 0], each[:, 1])

        chromatin = inside * (0.45 + 0.35 * np.clip(spots(int(rng.integers(3, 9)), 0.05 * size), 0, 1))
        share = (radius / size - 0.18) / 0.2
        filled = stain[cell] % 2
        protein = share * inside if filled else (1 - share) * rim
        protein = 0.6 * protein + 0.3 * inside * np.clip(spots(int(rng.integers(0, 6)), 0.03 * size), 0, 1)
        for name, values in ((CHROMATIN, chromatin), (PROTEIN, protein)):
            noisy = 255 * values + rng.normal(6, 3, values.shape)
            images[name][cell] = np.clip(noisy, 0, 255)
    return Cells(images, stain)


def cell_data(cells: Cells, device: torch.device) -> CellData:
    """The cells as the loop wants them: integers that lie on the device."""
    rows, count = np.arange(len(cells)), len(cells)

    def observed(values: np.ndarray) -> Observed:
        crops = Crops(
            lambda wanted: values[wanted], np.zeros(count), np.full(count, 255.0), np.dtype(np.uint8)
        )
        return Observed(crops, rows[:, None], cells.stain)

    data = CellData({name: observed(values) for name, values in cells.images.items()}, device)
    data.to_device()
    return data


# --- the reference's procedure -------------------------------------------------------------------------


class Reference:
    """The procedure of the reference over the networks of this package, in their default layout.

    Parameters
    ----------
    network
        Decoders and encoders, on the device; the stain embedding is trained with the latents.
    cells
        Training cells; ``rows`` cells have latents, of which these are the first.
    """

    def __init__(
        self, network: Network, cells: Cells, settings: Any, device: torch.device, rows: int
    ) -> None:
        self.network, self.device, self.batch = network, device, settings.batch_size
        shape = network.architecture
        self.images = {  # values in [0, 1] as float64, one channel
            name: torch.from_numpy(values[:, None].astype(np.float64) / 255)
            for name, values in cells.images.items()
        }
        self.stain = torch.from_numpy(cells.stain)
        sizes = {"shared": shape.shared, **{name: shape.modality(name).specific for name in NAMES}}
        self.tables = {name: nn.Embedding(rows, length) for name, length in sizes.items()}
        assert network.stains is not None
        latents = [table.weight for table in self.tables.values()] + list(network.stains.parameters())
        self.optimisers = [
            torch.optim.Adam(module.parameters(), lr=settings.decoder_rate)
            for module in network.decoding_modules()
        ] + [torch.optim.Adam(latents, lr=settings.latent_rate)]
        self.encoder_optimisers = [
            torch.optim.Adam(module.parameters(), lr=settings.encoder_rate)
            for module in network.encoders.values()
        ]
        self.penalty = settings.penalty

    def batches(self) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        for start in range(0, len(self.stain), self.batch):
            rows = torch.arange(start, min(start + self.batch, len(self.stain)))
            images = {name: values[rows].float().to(self.device) for name, values in self.images.items()}
            yield rows, self.stain[rows].to(self.device), images

    def latents_epoch(self) -> list[float]:
        """Step 1: latents and decoders."""
        self.network.train().requires_grad_(True)
        sums = np.zeros(5)
        for rows, stain, images in self.batches():
            noisy = {}
            for name, table in self.tables.items():
                values = table(rows).to(self.device)
                noisy[name] = values + torch.randn_like(values)
            losses = []
            for name in NAMES:
                for own in (noisy[name], None):
                    decoded = self.network.decode(name, noisy["shared"], own, stain)
                    losses.append(functional.binary_cross_entropy_with_logits(decoded, images[name]))
            norms = [
                table(rows).to(self.device).norm(dim=1).mean() / table.embedding_dim
                for table in self.tables.values()
            ]
            loss = (
                losses[0]
                + losses[1]
                + losses[2]
                + losses[3]
                + self.penalty * (norms[0] + norms[1] + norms[2])
            )
            for optimiser in self.optimisers:
                optimiser.zero_grad()
            loss.backward()
            for optimiser in self.optimisers:
                optimiser.step()
            sums += [loss.item(), *(part.item() for part in losses)]
        return sums.tolist()

    def encoders_epoch(self) -> list[float]:
        """Step 2: encoders that give the latents of the cells."""
        self.network.eval().requires_grad_(False)
        self.network.encoders.train().requires_grad_(True)
        sums = np.zeros(4)
        for rows, stain, images in self.batches():
            targets = {
                name: table.weight[rows].detach().to(self.device) for name, table in self.tables.items()
            }
            losses = []
            for name in NAMES:
                code = self.network.encode(name, images[name], stain)
                assert code.specific is not None
                losses.append(functional.mse_loss(code.shared, targets["shared"]))
                losses.append(functional.mse_loss(code.specific, targets[name]))
            loss = losses[0] + losses[1] + losses[2] + losses[3]
            for optimiser in self.encoder_optimisers:
                optimiser.zero_grad()
            loss.backward()
            for optimiser in self.encoder_optimisers:
                optimiser.step()
            sums += [part.item() for part in losses]
        return sums.tolist()


# --- turns --------------------------------------------------------------------------------------------


@dataclass
class Timed:
    """Wall and process seconds of epochs, of one procedure in one step."""

    wall: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)

    def add(self, wall: float, process: float) -> None:
        self.wall.append(wall)
        self.process.append(process)

    def rate(self, cells: int, which: str) -> float:
        """Cells per second in the best epoch after the first, which warms up."""
        return cells / min(getattr(self, which)[1:])


class Turns:
    """A keeper that lets the reference run an epoch after each epoch of the loop, and times both."""

    def __init__(self, reference: Reference, device: torch.device) -> None:
        self.times = {
            (who, step): Timed() for who in ("reference", "ours") for step in ("latents", "encoders")
        }
        self._reference = reference
        self._device = device
        self._process = time.process_time()

    def due(self) -> bool:
        return False

    def checkpoint(self, position: object, losses: object) -> None:
        """Nothing is kept."""

    def last_good(self) -> str:
        return ""

    def after_stage(self, stage: object, following: object) -> None:
        self._process = time.process_time()

    def after_epoch(self, epoch: Epoch) -> None:
        self.times["ours", epoch.stage].add(epoch.seconds, time.process_time() - self._process)
        run = self._reference.latents_epoch if epoch.stage == "latents" else self._reference.encoders_epoch
        wall, process = time.perf_counter(), time.process_time()
        run()
        self.times["reference", epoch.stage].add(time.perf_counter() - wall, time.process_time() - process)
        self._process = time.process_time()


def settings_of(preset: str, **changes: Any) -> SimpleNamespace:
    """Settings as the loop and objectives read them, without the classes that check a user's."""
    return SimpleNamespace(**{**PRESETS[preset], "seed": 3, **changes})


def operations(network: Network) -> dict[str, float]:
    """Operations per cell of each step, forward and backward.

    Two for a multiplication and addition; three products (values, their gradient, that of weights) a layer.
    """

    def products(module: nn.Module) -> float:
        total, side = 0.0, 0
        layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
        side = (
            network.architecture.crop_size
            if isinstance(layers[0], nn.Conv2d)
            else network.architecture.bottom
        )
        for layer in layers:
            side = side // 2 if isinstance(layer, nn.Conv2d) else side
            total += side**2 * layer.weight.numel()
            side = side * 2 if isinstance(layer, nn.ConvTranspose2d) else side
        return total + sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))

    return {
        "latents": 6 * sum(products(module) for module in network.decoding_modules()),
        "encoders": 6 * sum(products(module) for module in network.encoders.values()),
    }


def compare_steps(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Cells per second of both procedures, in both steps."""
    epochs = arguments.epochs + 1
    settings = settings_of(
        "paper",
        batch_size=arguments.batch,
        latent_epochs=epochs,
        encoder_epochs=epochs,
        # The order of visits and the optimiser of the latents are what this package does otherwise.
        fixed_order=False,
        dense_latents=False,
    )
    cells = make_cells(arguments.batch * arguments.steps, arguments.size)
    architecture = image_architecture(settings, STAINS, arguments.size)
    # The dense Adam of the reference moves all rows of its tables: smaller batches get smaller tables.
    rows = max(len(cells), round(PAPER_CELLS * arguments.batch / PAPER_BATCH))
    torch.manual_seed(0)
    reference = Reference(seeded_network(architecture, 3).to(device), cells, settings, device, rows)
    network = place_network(
        seeded_network(architecture, 3), device, precision=arguments.precision, compiled=arguments.compile
    )
    data = cell_data(cells, device)
    turns = Turns(reference, device)
    objective = get_objective("two-step", network, data, settings)
    Loop(network, objective, data, None, settings, str, turns).run(silent, never)
    needed = operations(network)
    result: dict[str, Any] = {}
    for step in ("latents", "encoders"):
        theirs, ours = turns.times["reference", step], turns.times["ours", step]
        result[step] = {
            "reference_cells_per_s": theirs.rate(len(cells), "wall"),
            "ours_cells_per_s": ours.rate(len(cells), "wall"),
            "ratio_wall": ours.rate(len(cells), "wall") / theirs.rate(len(cells), "wall"),
            "ratio_process": ours.rate(len(cells), "process") / theirs.rate(len(cells), "process"),
            "gflop_per_cell": needed[step] / 1e9,
            "tflop_per_s": ours.rate(len(cells), "wall") * needed[step] / 1e12,
        }
    return result


# --- time to quality -----------------------------------------------------------------------------------


class Reached(Exception):
    """The held-out error that was aimed at."""


class Aim:
    """A keeper that looks at the held-out error after every epoch with encoders, off the clock."""

    def __init__(self, network: Network, held_out: CellData, target: float) -> None:
        self.error = np.inf
        self.wall = self.process = 0.0
        self._network, self._held_out, self._target = network, held_out, target
        self._started = (time.perf_counter(), time.process_time())

    def due(self) -> bool:
        return False

    def checkpoint(self, position: object, losses: object) -> None:
        """Nothing is kept."""

    def last_good(self) -> str:
        return ""

    def after_stage(self, stage: object, following: object) -> None:
        """Nothing to tell."""

    def after_epoch(self, epoch: Epoch) -> None:
        self.wall += time.perf_counter() - self._started[0]
        self.process += time.process_time() - self._started[1]
        if epoch.stage != "latents":
            self.error = held_out_error(self._network, self._held_out)
            if self.error <= self._target:
                raise Reached
        self._started = (time.perf_counter(), time.process_time())


@torch.no_grad()
def held_out_error(network: Network, cells: CellData) -> float:
    """Mean absolute error of held-out images rebuilt through encoders and full decoders."""
    modes = {part: part.training for part in network.modules()}
    network.eval()
    order = np.arange(cells.n_cells)
    found: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    for batch in cells.batches([order[start : start + 256] for start in range(0, len(order), 256)]):
        for name, view in batch.views.items():
            code = network.encode(name, view.values, view.stain)
            made = network.activate(name, network.decode(name, code.shared, code.specific, view.stain))
            found[name].append((made - view.values).abs().mean(dim=(1, 2, 3)))
    for part, training in modes.items():
        part.training = training
    return float(np.mean([torch.cat(parts).mean().item() for parts in found.values()]))


def time_to_quality(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Time of the reference to its best held-out error, and ours to the same error."""
    gpu = device.type == "cuda"
    size, count, held = (128, 8192, 1024) if gpu else (32, 768, 192)
    preset = "paper" if gpu else "small"
    shape = {name: PRESETS[preset][name] for name in ("shared", "specific", "embedding", "width", "head")}
    cells = make_cells(count + held, size, seed=1)
    order = np.random.default_rng(2).permutation(count + held)
    known = Cells({name: values[order] for name, values in cells.images.items()}, cells.stain[order])
    train, test = known.part(slice(0, count)), known.part(slice(count, None))
    batch = PAPER_BATCH if gpu else 32
    paper = settings_of("paper", **shape, batch_size=batch)
    torch.manual_seed(0)
    network = seeded_network(image_architecture(paper, STAINS, size), 3).to(device)
    reference = Reference(network, train, paper, device, count)
    held_out = cell_data(test, device)
    first, second = arguments.reference_epochs
    wall, process = time.perf_counter(), time.process_time()
    for _ in range(first):
        reference.latents_epoch()
    best = np.inf
    theirs = {}
    for epoch in range(second):
        reference.encoders_epoch()
        if epoch % 5 == 4 or epoch == second - 1:
            spent = time.perf_counter() - wall, time.process_time() - process
            error = held_out_error(network, held_out)
            if error < best:
                best, theirs = error, {"wall_s": spent[0], "process_s": spent[1]}
            wall, process = time.perf_counter() - spent[0], time.process_time() - spent[1]
    result: dict[str, Any] = {
        "size": size,
        "cells": count,
        "reference_epochs": [first, second],
        "reference": {"error": best, **theirs},
    }
    for name in ("two-step", "agreement"):
        settings = settings_of("small" if name == "two-step" else "agreement", **shape, batch_size=batch)
        own = place_network(
            seeded_network(image_architecture(settings, STAINS, size), 3),
            device,
            precision=arguments.precision,
            compiled=arguments.compile,
        )
        data = cell_data(train, device)
        objective = get_objective(name, own, data, settings)
        aim = Aim(own, held_out, best)
        reached = False
        try:
            Loop(own, objective, data, held_out, settings, str, aim).run(silent, never)
        except Reached:
            reached = True
        result[name] = {"error": aim.error, "reached": reached, "wall_s": aim.wall, "process_s": aim.process}
    return result


def show_quality(found: dict[str, Any]) -> None:
    """The table of times to quality."""
    theirs = found["reference"]
    first, second = found["reference_epochs"]
    print(f"\nTime to the best held-out error of {first} + {second} epochs of the reference,")
    print(f"{found['cells']} cells of {found['size']} px")
    print(f"{'':12}{'error':>8}{'wall':>9}{'CPU':>9}{'shorter':>9}{'by CPU time':>13}")
    print(f"{'reference':12}{theirs['error']:>8.4f}{theirs['wall_s']:>8.1f}s{theirs['process_s']:>8.1f}s")
    for name in ("two-step", "agreement"):
        row = found[name]
        wall, process = theirs["wall_s"] / row["wall_s"], theirs["process_s"] / row["process_s"]
        print(
            f"{name:12}{row['error']:>8.4f}{row['wall_s']:>8.1f}s{row['process_s']:>8.1f}s{wall:>8.1f}x"
            f"{process:>12.1f}x{'' if row['reached'] else '  (not reached)'}"
        )


def matrix_rate(device: torch.device, size: int = 8192, repeats: int = 10) -> float:
    """Operations per second of bf16 matrix products on a GPU."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(repeats):
        left @ right
    torch.cuda.synchronize(device)
    return 2.0 * size**3 * repeats / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0 as torch takes")
    parser.add_argument("--size", type=int, default=128, help="pixels of a crop")
    parser.add_argument("--batch", type=int, default=0, help="cells in a batch; 0 is 256 on a GPU, 32 else")
    parser.add_argument("--steps", type=int, default=0, help="batches in an epoch; 0 is 32 on a GPU, 2 else")
    parser.add_argument(
        "--epochs", type=int, default=3, help="epochs that are timed, after one that warms up"
    )
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true", help="fuse layers with torch.compile")
    parser.add_argument("--quality", action="store_true", help="also the time to the reference's error")
    parser.add_argument(
        "--reference-epochs",
        type=int,
        nargs=2,
        default=(200, 100),
        metavar=("STEP1", "STEP2"),
        help="of the reference, for --quality",
    )
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    gpu = device.type == "cuda"
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.batch = arguments.batch or (PAPER_BATCH if gpu else 32)
    arguments.steps = arguments.steps or (32 if gpu else 2)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {describe_device(device)}")
    print(f"{arguments.size} px, batches of {arguments.batch} cells, {arguments.steps} steps an epoch")
    steps = compare_steps(arguments, device)
    print(
        f"{'':10}{'reference':>12}{'ours':>12}{'ratio':>8}{'by CPU time':>13}{'GFLOP/cell':>12}{'TFLOP/s':>9}"
    )
    for name, row in steps.items():
        print(
            f"{name:10}{row['reference_cells_per_s']:>10,.1f}/s{row['ours_cells_per_s']:>10,.1f}/s"
            f"{row['ratio_wall']:>7.1f}x{row['ratio_process']:>12.1f}x{row['gflop_per_cell']:>12.2f}{row['tflop_per_s']:>9.2f}"
        )
    result: dict[str, Any] = {"device": describe_device(device), "torch": torch.__version__, "steps": steps}
    if arguments.quality:
        result["quality"] = time_to_quality(arguments, device)
        show_quality(result["quality"])
    if gpu:
        rate = matrix_rate(device)
        stated = next(
            (peak for key, peak in PEAKS.items() if key in torch.cuda.get_device_name(device)), None
        )
        result["matrix_tflop_per_s"] = rate / 1e12
        share = steps["latents"]["tflop_per_s"] * 1e12
        print(f"bf16 matrix products: {rate / 1e12:.0f} TFLOP/s measured; step 1 at {share / rate:.0%} of it")
        if stated:
            print(f"stated peak {stated / 1e12:.0f} TFLOP/s; step 1 reaches {share / stated:.0%} of it")
    else:
        result["missing"] = MISSING
        print("No NVIDIA GPU here. Missing: " + "; ".join(MISSING) + ".")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
