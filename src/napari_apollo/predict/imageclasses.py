"""Classes and features of cells from their images, for donors held out: a small network, or ResNet-18.

Written anew; the APOLLO study took ResNet-18 and tested it on other cells of the donors that it had learnt
from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_apollo.progress import ShouldStop, never, stop_if_asked

Architecture = Literal["small", "resnet18"]

BATCH = 64
"""Images in a batch of training."""
_PATIENCE = 4  # epochs without a better inner score before training ends


def make_network(architecture: Architecture, outputs: int) -> nn.Module:
    """Untrained network from (n, 1, y, x) to (n, output).

    ``small`` has four strided convolutions and a mean over all places; ``resnet18`` is torchvision's with a
    first convolution of one channel, and random weights.
    """
    if architecture == "resnet18":
        from torchvision.models import resnet18

        network: nn.Module = resnet18(weights=None, num_classes=outputs)
        network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        return network
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, outputs))


def held_out_image_classes(
    images: NDArray[np.float32],
    label: NDArray[np.int64],
    fold_of: NDArray[np.int64],
    *,
    architecture: Architecture = "small",
    epochs: int = 30,
    device: str = "cpu",
    seed: int = 0,
    on_fold: Callable[[int, int], None] = lambda done, total: None,
    should_stop: ShouldStop = never,
) -> NDArray[np.int64]:
    """Class of every image, said by networks that never saw its fold.

    Of the training folds the next one decides when to stop, and the rest are learnt from: nothing of the
    held-out fold is used. Cells are drawn so that classes come equally often, turned and flipped.

    Parameters
    ----------
    images
        (cell, y, x) float32 in [0, 1].
    label
        (cell,) classes, from 0.
    fold_of
        (cell,) folds, from 0; cells of one donor in one fold.
    architecture
        Which network.
    epochs
        At most; training ends earlier where the deciding fold has not become better.
    device
        Where to compute.
    seed
        Of weights, order and turns.
    on_fold
        Told the folds done, and all.
    should_stop
        Asked between batches.

    Returns
    -------
    numpy.ndarray
        (cell,) classes; -1 for cells of folds that cannot be held out, as training would lack a class.
    """
    folds = np.unique(fold_of)
    classes = int(label.max()) + 1
    predicted = np.full(len(label), -1, np.int64)
    for at, fold in enumerate(folds):
        on_fold(at, len(folds))
        inner = folds[(at + 1) % len(folds)]
        learn = np.flatnonzero((fold_of != fold) & (fold_of != inner))
        decide = np.flatnonzero(fold_of == inner)
        if len(folds) < 3 or len(set(label[learn])) < classes:
            learn, decide = np.flatnonzero(fold_of != fold), np.zeros(0, np.int64)
        if len(set(label[learn])) < classes:
            continue
        task = _Classes(torch.from_numpy(label), label, classes)
        network = _trained(
            _centred(images), task, learn, decide, architecture, epochs, device, seed + at, should_stop
        )
        test = np.flatnonzero(fold_of == fold)
        predicted[test] = _outputs(network, _centred(images[test]), device).argmax(axis=1)
    on_fold(len(folds), len(folds))
    return predicted


def held_out_image_values(
    images: NDArray[np.float32],
    targets: NDArray[np.float64],
    fold_of: NDArray[np.int64],
    *,
    architecture: Architecture = "small",
    epochs: int = 30,
    device: str = "cpu",
    seed: int = 0,
    should_stop: ShouldStop = never,
) -> NDArray[np.float64]:
    """Numbers of every image, told by networks that never saw its fold; all numbers by one network.

    Parameters
    ----------
    images
        (cell, y, x) float32 in [0, 1].
    targets
        (cell, column), each of about unit variance; NaN where unknown.
    fold_of
        (cell,) folds, from 0; cells of one donor in one fold.
    architecture, epochs, device, seed, should_stop
        As for ``held_out_image_classes``.

    Returns
    -------
    numpy.ndarray
        (cell, column).
    """
    folds = np.unique(fold_of)
    known = np.isfinite(targets)
    task = _Values(
        torch.from_numpy(np.nan_to_num(targets).astype(np.float32)),
        torch.from_numpy(known.astype(np.float32)),
    )
    predicted = np.full(targets.shape, np.nan)
    shifted = (images - images.mean()) / 0.2
    for at, fold in enumerate(folds):
        inner = folds[(at + 1) % len(folds)]
        learn = np.flatnonzero((fold_of != fold) & (fold_of != inner))
        decide = np.flatnonzero(fold_of == inner)
        if len(folds) < 3:
            learn, decide = np.flatnonzero(fold_of != fold), np.zeros(0, np.int64)
        network = _trained(shifted, task, learn, decide, architecture, epochs, device, seed + at, should_stop)
        test = np.flatnonzero(fold_of == fold)
        predicted[test] = _outputs(network, shifted[test], device)
    return predicted


class _Task(Protocol):
    """What a network learns."""

    @property
    def outputs(self) -> int:
        """How many numbers it gives."""

    def draw(self, learn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Cells of one epoch, in order."""

    def loss(self, made: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """To be made smaller."""

    def score(self, made: NDArray[np.float32], rows: NDArray[np.int64]) -> float:
        """How good it is on other cells; more is better."""


@dataclass
class _Classes:
    """Classes, equally often."""

    target: Tensor
    label: NDArray[np.int64]
    outputs: int

    def draw(self, learn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        each = -(-len(learn) // self.outputs)
        members = [learn[self.label[learn] == k] for k in range(self.outputs)]
        drawn = np.concatenate([rng.choice(own, each, replace=len(own) < each) for own in members])
        rng.shuffle(drawn)
        return drawn

    def loss(self, made: Tensor, rows: NDArray[np.int64]) -> Tensor:
        return functional.cross_entropy(made, self.target[rows].to(made.device))

    def score(self, made: NDArray[np.float32], rows: NDArray[np.int64]) -> float:
        hit = made.argmax(axis=1) == self.label[rows]
        return float(np.mean([hit[self.label[rows] == k].mean() for k in set(self.label[rows].tolist())]))


@dataclass
class _Values:
    """Numbers, by their squared error where they are known."""

    target: Tensor
    known: Tensor

    @property
    def outputs(self) -> int:
        return self.target.shape[1]

    def draw(self, learn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.permutation(learn)

    def loss(self, made: Tensor, rows: NDArray[np.int64]) -> Tensor:
        known = self.known[rows].to(made.device)
        error = (made - self.target[rows].to(made.device)) ** 2 * known
        return error.sum() / known.sum().clamp(min=1)

    def score(self, made: NDArray[np.float32], rows: NDArray[np.int64]) -> float:
        return -float(self.loss(torch.from_numpy(made), rows))


def _trained(
    images: NDArray[np.float32],
    task: _Task,
    learn: NDArray[np.int64],
    decide: NDArray[np.int64],
    architecture: Architecture,
    epochs: int,
    device: str,
    seed: int,
    should_stop: ShouldStop,
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network(architecture, task.outputs).to(device)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    best, best_score, since = None, -np.inf, 0
    for _ in range(epochs):
        drawn = task.draw(learn, rng)
        network.train()
        for start in range(0, len(drawn), BATCH):
            stop_if_asked(should_stop)
            rows = drawn[start : start + BATCH]
            if len(rows) < 2:
                continue
            batch = torch.rot90(_on(images[rows], device), int(rng.integers(4)), (2, 3))
            batch = batch.flip(3) if rng.random() < 0.5 else batch
            loss = task.loss(network(batch), rows)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if not len(decide):
            continue
        score = task.score(_outputs(network, images[decide], device), decide)
        since += 1
        if score > best_score:
            best_score, since = score, 0
            best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        if since >= _PATIENCE:
            break
    if best is not None:
        network.load_state_dict(best)
    return network


@torch.no_grad()
def _outputs(network: nn.Module, images: NDArray[np.float32], device: str) -> NDArray[np.float32]:
    network.eval()
    parts = [
        network(_on(images[start : start + 256], device)).cpu().numpy()
        for start in range(0, len(images), 256)
    ]
    return np.concatenate(parts)


def _centred(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images about their own brightness: acquisition must not pass for a class."""
    centred: NDArray[np.float32] = (images - images.mean((1, 2), keepdims=True)) / np.float32(0.2)
    return centred


def _on(images: NDArray[np.float32], device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None].to(device)
