"""A point on a line and an agent for it: the smallest pair that uses every part of the contract."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from pompc.agent import MPPIRL
from pompc.dials import AgentConfig
from pompc.environment import EnvironmentFamily
from pompc.errors import NonFiniteError
from pompc.registry import ALGORITHMS, ENVIRONMENTS, Entry

LIMIT = 11  # odd, so that episodes end inside batches


class PointEnv(EnvBase):
    """Positions ``[N, 1]`` pushed by the action; random starts from a separate generator."""

    def __init__(self, num_envs: int, seed: int, device: Any) -> None:
        super().__init__(device=device, batch_size=[num_envs])
        self._generator = torch.Generator().manual_seed(seed)
        self._position, self._time = torch.zeros(num_envs, 1), torch.zeros(num_envs, 1, dtype=torch.long)
        column = Unbounded((num_envs, 1), dtype=torch.float32)
        self.observation_spec = Composite(
            observation=Unbounded((num_envs, 2)), success=column.clone(), cost=column.clone(), shape=[num_envs]
        )
        self.action_spec = Bounded(-1, 1, (num_envs, 1))
        self.reward_spec = column.clone()
        flag = Unbounded((num_envs, 1), dtype=torch.bool)
        self.done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=[num_envs])

    def _observe(self) -> torch.Tensor:
        return torch.cat([self._position, self._time / LIMIT], dim=-1)

    def _result(self, **extra: torch.Tensor) -> TensorDict:
        no = torch.zeros(*self.batch_size, 1, dtype=torch.bool)
        flags = {"done": no, "terminated": no.clone(), "truncated": no.clone()}
        near = (self._position.abs() < 0.1).float()
        far = (self._position.abs() > 1).float()
        values = {"observation": self._observe(), "success": near, "cost": far, **flags, **extra}
        return TensorDict(values, batch_size=self.batch_size)

    def _reset(self, td: TensorDictBase | None = None, **_: Any) -> TensorDict:
        mask = torch.ones(*self.batch_size, 1, dtype=torch.bool)
        if td is not None and "_reset" in td:
            mask = td["_reset"].reshape(mask.shape)
        start = torch.rand(*self.batch_size, 1, generator=self._generator) * 2 - 1
        self._position = torch.where(mask, start, self._position)
        self._time = torch.where(mask, 0, self._time)
        return self._result()

    def _step(self, td: TensorDictBase) -> TensorDict:
        self._position = self._position + 0.2 * td["action"]
        self._time = self._time + 1
        over = self._time >= LIMIT - 3 * (self._position > 1.2).long()
        return self._result(reward=-self._position.abs(), done=over, truncated=over.clone())

    def _set_seed(self, seed: int | None) -> None:
        self._generator.manual_seed(seed or 0)

    def snapshot(self) -> dict[str, Any]:
        return {
            "position": self._position.clone(),
            "time": self._time.clone(),
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._position, self._time = state["position"].clone(), state["time"].clone()
        self._generator.set_state(state["generator"])


class PointGym(gymnasium.Env):
    """One point for videos; frames have an odd size on purpose."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]

    def __init__(self, render_mode: str | None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.drawn: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state = np.array([0.5, 0], np.float32)
        return self.state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.state = self.state + np.array([0.2 * action[0], 1 / LIMIT], np.float32)
        return self.state, -abs(float(self.state[0])), False, bool(self.state[1] > 0.99), {}

    def overlay(self, fan: torch.Tensor, chosen: torch.Tensor) -> None:
        self.drawn.append((fan.shape, chosen.shape))

    def render(self) -> np.ndarray:
        frame = np.zeros((65, 97, 3), np.uint8)
        column = int(np.clip(self.state[0] * 40 + 48, 0, 96))
        frame[:, column] = 255
        return frame


@dataclass(frozen=True, kw_only=True)
class PointConfig:
    """One option, which changes nothing but the configuration."""

    option: int = 0


class Point(EnvironmentFamily):
    """The toy family."""

    Config = PointConfig
    info_keys = ("success", "cost")
    episode_length = LIMIT

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        return PointGym(render_mode)

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu") -> EnvBase:
        return PointEnv(num_envs, seed, device)


@dataclass(frozen=True, kw_only=True)
class ToyConfig(AgentConfig):
    """Attributes: ``steps_per_env`` per batch; ``nan_at`` the learn call that fails; two ways of a bad action."""

    steps_per_env: int = 4
    nan_at: int = -1
    too_far: bool = False
    nan_action: bool = False


class Toy(MPPIRL):
    """A random policy around a learned linear mean, with planner state, a counter and an optimizer with momentum."""

    Config = ToyConfig

    def __init__(self, config: ToyConfig, problem: Any) -> None:
        super().__init__(config, problem)
        free = {"config": SimpleNamespace(change_cost=0.0), "limits": SimpleNamespace(elementwise=True)}
        self.planner = SimpleNamespace(model_steps=0, **free)  # type: ignore[assignment]
        self.mean = nn.Linear(problem.observation_dim + 3, problem.action_dim)
        self.register_buffer("scale", torch.ones(()))
        self.optimizers = {"adam": torch.optim.Adam(self.parameters(), lr=1e-2)}

    @property
    def frames_per_batch(self) -> int:
        return self.problem.num_envs * self.config.steps_per_env

    def primers(self) -> dict[str, Any]:
        return {"memory": Unbounded((3,), dtype=torch.float32)}

    def act(self, td: TensorDictBase, explore: bool) -> TensorDictBase:
        assert not bool(td["memory"][td["is_init"].squeeze(-1)].any()), "the planner state must be zero at a start"
        mean = self.mean(torch.cat([td["observation"], td["memory"]], dim=-1))
        noise = torch.randn_like(mean) if explore else torch.zeros_like(mean)
        action = torch.tanh(mean + 0.3 * noise)
        if self.training:
            self.scale.mul_(0.999)
        self.planner.model_steps += len(mean)
        td["action"] = action * (torch.nan if self.config.nan_action else 3.0 if self.config.too_far else 1.0)
        # a view with unusual strides, as a planner that shifts its plan may write
        td["next", "memory"] = torch.stack([td["memory"][:, 1], td["memory"][:, 2] + 1, action[:, 0]]).T
        return td

    def learn(self, data: TensorDictBase) -> dict[str, float]:
        self.updates += 1
        if self.updates == self.config.nan_at:
            raise NonFiniteError("loss/value", "here")
        pick = torch.randperm(data.numel())[: max(data.numel() // 2, 1)]
        batch = data.reshape(-1)[pick]
        mean = self.mean(torch.cat([batch["observation"], batch["memory"]], dim=-1))
        loss = ((mean - batch["action"]) ** 2 * torch.exp(batch["next", "reward"])).mean()
        self.optimizers["adam"].zero_grad()
        loss.backward()
        self.optimizers["adam"].step()
        return {"loss/policy": loss.item(), "updates": float(self.updates)}

    def overlay(self, td: TensorDictBase) -> tuple[torch.Tensor, torch.Tensor] | None:
        return torch.zeros(5, 4, 2), torch.zeros(4, 2)


def register() -> None:
    """Register ``toy`` and ``point``, as an installed package would."""
    ALGORITHMS.external = lambda: {"toy": Entry("toy:Toy", "toy")}  # type: ignore[method-assign]
    ENVIRONMENTS.external = lambda: {"point": Entry("toy:Point", "toy")}  # type: ignore[method-assign]


def toy_config(directory: Any, *overrides: str) -> Any:
    """Make the configuration of a small run in ``directory``: 4 environments x 4 steps a batch, 320 steps."""
    from pompc.config.spec import configure

    register()
    small = ("num_envs=4", "steps=320", "eval.every=96", "eval.episodes=3", "checkpoint.every=64", "eval.video=false")
    return configure("toy", "point", [*small, "wandb.mode=disabled", f"run_dir={directory}", *overrides])


def run_toy(output: str, directory: str, *overrides: str) -> None:
    """Run in a separate process with the output in a file; end the process with the command line's exit code."""
    from pompc.training.run import run

    with open(output, "w") as sys.stdout:
        sys.exit(run(toy_config(directory, *overrides)))
