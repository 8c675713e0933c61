"""Rewards and values beyond the bins of their encoding are warned of once, with the option to change."""

import warnings

import pytest
import tiny
import torch
from tensordict import TensorDict

from pompc.networks.twohot import TwoHot, symexp
from pompc.offpolicy.watches import CHECK_EVERY, RangeWatch

END = symexp(torch.tensor(10.0)).item()  # 22025


def watched(*quantities: dict[str, list[float]], updates: int = 1, low: float = -10.0, high: float = 10.0) -> list[str]:
    """Note quantities one after the other and look twice; return the warnings."""
    watch = RangeWatch(TwoHot(101, low, high))
    for those in quantities:
        watch.note(**{name: torch.tensor(values) for name, values in those.items()})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        watch.look(updates)
        watch.look(updates + CHECK_EVERY)
    return [str(one.message) for one in said]


def test_numbers_inside_the_bins_are_not_mentioned():
    assert watched({"rewards": [0.0, END - 1, 1 - END], "values": [3.0]}) == []


@pytest.mark.parametrize(("sign", "key", "to"), [(1, "bin_high", "13"), (-1, "bin_low", "-13")])
def test_each_end_is_warned_of_once_with_the_option_and_a_value_that_fits(sign, key, to):
    (said,) = watched({"rewards": [0.0, sign * 1e5]}, {"rewards": [1.0]}, {"values": [sign * 1e6]})
    assert said.startswith(f"rewards reach {sign * 1e5:.4g}, beyond the last bin of their two-hot encoding, ")
    assert f"set algo.{key}={to}, or scale the rewards" in said
    assert watched({"rewards": [sign * 1e5]}, low=-13.0, high=13.0) == []


def test_both_ends_and_values_alone():
    assert [text.split()[0] for text in watched({"rewards": [5.0], "values": [-1e5, 1e5]})] == ["values", "values"]


def test_it_seldom_waits_for_the_device():
    assert watched({"rewards": [1e5]}, updates=2) == []
    assert len(watched({"rewards": [1e5]}, updates=CHECK_EVERY + 1)) == 1


class Rich(tiny.World):
    """Multiply rewards by a million."""

    def step(self) -> TensorDict:
        data = super().step()
        data["next", "reward"] *= 1e6
        return data


@pytest.mark.parametrize("world", [tiny.World, Rich])
def test_an_off_policy_agent_warns_with_its_first_update(world):
    agent = tiny.agent(seed_steps=20, pretrain_updates=3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        world(agent).run(14)
    found = [str(one.message) for one in said if "two-hot" in str(one.message)]
    assert agent.updates > 3
    assert len({text.partition("set ")[2] for text in found}) == len(found) == (2 if world is Rich else 0)


def test_values_that_outgrow_the_bins_are_noticed_although_rewards_fit():
    agent = tiny.agent(bin_low=-2.0, bin_high=2.0)
    batch = tiny.batch(agent)
    batch["reward"] = batch["reward"].clamp(-1, 1) + 5.0  # below the end, 6.39; what comes later is beyond it
    agent.values.slow = lambda state, action=None: torch.full(state.shape[:-1], 6.0)
    with pytest.warns(UserWarning, match="values reach .* set algo.bin_high=4"):
        agent.update(batch)
