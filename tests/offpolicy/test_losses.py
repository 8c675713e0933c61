"""Losses of the off-policy agents: real and virtual value targets, return and planner prior."""

import math
from types import SimpleNamespace

import pytest
import tiny
import torch

from pompc.offpolicy import agent as off_policy
from pompc.offpolicy.virtual import virtual_sequences


@pytest.mark.parametrize("average", [False, True])
def test_targets_read_the_lesser_of_two_heads_or_their_average(average, monkeypatch):
    agent, heads = tiny.agent(average_target=average), torch.tensor([[3.0, -1.0], [1.0, 5.0]])
    monkeypatch.setattr(agent.critic, "target_values", lambda inputs, chosen: heads)
    monkeypatch.setattr(agent.critic, "values", lambda inputs, chosen: heads)
    state = agent.encode(torch.randn(2, 3))
    assert agent.values.slow(state).tolist() == ([2.0, 2.0] if average else [1.0, -1.0])
    assert agent.values.of_state(state).tolist() == [2.0, 2.0]  # plans and the policy always read the average


def test_a_terminated_step_has_no_bootstrap(monkeypatch):
    agent = tiny.agent()
    batch = tiny.batch(agent)
    batch["terminated"][1, 3] = 1.0
    batch["encoded"] = agent.encode(batch["observation"])
    monkeypatch.setattr(agent.values, "slow", lambda state: 100 + state[..., 0])
    target, reward = agent.value_target(batch), batch["reward"][:-1, :, 0]
    expected = reward + 0.9 * (100 + batch["encoded"][1:, :, 0])
    expected[1, 3] = reward[1, 3]
    torch.testing.assert_close(target, expected)


def test_an_update_leaves_no_task_vector_longer_than_one():
    agent = tiny.agent(tasks=tiny.tasks(), observation_dim=4, discount=None)
    data = tiny.batch(agent)
    data["observation"][..., -1] = torch.arange(8) % 2
    with torch.no_grad():
        agent.model.tasks.table.weight.mul_(1000)
    agent.update(data)
    assert agent.model.tasks.table.weight.norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_every_task_has_its_own_discount(monkeypatch):
    agent = tiny.agent(tasks=tiny.tasks(), observation_dim=4, discount=None)
    batch = tiny.batch(agent)
    batch["reward"].zero_()
    batch["encoded"] = agent.encode(batch["observation"])
    monkeypatch.setattr(agent.values, "slow", lambda state: torch.ones(state.shape[:-1]))
    expected = torch.tensor([0.95, 0.995] * 4).expand(3, 8)
    torch.testing.assert_close(agent.value_target(batch), expected)
    torch.testing.assert_close(agent.discounts(batch["encoded"][0]), expected[0])
    assert all(math.isfinite(float(value)) for value in agent.update(batch).values())


def test_a_loss_further_ahead_weighs_less():
    agent = tiny.agent(temporal_decay=0.5)
    terms = torch.stack([torch.full((4, 5), float(value)) for value in (8, 4, 20)])
    assert agent.temporal_mean(terms).item() == pytest.approx((8 + 0.5 * 4 + 0.25 * 20) / 3)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_the_losses_add_up_and_virtual_values_count_by_the_ratio(ratio):
    weights = {"consistency_coef": 2.0, "reward_coef": 3.0, "value_coef": 5.0, "termination_coef": 7.0}
    agent = tiny.agent(virtual_ratio=ratio, episodic=True, **weights)
    batch = tiny.batch(agent)
    batch["planned"] = torch.rand(4, 8, 1, 3, 2)
    total, loss = agent.model_loss(batch)
    value = (1 - ratio) * loss["value_loss"] + (ratio * loss["virtual_loss"] if ratio else 0)
    own = 2 * loss["consistency_loss"] + 3 * loss["reward_loss"] + 5 * value + 7 * loss["termination_loss"]
    torch.testing.assert_close(total.detach(), own)


class Known(torch.nn.Module):
    """The action moves a position, the reward is the old position plus ten actions, the episode ends at 3."""

    def __init__(self, episodic):
        super().__init__()
        self.episodic = episodic

    def next(self, state, action):
        return state + action

    def outcome(self, state, action, then):
        reward = state[..., 0] + 10 * action[..., 0]
        return reward, self.episodic & (then[..., 0] > 2.5)


def known(episodic):
    values = SimpleNamespace(slow=lambda state: 1000 + state[..., 0])
    return SimpleNamespace(model=Known(episodic), discount_of=lambda state: 0.5, values=values)


def test_virtual_targets_are_discounted_sums_bootstrapped_at_the_horizon():
    start, actions = torch.tensor([[1.0], [-2.0]]), torch.randint(-2, 3, (2, 4, 3, 1)).float()
    data = virtual_sequences(known(False), start, actions)
    assert data.batch_size == (3, 8)
    for sequence in range(8):
        x, a = start[sequence // 4].item(), actions[sequence // 4, sequence % 4, :, 0].tolist()
        positions = [x, x + a[0], x + a[0] + a[1], x + sum(a)]
        assert data["state"][:, sequence, 0].tolist() == positions[:3]
        assert data["action"][:, sequence, 0].tolist() == a
        for step in range(3):
            rewards = [positions[h] + 10 * a[h] for h in range(step, 3)]
            expected = sum(0.5**i * r for i, r in enumerate(rewards)) + 0.5 ** (3 - step) * (1000 + positions[3])
            assert data["target"][step, sequence].item() == pytest.approx(expected)


def test_nothing_counts_after_a_predicted_end():
    data = virtual_sequences(known(True), torch.tensor([[1.0]]), torch.tensor([1.0, 1.0, 1.0]).view(1, 1, 3, 1))
    assert data["target"][:, 0].tolist() == pytest.approx([11 + 0.5 * 12, 12.0, 13.0])  # 1 -> 2 -> 3: over -> 4: over


def test_without_virtual_data_none_is_made_or_stored(monkeypatch):
    monkeypatch.setattr(off_policy, "virtual_sequences", lambda *a: pytest.fail("virtual data with a ratio of 0"))
    agent = tiny.agent()
    world = tiny.World(agent)
    metrics = world.run(12)
    assert "value_loss" in metrics[-1]
    assert "virtual_loss" not in metrics[-1]
    assert "planned" not in world.step()
    assert "planned" not in agent.replay.extras


def test_with_virtual_data_the_stored_sequences_are_the_planners():
    agent = tiny.agent(virtual_ratio=0.5, virtual_count=3)
    world = tiny.World(agent)
    first = world.step()
    assert first["planned"].shape == (2, 1, 3, 3, 2)
    assert torch.equal(first["planned"][:, 0, 0, 0], first["action"][:, 0])
    world.run(11)
    planned, plan = world.step()["planned"][:, 0], agent._last[2]
    for env in range(2):
        weighted = plan.actions[env, 0][plan.weights[env, 0] > 0]
        assert all((sequence == weighted).flatten(1).all(1).any() for sequence in planned[env])


# -- policy ----------------------------------------------------------------------------------------------------------


def prepared(agent):
    """Make a batch after the model's part of an update."""
    batch = tiny.batch(agent)
    agent.model_loss(batch)
    for parameter in agent.critic.heads.parameters():  # values start at zero, which would hide everything
        torch.nn.init.normal_(parameter)
    return batch


@pytest.mark.parametrize(("weight", "parts"), [(0.0, (1, 0)), (0.7, (1, 0.7)), (math.inf, (0, 1))])
def test_the_policy_loss_is_return_entropy_and_lambda_times_the_prior(weight, parts, monkeypatch):
    agent = tiny.agent(kl_weight=weight, policy="clamped", entropy_coef=0.01, temporal_decay=0.5, scale_rate=1.0)
    batch = prepared(agent)
    draws = torch.randn(2000, 3)
    monkeypatch.setattr(torch, "randn_like", lambda x: draws[: x[..., 0].numel(), : x.shape[-1]].reshape(x.shape))
    loss, metrics = agent.policy_loss(batch)
    states = batch["state"] if parts[0] else batch["state"][:-1]
    sample = agent.policy.sample(states)
    gain = 0.01 * -2 * sample.gaussian_log_prob  # of two actions
    if parts[0]:
        values = agent.critic.values(agent.values.inputs(states, sample.action)).mean(0)
        assert values[0].std() > 1  # so that the scale is not its floor of one
        gain = gain + values / max(torch.quantile(values[0], 0.95) - torch.quantile(values[0], 0.05), 1.0)
    expected = -agent.temporal_mean(gain)
    if parts[1]:
        divergence = agent.policy.divergence(sample[:3], batch["plan_mean"][:-1], batch["plan_std"][:-1])
        scale = max(torch.quantile(divergence[0], 0.95) - torch.quantile(divergence[0], 0.05), 1.0)
        expected = expected + parts[1] * agent.temporal_mean(divergence / scale)
        torch.testing.assert_close(agent.planner_kl(batch, sample), divergence)
    torch.testing.assert_close(loss, expected)
    assert ("return_scale" in metrics, "kl" in metrics) == (bool(parts[0]), bool(parts[1]))


def test_the_policy_step_moves_the_policy_alone():
    agent = tiny.agent(kl_weight=1.0)
    batch = prepared(agent)
    before = {name: p.detach().clone() for name, p in agent.named_parameters()}
    agent.optimizer_step("policy", agent.policy_loss(batch)[0], batch)
    moved = {name for name, p in agent.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("policy.")}
    assert all(p.grad is None for name, p in agent.named_parameters() if not name.startswith("policy."))


def test_imitation_alone_brings_the_policy_to_the_plans():
    agent = tiny.agent(kl_weight=math.inf, policy="clamped", learning_rate=3e-3, log_std_min=-3.0, log_std_max=1.0)
    batch = tiny.batch(agent, 32)
    batch["plan_mean"].fill_(-0.4)
    batch["plan_std"].fill_(0.2)
    for _ in range(150):
        agent.update(batch.clone())
    mean, log_std = agent.policy(agent.encode(batch["observation"][0]))
    torch.testing.assert_close(mean, torch.full_like(mean, -0.4), rtol=0, atol=0.06)
    torch.testing.assert_close(log_std.exp(), torch.full_like(mean, 0.2), rtol=0.25, atol=0)
