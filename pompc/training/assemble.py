"""Make the objects that a resolved configuration names."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pompc.config.spec import RunSpec
from pompc.errors import UserError
from pompc.problem import Problem
from pompc.registry import ALGORITHMS, ENVIRONMENTS
from pompc.training.diagnosis import compares_policy

if TYPE_CHECKING:
    from torchrl.envs import EnvBase

    from pompc.agent import MPPIRL
    from pompc.environment import EnvironmentFamily


@dataclass(frozen=True)
class Assembly:
    """What a run works with.

    Attributes:
        family: the environment family.
        env: its vectorised environment, batch size ``[num_envs]``.
        agent: the algorithm, on ``device``.
        device: of environment and agent.
        compares_policy: whether evaluations play the bare policy too.
    """

    family: EnvironmentFamily
    env: EnvBase
    agent: MPPIRL
    device: torch.device
    compares_policy: bool


def resolve_device(name: str) -> torch.device:
    """Resolve ``auto`` to CUDA if there is a device, else to the CPU; a CUDA device always carries its index.

    Raises:
        UserError: CUDA is asked for and missing.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return torch.device(kind)
    index = int(number or 0)  # compared before torch keeps it in eight bits
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise UserError(f"device {name}: torch sees {torch.cuda.device_count()} CUDA devices; take device=cpu or auto")
    return torch.device("cuda", index)


def make_family(spec: RunSpec) -> EnvironmentFamily:
    """Make the environment family of a configuration."""
    return ENVIRONMENTS.resolve(spec.environment)(spec.environment_config)


def assemble(spec: RunSpec, *, playing: bool = False) -> Assembly:
    """Build the environment and the agent.

    Args:
        spec: the configuration.
        playing: nothing is collected. One environment is made, or as many as a family with a limit offers.

    Raises:
        UserError: a value of the configuration is wrong, or the algorithm cannot work on the environment.
    """
    options, algorithm = spec.options, ALGORITHMS.resolve(spec.algorithm)
    if options.eval.policy and not algorithm.has_policy(spec.algorithm_config):
        raise UserError(
            f"eval.policy=true is not applicable to {spec.algorithm}: no policy over actions is learned there"
        )
    device = resolve_device(options.device)
    family = make_family(spec)
    num_envs = min(options.num_envs, family.max_envs or 1) if playing else options.num_envs
    env = family.vectorise(num_envs, seed=options.seed, device=device)
    shape = _observation_shape(env)
    flat = family.flattened()
    if len(shape) > 1 and flat is not None and not algorithm.takes_images:
        env.close()
        family, env = flat, flat.vectorise(num_envs, seed=options.seed, device=device)
        shape = _observation_shape(env)
        warnings.warn(
            f"{spec.algorithm} has no encoder for pictures: it learns from {shape[0]:,} plain numbers per observation; "
            f"take one of {_image_algorithms()}, or say with env.pictures=false that it is meant so"
        )
    problem = Problem(
        observation_dim=shape[-1],
        action_dim=env.action_spec.shape[-1],
        num_envs=options.num_envs,
        task_model=lambda: family.task_model(device),
        device=device,
        image_shape=tuple(shape) if len(shape) > 1 else None,
        episode_length=family.episode_length,
        tasks=family.tasks,
        action_repeat=family.action_repeat,
        terminates=family.terminates,
        info_keys=tuple(family.info_keys),
        seed=options.seed,
    )
    _require_fitting(spec.algorithm, problem)
    agent = algorithm(spec.algorithm_config, problem).to(device)
    agent.policy_alone = options.eval.policy
    return Assembly(family, env, agent, device, compares_policy(agent, family, options.eval))


def _require_fitting(algo: str, problem: Problem) -> None:
    """Refuse images to algorithms of flat observations, and tasks that would not be played equally often."""
    if problem.image_shape is not None and not ALGORITHMS.resolve(algo).takes_images:
        raise UserError(
            f"{algo} learns from flat observations, not from images {problem.image_shape}: take one of "
            f"{_image_algorithms()}"
        )
    if problem.tasks is not None and problem.num_envs % len(problem.tasks.names):
        count = len(problem.tasks.names)
        raise UserError(f"num_envs={problem.num_envs} does not divide among {count} tasks: take a multiple of {count}")


def _observation_shape(env: EnvBase) -> torch.Size:
    """Read the shape of one observation of a vectorised environment."""
    return env.observation_spec["observation"].shape[len(env.batch_size) :]


def _image_algorithms() -> str:
    return ", ".join(name for name in ALGORITHMS.classes if ALGORITHMS.resolve(name).takes_images)
