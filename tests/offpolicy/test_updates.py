"""Updates of the off-policy agents: when they are made, and their effect on an agent."""

import math
import warnings
from copy import deepcopy

import pytest
import tiny
import torch

from pompc.algorithms.tdmpc2 import TDMPC2
from pompc.dials import ScheduleConfig
from pompc.errors import NonFiniteError


def test_one_update_per_transition_after_a_burst_at_the_end_of_the_seed_phase():
    agent = tiny.agent(seed_steps=20)  # two environments: the eleventh step is the first beyond 20 transitions
    updates = [metrics["updates"] for metrics in tiny.World(agent).run(14)]
    assert updates == [0] * 10 + [20, 22, 24, 26]
    assert agent.pending_updates == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pretrain_updates": 3}, [3, 5, 7, 9]),
        ({"pretrain_updates": 0}, [0, 2, 4, 6]),
        ({"pretrain_updates": 0, "update_to_data": 0.25}, [0, 0, 1, 1]),
        ({"pretrain_updates": 0, "update_to_data": 3.0}, [0, 6, 12, 18]),
    ],
)
def test_the_burst_and_the_ratio_are_options(options, expected):
    assert [metrics["updates"] for metrics in tiny.World(tiny.agent(**options)).run(14)][10:] == expected


def test_a_long_burst_is_made_in_parts_between_two_steps():
    agent = tiny.agent(pretrain_updates=25, log_every=10)
    tiny.World(agent).run(11)
    seen = [(agent.updates, agent.pending_updates)]
    while agent.pending_updates:
        assert set(agent.catch_up()) >= {"model_loss", "policy_loss"}
        seen.append((agent.updates, agent.pending_updates))
    assert seen == [(10, 15), (20, 5), (25, 0)]
    assert agent.catch_up() == {}


def test_nothing_is_learned_before_an_episode_has_ended():
    agent = tiny.agent(seed_steps=4, pretrain_updates=2)
    updates = [metrics["updates"] for metrics in tiny.World(agent, length=7).run(9)]
    assert updates == [0] * 6 + [2, 4, 6]


def test_metrics_are_means_over_the_updates_of_a_call(monkeypatch):
    agent, made = tiny.agent(seed_steps=20, pretrain_updates=4), []
    update = agent.update
    monkeypatch.setattr(agent, "update", lambda *a, **k: made.append(update(*a, **k)) or made[-1])
    *_, burst, later = tiny.World(agent).run(12)
    assert len(made) == 6
    for metrics, updates in ((burst, made[:4]), (later, made[4:])):
        for name in ("model_loss", "policy_grad_norm"):
            assert metrics[name].item() == pytest.approx(sum(m[name].item() for m in updates) / len(updates), rel=1e-5)


def test_every_transition_calls_for_updates_even_while_nothing_can_be_sampled():
    agent = tiny.agent(seed_steps=20, pretrain_updates=0, buffer_size=24)  # twelve slots each; an episode takes eleven
    updates = [metrics["updates"] for metrics in tiny.World(agent).run(44)]
    assert (updates[18], updates[19]) == (updates[17], updates[17] + 4), "while an episode overwrites the last one"
    assert updates[-1] == 2 * (44 - 11)


def test_a_run_that_cannot_begin_to_learn_warns_once():
    agent = tiny.agent(seed_steps=20, episode_length=None)
    world = tiny.World(agent, length=2)
    world.run(54)
    with pytest.warns(UserWarning, match="in 110 transitions no episode of at least 3 steps has ended"):
        world.run(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.run(30)


def test_a_call_reports_the_metrics_that_exist():
    agent = tiny.agent(kl_weight=0.5, virtual_ratio=0.3, episodic=True, log_every=1)
    first, *_, last = tiny.World(agent).run(12)
    assert first == {"kl_weight": 0.5, "virtual_ratio": 0.3, "updates": 0}
    losses = {
        f"{name}_loss" for name in ("consistency", "reward", "value", "termination", "virtual", "model", "policy")
    }
    assert losses < last.keys()
    assert all(math.isfinite(value) for value in last.values())


def test_an_algorithm_may_leave_its_policy_alone_in_the_burst():
    class Later(TDMPC2):
        learns_policy_in_burst = False

    agent, batch = tiny.agent(Later), tiny.batch(tiny.agent())
    before = [p.detach().clone() for p in agent.policy.parameters()]
    assert "policy_loss" not in agent.update(batch.clone(), in_burst=True)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    agent.update(batch.clone())
    assert not any(torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))


# -- one update ------------------------------------------------------------------------------------------------------


def test_repeated_updates_on_one_batch_learn_it():
    agent = tiny.agent(learning_rate=3e-3, episodic=True, discount=0.5)
    batch = tiny.batch(agent)
    batch["terminated"][2] = (batch["observation"][3, :, :1] > 0).float()
    first, *_, last = (agent.update(batch.clone()) for _ in range(150))
    for name in ("reward_loss", "value_loss", "termination_loss", "model_loss"):
        assert last[name] < 0.7 * first[name], name


def test_targets_move_once_per_update_and_the_mode_is_that_of_acting():
    agent = tiny.agent(target_rate=0.25, dropout=0.3)
    before = [p.clone() for p in agent.critic.target.parameters()]
    agent.update(tiny.batch(agent))
    heads, targets = agent.critic.heads.parameters(), agent.critic.target.parameters()
    for old, head, target in zip(before, heads, targets, strict=True):
        torch.testing.assert_close(target, old + 0.25 * (head - old))
    assert not any(part.training for part in agent.modules())


def test_the_gradient_is_clipped_and_its_norm_reported_before():
    agent = tiny.agent(max_grad_norm=1e-3)
    batch = tiny.batch(agent)
    norm = agent.optimizer_step("model", agent.model_loss(batch)[0], batch)
    parameters = [p for group in agent.optimizers["model"].param_groups for p in group["params"]]
    clipped = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    assert norm > 0.1
    assert clipped.item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "place"), [("observation", (0, 2, 1)), ("observation", (2, 2, 1)), ("reward", (0, 2, 0))]
)
def test_a_bad_number_stops_the_update_with_its_batch_and_spoils_nothing(name, place):
    agent = tiny.agent()
    batch = tiny.batch(agent)
    batch[name][place] = torch.nan
    before = {key: p.detach().clone() for key, p in agent.named_parameters()}
    with pytest.raises(NonFiniteError, match="model loss is not finite") as caught:
        agent.update(batch)
    assert torch.isnan(caught.value.batch[name][place])
    assert all(torch.equal(p, before[key]) for key, p in agent.named_parameters())


@pytest.mark.parametrize(("dial", "after"), [(0.5, 0.5), (ScheduleConfig(schedule="exp", initial=0.8, decay=0.5), 0.1)])
def test_the_dials_move_by_their_schedules_once_per_update(dial, after):
    agent = tiny.agent(virtual_ratio=dial, kl_weight=dial)
    batch = tiny.batch(agent)
    batch["planned"] = torch.rand(4, 8, 1, 3, 2)
    for _ in range(3):
        agent.update(batch.clone())
    assert (agent.virtual_ratio.value, agent.kl_weight.value) == pytest.approx((after, after))


def test_learning_continues_from_a_checkpoint_bit_for_bit_and_acting_needs_no_replay():
    agent, other = (tiny.agent(pretrain_updates=30, log_every=20, kl_weight=1.0) for _ in range(2))
    tiny.World(agent).run(11)
    assert agent.pending_updates > 0  # stopped within the burst
    other.load_state_dict(agent.state_dict())
    other.load_training_state(deepcopy(agent.training_state()))  # a file would not share memory either
    assert other.pending_updates == agent.pending_updates
    for one in (agent, other):
        torch.manual_seed(4)
        tiny.World(one).run(3)
    assert agent.updates == other.updates
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), other.parameters(), strict=True))
    state = agent.training_state()
    del state["replay"]
    player = tiny.agent(pretrain_updates=30, log_every=20, kl_weight=1.0)
    player.load_training_state(state)
    assert (player.budget.transitions, player.updates) == (agent.budget.transitions, agent.updates)
