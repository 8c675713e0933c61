"""Compare agents with the numbers of another implementation in a file; all sizes come from the file.

A file has random weights, inputs and what the other code makes of them. Beside what the official codes wrote it may have
``pair``: the two value heads that every draw took, which a file with more than two heads needs.
"""

import dataclasses
import math

import pytest
import torch
from tensordict import TensorDict

from pompc.convert.released import sizes, translate
from pompc.offpolicy.config import tdmpc2_planner
from pompc.problem import Problem
from pompc.registry import ALGORITHMS

ALGORITHM = {"tdmpc2": "tdmpc2", "bmpc": "bmpc", "square": "tdmpc_square", "boom": "boom"}

LEAVES_POLICY_GRADIENTS = ("square", "boom")
AMPLIFIES_NOISE = ("boom",)
"""Its alignment divides the policy's noise by 0.05 and pulls hard: two of its own runs differ by 3e-3 after the updates."""
DRAWS = 5
ROUNDING = 1e-6
"""Of float32: what no noise reaches differs by so much."""


class Case:
    """The content of a file, and an agent with its weights; ``strict`` compares more closely than the noise of any file."""

    def __init__(self, data, strict, **options):
        self.data, self.strict = data, strict
        official, self.inference = self.data["config"], self.data["inference"]
        found = sizes(self.data["state_dict"])
        cls = ALGORITHMS.resolve(ALGORITHM[self.data["kind"]])
        planner = dataclasses.replace(
            tdmpc2_planner(),
            horizon=official["horizon"],
            num_samples=official["num_samples"],
            num_elites=official["num_elites"],
            num_iterations=official["iterations"],
            temperature=1 / official["temperature"],
            min_std=official["min_std"],
            max_std=float(official["max_std"]),
            init_std=float(official["max_std"]),
        )
        own = {"scale_threshold": "scale_threshold", "kl_weight": "prior_coef"} if self.data["kind"] == "square" else {}
        batch_size = self.data["batches"][0]["action"].shape[1]
        config = cls.Config(
            **{**found["config"], **options},
            planner=planner,
            discount=self.data["discount"],
            log_std_min=official["log_std_min"],
            log_std_max=official["log_std_max"],
            dropout=official["dropout"],
            entropy_coef=official["entropy_coef"],
            learning_rate=official["lr"],
            encoder_lr_scale=official["enc_lr_scale"],
            max_grad_norm=float(official["grad_clip_norm"]),
            target_rate=official["tau"],
            scale_rate=official["tau"],
            temporal_decay=official["rho"],
            consistency_coef=float(official["consistency_coef"]),
            reward_coef=official["reward_coef"],
            value_coef=official["value_coef"],
            simnorm_group=official["simnorm_dim"],
            bin_low=float(official["vmin"]),
            bin_high=float(official["vmax"]),
            num_proposals=official["num_pi_trajs"],
            batch_size=max(batch_size, 20),
            **{ours: official[theirs] for ours, theirs in own.items()},
        )
        problem = Problem(
            observation_dim=found["observation_dim"],
            action_dim=found["action_dim"],
            num_envs=1,
            task_model=lambda: None,
            device=torch.device("cpu"),
        )
        self.agent = cls(config, problem)
        weights, unknown = translate(self.data["state_dict"])
        assert unknown == []
        missing, unexpected = self.agent.load_state_dict(weights, strict=False)
        assert unexpected == []
        assert set(missing) <= {"return_scale.value", "imitation.scale.value"}
        if "initial_scale" in self.data:
            self.agent.return_scale.value.fill_(self.data["initial_scale"])
        if "pair" in self.data:
            self.agent.critic.draw = lambda: torch.tensor(self.data["pair"])

    def mean_action(self, state):
        """Compute the policy's mean as an action."""
        mean, _ = self.agent.policy(state)
        return self.agent.policy.action(mean)

    def value(self, state, target=False):
        """Value by all heads at the file's actions ``[head, batch, 1]``."""
        values = self.agent.critic.target_values if target else self.agent.critic.values
        return values(self.agent.values.inputs(state, self.inference["action"])).unsqueeze(-1)


class ClipWithLeftovers:
    """Clip the model's gradient as if the policy's last gradient were a part of it, by an accident of two codes."""

    def __init__(self, agent):
        self.policy = {id(parameter) for parameter in agent.policy.parameters()}
        self.left = torch.zeros(())

    def __call__(self, parameters, most):
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        if id(parameters[0]) not in self.policy:
            norm = torch.hypot(norm, self.left)
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
        if id(parameters[0]) in self.policy:
            self.left = norm.clamp_max(most)
        return norm


def batch_of(raw):
    """Convert a batch of the file to an agent's; no step follows the last observation."""
    steps = {"action": raw["action"], "reward": raw["reward"], "terminated": torch.zeros_like(raw["reward"])}
    steps |= {"plan_mean": raw["planner_mean"], "plan_std": raw["planner_std"]}
    padded = {name: torch.cat([value, torch.zeros_like(value[:1])]) for name, value in steps.items()}
    return TensorDict({"observation": raw["obs"], **padded}, batch_size=raw["obs"].shape[:2])


@torch.no_grad()
def check_networks(case):
    """Compare every network, and the values of all heads."""
    agent, expected = case.agent, case.inference
    latent, action = expected["latent"], expected["action"]
    mean, log_std = agent.policy(latent)
    found = {
        "latent": agent.model.encode(expected["obs"]),
        "next_latent": agent.model.next(latent, action),
        "reward_logits": agent.model.reward_logits(latent, action),
        "reward": agent.model.reward(latent, action).unsqueeze(-1),
        "value_logits": agent.critic.logits(agent.values.inputs(latent, action)),
        "value": case.value(latent),
        "target_value": case.value(latent, target=True),
        "policy_mean": agent.policy.action(mean),
        "policy_log_std": log_std,
    }
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@torch.no_grad()
def check_sequences(case):
    """Compare the values of action sequences."""
    agent, expected = case.agent, case.inference
    torch.manual_seed(0)
    actions = expected["action_sequences"].transpose(0, 1)[:, None, None]  # [batch, candidate, sample, horizon, action]
    states = agent.planner.rollout(expected["latent"], actions)
    charges = agent.planner.scorer.evaluate(states, actions, terminal_value=agent.terminal_value())
    torch.testing.assert_close(-charges.sum(-1)[:, :, 0], expected["sequence_value"], rtol=0, atol=2e-3)


def check_updates(case, monkeypatch):
    """Compare the updates of the file in a row. Its policy drew noise of std 1e-3, ours draws none: half of the error.

    Where noise matters more, the file lies among runs of ours with noise, up to the same tolerance.
    """
    agent, metrics = case.agent, case.data["metrics"]
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    if case.data["kind"] in LEAVES_POLICY_GRADIENTS:
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", ClipWithLeftovers(agent))
    found = [agent.update(batch_of(raw)) for raw in case.data["batches"]]
    for name in ("consistency_loss", "reward_loss"):
        for got, expected in zip(found, metrics, strict=True):
            assert got[name].item() == pytest.approx(expected[name], rel=1e-4), name
    names = {"value_loss": "value_loss", "policy_loss": "pi_loss"}
    for ours, theirs in names.items():
        # The policy's loss passes near zero, so the tolerance is relative to its largest size.
        scale = max(abs(expected[theirs]) for expected in metrics)
        for got, expected in zip(found, metrics, strict=True):
            assert abs(got[ours].item() - expected[theirs]) <= 1e-3 * scale, ours
    if case.data["kind"] == "boom":
        for got, expected in zip(found, metrics, strict=True):
            assert got["kl"].item() == pytest.approx(expected["pi_fkl_loss"], rel=1e-3)
    if case.strict:
        check_norms(found, metrics)
    scale = "kl_scale" if case.data["kind"] == "bmpc" else "return_scale"
    assert found[-1][scale].item() == pytest.approx(metrics[-1]["pi_scale"], rel=1e-3)
    ends = [after(case)]
    if case.data["kind"] in AMPLIFIES_NOISE:
        monkeypatch.undo()
        ends += [drawn_again(case, seed, monkeypatch) for seed in range(DRAWS)]
    for name, expected in case.data["after"].items():
        ours = torch.stack([end[name] for end in ends])
        if len(ends) > 1 and case.strict:
            check_draws(ours, expected)
        torch.testing.assert_close(
            expected.clamp(ours.amin(0), ours.amax(0)),
            expected,
            rtol=0,
            atol=5e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@torch.no_grad()
def after(case):
    """Ask an updated agent about the file's observations."""
    state = case.agent.model.encode(case.inference["obs"])
    return {"latent": state, "value": case.value(state), "policy_mean": case.mean_action(state)}


def drawn_again(case, seed, monkeypatch):
    """Make the updates of a file again with the policy's own noise; return what they end at."""
    again = Case(case.data, case.strict)
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", ClipWithLeftovers(again.agent))
        torch.manual_seed(seed)
        for raw in again.data["batches"]:
            again.agent.update(batch_of(raw))
    return after(again)


def check_draws(ours, expected):
    """Require that noise moves the ends of updates a little only, and that the file is one more draw, no outlier.

    Args:
        ours: what runs with different noise end at ``[run, ...]``.
        expected: what the file ends at ``[...]``.
    """
    assert (ours.amax(0) - ours.amin(0)).max() < 5e-3
    far, usual = ((each.square().mean().sqrt()) for each in (expected - ours.mean(0), ours.std(0)))
    assert far < max(2 * usual, ROUNDING)


def check_norms(found, metrics):
    """Compare losses and gradient norms that the file has."""
    names = {"model_loss": "total_loss", "policy_grad_norm": "pi_grad_norm", "model_grad_norm": "grad_norm"}
    for ours, theirs in names.items():
        for got, expected in zip(found, metrics, strict=True):
            if theirs in expected:
                assert got[ours].item() == pytest.approx(expected[theirs], rel=1e-3), ours


@torch.no_grad()
def check_planner(case, fixed=(0.08, 0.1)):
    """Compare mean and std of the first action over as many plans as the file has, in evaluation mode.

    ``fixed`` are the largest differences; over many entries of a wide distribution only the resolution says what is large.
    """
    agent, expected = case.agent, case.data["planner"]
    torch.manual_seed(0)
    runs = int(expected["runs"])
    actions = []
    for _ in range(math.ceil(runs / 50)):
        state = agent.encode(expected["obs"].expand(50, -1))
        plan = agent.planner.plan(state, proposals=agent.proposals(state), terminal_value=agent.terminal_value())
        actions.append(agent.planner.select(plan)[:, 0])
    actions = torch.cat(actions)[:runs]
    mean, std = (actions.mean(0) - expected["action_mean"]).abs(), (actions.std(0) - expected["action_std"]).abs()
    assert mean.max() <= fixed[0]
    assert std.max() <= fixed[1]
    if case.strict:  # the resolution of so many plans
        assert (mean <= expected["action_std"] * 4 * math.sqrt(2 / runs)).all()
        assert (std <= expected["action_std"] * 4 / math.sqrt(runs)).all()
