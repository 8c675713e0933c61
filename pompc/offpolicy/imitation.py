"""Imitation of the planner: the divergence that lambda multiplies, and the losses of a policy that only imitates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.nn import functional

from pompc.data.broken import intact
from pompc.data.statistics import RunningMoments
from pompc.models.known import KnownModel
from pompc.models.protocols import Model
from pompc.networks.actor_critic import relu_mlp
from pompc.networks.policies import POLICIES, LatentPolicy
from pompc.networks.scale import RunningScale
from pompc.offpolicy.diagnosis import planner_divergence

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent
    from pompc.offpolicy.config import OffPolicyConfig

LEAST_STD = 0.01  # of an observation entry that states are compared in; observations are of order 1


class ScaledDivergence(nn.Module):
    """The divergence from the prior in units of its running scale (TD-MPC2's scale for returns; BMPC, PO-MPC).

    Args:
        rate: rate of the running scale.
        minimum: floor of the running scale.
    """

    def __init__(self, rate: float, minimum: float) -> None:
        super().__init__()
        self.scale = RunningScale(rate, minimum)

    def forward(self, divergence: Tensor) -> Tensor:
        """Convert divergences ``[time, batch]`` to units of the scale, which the first step updates."""
        self.scale.update(divergence[0])
        return self.scale(divergence)


class PolicyView(nn.Module):
    """What an imitating policy sees: the standardised observation of a state and, of a whole plan, the share behind.

    Args:
        model: gives the observation of a state.
        state_dim: size of a state.
        timed: append the share ``k / horizon`` of the plan that lies behind step k.

    Attributes:
        input_dim: size of the view.
        moments: of all observations so far; the agent updates them.
    """

    def __init__(self, model: Model, state_dim: int, *, timed: bool) -> None:
        super().__init__()
        self.moments = RunningMoments(model.input_dim)
        self.input_dim = model.input_dim + timed
        self._model, self._state_dim, self._timed = [model], state_dim, timed  # the list hides the model's parameters

    def forward(self, state: Tensor) -> Tensor:
        """See a state ``[..., state]``, which is step 0, or ``[..., state + 1]`` with the share last: ``[..., input]``."""
        seen = self.moments(self.observed(state[..., : self._state_dim]))
        if not self._timed:
            return seen
        share = functional.pad(state, (0, self._state_dim + 1 - state.shape[-1]))[..., -1:]
        return torch.cat([seen, share], dim=-1)

    def observed(self, state: Tensor) -> Tensor:
        """Convert ``state [..., state]`` to an observation ``[..., observation]``."""
        return self._model[0].inputs(state)

    def see(self, data: TensorDictBase) -> None:
        """Take in the observations of the intact transitions ``[num_envs, time]``."""
        good, seen = intact(data), data["observation"]
        self.moments.update(seen if good is None else seen[good])

    @property
    def std(self) -> Tensor:
        """Standard deviation of every observation entry so far, at least ``LEAST_STD``: ``[observation]``."""
        return self.moments.var.sqrt().clamp_min(LEAST_STD)


class ImitationLoss:
    """How far the policy is from the planner. A plan with a std of zero is none.

    Args:
        view: what the policy sees.

    Attributes:
        whole_plan: whether it compares with all actions of the plan, ``planned_mean [..., horizon, action]``.
    """

    whole_plan: ClassVar[bool] = False

    def __init__(self, view: PolicyView) -> None:
        self.view = view

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """Measure the distance ``[time, batch]`` at all but the last of ``batch["state"] [time + 1, batch, state]``."""
        raise NotImplementedError

    def mean(self, agent: OffPolicyAgent, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Average over the states with a plan; return it and ``action_error``, the RMS error of the mean first action."""
        planned = cast(Tensor, batch["plan_std"])[:-1].gt(0).all(-1).float()
        count = planned.sum().clamp_min(1.0)
        with torch.no_grad():
            error = mean_action(agent, batch["state"][:-1]) - batch["plan_mean"][:-1]
            squared = (error.square().mean(-1) * planned).sum() / count
        return (self(agent, batch) * planned).sum() / count, {"action_error": squared.sqrt()}

    def diagnose(self, agent: OffPolicyAgent, stepped: TensorDictBase) -> dict[str, Tensor]:
        """Measure a step of an evaluation: nothing, since most losses leave the policy's std as it was made."""
        return {}


class PolicyNLL(ImitationLoss):
    """``KL(N(plan_mean, plan_std) || policy)`` up to a constant, averaged over the action: the negative log-likelihood."""

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """See :meth:`ImitationLoss.__call__`."""
        std = cast(Tensor, batch["plan_std"])[:-1]
        return agent.policy.imitation(batch["state"][:-1], batch["plan_mean"][:-1], std.masked_fill(std <= 0, 1.0))

    def diagnose(self, agent: OffPolicyAgent, stepped: TensorDictBase) -> dict[str, Tensor]:
        """Measure the divergence from the plan. See :meth:`MPPIRL.diagnose`."""
        return planner_divergence(agent, agent.encode(stepped["observation"]), stepped)


class ActionMSE(ImitationLoss):
    """The squared error of the policy's mean action, averaged over its entries."""

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """See :meth:`ImitationLoss.__call__`."""
        return (mean_action(agent, batch["state"][:-1]) - batch["plan_mean"][:-1]).square().mean(-1)


class PlanControls(ImitationLoss):
    """The squared error of the policy's actions along its own rollout, ``mean_k |uh_k - u*_k|^2`` over the plan.

    The policy is rolled through the model from the real state, ``uh_k = pi(xh_k, k / horizon)`` and
    ``xh_{k+1} = f(xh_k, uh_k)``. Nothing counts after the step in which the recorded plan ends the episode.
    """

    whole_plan = True

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """See :meth:`ImitationLoss.__call__`."""
        planned = batch["planned_mean"][:-1].movedim(-2, 0)
        _, alive = follow_plan(agent.model, batch["state"][:-1], planned)
        actions, _ = follow_policy(agent, batch["state"][:-1], len(planned))
        return ((actions - planned).square().mean(-1) * alive).mean(0)


class PlanStates(ImitationLoss):
    """The squared error of the states of the same rollout, ``mean_k |xh_k - x*_k|^2`` (PlanNetX, Hoffmann et al. 2024).

    ``x*`` is the rollout of the recorded plan. States are compared as observations, in which an angle is continuous, each
    entry in units of its running standard deviation.
    """

    whole_plan = True

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """See :meth:`ImitationLoss.__call__`."""
        planned = batch["planned_mean"][:-1].movedim(-2, 0)
        targets, alive = follow_plan(agent.model, batch["state"][:-1], planned)
        _, states = follow_policy(agent, batch["state"][:-1], len(planned))
        error = (self.view.observed(states) - self.view.observed(targets)) / self.view.std
        return (error.square().mean(-1) * alive).mean(0)


@torch.no_grad()
def follow_plan(model: Model, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Roll a plan out.

    Args:
        model: with the dynamics.
        state: first states ``[..., state]``.
        actions: ``[horizon, ..., action]``.

    Returns:
        The states after every action ``[horizon, ..., state]``, and whether a step counts, 1 up to and with the first that
        ends the episode ``[horizon, ...]``.
    """
    states, alive = [], [torch.ones_like(state[..., 0])]
    for action in actions:
        state, _, ended = model.transition(state, action)
        states.append(state)
        alive.append(alive[-1] * ~ended)
    return torch.stack(states), torch.stack(alive[:-1])


def follow_policy(agent: OffPolicyAgent, state: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Roll the policy's mean out, with gradients through the model.

    Args:
        agent: its policy sees ``k / steps`` with the state.
        state: first states ``[..., state]``.
        steps: actions to take.

    Returns:
        Actions ``[steps, ..., action]`` and the states after them ``[steps, ..., state]``.
    """
    actions, states = [], []
    for step in range(steps):
        actions.append(mean_action(agent, functional.pad(state, (0, 1), value=step / steps)))
        state = agent.model.next(state, actions[-1])
        states.append(state)
    return torch.stack(actions), torch.stack(states)


def make_imitator(config: OffPolicyConfig, view: PolicyView, hidden: tuple[int, ...], action_dim: int) -> LatentPolicy:
    """Make a policy that sees a view through a ReLU network with hidden layers of these widths."""
    return POLICIES[config.policy](
        *(view.input_dim, 0, action_dim),
        log_std_min=config.log_std_min,
        log_std_max=config.log_std_max,
        inputs=view,
        net=relu_mlp([view.input_dim, *hidden, 2 * action_dim]),
    )


def mean_action(agent: OffPolicyAgent, state: Tensor) -> Tensor:
    """Compute the policy's action without noise ``[..., action]``."""
    return agent.policy.action(agent.policy(state)[0])


IMITATIONS: dict[str, type[ImitationLoss]] = {
    "policy_nll": PolicyNLL,
    "action_mse": ActionMSE,
    "plan_states": PlanStates,
    "plan_controls": PlanControls,
}
"""Losses of a policy that only imitates, by the name that ``algo.imitation`` takes."""


def make_loss(name: str, model: Model) -> ImitationLoss:
    """Make the loss that ``algo.imitation`` names, and what its policy sees of the states of an explicit model."""
    assert isinstance(model, KnownModel)
    loss = IMITATIONS[name]
    return loss(PolicyView(model, model.task.state_dim, timed=loss.whole_plan))
