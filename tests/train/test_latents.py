"""The rows' own Adam, against torch's."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_apollo.train.latents import LatentTable

CPU = torch.device("cpu")


def loss_of(rows: torch.Tensor, step: int) -> torch.Tensor:
    return ((rows - 0.1 * step) ** 2 * (1 + torch.arange(rows.shape[1]))).sum() + rows.sin().sum()


def reference(start: torch.Tensor, visits: list[torch.Tensor], rate: float) -> torch.Tensor:
    """Dense Adam of torch on an embedding, as in the reference code."""
    table = nn.Embedding(*start.shape, _weight=start.clone())
    optimiser = torch.optim.Adam(table.parameters(), lr=rate)
    for step, rows in enumerate(visits):
        optimiser.zero_grad()
        loss_of(table(rows), step).backward()
        optimiser.step()
    return table.weight.detach()


def ours(visits: list[torch.Tensor], rate: float, *, dense: bool, rows: int = 6) -> LatentTable:
    torch.manual_seed(0)
    table = LatentTable(rows, 3, rate=rate, device=CPU, dense=dense)
    for step, visited in enumerate(visits):
        leaf = table.gather(visited)
        loss_of(leaf, step).backward()
        table.update(visited, leaf.grad)
    return table


def start(rows: int = 6) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(rows, 3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=12), st.floats(1e-3, 0.3))
def test_dense_is_torch_adam_with_any_visits(visited: list[set[int]], rate: float) -> None:
    visits = [torch.tensor(sorted(rows)) for rows in visited]
    table = ours(visits, rate, dense=True)
    torch.testing.assert_close(table.values, reference(start(), visits, rate), atol=1e-5, rtol=1e-4)


def test_visited_rows_alone_equal_dense_adam_where_all_are_visited() -> None:
    generator = torch.Generator().manual_seed(1)
    visits = [torch.randperm(6, generator=generator) for _ in range(20)]
    table = ours(visits, 0.05, dense=False)
    torch.testing.assert_close(table.values, reference(start(), visits, 0.05), atol=1e-5, rtol=1e-4)


def test_rows_that_are_not_visited_stay() -> None:
    visits = [torch.tensor([0, 2])] * 5 + [torch.tensor([2, 5])] * 5
    table = ours(visits, 0.05, dense=False)
    assert torch.equal(table.values[[1, 3, 4]], start()[[1, 3, 4]])
    # Each row went on by its own count of steps: row 0 as if it were alone.
    alone = reference(start()[:1], [torch.tensor([0])] * 5, 0.05)
    torch.testing.assert_close(table.values[:1], alone, atol=1e-6, rtol=1e-5)
    assert not torch.equal(ours(visits, 0.05, dense=True).values[0], table.values[0])


def test_a_table_goes_on_from_its_tensors() -> None:
    first = [torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([4])]
    whole = ours(first + first, 0.05, dense=False)
    half = ours(first, 0.05, dense=False)
    other = LatentTable(6, 3, rate=0.05, device=CPU)
    other.load({name: value.clone() for name, value in half.tensors().items()})
    for step, visited in enumerate(first, start=3):
        leaf = other.gather(visited)
        loss_of(leaf, step).backward()
        other.update(visited, leaf.grad)
    assert torch.equal(other.values, whole.values)
