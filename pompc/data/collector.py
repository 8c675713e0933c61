"""Collect transitions with TorchRL's ``Collector``, resumable between any two batches."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.collectors import Collector
from torchrl.data import Composite
from torchrl.envs import (
    Compose,
    EnvBase,
    InitTracker,
    RewardSum,
    StepCounter,
    TensorDictPrimer,
    Transform,
    TransformedEnv,
)

from pompc.errors import NonFiniteError

RESET = "_reset"
"""TorchRL's name of the environments to reset; a transform that is not told it derives the specs of all before it."""


class NonFiniteStepError(NonFiniteError):
    """An action, observation or reward that is not finite.

    Args:
        name: ``action``, ``observation`` or ``reward``.
        where: the place of the number, in words.
        batch: the unfinished step ``[num_envs]``.
    """

    def __init__(self, name: str, where: str, batch: TensorDictBase) -> None:
        super().__init__(name, where)
        self.batch = batch


class ActionBoundsError(ValueError):
    """An agent wrote an action outside [-1, 1].

    Args:
        largest: largest magnitude of the action.
        batch: the step ``[num_envs]``.
    """

    def __init__(self, largest: float, batch: TensorDictBase) -> None:
        super().__init__(f"action outside [-1, 1]: largest magnitude {largest:.6g}")
        self.batch = batch


class StepGuard(Transform):
    """Stop a bad number where it appears.

    An ``action [num_envs, action]`` must be finite and in bounds before an environment (and its simulator) sees it. The
    observation and the reward must be finite before an agent sees them.
    """

    def __init__(self) -> None:
        super().__init__(in_keys_inv=["action"], out_keys_inv=["action"])

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict.get("action")
        if not bool((action.abs() <= 1.0).all()):  # nan fails every comparison
            _require_finite("action", action, tensordict)
            raise ActionBoundsError(action.abs().max().item(), tensordict)
        return tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for name in ("observation", "reward"):
            if not bool(torch.isfinite(next_tensordict[name]).all()):
                step = tensordict.copy().set("next", next_tensordict)
                _require_finite(name, next_tensordict[name], step)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        _require_finite("observation", tensordict_reset["observation"], tensordict_reset)
        return tensordict_reset


def _require_finite(name: str, values: Tensor, batch: TensorDictBase) -> None:
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        env, *entry = bad.nonzero()[0].tolist()
        raise NonFiniteStepError(name, f"environment {env}, entry {entry[0] if entry else 0}", batch)


def with_agent_state(env: EnvBase, agent: Any) -> TransformedEnv:
    """Add to ``env`` everything that an agent reads beyond the observation.

    It adds ``is_init [num_envs, 1]`` (first step of an episode), the running ``episode_reward [num_envs, 1]`` and
    ``step_count [num_envs, 1]``, and the planner state that ``agent.primers()`` names. The planner state is zero at every
    reset; later the agent's ``("next", name)`` sets it. All of it lives in the TensorDict, so batches of environments and
    checkpoints need nothing else.

    Raises (when stepped):
        NonFiniteStepError: an action, observation or reward is not finite.
        ActionBoundsError: the action lies outside [-1, 1].
    """
    transforms = [InitTracker(), StepGuard(), RewardSum(in_keys=["reward"], reset_keys=[RESET]), StepCounter()]
    if primers := agent.primers():
        specs = Composite({name: spec.to(env.device) for name, spec in primers.items()}, device=env.device)
        transforms.append(TensorDictPrimer(specs, default_value=0.0, expand_specs=True, reset_key=RESET))
    return TransformedEnv(env, Compose(*transforms), auto_unwrap=False)


class ResumableCollector(Collector):
    """Collect in one process, with a state that can be saved and restored between two batches.

    TorchRL's own ``state_dict`` starts new episodes after loading. This one also keeps the TensorDict that is carried
    from step to step and the environment's ``snapshot()``, so collection continues bit for bit. It does not hold the
    random states of python, numpy and torch.

    Args:
        env: the vectorised environment, batch size ``[num_envs]``, with ``snapshot()`` and ``restore(dict)``.
        agent: the policy; it is called on the TensorDict itself, never on a copy.
        frames_per_batch: transitions per batch over all environments, a multiple of ``num_envs``.
    """

    def __init__(self, env: EnvBase, agent: Any, *, frames_per_batch: int) -> None:
        self._source: Any = env
        super().__init__(
            with_agent_state(env, agent),
            agent,
            frames_per_batch=frames_per_batch,
            total_frames=-1,
            device=env.device,
            trust_policy=True,
            track_traj_ids=False,
            use_buffers=False,
            auto_register_policy_transforms=False,
        )
        if self.policy is not agent:
            raise RuntimeError(f"the collector copied the agent: its parameters are not all on {env.device}")

    def rollout(self) -> TensorDict:
        """Collect the next batch ``[num_envs, frames_per_batch / num_envs]``."""
        data = super().rollout()
        # The clone is compact and owns its memory, exactly as after loading a checkpoint: strides cannot make a resumed
        # run round differently.
        self._carrier = self._carrier.clone()
        return data

    @property
    def carried(self) -> TensorDict:
        """The start of the next step ``[num_envs]``: observation, planner state, episode sums."""
        return self._carrier

    def snapshot(self) -> dict[str, Any]:
        """Copy the state between two batches: tensors and python primitives only."""
        return {"carrier": self._carrier.clone().to_dict(), "env": self._source.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a ``snapshot()`` without resetting an environment.

        Raises:
            ValueError: the snapshot lacks a key that this agent and environment carry.
        """
        self._source.restore(state["env"])
        carrier = TensorDict(state["carrier"], batch_size=self.env.batch_size, device=self._carrier.device)
        if missing := set(self._carrier.keys()) - set(carrier.keys()):
            raise ValueError(f"the collector state does not fit this agent and environment: it lacks {sorted(missing)}")
        self._carrier = carrier


def make_collector(env: EnvBase, agent: Any, frames_per_batch: int) -> ResumableCollector:
    """Build a collector of ``frames_per_batch`` transitions per batch over all environments of ``env``.

    Raises:
        ValueError: ``frames_per_batch`` is not a multiple of the number of environments.
    """
    num_envs = env.batch_size.numel()
    if frames_per_batch % num_envs:
        raise ValueError(f"frames_per_batch {frames_per_batch} is not a multiple of num_envs {num_envs}")
    return ResumableCollector(env, agent, frames_per_batch=frames_per_batch)
