"""A trained agent as a plain callable, for robots and notebooks: ``pompc.load(run).act(observation)``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.agent import MPPIRL
from pompc.config.spec import RunSpec
from pompc.errors import NonFiniteError, UserError
from pompc.training.opening import find_checkpoint, open_checkpoint
from pompc.training.seeding import Stream

Array = TypeVar("Array", np.ndarray, Tensor)


class LoadedAgent:
    """An agent that acts, one observation or one batch at a time, as the evaluations of its run do.

    Between two calls it keeps the planner's warm start and whatever else the agent carries from step to step. Call
    :meth:`reset` when an episode begins. The agent does not explore; its draws, such as the planner's samples, come from a
    stream of their own, so the same calls give the same actions and nobody else's random numbers change.

    Args:
        agent: with its weights.
        spec: its configuration.
        seed: of the draws.

    Attributes:
        agent: the agent itself.
        spec: its configuration.
        observation_shape: of one observation, ``(size,)`` or ``(channel, height, width)``.
        action_dim: size of an action.
    """

    def __init__(self, agent: MPPIRL, spec: RunSpec, seed: int) -> None:
        self.agent, self.spec = agent.eval(), spec
        self.observation_shape = agent.problem.image_shape or (agent.problem.observation_dim,)
        self.action_dim = agent.problem.action_dim
        self._stream = Stream(seed, agent.problem.device)
        self._is_init: Tensor | None = None
        self._carried: dict[str, Tensor] = {}

    def act(self, observation: Array) -> Array:
        """Choose the next action.

        Args:
            observation: as the environment of the run gives it, an array or a tensor: one ``[observation]``, or
                ``[batch, observation]``; pictures ``[channel, height, width]``. The batch keeps its size until a reset.

        Returns:
            The action ``[action]`` or ``[batch, action]`` in [-1, 1], float32: an array for an array, a tensor on the same
            device for a tensor. ``pompc.data.actions.to_box`` scales it to other bounds.

        Raises:
            UserError: the observation has another shape, or the batch has changed its size.
            NonFiniteError: the observation holds a number that is not finite.
        """
        given = torch.as_tensor(observation)
        batch = self._batch(given)
        if self._is_init is None:
            self._begin(len(batch))
        assert self._is_init is not None
        if len(batch) != len(self._is_init):
            raise UserError(
                f"{len(batch)} observations after {len(self._is_init)}: call reset() when the batch changes"
            )
        entries = {"observation": batch, "is_init": self._is_init, **self._carried}
        with self._stream.drawn(), set_exploration_type(ExplorationType.DETERMINISTIC):
            acted = self.agent(TensorDict(entries, batch_size=[len(batch)], device=batch.device))
        self._carried = {name: acted["next", name] for name in self._carried}
        self._is_init = torch.zeros_like(self._is_init)
        action = acted["action"].to(given.device)
        action = action if given.ndim > len(self.observation_shape) else action[0]
        return action if isinstance(observation, Tensor) else action.numpy()

    __call__ = act

    def reset(self, which: np.ndarray | Tensor | None = None) -> None:
        """Begin a new episode: forget the warm start.

        Args:
            which: the environments of the batch that begin one, bool ``[batch]``; ``None`` for all, and for a batch of
                another size.

        Raises:
            UserError: the mask does not fit the batch.
        """
        if which is None or self._is_init is None:
            self._is_init, self._carried = None, {}
            return
        begun = torch.as_tensor(which).to(self._is_init.device)
        if begun.shape != self._is_init.shape[:1] or begun.dtype != torch.bool:
            raise UserError(f"reset takes a bool mask of {len(self._is_init)} environments, not {list(begun.shape)}")
        self._is_init = self._is_init | begun.unsqueeze(1)
        for name, value in self._carried.items():
            self._carried[name] = value.masked_fill(begun.view(-1, *[1] * (value.ndim - 1)), 0)

    def _begin(self, count: int) -> None:
        """Start an episode in each of ``count`` environments, as a reset of the environment does."""
        device = self.agent.problem.device
        self._is_init = torch.ones(count, 1, dtype=torch.bool, device=device)
        self._carried = {name: spec.zero(torch.Size([count])) for name, spec in self.agent.primers().items()}

    def _batch(self, given: Tensor) -> Tensor:
        """Check an observation; return it as a batch on the agent's device, pictures in their type."""
        shape = tuple(self.observation_shape)
        if tuple(given.shape[-len(shape) :]) != shape or given.ndim > len(shape) + 1:
            raise UserError(
                f"an observation of shape {list(given.shape)}: {self.spec.label} has {list(shape)}, "
                f"or {['batch', *shape]} for several at once"
            )
        if not bool(torch.isfinite(given).all()):
            raise NonFiniteError("observation")
        kept = given if self.agent.problem.image_shape else given.to(torch.float32)
        return kept.to(self.agent.problem.device).reshape(-1, *shape)


def load(
    path: str | Path,
    *,
    best: bool = False,
    policy: bool | None = None,
    seed: int | None = None,
    device: str | None = None,
    overrides: Sequence[str] = (),
) -> LoadedAgent:
    """Load an agent to act with.

    The environment of the run is made once, for the sizes of observation and action and for its explicit model, and
    closed. torch's threads stay as they are; ``torch.set_num_threads(1)`` is often faster.

    Args:
        path: a run directory or a checkpoint file.
        best: of a run directory, take the checkpoint with the best evaluation instead of the last one.
        policy: act by the bare policy (``True``) or as the planner does (``False``); ``None`` as the run's evaluations.
        seed: of the agent's draws; ``None`` for those of the run's evaluations.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``; ``None`` for the run's.
        overrides: ``key=value`` changes to the run's configuration, such as ``planner.num_samples=128``.

    Raises:
        UserError: no usable checkpoint, a wrong override, or no policy to act by.
    """
    chosen = [] if policy is None else [f"eval.policy={str(policy).lower()}"]
    chosen += [] if device is None else [f"device={device}"]
    opened = open_checkpoint(find_checkpoint(Path(path), best=best), [*overrides, *chosen])
    with closing(opened.parts.env):
        return LoadedAgent(opened.parts.agent, opened.spec, opened.spec.options.seed if seed is None else seed)
