"""A MuJoCo model as dynamics, rolled out by threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mujoco as _mujoco
import numpy as np
import torch
from mujoco.rollout import Rollout
from torch import Tensor

from pompc.errors import UserError

mujoco: Any = _mujoco  # its bindings have no types
PHYSICS = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)


class MujocoDynamics:
    """Roll a MuJoCo model out with ``mujoco.rollout``, sequences spread over threads.

    The state is MuJoCo's full physics state with the sensors behind it: time, positions, velocities, activations, other
    internal states, sensor data. A cost reads it by :meth:`qpos`, :meth:`qvel` and :meth:`sensor`. After a step the sensors
    are those that MuJoCo has computed in it, at the configuration before the last substep. What is not in the physics
    state, such as mocap bodies, stays as the model has it.

    Args:
        model: an MJCF or binary file, or a compiled model (``mujoco.MjModel``).
        substeps: steps of the model per action.
        threads: number of threads; 0 uses the calling one. ``None`` takes all processors that this process may use.

    Attributes:
        model: the compiled model.
        low: lower bounds of the controls ``[action]``, float64; infinite without a limit.
        high: upper bounds.
        action_dim: number of controls.
        state_dim: size of a state.
        period: seconds per action.

    Raises:
        UserError: the file cannot be read, or ``substeps`` is not positive.
    """

    def __init__(self, model: Any, *, substeps: int = 1, threads: int | None = None) -> None:
        if substeps < 1:
            raise UserError(f"substeps={substeps} must be positive")
        self.model: Any = model if isinstance(model, mujoco.MjModel) else _load(Path(model))
        self._substeps = substeps
        self._physics = mujoco.mj_stateSize(self.model, PHYSICS)
        threads = _processors() if threads is None else threads
        self._data = [mujoco.MjData(self.model) for _ in range(max(1, threads))]
        self._pool = Rollout(nthread=threads)
        limited = self.model.actuator_ctrllimited.astype(bool)
        self.low, self.high = (
            torch.as_tensor(np.where(limited, bound, infinite))
            for bound, infinite in zip(self.model.actuator_ctrlrange.T, (-np.inf, np.inf), strict=True)
        )
        self.action_dim = self.model.nu
        self.state_dim = self._physics + self.model.nsensordata
        self.period = substeps * self.model.opt.timestep

    def state(self, data: Any) -> Tensor:
        """Read the state of ``mujoco.MjData`` of the same model ``[state]``, float64; its sensors are computed first."""
        mujoco.mj_forward(self.model, data)
        physics = np.empty(self._physics)
        mujoco.mj_getState(self.model, data, physics, PHYSICS)
        return torch.as_tensor(np.concatenate([physics, data.sensordata]))

    def qpos(self, state: Tensor) -> Tensor:
        """Take the positions out of a state: ``[..., state]`` -> ``[..., nq]``."""
        return state[..., 1 : 1 + self.model.nq]

    def qvel(self, state: Tensor) -> Tensor:
        """Take the velocities out of a state: ``[..., state]`` -> ``[..., nv]``."""
        return state[..., 1 + self.model.nq : 1 + self.model.nq + self.model.nv]

    def sensor(self, state: Tensor, name: str) -> Tensor:
        """Take a sensor out of a state: ``[..., state]`` -> ``[..., size]``.

        Raises:
            UserError: the model has no such sensor.
        """
        index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SENSOR, name)
        if index < 0:
            names = ", ".join(self.model.sensor(i).name for i in range(self.model.nsensor)) or "none"
            raise UserError(f"the MuJoCo model has no sensor {name!r}; its sensors: {names}")
        start = self._physics + self.model.sensor_adr[index]
        return state[..., start : start + self.model.sensor_dim[index]]

    def simulate(self, state: Tensor, actions: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Simulator`; every action is held for ``substeps`` steps."""
        first = state[:, : self._physics].detach().to("cpu", torch.float64).contiguous().numpy()
        controls = actions.detach().to("cpu", torch.float64).repeat_interleave(self._substeps, 1).contiguous().numpy()
        physics, sensors = map(np.asarray, self._pool.rollout(self.model, self._data, first, controls))
        kept = slice(self._substeps - 1, None, self._substeps)
        return torch.as_tensor(np.concatenate([physics[:, kept], sensors[:, kept]], axis=-1)).to(state)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self.simulate(state.flatten(0, -2), action.flatten(0, -2).unsqueeze(1)).view(state.shape)


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".mjb":
            return mujoco.MjModel.from_binary_path(str(path))
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"MuJoCo cannot read the model {path}: {reason}") from error


def _processors() -> int:
    """Count the processors that this process may use; some systems only know how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
