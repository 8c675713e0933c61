"""The planner alone with its nominal cost (Williams et al. 2017): the baseline without learning.

In the plane of the two dials both are zero and there is no policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from pompc.agent import MPPIRL, Problem
from pompc.config.options import Options, PositiveInt, Top
from pompc.planner import MPPI, MPPIConfig


@dataclass(frozen=True, kw_only=True)
class MPPIAgentConfig(Options):
    """Options of :class:`MPPIAgent`.

    Attributes:
        batch_size: environment steps between two rows of metrics, over all environments.
        planner: options of the planner; by default as many samples as ``adaptive_hrl`` has over all its candidates.
    """

    section = "algo"

    batch_size: PositiveInt = 4096
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=lambda: MPPIConfig(num_samples=256))


class MPPIAgent(MPPIRL):
    """Acts by planning on the environment's explicit model with the nominal cost parameters; learns nothing.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = MPPIAgentConfig

    def __init__(self, config: MPPIAgentConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.model = problem.task_model()
        self.planner = MPPI(config.planner, self.model, self.model, self.model.action_dim, device=problem.device)

    def encode(self, observation: Tensor) -> Tensor:
        """The model state behind an observation."""
        return self.model.state(observation)

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict:
        """One candidate: the nominal parameters."""
        nominal = self.model.parameters(self.model.nominal).expand(len(tensordict), 1, -1)
        return TensorDict({"parameters": nominal}, batch_size=[len(tensordict), 1])

    def learn(self, data: TensorDictBase) -> dict[str, float]:
        """Count; there is nothing to learn."""
        self.updates += 1
        return {
            "reward": data["next", "reward"].mean().item(),
            "terminated": data["next", "terminated"].float().mean().item(),
            "model_steps": float(self.model_steps),
        }
