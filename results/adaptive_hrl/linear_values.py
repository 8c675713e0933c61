"""Values of the linear system under its best linear policy, learned from its steps and its planner's wrong model.

Value functions are quadratic, so that least squares in the six monomials represents them exactly: what the learned values
are off by is the model's error and the noise of samples. Bounds of the states and their costs are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from tensordict import TensorDict

from pompc.envs.linear import LinearConfig, LinearEnv, LinearModel, closed_form
from pompc.envs.linear_closed_form import PLANT, Q, R
from pompc.models import KnownModel
from pompc.onpolicy.bounds import value_error_bound
from pompc.onpolicy.model_errors import model_errors

DISCOUNT, WIDTH, REACH, STEPS, HORIZON = 0.95, 0.1, 0.5, 4000, 5
RATIOS, OFFSETS = (0.3, 0.8), (-0.1, -0.075, -0.05, -0.025, 0.0, 0.05, 0.1)
CORNERS = REACH * np.array([(x, y) for x in (-1, 1) for y in (-1, 1)])


def features(state: np.ndarray) -> np.ndarray:
    """Monomials up to the second degree: ``[..., 2]`` -> ``[..., 6]``."""
    x, y = state[..., 0], state[..., 1]
    return np.stack([x * x, x * y, y * y, x, y, np.ones_like(x)], -1)


def closed_loop(policy, offset: float) -> np.ndarray:
    """Matrix ``[3, 3]`` that moves ``(x, 1)`` one step on the plant, with an offset of the first state."""
    a, b = PLANT.matrices
    matrix = np.zeros((3, 3))
    matrix[:2, :2], matrix[:2, 2] = a + b @ policy.gain, (b * policy.bias)[:, 0] + np.array([offset, 0.0])
    matrix[2, 2] = 1
    return matrix


def fixed_point(policy, offset: float, ratio: float) -> np.ndarray:
    """The value ``(x, 1)' W (x, 1)`` that ``(1 - rho) T + rho T_model^H`` leaves alone: W ``[3, 3]``."""
    action = np.append(policy.gain[0], policy.bias)[None]
    reward = -(np.pad(Q, ((0, 1), (0, 1))) + action.T @ R @ action)
    plant, model, value = closed_loop(policy, -WIDTH / 2), closed_loop(policy, offset), np.zeros((3, 3))
    last = np.diag([0.0, 0.0, 1.0])
    for _ in range(1500):
        real = reward + DISCOUNT * (plant.T @ value @ plant + value[0, 0] * WIDTH**2 / 12 * last)
        virtual = value
        for _ in range(HORIZON):
            virtual = reward + DISCOUNT * model.T @ virtual @ model
        value = (1 - ratio) * real + ratio * virtual
    return value


def lipschitz(policy, offset: float) -> float:
    """A Lipschitz constant of the value over all states that plant and model reach from the box of first states.

    The gradient is affine, and so largest, entry by entry, at an extreme of the box and of the disturbances.
    """
    low, high = min(-WIDTH, offset), max(0.0, offset)
    matrix, largest = closed_loop(policy, (low + high) / 2), np.zeros(2)
    for row in range(2):
        direction, noise, power = np.append(2 * policy.p[row], 2 * policy.q[row]), 0.0, np.eye(3)
        for _ in range(400):
            reach = np.abs([direction @ power @ np.append(corner, 1) for corner in CORNERS]).max()
            largest[row] = max(largest[row], reach + noise)
            noise += abs((direction @ power)[0]) * (high - low) / 2
            power = power @ matrix
    return float(np.linalg.norm(largest))


def wasserstein(offset: float) -> float:
    """Mean distance of U(-width, 0) to the model's offset."""
    if -WIDTH <= offset <= 0:
        return (offset**2 + (offset + WIDTH) ** 2) / (2 * WIDTH)
    return abs(offset + WIDTH / 2)


def step_plant(policy, config: LinearConfig) -> TensorDict:
    """Take steps of the environment from random first states: ``[step]``."""
    env = LinearEnv(config)
    seen = []
    for step in range(STEPS):
        state = env.reset(seed=0 if step == 0 else None)[0] if step % 10 == 0 else seen[-1][2]
        action = policy.action(state.astype(float)).astype(np.float32)
        after, reward, *_ = env.step(action)
        seen.append((state, action, after, reward))
    state, action, after, reward = (torch.tensor(np.array(x), dtype=torch.float32) for x in zip(*seen, strict=True))
    following = {"observation": after, "reward": reward.unsqueeze(-1)}
    return TensorDict({"observation": state, "action": action, "next": following}, batch_size=[STEPS])


def learn(policy, data: TensorDict, model: LinearModel, ratio: float) -> np.ndarray:
    """Iterate the mixed backup by least squares on the data and the model's rollouts: weights of the monomials ``[6]``."""
    state, after = (data[key].double().numpy() for key in ("observation", ("next", "observation")))
    reward = data["next", "reward"][:, 0].double().numpy()
    place, rewards = data["observation"], np.zeros(STEPS)
    for step in range(HORIZON):
        action = torch.tensor(policy.action(place.double().numpy()), dtype=torch.float32)
        following = model.step(place, action)
        rewards += DISCOUNT**step * model.reward(place, action, following).double().numpy()
        place = following
    last, here = features(place.double().numpy()), features(state)
    inverse, weights = np.linalg.pinv(here), np.zeros(6)
    for _ in range(1500):
        real = reward + DISCOUNT * features(after) @ weights
        virtual = rewards + DISCOUNT**HORIZON * last @ weights
        weights = inverse @ ((1 - ratio) * real + ratio * virtual)
    return weights


def linear_rows() -> Iterator[dict[str, float | str]]:
    """Learned values and fixed points against the true values, for every offset of the model."""
    common = {"violation_weight": 0.0, "disturbance": WIDTH, "start": (0.0, 0.0), "start_range": REACH}
    policy = closed_form(LinearConfig(**common), DISCOUNT)
    grid = np.stack(np.meshgrid(*[np.linspace(-REACH, REACH, 21)] * 2), -1).reshape(-1, 2)
    data = step_plant(policy, LinearConfig(**common))
    homogeneous, true = np.pad(grid, ((0, 0), (0, 1)), constant_values=1), -policy.cost(grid)
    bound = partial(value_error_bound, discount=DISCOUNT, horizon=HORIZON, reward_error=0.0)
    for offset in OFFSETS:
        model = LinearModel(LinearConfig(**common, planner_offset=(offset, 0.0)))
        online, alpha = model_errors(data, KnownModel(model)), wasserstein(offset)
        errors = {"alpha_w": alpha, "alpha_r": 0.0, "alpha_p": min(1.0, abs(offset + WIDTH / 2) / WIDTH)}
        measured = {"alpha_w_online": online["alpha_w"], "alpha_p_online": online["alpha_p"]}
        measured["alpha_r_online"] = online["reward_error"]
        for ratio in RATIOS:
            exact = np.einsum("ni,ij,nj->n", homogeneous, fixed_point(policy, offset, ratio), homogeneous)
            learned = features(grid) @ learn(policy, data, model, ratio)
            found = {"error": np.abs(exact - true).max(), "learned": np.abs(learned - true).max()}
            found["bound"] = bound(ratio=ratio, dynamics_error=alpha, value_span=lipschitz(policy, offset))
            where = {"part": "linear", "model": offset, "ratio": ratio, "horizon": HORIZON}
            yield {**where, **errors, **measured, **{name: float(x) for name, x in found.items()}}
