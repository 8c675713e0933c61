"""A plan as the reference of a policy: made every few steps, followed in between, seen relative to the present."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec, Unbounded

from pompc.data import warm_start
from pompc.data.holding import count_down
from pompc.models import KnownModel
from pompc.planner import MPPI
from pompc.system.waiting import waits


class Reference:
    """Make plans with the nominal cost, and carry each as the reference of the next steps.

    The TensorDict carries it: ``planner_mean [horizon, action]``, its controls, and ``reference [horizon + 1, state]``, its
    states, both from the present step on; ``reference_left [1]`` counts the steps until the next plan. A new episode begins
    with a new plan.

    Args:
        planner: makes the plans.
        model: the explicit model that the planner rolls out.
        every: steps from plan to plan.
        steps: steps ahead at which the policy sees the states.
        controls: whether it sees the present control.

    Attributes:
        dim: size of what the policy sees, the observation included.
    """

    def __init__(self, planner: MPPI, model: KnownModel, *, every: int, steps: tuple[int, ...], controls: bool) -> None:
        self.planner, self.model = planner, model
        self.every, self.steps, self.controls = every, steps, controls
        self.dim = model.input_dim * (1 + len(steps)) + planner.action_dim * controls

    def primers(self) -> dict[str, TensorSpec]:
        """Return the specs of what the TensorDict carries, without the batch dimension."""
        config, device = self.planner.config, self.planner.device
        shapes = {
            "planner_mean": (config.horizon, self.planner.action_dim),
            "reference": (config.horizon + 1, self.model.task.state_dim),
            "reference_left": (1,),
        }
        return {name: Unbounded(shape, device=device) for name, shape in shapes.items()}

    def follow(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Plan in the environments whose reference has run out; write the reference of the next step.

        Args:
            tensordict: the start of a step ``[batch]``, with the :meth:`primers`.

        Returns:
            The reference from this step on: states ``[batch, horizon + 1, state]`` and controls
            ``[batch, horizon, action]``.
        """
        due = ~count_down(tensordict, "reference_left", self.every).squeeze(-1)
        states, controls = tensordict["reference"], tensordict["planner_mean"]
        if waits(due.device):  # to select environments the program would wait
            planned = self._plan(tensordict)
            chosen = due.view(-1, 1, 1)
            states, controls = (torch.where(chosen, *both) for both in zip(planned, (states, controls), strict=True))
        elif bool(due.any()):
            states, controls = states.clone(), controls.clone()
            states[due], controls[due] = self._plan(tensordict[due])
        tensordict["next", "planner_mean"] = self.planner.shift(controls)
        tensordict["next", "reference"] = torch.cat([states[:, 1:], states[:, -1:]], dim=1)
        return states, controls

    def view(self, observation: Tensor, states: Tensor, controls: Tensor) -> Tensor:
        """Append the reference relative to the present: the difference of observations is free of an angle's full turns.

        Args:
            observation: of the present ``[..., observation]``.
            states: reference from the present step on ``[..., horizon + 1, state]``.
            controls: ``[..., horizon, action]``.

        Returns:
            ``[..., dim]``: the observation, the differences at :attr:`steps`, the present control.
        """
        ahead = [self.model.inputs(states[..., step, :]) - observation for step in self.steps]
        return torch.cat([observation, *ahead, *([controls[..., 0, :]] if self.controls else [])], dim=-1)

    def deviation(self, observation: Tensor, states: Tensor) -> Tensor:
        """Subtract the present observation from that of the reference ``[..., observation]``; arguments as :meth:`view`."""
        return self.model.inputs(states[..., 0, :]) - observation

    def _plan(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Plan from every step ``[batch]``: states and controls of the mean plan."""
        state, task = self.model.encode(tensordict["observation"]), self.model.task
        plan = self.planner.plan(
            state,
            parameters=task.parameters(task.nominal).expand(len(state), 1, -1),
            states=False,
            **warm_start.beginning(self.planner, tensordict),
        )
        controls = plan.mean[:, 0]
        self.planner.model_steps += controls[..., 0].numel()
        return self.planner.rollout(state, controls[:, None, None])[:, 0, 0], controls
