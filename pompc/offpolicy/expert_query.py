"""Ask the planner only when needed: where it acts, and for the label of a sampled state that has none (lazy DAgger)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import UserError
from pompc.offpolicy.acting import Act, MixtureActs, policy_action
from pompc.system.waiting import waits

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent
    from pompc.planner.config import MPPIConfig


def require_expert(planner: MPPIConfig) -> None:
    """Refuse a planner whose plans are no labels.

    Raises:
        UserError: it acts by a drawn sample, or its plans have no standard deviation, which marks a state without a label.
    """
    if planner.stochastic:
        raise UserError("planner.stochastic draws an action: an expert acts by the mean of its plan, leave it out")
    option, stds = "init_std", planner.init_std if isinstance(planner.init_std, tuple | list) else (planner.init_std,)
    if planner.init_covariance is not None:
        option, stds = "init_covariance", [line[entry] for entry, line in enumerate(planner.init_covariance)]
    if not planner.adapt_std and min(stds) == 0:
        raise UserError(f"planner.{option}=0 samples nothing, and an expert's plan then is no label: raise it")


def plan_where(
    agent: OffPolicyAgent, tensordict: TensorDictBase, explore: bool, plan: Act, planned: Tensor, own: Tensor
) -> TensorDictBase:
    """Plan in some environments and act by the policy in the others, whose plan is zero with a std of zero: no label.

    The planner's warm start of the others is lost: a plan that begins there later begins at zero.

    Args:
        agent: the agent that acts.
        tensordict: the start of a step, of batch size ``[batch]``.
        explore: see :meth:`PlannerActs.__call__ <pompc.offpolicy.acting.PlannerActs.__call__>`.
        plan: makes a plan and acts by it.
        planned: environments to plan in, bool ``[batch]``.
        own: the policy's actions ``[batch, action]``.
    """
    if not waits(planned.device) and bool(planned.all()):
        return plan(tensordict, explore)
    nothing = torch.zeros_like(own)
    found: dict[Any, Tensor] = {"action": own, "plan_mean": nothing, "plan_std": nothing}
    found["next", "planner_mean"] = torch.zeros_like(tensordict["planner_mean"])
    if waits(planned.device):  # to select environments the program would wait: all are planned in
        part = plan(tensordict.clone(), explore)
        for key in part.exclude(*tensordict.keys()).keys(include_nested=True, leaves_only=True):
            value = cast(Tensor, part[key])
            whole = found[key] if key in found else torch.zeros_like(value)
            found[key] = torch.where(planned.view(-1, *[1] * (value.ndim - 1)), value, whole)
    elif bool(planned.any()):
        given = cast(TensorDictBase, tensordict[planned]).select("observation", "is_init", *agent.primers())
        part = plan(given.clone(), explore)
        for key in part.exclude(*given.keys()).keys(include_nested=True, leaves_only=True):
            value = cast(Tensor, part[key])
            whole = found[key] if key in found else value.new_zeros(len(planned), *value.shape[1:])
            found[key] = whole.index_put((planned,), value)
    for key, value in found.items():
        tensordict[key] = value
    return tensordict


class ImitatorActs(MixtureActs):
    """A mixture of the planner and of a policy that acts by its mean.

    Args:
        mixture: arguments of :class:`MixtureActs`.
        lazy: plan only where the planner acts; otherwise everywhere, because a plan is a label.
    """

    def __init__(self, *mixture: Any, lazy: bool) -> None:
        super().__init__(*mixture)
        self.lazy = lazy

    def __call__(self, agent: OffPolicyAgent, tensordict: TensorDictBase, explore: bool, plan: Act) -> TensorDictBase:
        """See :meth:`PlannerActs.__call__ <pompc.offpolicy.acting.PlannerActs.__call__>`."""
        chosen = self._chosen(tensordict, explore)
        if chosen is None or not explore:  # an evaluation of the policy does not come here
            return plan(tensordict, explore)
        own = policy_action(agent, tensordict["observation"], explore=False)
        if self.lazy:
            return plan_where(agent, tensordict, explore, plan, ~chosen.squeeze(-1), own)
        tensordict = plan(tensordict, explore)
        tensordict["action"] = torch.where(chosen, own, tensordict["action"])
        return tensordict


class ExpertQuery:
    """Plan from the sampled states that have no label yet, and keep the plans in the replay.

    A state is planned from once, without a warm start. With an interval of 1 every sampled state has a label, as when
    DAgger asks its expert about the states that the policy visited.

    Args:
        interval: updates between two queries; 0 never asks.
        keys: what the replay keeps of a plan.
    """

    def __init__(self, interval: int, keys: tuple[str, ...]) -> None:
        self.interval, self.keys = interval, keys

    @torch.no_grad()
    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase, indices: Tensor) -> None:
        """Label the states of a batch, if a query is due.

        Args:
            agent: the agent that plans and owns the replay.
            batch: sequences ``[time + 1, batch]``; their plans are filled in.
            indices: slots of the batch in the replay ``[time + 1, batch]``.
        """
        if self.interval == 0 or agent.updates % self.interval:
            return
        assert agent.planner is not None
        where = cast(Tensor, batch["plan_std"])[:-1].le(0).all(-1).nonzero(as_tuple=True)
        if not len(where[0]):
            return
        slots, inverse = indices[where].unique(return_inverse=True)  # a batch may hold a state several times
        first = torch.zeros_like(slots).scatter_(0, inverse, torch.arange(len(inverse), device=slots.device))
        plan = agent.planner.plan(agent.model.encode(cast(Tensor, batch["observation"])[where][first]), states=False)
        made = {"plan_mean": plan.mean[:, 0, 0], "plan_std": plan.std[:, 0, 0], "planned_mean": plan.mean[:, 0]}
        kept = {name: made[name] for name in self.keys}
        agent.replay.update(slots, kept)
        for name, value in kept.items():
            batch[name] = cast(Tensor, batch[name]).index_put(where, value[inverse])


def plans_made(agent: OffPolicyAgent) -> int:
    """Count the states that the agent has planned from."""
    assert agent.planner is not None
    config = agent.planner.config
    sequences = config.num_iterations * config.num_samples * config.num_rollouts
    return agent.planner.model_steps // (sequences * config.horizon)
