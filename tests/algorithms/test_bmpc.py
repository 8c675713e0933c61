"""BMPC: state values that bootstrap from the model, and lazy reanalysis."""

import math
from types import SimpleNamespace

import pytest
import torch
from latent import ACTIONS, BATCH, HORIZON, OBSERVATION, batch, deterministic, make
from tensordict import TensorDict

from pompc.algorithms.bmpc import BMPC, BMPCConfig


class TestBMPC:
    def test_values_do_not_see_actions_and_bootstrap_from_the_model(self):
        agent, data = make(BMPC, BMPCConfig, ensemble_size=2), batch()
        data["encoded"] = agent.model.encode(data["observation"]).detach()
        agent.policy.sample = deterministic(agent.policy)
        with torch.no_grad():
            target = agent.value_target(data)
            state = data["encoded"][:-1]
            action = agent.policy.sample(state).action
            then = agent.critic.two_hot.decode(agent.critic.target(agent.model.next(state, action))).mean(0)
            torch.testing.assert_close(target, agent.model.reward(state, action) + 0.9 * then)
        data["reward"] += 100  # the rewards of the data play no part
        with torch.no_grad():
            torch.testing.assert_close(agent.value_target(data), target)

    def test_a_finite_lambda_adds_the_models_return(self):
        """The gradient of the return reaches the policy through the model."""
        found = []
        for kl_weight in (math.inf, 1.0):
            agent, data = make(BMPC, BMPCConfig, ensemble_size=2, kl_weight=kl_weight, entropy_coef=0.0), batch()
            agent.model_loss(data)
            agent.policy.sample = deterministic(agent.policy)
            loss, _ = agent.policy_loss(data)
            found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(agent.policy.parameters()))]))
            sample = agent.policy.sample(data["state"])
        value = agent.values.of_action(data["state"], sample.action)
        gain = -agent.temporal_mean(value / agent.return_scale.value)
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(gain, list(agent.policy.parameters()))])
        assert expected.abs().max() > 1e-4
        torch.testing.assert_close(found[1] - found[0], expected, rtol=1e-3, atol=1e-6)

    def test_the_policy_waits_for_the_pretraining_to_end(self):
        agent = make(BMPC, BMPCConfig)
        before = agent.policy.net[2].weight.clone()
        agent.update(batch(), in_burst=True)
        assert torch.equal(agent.policy.net[2].weight, before)
        agent.update(batch())
        assert not torch.equal(agent.policy.net[2].weight, before)


class TestLazyReanalysis:
    def filled(self, **options):
        options = {"reanalyze_interval": 2, "reanalyze_sequences": 4, **options}
        agent = make(BMPC, BMPCConfig, buffer_size=400, **options)
        steps = 60
        observation = torch.randn(1, steps + 1, OBSERVATION)
        done = torch.zeros(1, steps, 1, dtype=torch.bool)
        done[:, 29::30] = True
        data = TensorDict(
            {
                "observation": observation[:, :-1],
                "action": torch.rand(1, steps, ACTIONS),
                "plan_mean": torch.full((1, steps, ACTIONS), 7.0),
                "plan_std": torch.full((1, steps, ACTIONS), 7.0),
                "next": {
                    "observation": observation[:, 1:],
                    "reward": torch.rand(1, steps, 1),
                    "terminated": torch.zeros(1, steps, 1, dtype=torch.bool),
                    "done": done,
                },
            },
            batch_size=[1, steps],
        )
        agent.replay.extend(data)
        return agent

    def test_new_plans_go_to_the_replay_and_into_the_same_update(self):
        agent = self.filled()
        data, indices = agent.replay.sample(BATCH)
        agent.reanalyzer(agent, data, indices)
        assert (data["plan_std"][:HORIZON, :4] <= 2).all()
        assert (data["plan_mean"][:HORIZON, :4].abs() <= 1).all()
        assert (data["plan_std"][:HORIZON, 4:] == 7).all()
        stored = agent.replay.state_dict()
        renewed = len(indices[:HORIZON, :4].unique())
        column = torch.cat([v.reshape(-1, ACTIONS) for v in find(stored, "plan_std")])
        assert ((column > 0) & (column <= 2)).all(-1).sum() == renewed

    def test_every_plan_replaces_that_of_its_state(self, monkeypatch):
        agent, asked = self.filled(reanalyze_log_std_min=-1.5, reanalyze_log_std_max=0.5), {}
        monkeypatch.setattr(agent, "proposals", lambda state, log_std_range: asked.update(log_std_range=log_std_range))

        def plan(state, **options):
            asked.update(options)
            mean = state[:, None, None, :ACTIONS].expand(-1, 1, HORIZON, -1)
            return SimpleNamespace(mean=mean, std=mean + 1)

        monkeypatch.setattr(agent.planner, "plan", plan)
        monkeypatch.setattr(agent.planner, "select", lambda plan: plan.mean[..., 0, :])
        data, indices = agent.replay.sample(BATCH)
        agent.reanalyzer(agent, data, indices)
        renewed = (slice(HORIZON), slice(4))
        expected = agent.model.encode(data["observation"][renewed])[..., :ACTIONS]
        torch.testing.assert_close(data["plan_mean"][renewed], expected)
        torch.testing.assert_close(data["plan_std"][renewed], expected + 1)
        torch.testing.assert_close(agent.replay._columns["plan_mean"][indices[renewed]], expected)
        assert asked["log_std_range"] == (-1.5, 0.5)
        assert asked["terminal_value"] == agent.values.of_state
        assert "mean" not in asked, "no warm start"

    @pytest.mark.parametrize("why", ["never", "burst", "not due"])
    def test_otherwise_nothing_changes(self, why):
        agent = self.filled(reanalyze_interval=0 if why == "never" else 2)
        agent.updates = 1 if why == "not due" else 0
        data, indices = agent.replay.sample(BATCH)
        agent.update(data, indices, in_burst=why == "burst")
        assert (data["plan_std"][:HORIZON] == 7).all()


def find(state, name):
    """List all tensors under the key ``name`` in a nested state."""
    if isinstance(state, dict):
        return [t for key, v in state.items() for t in ([v] if key == name else find(v, name))]
    return [t for v in state for t in find(v, name)] if isinstance(state, list | tuple) else []
