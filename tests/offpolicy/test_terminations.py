"""Terminations: who decides that they are learned, and that nothing counts after an end."""

import warnings

import pytest
import tiny
import torch
from latent import ACTIONS, BATCH, HORIZON, batch, deterministic, make
from line import Line, LineConfig

from pompc.config.compose import compose
from pompc.config.spec import configure
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.values import ActionValues
from pompc.offpolicy.virtual import virtual_sequences
from pompc.registry import ALGORITHMS, ENVIRONMENTS

LATENT = ("tdmpc2", "tdmpc_square", "bmpc", "pompc", "adaptive_pompc")


def latent_agent(name, **options):
    cls = ALGORITHMS.resolve(name)
    return make(cls, cls.Config, **options)


# -- who decides -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "family", "learned"),
    [
        *((None, True, True), (None, False, False), (None, None, True)),
        *((False, True, False), (True, False, True), (False, None, False)),
    ],
)
def test_terminations_are_learned_as_given_or_unless_the_family_has_none(given, family, learned):
    assert OffPolicyConfig(episodic=given).episodic_for(family) is learned
    assert (tiny.agent(episodic=given, terminates=family).model.termination_head is not None) is learned


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        *(("acrobot", True), ("lunar_lander", True), ("carla_racing", True), ("gym/Pendulum-v1", None)),
        *(("dmc/walker-walk", False), ("dmc/lqr-lqr_2_1", True), ("multitask", False), ("linear_system", False)),
    ],
)
def test_every_family_says_it_and_a_shown_configuration_has_what_follows(env, expected):
    assert compose("bmpc", env)["algo"]["episodic"] is None
    spec = configure("bmpc", env)
    assert ENVIRONMENTS.resolve(spec.environment)(spec.environment_config).terminates is expected
    assert spec.values["algo"]["episodic"] is spec.algorithm_config.episodic is (expected is not False)
    assert configure("bmpc", env, ["algo.episodic=false"]).algorithm_config.episodic is False
    assert configure("ppo", env).values == compose("ppo", env)


def test_one_task_that_terminates_is_enough():
    spec = configure("tdmpc2", "multitask", ["env.tasks=[walker-walk,lqr-lqr_2_1]"])
    assert spec.algorithm_config.episodic is True


def test_what_cannot_be_built_leaves_the_null_to_the_run_that_says_why():
    unusable = configure("tdmpc2", "carla_racing", ["env.observe_camera=true"])
    assert unusable.algorithm_config.episodic is None


def test_a_family_that_says_nothing_counts_as_one_that_terminates():
    assert Line(LineConfig()).terminates is None


def test_the_suites_tasks_terminate_where_the_family_says_so():
    suite, control = pytest.importorskip("dm_control.suite"), pytest.importorskip("dm_control.rl.control")
    from pompc.envs.dm_control import TERMINATING

    def ends(module):
        classes = [part for part in vars(module).values() if isinstance(part, type) and issubclass(part, control.Task)]
        return any("get_termination" in vars(part) for part in classes if part.__module__ == module.__name__)

    assert tuple(sorted(domain for domain, module in suite._DOMAINS.items() if ends(module))) == TERMINATING


# -- episodes that end without a model of their ends -----------------------------------------------------------------


class Ending(tiny.World):
    """Every second episode ends by termination."""

    def step(self):
        td = super().step()
        over = self.time % (2 * self.length) == 0
        td["next", "terminated"] = td["next", "done"] & over
        return td


@pytest.mark.parametrize("name", LATENT)
def test_a_termination_that_is_not_learned_is_warned_of_once(name):
    agent = tiny.agent(ALGORITHMS.resolve(name), episodic=False, seed_steps=200)
    world = Ending(agent, length=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.run(7)  # a truncated episode is no termination
    with pytest.warns(
        UserWarning, match=r"an episode has terminated, and algo\.episodic=false: .* algo\.episodic=true"
    ):
        world.run(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.run(8)


def test_learned_terminations_bring_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Ending(tiny.agent(terminates=True, seed_steps=200), length=4).run(9)


# -- nothing counts after an end -------------------------------------------------------------------------------------


def prepared(name, over, **options):
    """Make an agent whose model ends episodes in every state or in no state; its values are far from zero."""
    agent = latent_agent(name, episodic=True, virtual_ratio=0.3, **options)
    with torch.no_grad():
        head = agent.model.termination_head[-1]
        head.weight.zero_()
        head.bias.fill_(5.0 if over else -5.0)
        for linears in (agent.critic.heads.linears, agent.critic.target.linears):
            linears[-1].bias.copy_(torch.linspace(-10, 10, linears[-1].bias.shape[-1]))
    agent.policy.sample, agent.critic.draw = deterministic(agent.policy), lambda: None
    data = batch()
    data["planned"] = torch.rand(HORIZON + 1, BATCH, 2, HORIZON, ACTIONS) * 2 - 1
    data["encoded"] = agent.model.encode(data["observation"]).detach()
    return agent, data


@torch.no_grad()
@pytest.mark.parametrize("name", LATENT)
def test_after_a_stored_or_predicted_end_a_value_target_is_the_reward_alone(name):
    agent, data = prepared(name, over=True)
    own = type(agent.values) is ActionValues  # values of actions take their targets from stored transitions
    data["terminated"][1, ::2] = 1
    target, state = agent.value_target(data), data["encoded"][:-1]
    reward = data["reward"][:-1, :, 0] if own else agent.model.reward(state, agent.policy.sample(state).action)
    ended = data["terminated"][:-1, :, 0].bool() if own else torch.ones_like(reward, dtype=torch.bool)
    torch.testing.assert_close(target[ended], reward[ended])
    going, data = prepared(name, over=False)
    rest = going.value_target(data) - (reward if own else going.model.reward(state, going.policy.sample(state).action))
    assert (rest.abs() > 1).all(), "elsewhere the value of the next state counts"


@torch.no_grad()
@pytest.mark.parametrize("name", LATENT)
def test_virtual_targets_and_plans_stop_at_a_predicted_end(name):
    for over in (True, False):
        agent, data = prepared(name, over)
        virtual = virtual_sequences(agent, data["encoded"][0], data["planned"][0])
        reward = agent.model.reward(virtual["state"], virtual["action"])
        assert torch.allclose(virtual["target"], reward, atol=1e-5) is over
        state, actions = data["encoded"][0], data["planned"][0].unsqueeze(1)
        states = agent.planner.rollout(state, actions)
        charges = agent.planner.scorer.evaluate(states, actions, terminal_value=agent.terminal_value())
        first = -agent.model.reward(state[:, None, None].expand(-1, 1, 2, -1), actions[..., 0, :])
        torch.testing.assert_close(charges[..., 0], first)
        assert (charges[..., 1:] == 0).all().item() is over


@torch.no_grad()
@pytest.mark.parametrize("name", ["bmpc", "pompc"])
def test_renewed_plans_stop_at_a_predicted_end(name, monkeypatch):
    seen = []
    for over in (True, False):
        agent, data = prepared(name, over, reanalyze_interval=1, reanalyze_sequences=4)
        monkeypatch.setattr(agent.replay, "update", lambda *a: None)
        scorer = agent.planner.scorer
        monkeypatch.setattr(
            scorer, "charge", lambda *a, e=scorer.charge, **k: (seen.append(e(*a, **k)[0]) or seen[-1],)
        )
        agent.reanalyzer(agent, data, torch.zeros(HORIZON + 1, BATCH, dtype=torch.long))
        assert seen, "it planned"
        assert all((charges[..., 1:] == 0).all() for charges in seen) is over
        seen.clear()


@torch.no_grad()
def test_a_soft_target_counts_nothing_after_a_stored_end():
    _, data = prepared("pompc", over=False)
    soft = latent_agent("pompc", soft_target=True, kl_weight=2.0)
    data["terminated"][:] = 1
    data["encoded"] = soft.model.encode(data["observation"])
    torch.testing.assert_close(soft.value_target(data), data["reward"][:-1, :, 0])
