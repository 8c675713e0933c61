"""The smallest environment with an explicit model: a point on a line that should go to the origin and stay."""

from dataclasses import dataclass

import gymnasium
import numpy as np
import torch

from pompc.environment import EnvironmentFamily


class LineModel:
    """The exact model: the action moves the point, the reward is minus its distance, beyond 3 the episode ends."""

    state_dim, action_dim, parameter_dim = 1, 1, 1
    nominal = torch.zeros(1)

    def state(self, observation):
        return observation

    def observe(self, state):
        return state

    def parameters(self, high_action):
        return 2.0 * high_action.clamp(-1.0, 1.0)

    def step(self, state, action):
        return state + 0.5 * action

    def reward(self, state, action, next_state):
        return -next_state[..., 0].abs()

    def terminated(self, state, action, next_state):
        return next_state[..., 0].abs() > 3

    def running(self, state, action, next_state, parameters):
        return 10 * (next_state - parameters)[..., 0].square()

    def terminal(self, state, parameters):
        return torch.zeros_like(state[..., 0])


class LineEnv(gymnasium.Env):
    """The point on the line, in episodes of 20 steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.model = LineModel()
        self.x = torch.tensor([self.np_random.uniform(-2, 2)], dtype=torch.float32)
        self.steps = 0
        return self.x.numpy().copy(), {"success": 0.0, "cost": 0.0}

    def step(self, action):
        before, action = self.x, torch.as_tensor(action)
        self.x = self.model.step(before, action)
        self.steps += 1
        over = bool(self.model.terminated(before, action, self.x))
        reward = float(self.model.reward(before, action, self.x))
        info = {"success": float(self.x.abs() < 0.2), "cost": float(over)}
        return self.x.numpy().copy(), reward, over, self.steps >= 20, info

    def render(self):
        frame = np.zeros((32, 32, 3), np.uint8)
        frame[:, int(np.clip(16 + 5 * self.x.item(), 0, 31))] = 255
        return frame


@dataclass(frozen=True, kw_only=True)
class LineConfig:
    """No options."""


class Line(EnvironmentFamily):
    """Family of :class:`LineEnv`."""

    Config = LineConfig
    info_keys = ("success", "cost")

    def make(self, *, render_mode=None):
        return LineEnv(render_mode)

    def task_model(self, device="cpu"):
        return LineModel()
