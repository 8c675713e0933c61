"""Rewards and values beyond the bins of their encoding are said once, with the key to turn."""

import warnings

import pytest
import tiny
import torch
from tensordict import TensorDict

from pompc.networks.twohot import TwoHot, symexp
from pompc.offpolicy.watches import CHECK_EVERY, RangeWatch

END = symexp(torch.tensor(10.0)).item()  # 22025


def watched(*quantities: dict[str, list[float]], updates: int = 1, low: float = -10.0, high: float = 10.0) -> list[str]:
    """What a watch says of quantities noted one after the other, looked at twice."""
    watch = RangeWatch(TwoHot(101, low, high))
    for those in quantities:
        watch.note(**{name: torch.tensor(values) for name, values in those.items()})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        watch.look(updates)
        watch.look(updates + CHECK_EVERY)
    return [str(one.message) for one in said]


def test_what_fits_is_not_mentioned():
    assert watched({"rewards": [0.0, END - 1, 1 - END], "values": [3.0]}) == []


@pytest.mark.parametrize(("sign", "key", "to"), [(1, "bin_high", "13"), (-1, "bin_low", "-13")])
def test_each_end_is_said_once_with_the_key_and_a_value_that_holds_it(sign, key, to):
    (said,) = watched({"rewards": [0.0, sign * 1e5]}, {"rewards": [1.0]}, {"values": [sign * 1e6]})
    assert said.startswith(f"rewards reach {sign * 1e5:.4g}, beyond the last bin of their two-hot encoding, ")
    assert f"set algo.{key}={to}, or scale the rewards" in said
    assert watched({"rewards": [sign * 1e5]}, low=-13.0, high=13.0) == []


def test_both_ends_and_values_alone():
    assert [text.split()[0] for text in watched({"rewards": [5.0], "values": [-1e5, 1e5]})] == ["values", "values"]


def test_it_waits_for_the_device_now_and_then_only():
    assert watched({"rewards": [1e5]}, updates=2) == []
    assert len(watched({"rewards": [1e5]}, updates=CHECK_EVERY + 1)) == 1


class Rich(tiny.World):
    """Rewards times a million."""

    def step(self) -> TensorDict:
        data = super().step()
        data["next", "reward"] *= 1e6
        return data


@pytest.mark.parametrize("world", [tiny.World, Rich])
def test_a_latent_agent_says_it_with_its_first_update(world):
    agent = tiny.agent(seed_steps=20, pretrain_updates=3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        world(agent).run(14)
    found = [str(one.message) for one in said if "two-hot" in str(one.message)]
    assert agent.updates > 3
    assert len({text.partition("set ")[2] for text in found}) == len(found) == (2 if world is Rich else 0)


def test_values_that_outgrow_the_bins_are_noticed_where_rewards_do_not():
    agent = tiny.agent(bin_low=-2.0, bin_high=2.0)
    batch = tiny.batch(agent)
    batch["reward"] = batch["reward"].clamp(-1, 1) + 5.0  # below the end, 6.39; what comes later is beyond it
    agent.values.slow = lambda state, action=None: torch.full(state.shape[:-1], 6.0)
    with pytest.warns(UserWarning, match="values reach .* set algo.bin_high=4"):
        agent.update(batch)
