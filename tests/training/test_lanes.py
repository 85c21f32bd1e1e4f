"""Halves of a batch side by side give what the whole batch gives."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from distillfss.training.lanes import LANES, answers, at_once, halves

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "parts"), [(1, [[0]]), (2, [[0], [1]]), (5, [[0, 1, 2], [3, 4]]), (8, [[0, 1, 2, 3], [4, 5, 6, 7]])]
)
def test_halves(count: int, parts: list[list[int]]):
    everything = list(range(count))
    assert [everything[part] for part in halves(count, CPU)] == parts
    assert [everything[part] for part in halves(count, torch.device("cuda"))] == [everything]


def test_in_order_and_side_by_side(threads: int):
    meeting = threading.Barrier(LANES, timeout=20)

    def met(number: int) -> int:
        if threads >= LANES:
            meeting.wait()  # passed only if both lanes are under way at the same time
        return number * number

    assert at_once(met, range(6)) == [0, 1, 4, 9, 16, 25]
    assert at_once(met, []) == []
    assert at_once(lambda number: number + 1, [4]) == [5]
    assert torch.get_num_threads() == threads


def test_a_lane_has_its_share_of_the_cores(threads: int):
    inside = at_once(lambda _: torch.get_num_threads(), range(4))
    assert inside == [1] * 4
    assert torch.get_num_threads() == threads


FORK = """
import os, torch
from distillfss.training.lanes import at_once
torch.set_num_threads(2)
assert at_once(lambda n: n + 1, [1, 2]) == [2, 3]
child = os.fork()
if child == 0:
    os._exit(0 if at_once(lambda n: n + 1, [5, 6]) == [6, 7] else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_has_lanes_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=120)


def test_errors_come_through(threads: int):
    def broken(number: int) -> int:
        raise ValueError(f"no {number}")

    with pytest.raises(ValueError, match="no 0"):
        at_once(broken, [0, 1])


def test_gradients_are_those_of_the_whole_batch(threads: int):
    """Of a loss that couples the views, one parameter used twice, one not at all."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.GroupNorm(1, 3), nn.Conv2d(3, 2, 1)).double()
    unused = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    batch = torch.randn(5, 2, 6, 7, dtype=torch.float64)

    def loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first.sum().square() / second.exp().sum() + (first * second).mean()

    def forward(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        out = model(batch[part])
        return out[:, 0], out[:, 1] * model[2].bias[0]

    parameters = [*model.parameters(), unused]
    whole = loss(*forward(slice(0, 5)))
    wanted = torch.autograd.grad(whole, parameters, allow_unused=True)
    halved = loss(*answers(forward, halves(5, CPU), parameters))
    torch.testing.assert_close(halved, whole)
    halved.backward()
    for parameter, gradient in zip(parameters[:-1], wanted, strict=False):
        torch.testing.assert_close(parameter.grad, gradient)
    assert unused.grad is None
    once, twice = (
        torch.autograd.grad(loss(*answers(forward, halves(5, CPU), parameters)), parameters[:-1]) for _ in range(2)
    )
    assert all(torch.equal(one, two) for one, two in zip(once, twice, strict=True))  # to the last bit


def test_an_output_that_the_loss_leaves_out_counts_for_nothing():
    weight = nn.Parameter(torch.tensor([2.0]))
    one, _ = answers(lambda part: (weight * part, weight.exp() * part), [torch.ones(1), torch.ones(1)], [weight])
    one.sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 2
