"""Diagnostics of evaluations: what they add and leave alone, the bare policy beside the planner."""

import io
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from small import ALGORITHMS, config, differences
from toy import PointEnv, Toy, toy_config

from pompc.config.run_options import EvalConfig
from pompc.errors import UserError
from pompc.training.assemble import assemble
from pompc.training.diagnosis import DiagnosedEpisodes, compares_policy
from pompc.training.evaluate import EvalResult, evaluate
from pompc.training.loop import Record
from pompc.training.progress import RunProgress
from pompc.training.seeding import random_state

VALUES = {"value", "value_error", "value_error_rms", "value_error_start"}
POLICY = {"policy_reward", "policy_success", "policy_gap"}
ALL = {*VALUES, *POLICY, "policy_value_error", "planner_kl"}
COLUMNS = {
    **dict.fromkeys(ALGORITHMS, ALL),
    **dict.fromkeys(("ppo", "adaptive_hrl", "hrl_mpc", "subgoal", "ac_mpc", "dtc", "polo"), VALUES),
    **dict.fromkeys(("imitate", "dagger", "plannetx", "mppi", "mpc_critic"), frozenset()),
}
"""What every algorithm adds at its defaults: ``polo`` learns no policy, the imitators are evaluated without a plan, and the
planner of ``mpc_critic`` is its own value."""


def made(algo: str, env: str, *overrides: str):
    torch.manual_seed(0)
    return assemble(config(Path("unused"), algo, env, *overrides))


def play(parts, *, episodes=2, **options) -> EvalResult:
    return evaluate(parts.agent, parts.family, episodes=episodes, seed=5, noise_seed=3, **options)


class ConstantEnv(PointEnv):
    """The point of the toy family with a reward of 1 in every step; its episodes have several lengths."""

    ends = "truncated"

    def _result(self, **extra):
        if "reward" in extra:
            extra |= {"reward": torch.ones_like(extra["reward"]), self.ends: extra["done"].clone()}
            extra |= {"truncated": torch.zeros_like(extra["done"])} if self.ends == "terminated" else {}
        return super()._result(**extra)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A toy agent that pushes to the right: points that start there end before the others."""

    def push(self, td, explore):
        td["action"] = torch.ones(len(td), 1)
        td["next", "memory"] = torch.zeros(len(td), 3)
        return td

    monkeypatch.setattr(Toy, "act", push)
    monkeypatch.setattr("toy.PointEnv", ConstantEnv)
    return assemble(toy_config(tmp_path))


class TestEpisodes:
    """What an agent says is collected until its first episode is over."""

    def test_steps_after_the_end_do_not_count(self, toy, monkeypatch):
        monkeypatch.setattr(Toy, "diagnose", lambda self, td: {"clock": td["step_count"].squeeze(-1)})
        episodes = play(toy, episodes=6, diagnose=True).episodes
        assert len({episode["length"] for episode in episodes}) > 1
        assert [episode["clock"] for episode in episodes] == [(episode["length"] - 1) / 2 for episode in episodes]

    @pytest.mark.parametrize("ends", ["truncated", "terminated"])
    def test_an_exact_value_has_no_error_in_an_episode_of_any_length(self, toy, monkeypatch, ends):
        def diagnose(self, td):
            going_on = torch.ones(len(td)) / (1 - 0.8)
            left = self.lengths - td["step_count"].squeeze(-1)
            value = going_on if ends == "truncated" else going_on * (1 - 0.8**left)
            return {"value": value + 0.5, "reward": torch.ones(len(td)), "discount": torch.full([len(td)], 0.8)}

        monkeypatch.setattr(ConstantEnv, "ends", ends)
        toy.agent.lengths = torch.from_numpy(play(toy, episodes=6).column("length"))
        monkeypatch.setattr(Toy, "diagnose", diagnose)
        result = play(toy, episodes=6, diagnose=True)
        assert len(set(result.column("length"))) > 1
        np.testing.assert_allclose(result.column("value_error"), 0.5, atol=1e-5)
        np.testing.assert_allclose(result.column("value_error_rms"), 0.5, atol=1e-5)

    def test_the_mean_is_over_the_steps_that_know_a_quantity(self):
        episodes = DiagnosedEpisodes()
        for first in (1.0, math.nan, 3.0):
            episodes.add({"planner_kl": torch.tensor([first, math.nan])})
        assert episodes.of(0, terminated=False) == {"planner_kl": 2.0}
        assert math.isnan(episodes.of(1, terminated=False)["planner_kl"])


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_algorithm_adds_exactly_its_columns_and_changes_no_other(algo):
    parts = made(algo, "linear_system")
    plain = play(parts).episodes
    found = play(parts, diagnose=True, compare_policy=parts.compares_policy).episodes
    for before, after in zip(plain, found, strict=True):
        assert after.keys() - before.keys() == COLUMNS[algo]
        assert differences(before, {name: after[name] for name in before}) == []
    assert all(type(value) is float for episode in found for value in episode.values())


@pytest.mark.parametrize(
    ("algo", "env"),
    [("tdmpc2", "acrobot"), ("bmpc", "linear_system"), ("dtc", "acrobot"), ("ppo", "acrobot")],
)
def test_diagnostics_leave_no_trace_in_the_training(algo, env):
    parts = made(algo, env)
    agent = parts.agent

    def state():
        tensors = {name: tensor.clone() for name, tensor in agent.state_dict().items()}
        modes = {name: module.training for name, module in agent.named_modules()}
        alone = agent.policy_alone
        training = agent.training_state()
        return {"tensors": tensors, "modes": modes, "alone": alone, "training": training, "random": random_state()}

    before = state()
    options = {"diagnose": True, "compare_policy": parts.compares_policy}
    first = play(parts, **options)
    assert differences(before, state()) == []
    torch.manual_seed(99)
    assert differences(first.episodes, play(parts, **options).episodes) == []


class TestPolicyBesidePlanner:
    """The same episodes by the planner and by the bare policy."""

    def test_the_policys_return_is_that_of_an_evaluation_of_the_policy(self):
        both = play(made("tdmpc2", "linear_system"), diagnose=True, compare_policy=True)
        alone = play(made("tdmpc2", "linear_system", "eval.policy=true"), diagnose=True)
        assert both.column("policy_reward").tolist() == alone.column("reward").tolist()
        assert both.column("policy_value_error").tolist() == alone.column("value_error").tolist()
        gap = both.column("reward") - alone.column("reward")
        assert both.column("policy_gap").tolist() == gap.tolist()
        assert np.abs(gap).min() > 0.01

    def test_an_evaluation_of_the_policy_can_be_compared_with_the_planner(self):
        planned = play(made("tdmpc2", "linear_system"), diagnose=True, compare_policy=True)
        alone = play(made("tdmpc2", "linear_system", "eval.policy=true"), diagnose=True, compare_policy=True)
        assert alone.column("reward").tolist() == planned.column("policy_reward").tolist()
        for name in ("policy_reward", "policy_gap", "planner_kl"):
            assert alone.column(name).tolist() == planned.column(name).tolist(), name

    def test_a_planner_that_only_repeats_the_policy_has_no_gap_and_the_divergence_of_the_stds(self, monkeypatch):
        options = ("algo.num_proposals=1", "algo.proposal_noise=0", "algo.log_std_min=-1.0", "algo.log_std_max=-0.9999")
        parts = made("pompc", "linear_system", *options)
        repeat = lambda mean, std, proposals, noise: proposals.expand(-1, -1, 16, -1, -1)  # noqa: E731
        monkeypatch.setattr(parts.agent.planner, "sample", repeat)
        result = play(parts, diagnose=True, compare_policy=True)
        np.testing.assert_allclose(result.column("policy_gap"), 0.0, atol=1e-4)
        ratio = math.exp(-1.0) / 0.05  # of the policy's std to the planner's least
        np.testing.assert_allclose(result.column("planner_kl"), ratio**2 / 2 - math.log(ratio) - 0.5, rtol=1e-3)

    def test_the_divergence_of_an_imitator_is_measured_if_its_distribution_is_learned(self):
        for loss, has in (("policy_nll", True), ("action_mse", False)):
            parts = made("imitate", "linear_system", f"algo.imitation={loss}", "eval.compare_policy=true")
            assert parts.compares_policy
            episode = play(parts, diagnose=True, compare_policy=True).episodes[0]
            assert ("planner_kl" in episode) == has
            assert episode["policy_reward"] == episode["reward"]

    def test_a_switch_has_a_divergence_where_the_planner_was_asked(self, monkeypatch):
        parts = made("trust_expert", "linear_system")
        longest = len(parts.agent.skip_values.skips)
        monkeypatch.setattr("pompc.offpolicy.switch.best_choice", lambda values: torch.tensor([0, longest]))
        policy, expert = play(parts, diagnose=True, compare_policy=True).column("planner_kl")
        assert math.isnan(policy)
        assert math.isfinite(expert)

    def test_the_default_asks_only_where_it_means_something_and_costs_little(self):
        parts = made("tdmpc2", "linear_system")
        agent, family, servers = parts.agent, SimpleNamespace(max_envs=None), SimpleNamespace(max_envs=2)
        assert compares_policy(agent, family, EvalConfig())
        assert not compares_policy(agent, servers, EvalConfig())
        assert compares_policy(agent, servers, EvalConfig(compare_policy=True))
        assert not compares_policy(agent, family, EvalConfig(compare_policy=False))
        assert not compares_policy(agent, family, EvalConfig(diagnose=False))
        assert not compares_policy(agent, family, EvalConfig(policy=True))
        assert not made("ppo", "linear_system").compares_policy

    @pytest.mark.parametrize("algo", ["mppi", "adaptive_hrl", "ppo", "polo"])
    def test_without_a_planner_or_a_policy_it_is_refused(self, algo):
        with pytest.raises(UserError, match=r"^eval\.compare_policy=true is not applicable to \w+") as error:
            made(algo, "linear_system", "eval.compare_policy=true")
        assert "\n" not in str(error.value)


class TestUnits:
    """Values are compared in the units of the reward that they count."""

    def step(self, parts):
        """Let the agent take one step in the evaluation environment of its assembly."""
        recorded = []
        diagnose = type(parts.agent).diagnose
        with pytest.MonkeyPatch.context() as patch:
            spy = lambda agent, td: recorded.append(td.clone()) or diagnose(agent, td)  # noqa: E731
            patch.setattr(type(parts.agent), "diagnose", spy)
            play(parts, diagnose=True)
        return recorded[0]

    @pytest.mark.parametrize("algo", ["ppo", "adaptive_hrl"])
    def test_values_of_scaled_rewards_are_scaled_back(self, algo):
        parts = made(algo, "linear_system")
        stepped = self.step(parts)
        before = parts.agent.diagnose(stepped)
        parts.agent.return_scale.moments.var.fill_(9.0)
        after = parts.agent.diagnose(stepped)
        torch.testing.assert_close(after["value"], 3 * before["value"])
        assert torch.equal(after["reward"], stepped["next", "reward"].squeeze(-1))
        assert after["discount"].unique().tolist() == pytest.approx([parts.agent.config.discount])

    def test_the_values_of_dtc_count_its_reward_for_tracking(self):
        parts = made("dtc", "linear_system", "algo.tracking_weight=0.25")
        stepped = self.step(parts)
        bonus = parts.agent.diagnose(stepped)["reward"] - stepped["next", "reward"].squeeze(-1)
        tracked = parts.agent.tracked(stepped.unsqueeze(1))["next", "tracking"].flatten()
        torch.testing.assert_close(bonus, 0.25 * tracked)
        assert 0 < bonus.min() <= bonus.max() <= 0.25

    def test_off_policy_values_are_those_of_the_action_by_all_heads(self):
        parts = made("tdmpc2", "multitask")
        stepped, agent = self.step(parts), parts.agent
        torch.nn.init.normal_(agent.critic.heads.linears[-1].weight)
        found = agent.diagnose(stepped)
        state = agent.encode(stepped["observation"])
        heads = agent.critic.values(agent.values.inputs(state, stepped["action"]))
        assert len(heads) == agent.config.size.ensemble_size > 1
        torch.testing.assert_close(found["value"], heads.mean(0))
        assert torch.equal(found["discount"], agent.discounts(state))


def test_the_line_of_an_evaluation_shows_the_gap_and_the_error_but_no_details():
    episode = {"reward": 1.0, "success": math.nan, **dict.fromkeys(sorted(ALL), 0.5)}
    console = Console(file=io.StringIO(), width=200)
    with RunProgress(10, 0, console) as shown:
        shown.update(Record(0, {}, EvalResult([episode])))
    line = console.file.getvalue().splitlines()[0]
    assert line.endswith("evaluation: return 1 ± 0  policy_gap 0.5  value_error 0.5")
