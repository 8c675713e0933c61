"""A batched environment of one's own: thousands of point masses in torch, each on its way to a goal."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

TIME_STEP, RADIUS, MAX_STEPS = 0.1, 0.2, 50


class Reach(EnvBase):
    """Reach a goal in the plane by a force of up to 2 N on 1 kg; success within 0.2 m.

    The whole state is one tensor ``[num_envs, 7]``: position, velocity, goal, step.
    """

    def __init__(self, num_envs: int, device: torch.device, friction: float = 0.5) -> None:
        super().__init__(device=device, batch_size=[num_envs])
        self.friction = friction
        self.generator = torch.Generator().manual_seed(0)
        self.state = torch.zeros(num_envs, 7, device=device)
        shape, one = (num_envs,), (num_envs, 1)
        self.observation_spec = Composite(
            observation=Unbounded((num_envs, 6)), success=Unbounded(one), shape=shape, device=device
        )
        self.action_spec = Bounded(-2.0, 2.0, (num_envs, 2), device=device)
        self.reward_spec = Unbounded(one, device=device)
        flags = {name: Categorical(2, one, dtype=torch.bool) for name in ("done", "terminated", "truncated")}
        self.done_spec = Composite(flags, shape=shape, device=device)

    def _set_seed(self, seed: int | None) -> None:
        self.generator.manual_seed(seed or 0)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        """Begin an episode in the environments that ``_reset [num_envs, 1]`` names."""
        drawn = torch.rand(*self.batch_size, 4, generator=self.generator).to(self.device) * 2 - 1
        fresh = torch.cat(
            [drawn[:, :2], torch.zeros_like(drawn[:, :2]), drawn[:, 2:], torch.zeros_like(drawn[:, :1])], 1
        )
        if tensordict is not None and "_reset" in tensordict:
            fresh = torch.where(tensordict["_reset"].view(-1, 1), fresh, self.state)
        self.state = fresh
        return self._observed()

    def _observed(self) -> TensorDict:
        near = (self.state[:, :2] - self.state[:, 4:6]).norm(dim=-1, keepdim=True) < RADIUS
        seen = {"observation": self.state[:, :6].clone(), "success": near.float()}
        return TensorDict(seen, batch_size=self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        place, speed, goal, step = self.state.split([2, 2, 2, 1], dim=1)
        speed = speed + TIME_STEP * (tensordict["action"] - self.friction * speed)
        self.state = torch.cat([place + TIME_STEP * speed, speed, goal, step + 1], 1)
        reward = -(self.state[:, :2] - goal).norm(dim=-1, keepdim=True)
        truncated = step + 1 >= MAX_STEPS
        ends = {"terminated": torch.zeros_like(truncated), "truncated": truncated, "done": truncated.clone()}
        return self._observed().update({"reward": reward, **ends})

    def snapshot(self) -> dict[str, torch.Tensor]:
        """Copy everything that the next step and the next reset depend on: a run resumes bit for bit."""
        return {"state": self.state.clone(), "generator": self.generator.get_state()}

    def restore(self, snapshot: dict[str, torch.Tensor]) -> None:
        """Continue from ``snapshot``."""
        self.state = snapshot["state"].to(self.device)
        self.generator.set_state(snapshot["generator"].cpu())
