"""Environments for released weights, and weights of this library in the layout of the released codes."""

import re
from dataclasses import dataclass
from functools import partial

import gymnasium
import numpy as np

from pompc.data.vector import vectorise
from pompc.environment import EnvironmentFamily, Tasks


class Seven(gymnasium.Env):
    """Seven numbers; the action pushes three. The smallest environment for the stored weights."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=self.observation_space.shape).astype(np.float32)
        return self.x, {}

    def step(self, action):
        pushed = len(action)
        self.x = np.concatenate([0.9 * self.x[:pushed] + action, 0.9 * self.x[pushed:]]).astype(np.float32)
        return self.x, -float(np.square(self.x[:pushed]).sum()), False, False, {}


class Nine(Seven):
    """The environment with other sizes of observations and actions."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (9,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)


class Many(Seven):
    """The environment with so many action entries that the released codes plan longer."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (20,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (20,), np.float32)


class Dog(Seven):
    """The environment with so many action entries that BOOM builds another network."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (24,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (24,), np.float32)


class Indexed(gymnasium.ObservationWrapper):
    """One of several tasks; its index is the last entry of an observation."""

    def __init__(self, index):
        super().__init__(gymnasium.wrappers.TimeLimit(Seven(), 5))
        self.index = index
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8,), np.float32)

    def observation(self, observation):
        return np.append(observation, self.index).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class SeveralConfig:
    """The number of tasks, and the number of action entries of all but the first task."""

    count: int = 2
    others: int = 2


class Several(EnvironmentFamily):
    """Tasks side by side; the first obeys three action entries."""

    Config = SeveralConfig

    @property
    def tasks(self):
        count, others = self.config.count, self.config.others
        names = tuple(map(str, range(count)))
        return Tasks(names=names, action_dims=(3, *[others] * (count - 1)), episode_lengths=(5,) * count)

    def make(self, *, render_mode=None):
        return Indexed(0)

    def vectorise(self, num_envs, *, seed, device="cpu"):
        makers = [partial(Indexed, index) for index in range(self.config.count)]
        return vectorise(makers, num_envs, seed=seed, device=device)


class Screen(gymnasium.Env):
    """Pictures of noise."""

    observation_space = gymnasium.spaces.Box(0, 255, (6, 64, 64), np.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.picture(), {}

    def step(self, action):
        return self.picture(), float(action.sum()), False, False, {}

    def picture(self):
        return self.np_random.integers(0, 256, (6, 64, 64), np.uint8)


@dataclass(frozen=True, kw_only=True)
class ScreensConfig:
    """No options."""


class Screens(EnvironmentFamily):
    """Family of :class:`Screen`."""

    Config = ScreensConfig

    def make(self, *, render_mode=None):
        return gymnasium.wrappers.TimeLimit(Screen(), 3)


for name in ("Seven", "Nine", "Many", "Dog"):
    gymnasium.register(f"{name}-v0", f"released:{name}", max_episode_steps=6)


def as_released(agent, numbered=False):
    """Convert an agent's weights to the layout of the released codes, with named or with numbered value heads."""
    renamed = {}
    parts = {"model.dynamics": "_dynamics", "model.reward_head": "_reward", "policy.net": "_pi"}
    parts |= {"model.termination_head": "_termination", "model.encoder.net": "_encoder.state"}
    leaves = {("linears", "weight"): 0, ("linears", "bias"): 1, ("norms", "weight"): 2, ("norms", "bias"): 3}
    for key, value in agent.state_dict().items():
        if match := re.fullmatch(r"critic\.(heads|target)\.(linears|norms)\.(\d)\.(weight|bias)", key):
            owner, kind, layer, leaf = match.groups()
            if numbered:
                prefix = {"heads": "_Qs.params", "target": "_target_Qs.params"}[owner]
                renamed[f"{prefix}.{4 * int(layer) + leaves[kind, leaf]}"] = value
            else:
                prefix = {"heads": "_Qs.params", "target": "_target_Qs_params"}[owner]
                renamed[f"{prefix}.{layer}.{'ln.' if kind == 'norms' else ''}{leaf}"] = value
        elif key == "model.tasks.table.weight":
            renamed["_task_emb.weight"] = value
        elif key.startswith("model.encoder.net") and value.dim() in (1, 4) and agent.problem.image_shape:
            layer, leaf = key.split(".")[-2:]
            renamed[f"_encoder.rgb.{int(layer) + 2}.{leaf}"] = value
        elif not key.endswith("scale.value"):
            part = next(part for part in parts if key.startswith(part + "."))
            rest = key.removeprefix(part).replace(".linear.", ".").replace(".norm.", ".ln.")
            renamed[parts[part] + rest] = value
    return renamed
