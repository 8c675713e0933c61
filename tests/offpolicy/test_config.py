"""Options of the off-policy agents: the rules of the paper, and mistakes that are named in one line."""

import dataclasses
import math

import pytest
import tiny
import torch

from pompc.algorithms.pompc import POMPC
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.dials import ScheduleConfig
from pompc.errors import UserError
from pompc.models.config import SIZES
from pompc.networks.layers import SimNorm, mish
from pompc.offpolicy.config import OffPolicyConfig, tdmpc2_planner


@pytest.mark.parametrize(
    ("length", "discount"), [(500, 0.99), (1000, 0.995), (100, 0.95), (10_000, 0.995), (1, 0.95), (250, 0.98)]
)
def test_the_discount_follows_from_the_episode(length, discount):
    assert OffPolicyConfig().discount_for(length) == pytest.approx(discount)


def test_the_rule_of_the_discount_has_options_and_a_given_one_wins():
    wide = OffPolicyConfig(discount_denominator=10, discount_min=0.5, discount_max=0.999)
    assert wide.discount_for(1000) == pytest.approx(0.99)
    assert wide.discount_for(20) == pytest.approx(0.5)
    assert wide.discount_for(10**9) == pytest.approx(0.999)
    assert OffPolicyConfig(discount=0.8).discount_for(500) == 0.8
    assert OffPolicyConfig(discount=0.8).discount_for(None) == 0.8


@pytest.mark.parametrize(("length", "steps"), [(500, 2500), (1000, 5000), (100, 1000), (200, 1000), (None, 1000)])
def test_five_episodes_and_at_least_a_thousand_steps_are_random(length, steps):
    assert OffPolicyConfig().seed_steps_for(length) == steps
    assert OffPolicyConfig(seed_steps=0).seed_steps_for(length) == 0
    assert OffPolicyConfig(seed_steps=77).seed_steps_for(length) == 77


def test_without_a_time_limit_a_discount_must_be_given():
    with pytest.raises(UserError, match=r"no time limit .* set algo\.discount"):
        OffPolicyConfig().discount_for(None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"simnorm_group": 0}, r"algo\.simnorm_group must be positive, not 0"),
        ({"num_bins": -1}, r"algo\.num_bins must be at least 2"),
        ({"batch_size": 0}, r"algo\.batch_size must be positive"),
        ({"learning_rate": 0.0}, r"algo\.learning_rate must be positive"),
        ({"update_to_data": -0.5}, r"algo\.update_to_data must be positive, not -0\.5"),
        ({"log_every": 0}, r"algo\.log_every must be positive"),
        ({"max_grad_norm": 0.0}, r"algo\.max_grad_norm must be positive"),
        ({"virtual_count": 0}, r"algo\.virtual_count must be positive"),
        ({"kl_scale_min": 0.0}, r"algo\.kl_scale_min must be positive, not 0\.0"),
        ({"random_value_scale": -1.0}, r"algo\.random_value_scale must be at least 0, not -1\.0"),
        ({"random_value_scale": math.inf}, r"algo\.random_value_scale must be at least 0, not inf"),
        ({"task_dim": 0}, r"algo\.task_dim must be positive"),
        ({"model_size": 4}, r"algo\.model_size must be one of 1, 5, 19, 48, 317, not 4"),
        ({"critic_init": "normal"}, r"algo\.critic_init must be one of trunc_normal, uniform, not 'normal'"),
        ({"policy": "tanh"}, r"algo\.policy must be one of squashed, clamped, not 'tanh'"),
        ({"matmul_precision": "low"}, r"algo\.matmul_precision must be one of highest, high, medium, not 'low'"),
        ({"discount": 1.0}, r"algo\.discount must lie in \(0, 1\), not 1\.0"),
        ({"discount": 0.0}, r"algo\.discount must lie in \(0, 1\)"),
        ({"latent_dim": 100}, r"algo\.latent_dim=100 is no multiple of simnorm_group=8"),
        ({"simnorm_group": 24}, r"algo\.latent_dim=512 is no multiple of simnorm_group=24"),
        ({"num_proposals": 512}, r"algo\.num_proposals=512 must lie in \[0, 512\) \(planner\.num_samples\)"),
        ({"num_proposals": -1}, r"algo\.num_proposals must be at least 0, not -1"),
        ({"update_to_data": math.inf}, r"algo\.update_to_data must be positive, not inf"),
        ({"learning_rate": math.nan}, r"algo\.learning_rate must be a number, not nan"),
        ({"entropy_coef": math.nan}, r"algo\.entropy_coef must be a number, not nan"),
        ({"log_std_max": 1000.0}, r"algo\.log_std_max must lie in \[-20, 20\], not 1000"),
        ({"bin_high": math.inf}, r"algo\.bin_high must lie in \[-80, 80\], not inf"),
        (
            {"planner": dataclasses.replace(tdmpc2_planner(), min_std=0.0)},
            r"planner\.min_std must be positive, not 0\.0",
        ),
        (
            {"policy_share": ScheduleConfig(), "ensemble_size": 1},
            r"algo\.ensemble_size=1: .* needs at least 2 of them",
        ),
        (
            {"virtual_ratio": ScheduleConfig(), "ensemble_size": 1},
            r"algo\.ensemble_size=1: .* needs at least 2 of them",
        ),
        ({"kl_weight": ScheduleConfig(schedule="ratio"), "batch_size": 1}, r"algo\.batch_size must be at least 2"),
        ({"planner": dataclasses.replace(tdmpc2_planner(), discount=0.99)}, r"planner\.discount .* set algo\.discount"),
    ],
)
def test_a_mistake_is_named_in_one_line(options, words):
    with pytest.raises(UserError, match=words) as caught:
        TDMPC2Config(**options)
    assert "\n" not in str(caught.value)


def test_a_bad_dial_and_a_small_buffer_are_named_where_the_agent_is_made():
    with pytest.raises(UserError, match=r"virtual_ratio must lie in \[0, 1\]"):
        tiny.agent(virtual_ratio=1.5)
    with pytest.raises(UserError, match=r"kl_weight must be at least 0, not -1"):
        tiny.agent(kl_weight=-1.0)
    with pytest.raises(UserError, match=r"buffer_size=6 cannot hold an episode of 10 steps .* at least 22"):
        tiny.agent(buffer_size=6)
    with pytest.raises(UserError, match=r"set algo\.discount"):
        tiny.agent(discount=None, episode_length=None)


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_the_published_one_where_nothing_else_is_given(size):
    assert OffPolicyConfig(model_size=size).size == SIZES[size]


def test_given_widths_replace_those_of_the_size():
    size = OffPolicyConfig(model_size=1, mlp_dim=24, ensemble_size=7).size
    assert size == dataclasses.replace(SIZES[1], mlp_dim=24, ensemble_size=7)


def test_the_defaults_are_the_published_hyperparameters():
    config, planner = TDMPC2Config(), TDMPC2Config().planner
    assert (config.kl_weight, config.virtual_ratio) == (0, 0)
    assert (config.consistency_coef, config.reward_coef, config.value_coef) == (20, 0.1, 0.1)
    assert (config.learning_rate, config.learning_rate * config.encoder_lr_scale) == pytest.approx((3e-4, 9e-5))
    assert (config.batch_size, config.buffer_size, config.max_grad_norm) == (256, 1_000_000, 20)
    assert (config.target_rate, config.temporal_decay, config.entropy_coef) == (0.01, 0.5, 1e-4)
    assert (config.log_std_min, config.log_std_max, config.dropout) == (-10, 2, 0.01)
    assert (planner.horizon, planner.num_samples, planner.num_elites, planner.num_iterations) == (3, 512, 64, 6)
    assert (1 / planner.temperature, planner.min_std, planner.max_std, planner.init_std) == (0.5, 0.05, 2, 2)
    assert config.num_proposals == 24
    assert planner.stochastic
    assert planner.adapt_std
    assert planner.num_zero_mean == 0
    assert (planner.include_mean, planner.repeat_last) == (False, False)


@pytest.mark.parametrize("init", ["trunc_normal", "uniform"])
def test_options_reach_the_networks(init):
    agent = tiny.agent(critic_init=init, mlp_dim=128, dropout=0.2, log_std_min=-3.0, log_std_max=1.0, policy="clamped")
    std = {"trunc_normal": 0.02, "uniform": 1 / math.sqrt(3 * 128)}[init]
    assert agent.critic.heads.linears[1].weight.std().item() == pytest.approx(std, rel=0.05)
    assert agent.model.dynamics[1].linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert agent.critic.heads.dropout == 0.2
    assert agent.policy.log_std_range == (-3.0, 1.0)
    assert type(agent.policy).__name__ == "ClampedGaussian"
    assert agent.model.termination_head is None
    assert tiny.agent(episodic=True).model.termination_head is not None


def test_bins_simplices_and_tasks_have_the_sizes_that_are_asked_for():
    options = {"num_bins": 21, "bin_low": -3.0, "bin_high": 5.0, "simnorm_group": 4, "task_dim": 6}
    agent = tiny.agent(tasks=tiny.tasks(), observation_dim=4, discount=None, **options)
    for two_hot in (agent.model.two_hot, agent.critic.two_hot):
        assert (len(two_hot.bins), two_hot.bins[0], two_hot.bins[-1]) == (21, -3.0, 5.0)
    assert agent.model.tasks.table.embedding_dim == 6
    groups = agent.model.latent(agent.model.encode(torch.rand(5, 3).new_zeros(5, 4))).unflatten(-1, (-1, 4)).sum(-1)
    torch.testing.assert_close(groups, torch.ones_like(groups))


def test_wide_actions_get_more_iterations():
    for action_dim, iterations in ((19, 2), (20, 5)):
        agent = tiny.agent(action_dim=action_dim, wide_action_iterations=3)
        assert agent.planner.config.num_iterations == iterations


@pytest.mark.parametrize("cls", [TDMPC2, POMPC])
def test_compiling_fuses_every_activation(cls, monkeypatch):
    monkeypatch.setattr("pompc.offpolicy.parts.require_compiler", lambda what: None)
    monkeypatch.setattr("pompc.networks.layers._fused_mish", lambda: "fused")
    for compile in (False, True):
        parts = tiny.agent(cls, compile=compile).modules()
        found = {
            part.activation
            for part in parts
            if hasattr(part, "activation") and not isinstance(part.activation, SimNorm)
        }
        assert found == {"fused" if compile else mish}


def test_the_encoder_learns_slower_and_every_parameter_is_learned_once():
    agent = tiny.agent(learning_rate=1e-3, encoder_lr_scale=0.2, episodic=True, ensemble_size=3)
    groups = agent.optimizers["model"].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([2e-4, 1e-3])
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in agent.model.encoder.parameters()}
    listed = [p for name in agent.optimizers for g in agent.optimizers[name].param_groups for p in g["params"]]
    assert len({id(p) for p in listed}) == len(listed)
    assert {id(p) for p in listed} == {id(p) for p in agent.parameters() if p.requires_grad}
    assert isinstance(agent.optimizers["model"], torch.optim.Adam)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed_steps": -1}, "seed_steps must be at least 0"),
        ({"pretrain_updates": -3}, "pretrain_updates must be at least 0"),
        ({"num_bins": 1}, "num_bins must be at least 2"),
        ({"ensemble_size": 0}, "ensemble_size must be positive"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\]"),
        ({"bin_low": 3.0, "bin_high": 3.0}, "bin_low=3.0 must be below algo.bin_high=3.0"),
        ({"log_std_min": 3.0}, "log_std_min=3.0 must be below"),
        ({"target_rate": -0.1}, r"target_rate must lie in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        OffPolicyConfig(**options)
    assert "\n" not in str(error.value)
