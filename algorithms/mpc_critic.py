"""A parametric planner as actor and critic (Gros and Zanon 2020; Cai et al. 2023, Anand et al. 2023, Seel et al. 2022).

The planner's parameters phi are learned from the planner itself: its first action is the policy, its soft value is V, and
with a given first action Q. phi is the same in all states: cost weights, convex networks in the cost, a correction of the
model. A step moves it by Q-learning, by least squares or by the compatible policy gradient. No other network learns. In the
plane of the two dials: lambda = 0, rho = 0; the planner acts. docs/mpc_critic.md has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from pompc.agent import MPPIRL
from pompc.config.options import NonNegativeFloat, PositiveFloat, PositiveInt, Top
from pompc.data.broken import learnable
from pompc.errors import UserError
from pompc.model_learning.config import ExplicitModelConfig
from pompc.model_learning.make import explicit_model
from pompc.parametric.blocks import BLOCKS
from pompc.parametric.steps import STEPS, Transitions
from pompc.parametric.task import ParametricTask, Phi
from pompc.parametric.values import PlannedValues
from pompc.planner import MPPIConfig
from pompc.planner.layer import require_derivative, warn_of_few
from pompc.problem import Problem


def smooth_planner() -> MPPIConfig:
    """Make the default planner: all samples around the mean, so that the plan has a fixed point to differentiate."""
    centred = {"num_zero_mean": 0, "include_mean": False}
    return MPPIConfig(horizon=10, num_samples=256, num_iterations=4, temperature=0.1, discount=0.95, **centred)


@dataclass(frozen=True, kw_only=True)
class MPCCriticConfig(ExplicitModelConfig):
    """Options of :class:`MPCCritic`.

    Attributes:
        phi: what is learned: the cost's ``weights`` in their box, ``convex`` networks in the cost, a correction of the
            ``model``; one or several.
        step: how phi moves: ``q_learning``, ``newton`` (least squares on temporal differences), ``dpg`` (compatible policy
            gradient) or ``natural_dpg``.
        learning_rate: factor on the step.
        max_change: largest change of an entry of phi in an update.
        ridge: regularises least squares, as a share of the largest diagonal entry.
        exploration_std: standard deviation of the noise on the planner's action while collecting.
        hidden_sizes: widths of the convex networks.
        implicit: differentiate the policy as a fixed point of the planner's iteration; otherwise one iteration of it.
        batch_size: environment steps between two updates, over all environments.
        planner: options of the planner; its discount is that of the values, too.
    """

    phi: tuple[Literal["weights", "convex", "model"], ...] = ("weights",)
    step: Literal["q_learning", "newton", "dpg", "natural_dpg"] = "newton"
    learning_rate: PositiveFloat = 0.5
    max_change: PositiveFloat = 0.1
    ridge: PositiveFloat = 1e-3
    exploration_std: NonNegativeFloat = 0.1
    hidden_sizes: tuple[PositiveInt, ...] = (8, 8)
    implicit: bool = True
    batch_size: PositiveInt = 1024
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=smooth_planner)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_dials("mpc_critic has no policy network, and its values are the planner's own")
        require_derivative(self.planner)
        if not self.phi or len(set(self.phi)) < len(self.phi):
            raise UserError(f"algo.phi={list(self.phi)}: name every block once, at least one")
        if not self.hidden_sizes:
            raise UserError("algo.hidden_sizes=[]: a convex network needs a hidden layer")
        if self.planner.discount >= 1:
            raise UserError("planner.discount=1 leaves the offset of the values undetermined: give a discount below 1")
        if self.planner.stochastic:
            raise UserError("planner.stochastic draws an action: mpc_critic acts by the mean, leave it out")


class MPCCritic(MPPIRL):
    """Learn phi from the temporal differences or the policy gradient of the planner.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = MPCCriticConfig

    def __init__(self, config: MPCCriticConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        task = self.learned_parts.adopt(explicit_model(config, config.model, problem))
        blocks = tuple(BLOCKS[name](task, config.hidden_sizes) for name in config.phi)
        self.phi, self.task = Phi(blocks), ParametricTask(task, blocks)
        drawn = {"implicit": config.implicit, "seed": problem.seed, "device": problem.device}
        self.values = PlannedValues.of(config.planner, self.task, self.phi, **drawn)
        self.planner = self.values.planner
        self.step = STEPS[config.step](config.ridge)
        if self.step.explores and config.exploration_std == 0:
            raise UserError(f"algo.step={config.step} learns from exploration: set algo.exploration_std above 0")

    def encode(self, observation: Tensor) -> Tensor:
        """Find the model state, with the model's entries of phi: ``[batch, observation]`` -> ``[batch, state]``."""
        return self.values.augmented(self.task.task.state(observation))

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict | None:
        """Give one candidate: the cost's entries of phi, if it has any."""
        cost, _ = self.task.split(self.phi.values)
        if cost is None:
            return None
        return TensorDict({"parameters": cost.expand(len(tensordict), 1, -1)}, batch_size=[len(tensordict), 1])

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """Add normal noise."""
        return action + self.config.exploration_std * torch.randn_like(action)

    def overlay(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor] | None:
        """Return the states of the task. See :meth:`MPPIRL.overlay`."""
        found, size = super().overlay(tensordict), self.task.task.state_dim
        return None if found is None else (found[0][..., :size], found[1][..., :size])

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Move phi once; return the metrics of the step, and how far phi is from its start."""
        self.count_steps(data)
        moved = self.step(self.values, Transitions.read(learnable(data), self.task.task.state))
        change = self.phi.move(moved.direction, self.config.learning_rate, self.config.max_change)
        self.updates += 1
        metrics = {name: value.item() for name, value in moved.metrics.items()}
        if "effective_samples" in metrics:
            warn_of_few(metrics["effective_samples"])
        moving = {
            "phi_change": change.item(),
            "phi_distance": self.phi.distance.item(),
            "offset": self.phi.offset.item(),
        }
        counted = {
            "reward": data["next", "reward"].mean().item(),
            "updates": self.updates,
            "model_steps": self.model_steps,
        }
        return {**metrics, **moving, **counted, **self.learned_parts.learn(data)}
