"""Returns of a policy that stays as it is, and what experiments on value learning measure them with."""

import math

import pytest
import torch
from frozen_policy import closed_returns, returns_to_go, split_returns
from news import news
from tensordict import TensorDict
from value_learning import share_by_outcome

from pompc.onpolicy.virtual_targets import bootstrapped_share


def flags(*steps):
    return torch.tensor([[step in steps for step in range(4)]])


def test_a_return_is_known_up_to_the_end_and_the_rest_weighs_its_discount():
    reward = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    known, left = split_returns(reward, flags(1), flags(1), 0.5)
    assert known.tolist() == [[2.0, 2.0, 8.0, 8.0]]
    assert left.tolist() == [[0.0, 0.0, 0.25, 0.5]]
    known, left = split_returns(reward, flags(1), flags(), 0.5)  # truncated
    assert left.tolist() == [[0.25, 0.5, 0.25, 0.5]]


def test_returns_to_go_run_over_the_border_of_batches_and_leave_out_what_never_terminated():
    step = TensorDict({"reward": torch.ones(1, 2, 1)}, batch_size=[1, 2])
    ends = [torch.tensor([[False, False]]), torch.tensor([[True, False]])]
    batches = [
        TensorDict(
            {"next": step.clone().update({"done": end[..., None], "terminated": end[..., None]})}, batch_size=[1, 2]
        )
        for end in ends
    ]
    first, second = returns_to_go(batches, 0.5)
    assert first.tolist() == [[1.75, 1.5]]
    assert second[0, 0].item() == 1.0
    assert math.isnan(second[0, 1].item())


def test_the_filled_in_return_of_endless_equal_steps_is_their_value():
    known, left = split_returns(torch.ones(3, 50), torch.zeros(3, 50) > 0, torch.zeros(3, 50) > 0, 0.9)
    torch.testing.assert_close(closed_returns(known[:, :30], left[:, :30]), torch.full((3, 30), 10.0))


def test_news_of_an_endless_target_are_one_minus_gamma_over_one_minus_gamma_lambda():
    assert news(5000, 0.9, discount=0.99) == pytest.approx(0.01 / (1 - 0.99 * 0.9), rel=0.01)
    assert news(1, 0.3, discount=0.99) == pytest.approx(0.01)


def test_the_share_by_outcome_knows_which_rollouts_end():
    scoring = {"discount": 0.9, "gae_lambda": 0.8}
    ends = torch.tensor([[False, False, True], [False, False, False], [False, True, False]])
    first = torch.tensor([True, False, False, True, False, False, True, False])
    reward = torch.full((8,), 2.0)
    target = torch.tensor([5.0, 5.0, 2.0, 5.0, 5.0, 5.0, 5.0, 2.0])
    virtual = TensorDict({"first": first, "reward": reward, "value_target": target}, batch_size=[8])
    expected = bootstrapped_share(ends, ends, **scoring).flatten()[:8]
    torch.testing.assert_close(share_by_outcome(virtual, 3, **scoring), expected)
