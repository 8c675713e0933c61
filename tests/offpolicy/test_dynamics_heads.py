"""Heads of the latent dynamics: all learn, a plan goes through each, one is TD-MPC2."""

import math
from dataclasses import replace
from functools import partial

import pytest
import tiny
import torch
from latent import batch, make, updated

from pompc.algorithms.bmpc import BMPC
from pompc.algorithms.mpq import MPQConfig
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.errors import UserError
from pompc.models.heads import dealt, disagreement
from pompc.models.imagination import HeadImagination
from pompc.networks.ensembles import log_mean_exp
from pompc.offpolicy.losses import temporal_mean
from pompc.planner import MPPI

HEADS = 3
SHARP = {"ensemble_size": 2, "log_std_min": -20.0, "log_std_max": -19.9}
"""Two value heads, of which none is drawn, and a policy without noise: plans draw nothing but their samples."""
PLANNER = make(TDMPC2, TDMPC2Config).config.planner


def agent_with(**options):
    return make(TDMPC2, TDMPC2Config, dynamics_heads=HEADS, **options)


def alike(agent):
    """Give all heads the weights of the first."""
    for head in agent.model.more_dynamics:
        head.load_state_dict(agent.model.dynamics.state_dict())
    return agent


def planned(agent, **options):
    """Plan from three states without proposals."""
    torch.manual_seed(7)
    state = agent.encode(batch()["observation"][0, :3]).detach()
    return state, agent.planner.plan(state, terminal_value=agent.terminal_value(), **options)


def returns_through(agent, state, actions):
    """Compute the return of every sample through every head ``[head, batch, candidate, sample]``."""
    found = []
    for head in range(HEADS):
        imagination = HeadImagination(agent.model, head)
        scorer = MPPI(agent.planner.config, imagination, imagination, 2).scorer
        states = scorer.rollout(state, actions)
        found.append(-scorer.evaluate(states, actions, terminal_value=agent.terminal_value()).sum(-1))
    return torch.stack(found)


class TestOneHead:
    def test_it_is_the_default_with_the_names_and_the_planner_of_always(self):
        agent = make(TDMPC2, TDMPC2Config)
        assert type(agent.planner) is MPPI
        assert not [name for name in agent.state_dict() if "more_dynamics" in name]
        three = agent_with()
        assert {name for name in three.state_dict() if "more_dynamics" not in name} == agent.state_dict().keys()

    def test_three_equal_heads_have_its_loss_and_its_plans(self):
        one, three = make(TDMPC2, TDMPC2Config, **SHARP), alike(agent_with(**SHARP))
        three.load_state_dict(one.state_dict(), strict=False)
        alike(three)
        losses = []
        for agent in (one, three):
            torch.manual_seed(3)
            losses.append(agent.model_loss(batch()))
        torch.testing.assert_close(losses[0][0], losses[1][0])
        assert losses[1][1]["dynamics_disagreement"] == pytest.approx(0.0, abs=1e-6)
        assert "dynamics_disagreement" not in losses[0][1]
        with torch.no_grad():
            noise = torch.randn(2, 3, 1, 32, 3, 2)
            plans = [planned(agent, noise=noise)[1] for agent in (one, three)]
        torch.testing.assert_close(plans[0].costs, plans[1].costs, rtol=1e-4, atol=1e-4)


class TestLearning:
    def test_heads_start_apart_and_a_step_is_their_mean(self):
        model = agent_with().model
        state, action = torch.rand(4, 16), torch.rand(4, 2)
        heads = torch.stack([model.next_by(head, state, action) for head in range(HEADS)])
        assert disagreement(list(heads)) > 1e-3
        torch.testing.assert_close(model.next(state, action), heads.mean(0))
        torch.testing.assert_close(model.next(state, action).unflatten(-1, (-1, 8)).sum(-1), torch.ones(4, 2))

    def test_the_consistency_loss_is_the_mean_over_the_heads(self):
        agent, data = agent_with(), batch()
        _, losses = agent.model_loss(data)
        first = agent.model.encode(data["observation"][0])
        rolled = [agent.model.roll_out(head, first, data["action"][:-1]) for head in range(HEADS)]
        errors = [temporal_mean((each[1:] - data["encoded"][1:]).square(), 0.5) for each in rolled]
        torch.testing.assert_close(losses["consistency_loss"], torch.stack(errors).mean().detach())
        torch.testing.assert_close(data["state"], dealt(rolled).detach())

    def test_a_batch_is_dealt_out_in_equal_parts_and_keeps_its_order(self):
        predictions = [
            torch.full((2, 8, 1), float(head)) + torch.arange(8).view(1, 8, 1) / 100 for head in range(HEADS)
        ]
        found = dealt(predictions)
        assert found[0, :, 0].floor().tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
        torch.testing.assert_close(found - found.floor(), predictions[0])
        assert dealt(predictions[:1]) is predictions[0]

    def test_every_head_learns_and_stays_itself(self):
        agent, data = agent_with(learning_rate=1e-3), batch()

        def errors():
            with torch.no_grad():
                encoded = agent.model.encode(data["observation"])
                rolled = [agent.model.roll_out(head, encoded[0], data["action"][:-1]) for head in range(HEADS)]
                return [(each[1:] - encoded[1:]).square().mean().item() for each in rolled]

        before = errors()
        for _ in range(30):
            agent.update(data)
        after = errors()
        assert all(end < 0.9 * start for start, end in zip(before, after, strict=True)), (before, after)
        heads = [agent.model.dynamics, *agent.model.more_dynamics]
        assert len({head[0].linear.weight.sum().item() for head in heads}) == HEADS

    @pytest.mark.parametrize("options", [{"episodic": True, "terminates": True}, {"virtual_ratio": 0.5}])
    def test_terminations_and_virtual_data_learn_too(self, options):
        agent = tiny.agent(TDMPC2, dynamics_heads=HEADS, **options)
        metrics = tiny.World(agent).run(25)[-1]
        name = "termination_loss" if "episodic" in options else "virtual_loss"
        assert math.isfinite(metrics[name])

    def test_tasks_keep_their_index_through_all_heads(self):
        agent = tiny.agent(TDMPC2, dynamics_heads=HEADS, tasks=tiny.tasks(), observation_dim=4)
        data = tiny.batch(agent)
        agent.update(data)
        assert torch.equal(data["state"][..., -1], data["observation"][..., -1])

    def test_values_of_states_learn_from_the_mean_of_the_heads(self):
        agent = tiny.agent(BMPC, dynamics_heads=HEADS)
        assert math.isfinite(agent.update(tiny.batch(agent))["value_loss"])


class TestPlanning:
    @torch.no_grad()
    @pytest.mark.parametrize("decay", [0.0, 1.0])
    def test_a_sample_has_the_mean_return_through_the_heads(self, decay):
        agent = agent_with(**SHARP, planner=replace(PLANNER, depth_decay=decay))
        state, plan = planned(agent)
        torch.testing.assert_close(
            -plan.costs, returns_through(agent, state, plan.actions).mean(0), rtol=1e-4, atol=1e-4
        )
        assert (returns_through(agent, state, plan.actions).std(0) > 1e-3).any()

    @torch.no_grad()
    @pytest.mark.parametrize("kappa", [-3.0, 3.0])
    def test_optimism_weighs_the_heads_of_the_dynamics_as_it_weighs_those_of_the_values(self, kappa):
        agent = agent_with(**SHARP, optimism=kappa)
        agent.optimism.scale.value.fill_(0.7)
        state, plan = planned(agent)
        returns = returns_through(agent, state, plan.actions)
        torch.testing.assert_close(-plan.costs, 0.7 * log_mean_exp(returns / 0.7, kappa), rtol=1e-4, atol=1e-4)
        assert ((-plan.costs - returns.mean(0)).sign() == (1 if kappa > 0 else -1)).all()

    @torch.no_grad()
    def test_a_compiled_plan_is_the_same(self, monkeypatch):
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
        monkeypatch.setattr("pompc.planner.scoring.require_compiler", lambda what: None)
        costs, noise = [], torch.randn(1, 3, 1, 32, 3, 2)
        for compiled in (True, False):
            planner = replace(PLANNER, compile=compiled, depth_decay=1.0, num_iterations=1)
            agent = make(TDMPC2, TDMPC2Config, dynamics_heads=2, planner=planner, **SHARP)
            costs.append(planned(agent, noise=noise)[1].costs)
        torch.testing.assert_close(*costs, rtol=1e-4, atol=1e-4)

    def test_steps_of_all_heads_count(self):
        one, three = make(TDMPC2, TDMPC2Config), agent_with()
        for agent in (one, three):
            planned(agent)
        assert three.planner.model_steps == HEADS * one.planner.model_steps > 0


class TestRefusals:
    def test_an_explicit_model_has_no_heads(self):
        words = (
            r"^algo\.dynamics_heads=3 are heads of learned dynamics, .* algo\.model=known .*: take algo\.model=learned"
        )
        with pytest.raises(UserError, match=words):
            TDMPC2Config(dynamics_heads=3, model="known")

    def test_a_blend_takes_one_head(self):
        with pytest.raises(UserError, match=r"^mpq blends rollouts of one head: leave algo\.dynamics_heads=3 out$"):
            MPQConfig(dynamics_heads=3, model="learned")

    def test_heads_of_dynamics_are_enough_to_be_cautious_about(self):
        TDMPC2Config(ensemble_size=1, dynamics_heads=2, optimism=-1.0)
        with pytest.raises(UserError, match=r"algo\.ensemble_size=1"):
            TDMPC2Config(ensemble_size=1, optimism=-1.0)


def test_equal_seeds_are_equal_runs():
    one, other = (updated(agent_with())[0] for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
