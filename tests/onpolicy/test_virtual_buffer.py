"""The planner's rollouts of the last updates."""

import torch

from pompc.onpolicy.virtual_buffer import VirtualBuffer


def rollouts(count, value):
    """Make rollouts of three steps whose entries are all ``value``."""
    return torch.full((count, 4, 2), float(value)), torch.full((count, 3, 1), float(value))


def test_rollouts_are_kept_for_the_window_and_no_longer():
    buffer, seen = VirtualBuffer(rollouts=5, window=2), []
    for update in range(4):
        kept = buffer.exchange(*rollouts(3 + update, update), update)
        assert torch.equal(kept["states"][:, 0, 0], kept["actions"][:, 0, 0])
        seen.append(kept["states"][:, 0, 0].int().tolist())
    assert [sorted(values) for values in seen] == [[0] * 3, [0] * 3 + [1] * 4, [1] * 4 + [2] * 5, [2] * 5 + [3] * 5]


def test_an_update_adds_a_random_part_if_there_are_too_many_rollouts():
    buffer, states = VirtualBuffer(rollouts=4, window=1), torch.arange(100.0).view(100, 1, 1).expand(100, 4, 2)
    drawn = [buffer.exchange(states, states[:, :3, :1], update)["states"][:, 0, 0].tolist() for update in range(2)]
    assert all(len(set(values)) == 4 for values in drawn)
    assert drawn[0] != drawn[1]


def test_a_restored_buffer_continues_as_the_first():
    first, second = VirtualBuffer(rollouts=3, window=2), VirtualBuffer(rollouts=3, window=2)
    first.exchange(*rollouts(3, 7), 0)
    second.load_state_dict(first.state_dict())
    kept = [buffer.exchange(*rollouts(2, 8), 1) for buffer in (first, second)]
    assert torch.equal(kept[0]["states"], kept[1]["states"])
    assert sorted(kept[1]["actions"][:, 0, 0].tolist()) == [7, 7, 7, 8, 8]
