"""Compiled functions of states: the same numbers, and no stack in memory between its entries and their readers."""

import shutil

import pytest
import torch

from pompc.system import compiling
from pompc.system.compiling import Unstacked, compiled

aten = torch.ops.aten
pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler")


@pytest.fixture
def left(monkeypatch):
    """Collect the operations of the graphs that are left, and compile without a cache."""
    found, rewrite = [], Unstacked.__call__

    def watched(self, graph):
        rewrite(self, graph)
        found.extend(node.target for node in graph.nodes if node.op == "call_function")

    monkeypatch.setattr(Unstacked, "__call__", watched)
    monkeypatch.setattr(Unstacked, "uuid", lambda self: None)
    return found


def step(state, action):
    """Move three entries; the first two are read again as one vector."""
    place, turn, speed = state.unbind(-1)
    return torch.stack([place + speed * turn.cos(), turn + action, speed - place.abs()], -1)


def agree(function, *tensors):
    torch.testing.assert_close(compiled(function)(*tensors), function(*tensors))


def draw(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5


STATE, ACTION = draw(5, 3), draw(5)


def chained(state, action):
    """Two steps, of which the second takes the stack of the first apart."""
    return step(step(state, action), action)[..., 0]


def sliced(state, action):
    return step(state, action)[..., 1:][..., 1] + step(state, action)[..., -1]


def summed(state, action):
    return step(state, action).square().sum(-1)


def through_arithmetic(state, action):
    """Scalars, a vector per entry, one number per state and a number without dimensions keep their places."""
    moved = state + 0.1 * step(state, action) * torch.tensor([1.0, 2.0, 3.0]) - action.unsqueeze(-1) + action.sum()
    return torch.where(moved > 0.0, moved, 2.0 * moved).clamp(-1.0, 1.0).unbind(-1)[1]


def through_views(state, action):
    moved = step(state, action).unsqueeze(0).expand(2, -1, -1).movedim(0, 1)
    return moved[..., 2]


def joined(state, action):
    """Join two stacks and a part that is none."""
    return torch.cat([step(state, action), state[..., :1], action.unsqueeze(-1)], -1).unbind(-1)[3:]


@pytest.mark.parametrize("function", [chained, sliced, summed, through_arithmetic, through_views, joined])
def test_entries_are_read_without_the_stack(function, left):
    agree(function, STATE, ACTION)
    assert left
    assert aten.cat.default not in left


def test_a_stack_that_somebody_needs_stays(left):
    agree(step, STATE, ACTION)
    assert aten.cat.default in left


def mean_first(state, action):
    """A sum over states, not over entries."""
    return step(state, action).sum(0)


def of_two_types(state, action):
    """The double decides the type of the product, which an entry without dimensions would not."""
    return (step(state, action) * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))[..., 0]


def promoted(state, action):
    """Joining turns integers into floats."""
    return torch.stack([action, (action > 0).long()], -1)[..., 1]


def other_dimension(state, action):
    return torch.stack([state, state + action.unsqueeze(-1)], 0).unbind(0)[1]


@pytest.mark.parametrize("function", [mean_first, of_two_types, promoted, other_dimension])
def test_what_is_no_entry_of_a_stack_stays_what_it_was(function):
    agree(function, STATE, ACTION)


def test_long_sums_are_left_to_the_compiler(left, monkeypatch):
    monkeypatch.setattr(compiling, "MOST_SUMMED", 2)
    agree(summed, STATE, ACTION)
    assert aten.sum.dim_IntList in left
