"""The planner alone with its nominal cost (Williams et al. 2017): the baseline without learning.

In the plane of the two dials it is the origin without a policy: lambda = 0, rho = 0. The planner always acts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from pompc.agent import MPPIRL
from pompc.config.options import PositiveInt, Top
from pompc.model_learning.config import ExplicitModelConfig
from pompc.model_learning.make import explicit_model
from pompc.planner import MPPI, MPPIConfig
from pompc.problem import Problem


@dataclass(frozen=True, kw_only=True)
class MPPIAgentConfig(ExplicitModelConfig):
    """Options of :class:`MPPIAgent`.

    Attributes:
        batch_size: environment steps between two rows of metrics.csv, over all environments.
        planner: options of the planner. The default has as many samples as ``adaptive_hrl`` over all its candidates.
    """

    batch_size: PositiveInt = 4096
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=lambda: MPPIConfig(num_samples=256))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_dials("mppi learns neither a policy nor values")


class MPPIAgent(MPPIRL):
    """Plan on the environment's explicit model with the nominal cost parameters; only learned parts of it learn.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = MPPIAgentConfig

    def __init__(self, config: MPPIAgentConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.task = self.learned_parts.adopt(explicit_model(config, config.model, problem))
        self.planner = MPPI(config.planner, self.task, self.task, self.task.action_dim, device=problem.device)

    def encode(self, observation: Tensor) -> Tensor:
        """Find the model state behind ``[batch, observation]``: ``[batch, state]``."""
        return self.task.state(observation)

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict:
        """Give one candidate: the nominal parameters ``[batch, 1, parameter]``."""
        nominal = self.task.parameters(self.task.nominal).expand(len(tensordict), 1, -1)
        return TensorDict({"parameters": nominal}, batch_size=[len(tensordict), 1])

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Count the call, and let the learned parts of the model learn."""
        self.updates += 1
        return {
            "reward": data["next", "reward"].mean().item(),
            "terminated": data["next", "terminated"].float().mean().item(),
            "model_steps": float(self.model_steps),
            **self.learned_parts.learn(data),
        }
