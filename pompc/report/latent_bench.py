"""Speed of off-policy agents: a plan, an update, and the effect of rounding on the planned actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from pompc.offpolicy.config import tdmpc2_planner
from pompc.problem import Problem
from pompc.registry import ALGORITHMS
from pompc.system.process import require_compiler
from pompc.system.timing import durations

from .measurement import CPU, CUDA, BenchSettings, measurement

OBSERVATION, ACTION = 24, 6  # about as for walker and cheetah


@measurement(devices=(CPU, CUDA))
def latent(settings: BenchSettings, algo: str) -> dict[str, float]:
    """Measure a plan and an update: two heads against all, rounded products, and their effect on planned actions."""
    agent = latent_agent(settings, algo)
    low = latent_agent(settings, algo, precision="medium")
    observation = torch.rand(8, OBSERVATION, device=settings.device)
    centred = latent_agent(settings, algo, planning="centred")
    effect = precision_effect(agent, {"medium": low, "centred": centred}, observation)
    return {**planning_and_learning(agent, low, centred, settings.seconds, settings.device), **effect}


@measurement(on_request=True)  # compiling takes 20 s
def latent_compile(settings: BenchSettings, algo: str) -> dict[str, float]:
    """Measure the same with the score function and the activations compiled.

    Raises:
        UserError: there is no C++ compiler.
    """
    require_compiler("latent_compile")
    agent = latent_agent(settings, algo)
    compiled = latent_agent(settings, algo, compiled=True)
    return compiling(agent, compiled, settings.seconds, settings.device)


def latent_agent(
    settings: BenchSettings,
    algo: str,
    *,
    compiled: bool = False,
    precision: str = "highest",
    planning: str | None = None,
) -> Any:
    """Build an off-policy agent with the published planner, and heads that do not start at zero.

    Args:
        settings: size, batch and device.
        algo: the algorithm's name.
        compiled: whether planner and update are compiled.
        precision: of all matrix products.
        planning: of the planner's matrix products; ``precision`` by default.
    """
    cls = ALGORITHMS.resolve(algo)
    planner = replace(tdmpc2_planner(), compile=compiled, matmul_precision=planning or precision)
    options = {
        "model_size": settings.model_size,
        "discount": 0.99,
        "batch_size": settings.sequences,
        "compile": compiled,
    }
    problem = Problem(
        observation_dim=OBSERVATION,
        action_dim=ACTION,
        num_envs=1,
        task_model=_refuse,
        device=torch.device(settings.device),
        terminates=False,
    )
    torch.manual_seed(0)
    agent = cls(cls.Config(**options, planner=planner, matmul_precision=precision), problem).to(settings.device)
    with torch.no_grad():
        for layer in (agent.critic.heads.linears[-1], agent.model.reward_head[-1]):
            layer.weight.normal_(0, 0.02)
    return agent


def _refuse() -> Any:
    raise NotImplementedError("an off-policy agent plans on no explicit model")


def plan(agent: Any, observation: Tensor) -> Tensor:
    """Plan from every observation ``[batch, observation]``; return the mean first action ``[batch, action]``."""
    with torch.no_grad():
        state = agent.encode(observation)
        found = agent.planner.plan(state, proposals=agent.proposals(state), terminal_value=agent.terminal_value())
    return found.mean[:, 0, 0]


def random_batch(agent: Any) -> TensorDict:
    """Make a batch of random sequences for an update: ``[time, batch, ...]``."""
    shape = (agent.config.sequence_steps + 1, agent.config.batch_size)
    device = agent.problem.device
    entries = {"observation": OBSERVATION, "action": ACTION, "reward": 1, "plan_mean": ACTION, "plan_std": ACTION}
    data = {name: torch.rand(*shape, dim, device=device) for name, dim in entries.items()}
    return TensorDict({**data, "terminated": torch.zeros(*shape, 1, device=device)}, batch_size=shape, device=device)


@contextmanager
def all_heads(agent: Any) -> Iterator[None]:
    """Evaluate all heads before two are read within the block, as the released codes do."""
    values = agent.critic.values
    agent.critic.values = lambda inputs, chosen=None: values(inputs) if chosen is None else values(inputs)[chosen]
    try:
        yield
    finally:
        agent.critic.values = values


def planning_and_learning(agent: Any, low: Any, centred: Any, seconds: float, device: str) -> dict[str, float]:
    """Measure a plan and an update (ms), and the ratios of two heads, of ``medium`` and of centred products."""
    observation = torch.rand(1, OBSERVATION, device=device)
    data = random_batch(agent)

    def with_all_heads() -> None:
        with all_heads(agent):
            plan(agent, observation)

    actions: dict[str, Callable[[], object]] = {
        "plan": lambda: plan(agent, observation),
        "all_heads_plan": with_all_heads,
        "medium_plan": lambda: plan(low, observation),
        "centred_plan": lambda: plan(centred, observation),
        "update": lambda: agent.update(data.clone()),
        "medium_update": lambda: low.update(data.clone()),
    }
    best = durations(actions, seconds, device)
    result = {f"{name}_ms": 1e3 * value for name, value in best.items()}
    result["two_heads_ratio"] = best["all_heads_plan"] / best["plan"]
    result["medium_plan_ratio"] = best["plan"] / best["medium_plan"]
    result["centred_plan_ratio"] = best["plan"] / best["centred_plan"]
    result["medium_update_ratio"] = best["update"] / best["medium_update"]
    return result


def compiling(agent: Any, compiled: Any, seconds: float, device: str) -> dict[str, float]:
    """Measure the same plan and update with ``compile`` on; ratios above 1 if it helps."""
    observation = torch.rand(1, OBSERVATION, device=device)
    data = random_batch(agent)
    actions: dict[str, Callable[[], object]] = {
        "plan": lambda: plan(agent, observation),
        "compiled_plan": lambda: plan(compiled, observation),
        "update": lambda: agent.update(data.clone()),
        "compiled_update": lambda: compiled.update(data.clone()),
    }
    best = durations(actions, seconds, device)
    result = {f"{name}_ms": 1e3 * value for name, value in best.items()}
    result["plan_compile_ratio"] = best["plan"] / best["compiled_plan"]
    result["update_compile_ratio"] = best["update"] / best["compiled_update"]
    return result


def precision_effect(agent: Any, rounding: Mapping[str, Any], observation: Tensor) -> dict[str, float]:
    """Measure the change of planned actions by rounded products, beside the change by another draw of samples.

    Args:
        agent: plans in float32.
        rounding: name -> an agent with the same weights that plans with rounded products.
        observation: ``[batch, observation]``.

    Returns:
        ``<name>_action_error``, the mean absolute difference of the planned first action from the same random numbers,
        and ``seed_action_error``, that of two float32 plans from different ones.
    """

    def planned(which: Any, seed: int = 0) -> Tensor:
        torch.manual_seed(seed)
        return plan(which, observation)

    exact = planned(agent)
    others = {name: planned(which) for name, which in rounding.items()} | {"seed": planned(agent, seed=1)}
    return {f"{name}_action_error": (exact - found).abs().mean().item() for name, found in others.items()}
