"""The PPO learner agrees with its definitions: targets, rates, gradient steps, clipping, normalisation."""

import math
from itertools import pairwise

import pytest
import torch
from tensordict import TensorDict
from torch.distributions import Normal
from torch.nn.utils import get_total_norm

from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.config.spec import configure
from pompc.errors import NonFiniteError
from pompc.metrics import mean_metrics
from pompc.problem import Problem

TRANSITIONS = 3 * 16


def agent_of(**options):
    sizes = {"observation_dim": 2, "action_dim": 2, "num_envs": 3, "device": torch.device("cpu")}
    return PPO(PPOConfig(hidden_sizes=(8,), **options), Problem(**sizes, task_model=lambda: None))


def transitions(agent):
    """Make transitions of 3 environments: one episode terminates, one is truncated, all are cut off at the end."""
    observation = 5 + 2 * torch.randn(3, 17, 2)
    with torch.no_grad():
        action, log_prob = agent.sample_policy(observation[:, :-1].flatten(0, 1), 1)
    terminated, truncated = torch.zeros(2, 3, 16, 1, dtype=torch.bool)
    terminated[0, 5] = truncated[1, 9] = True
    after = {
        "observation": observation[:, 1:],
        "reward": 3 * torch.randn(3, 16, 1),
        "done": terminated | truncated,
        "terminated": terminated,
        "truncated": truncated,
    }
    now = {"observation": observation[:, :-1], "policy_action": action.view(3, 16, 2), "log_prob": log_prob.view(3, 16)}
    return TensorDict({**now, "next": after}, batch_size=[3, 16])


def update(agent, data):
    """Learn from ``data``; return the minibatches of all gradient steps."""
    step, batches = agent.step, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent, "step", lambda batch, groups: batches.append(batch) or step(batch, groups))
        agent.learn(data)
    return batches


def naive_advantages(data, value, next_value, reward, discount, gae_lambda):
    """Sum discounted temporal differences up to the end of the episode or of the batch."""
    done, terminated = data["next", "done"], data["next", "terminated"]
    advantages = torch.zeros(3, 16)
    for env in range(3):
        for start in range(16):
            for step in range(start, 16):
                later = 0.0 if terminated[env, step] else next_value[env, step]
                difference = reward[env, step] + discount * later - value[env, step]
                advantages[env, start] += (discount * gae_lambda) ** (step - start) * difference
                if done[env, step]:
                    break
    return advantages


@torch.no_grad()
def test_targets_are_generalised_advantages_by_their_definition():
    agent = agent_of(discount=0.9, gae_lambda=0.5, ensemble_size=3)
    agent.normaliser.update(5 + 2 * torch.randn(100, 2))
    agent.return_scale.moments.var.fill_(4.0)  # rewards count half
    data = transitions(agent)
    value, next_value = (agent.values(agent.normaliser(x["observation"])).mean(0) for x in (data, data["next"]))
    advantages = naive_advantages(data, value, next_value, data["next", "reward"][..., 0] / 2, 0.9, 0.5)
    target, advantage = agent.value_target(data)
    torch.testing.assert_close(advantage[..., 0], advantages)
    torch.testing.assert_close(target[..., 0], advantages + value)
    batch = agent.real_batch(data)
    torch.testing.assert_close(batch["value_target"], (advantages + value).flatten())
    torch.testing.assert_close(batch["value"], value.flatten())
    # Only the policy's advantages are standardised.
    standard = (advantages - advantages.mean()) / advantages.std()
    torch.testing.assert_close(batch["advantage"][:, 0], standard.flatten())


def test_the_learning_rate_falls_by_its_factor_per_update(monkeypatch):
    agent = agent_of(learning_rate=1e-2, learning_rate_decay=0.5, epochs=1)
    data, step, rates = transitions(agent), agent.step, []

    def seen(batch, groups):
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in agent.optimizers.values()])
        return step(batch, groups)

    monkeypatch.setattr(agent, "step", seen)
    for _ in range(3):
        agent.learn(data)
    assert rates == [[1e-2, 1e-2], [5e-3, 5e-3], [2.5e-3, 2.5e-3]]


def test_the_learning_rate_falls_to_a_floor_so_that_a_longer_run_still_learns():
    config = PPOConfig()
    rates = [config.learning_rate_at(update) for update in range(1000)]
    assert rates[:3] == [7e-4, 7e-4 * 0.97, 7e-4 * 0.97**2]
    assert all(b <= a for a, b in pairwise(rates))
    assert rates[63] == rates[610] == rates[999] == pytest.approx(0.15 * 7e-4)
    agent = agent_of(epochs=1, minibatch_size=48)
    agent.updates = 10_000
    data = transitions(agent)
    before = [p.detach().clone() for p in agent.actor.parameters()]
    agent.learn(data)
    moved = max((a - b).abs().max().item() for a, b in zip(agent.actor.parameters(), before, strict=True))
    assert moved == pytest.approx(0.15 * 7e-4, rel=0.02)  # the size of Adam's first step


@pytest.mark.parametrize("env", ["acrobot", "lunar_lander", "carla_racing", "dmc/cartpole-swingup", "gym/Pendulum-v1"])
@pytest.mark.parametrize("algo", ["ppo", "adaptive_hrl"])
def test_a_default_run_makes_sixty_updates_of_equal_environment_steps(algo, env):
    """A batch counts environment steps with repeated actions, so this holds in every environment."""
    spec = configure(algo, env)
    repeat, num_envs = spec.values["env"].get("action_repeat", 1), spec.options.num_envs
    sizes = {"observation_dim": 2, "action_dim": 2, "num_envs": num_envs, "device": torch.device("cpu")}
    problem = Problem(**sizes, task_model=lambda: None, action_repeat=repeat)
    agent = PPO(PPOConfig(batch_size=spec.algorithm_config.batch_size), problem)
    steps = agent.frames_per_batch * repeat
    assert 8192 <= steps < 8192 + num_envs * repeat
    assert agent.frames_per_batch % num_envs == 0
    assert spec.options.steps / steps > 60


def test_one_optimizer_step_moves_policy_and_values_by_the_learning_rate_and_downhill():
    agent = agent_of(learning_rate=1e-3)
    batch = agent.real_batch(transitions(agent))
    before = [[p.detach().clone() for p in module.parameters()] for module in (agent.actor, agent.values)]
    first = agent.step(batch, [(1.0, batch)])
    for module, old in zip((agent.actor, agent.values), before, strict=True):
        moved = max((a - b).abs().max().item() for a, b in zip(module.parameters(), old, strict=True))
        assert moved == pytest.approx(1e-3, rel=0.02)  # the size of Adam's first step
    second = agent.step(batch, [(1.0, batch)])
    assert second["value_loss"] < first["value_loss"]
    assert second["policy_loss"] < first["policy_loss"]


@pytest.mark.parametrize(("size", "sizes"), [(20, [16] * 3), (7, [7] * 6 + [6]), (48, [48]), (1000, [48])])
def test_an_epoch_is_one_shuffled_pass_in_minibatches_of_nearly_equal_size(size, sizes):
    agent = agent_of(epochs=2, minibatch_size=size)
    data = transitions(agent)
    batches = update(agent, data)
    assert [len(batch) for batch in batches] == sizes * 2
    actions = torch.cat([batch["policy_action"][:, 0] for batch in batches]).view(2, TRANSITIONS)
    collected = data["policy_action"][..., 0].flatten()
    assert all(torch.equal(epoch.sort().values, collected.sort().values) for epoch in actions)
    assert not torch.equal(actions[0], actions[1])
    assert not torch.equal(actions[0], collected)


def test_the_entropy_bonus_is_that_of_a_gaussian():
    agent = agent_of(entropy_coef=0.1, initial_std=0.5)
    batch = agent.real_batch(transitions(agent))
    batch["advantage"].zero_()
    loss, metrics = agent.policy_loss(batch)
    entropy = 2 * (math.log(0.5) + 0.5 * math.log(2 * math.pi * math.e))  # the policy has two dimensions
    assert metrics["entropy"] == pytest.approx(entropy)
    assert loss.item() == pytest.approx(-0.1 * entropy)


@pytest.mark.parametrize(("clip", "share"), [(0.2, 0.75), (0.4, 0.5)])
def test_the_surrogate_is_clipped_where_the_ratio_has_gone_too_far(clip, share):
    agent = agent_of(clip_epsilon=clip)
    batch = agent.real_batch(transitions(agent))[:8]
    ratio = torch.tensor([0.5, 0.9, 1.3, 2.0]).repeat(2)
    advantage = torch.tensor([1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0])
    batch["log_prob"] -= ratio.log()
    batch["advantage"] = advantage.unsqueeze(-1)
    loss, metrics = agent.policy_loss(batch)
    # A good action gains nothing above 1 + clip, a bad one nothing below 1 - clip.
    kept = torch.where(advantage > 0, ratio.clamp_max(1 + clip), ratio.clamp_min(1 - clip))
    assert loss.item() == pytest.approx(-(kept * advantage).mean().item(), rel=1e-4)
    assert metrics["clip_fraction"] == pytest.approx(share)


def test_gradients_of_policy_and_values_are_clipped_apart():
    norms = {}
    for largest in (1e-2, 1e6):
        torch.manual_seed(0)
        agent = agent_of(max_grad_norm=largest)
        batch = agent.real_batch(transitions(agent))
        agent.step(batch, [(1.0, batch)])
        modules = (agent.actor, agent.values)
        norms[largest] = [get_total_norm([p.grad for p in module.parameters()]).item() for module in modules]
    assert norms[1e-2] == pytest.approx([1e-2, 1e-2], rel=1e-3)
    assert min(norms[1e6]) > 2e-2  # so both were clipped


@pytest.mark.parametrize(("key", "name"), [("advantage", "actor"), ("value_target", "values")])
def test_every_step_checks_both_losses_and_stops_by_name(key, name):
    agent = agent_of()
    batch = agent.real_batch(transitions(agent))
    batch[key][7] = torch.nan
    before = [p.detach().clone() for p in agent.values.parameters()]
    with pytest.raises(NonFiniteError, match=f"{name} loss is not finite"):
        agent.step(batch, [(1.0, batch)])
    assert all(torch.equal(a, b) for a, b in zip(before, agent.values.parameters(), strict=True))


def test_metrics_are_averaged_over_the_steps_that_have_them():
    steps = [{"loss": 1.0}, {"loss": 2.0, "entropy": 5.0}, {"loss": 6.0, "entropy": 7.0}]
    assert mean_metrics(steps) == {"loss": 3.0, "entropy": 6.0}


def test_a_metric_that_does_not_exist_is_absent():
    agent = agent_of()
    metrics = agent.learn(transitions(agent))
    assert not {"kl_term", "return_term", "virtual_bias", "virtual_weight"} & metrics.keys()
    assert all(map(math.isfinite, metrics.values()))
    loss, found = agent.policy_loss(agent.real_batch(transitions(agent))[:0])
    assert loss == 0
    assert found == {}


def test_draws_have_the_initial_std_and_come_with_their_density():
    agent = agent_of(initial_std=0.3)
    observation = torch.randn(5, 2)
    drawn, log_prob = agent.sample_policy(observation, 4000)
    mean = agent.actor(observation)[0].unsqueeze(1)
    torch.testing.assert_close((drawn - mean).std(1), torch.full((5, 2), 0.3), atol=0.015, rtol=0)
    torch.testing.assert_close(log_prob, Normal(mean, 0.3).log_prob(drawn).sum(-1))


def test_a_member_learns_from_its_own_share_of_the_samples_only():
    agent = agent_of(ensemble_size=20, bootstrap=0.3)
    batch = agent.real_batch(transitions(agent))
    assert batch["mask"].shape == (TRANSITIONS, 20)
    assert batch["mask"].mean().item() == pytest.approx(0.3, abs=0.05)
    assert len({tuple(shown) for shown in batch["mask"].T.tolist()}) == 20
    batch["mask"][:, 7] = 0.0
    agent.step(batch, [(1.0, batch)])
    gradient = agent.values.weights[-1].grad.flatten(1).abs().sum(-1)
    assert (gradient == 0).nonzero().tolist() == [[7]]


@pytest.mark.parametrize("on", [True, False])
def test_observations_are_standardised_by_the_updates_before(on):
    """An update standardises its batch with the moments with which the policy acted."""
    agent = agent_of(normalise_observation=on, epochs=1)
    first, second = transitions(agent), transitions(agent)
    raw = [data["observation"].flatten(0, 1) for data in (first, second)]
    (batch,) = update(agent, first)
    torch.testing.assert_close(batch["observation"].sort(0).values, raw[0].sort(0).values)
    (batch,) = update(agent, second)
    expected = (raw[1] - raw[0].mean(0)) / raw[0].std(0, correction=0) if on else raw[1]
    torch.testing.assert_close(batch["observation"].sort(0).values, expected.sort(0).values)


@pytest.mark.parametrize("on", [True, False])
def test_rewards_are_scaled_by_the_std_of_returns_including_their_own(on):
    agent = agent_of(normalise_reward=on, discount=0.9, epochs=1)
    data = transitions(agent)
    reward, returns, running = data["next", "reward"][..., 0], [], torch.zeros(3)
    for step in range(16):
        running = 0.9 * running + reward[:, step]
        returns.append(running)
        running = running.masked_fill(data["next", "done"][:, step, 0], 0.0)
    (batch,) = update(agent, data)
    expected = reward / torch.stack(returns).std(correction=0) if on else reward
    torch.testing.assert_close(batch["reward"].sort().values, expected.flatten().sort().values)
