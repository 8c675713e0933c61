"""Who acts: the planner, the policy, or a mixture of the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec, Unbounded

from pompc.data.holding import count_down
from pompc.models.tasks import TaskEmbedding
from pompc.schedules import Dial
from pompc.system.waiting import may_hold

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


Act = Callable[[TensorDictBase, bool], TensorDictBase]
"""How an agent plans and acts: ``(tensordict, explore) -> tensordict``."""


class PlannerActs:
    """The planner acts in every step.

    A variant overrides :meth:`__call__` and keeps its state in the TensorDict.
    """

    def primers(self) -> dict[str, TensorSpec]:
        """Return the specs of the entries that are carried in the TensorDict, without the batch dimension."""
        return {}

    def __call__(self, agent: OffPolicyAgent, tensordict: TensorDictBase, explore: bool, plan: Act) -> TensorDictBase:
        """Write ``action [batch, action]``, the plan and the next values of the :meth:`primers`.

        Args:
            agent: the agent that acts.
            tensordict: the start of a step: ``observation``, ``is_init [batch, 1]`` and the :meth:`primers`.
            explore: ``False`` in an evaluation, which must not change the training.
            plan: makes a plan and acts by it.
        """
        return plan(tensordict, explore)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class MixtureActs(PlannerActs):
    """The policy acts in a share of the steps, the planner in the others (beta-mixture of DAgger, Ross et al. 2011).

    The planner plans in all steps, because lambda and the replay need its plans. A separate generator draws the choice. It
    draws nothing at a share of 0 or 1, so these runs have the numbers of the planner or the policy alone. In evaluations
    the planner acts unless the share is 1.

    Args:
        share: the probability that a new choice is the policy.
        hold: agent steps for which a choice is kept.
        device: the device of the agent.
    """

    def __init__(self, share: Dial, hold: int, device: torch.device) -> None:
        self.share, self.hold, self.device = share, hold, device
        self.generator = torch.Generator().manual_seed(torch.initial_seed())

    def primers(self) -> dict[str, TensorSpec]:
        """Return the specs of the current choice and of the number of steps for which it is still kept."""
        return {name: Unbounded((1,), device=self.device) for name in ("policy_acts", "choice_left")}

    def __call__(self, agent: OffPolicyAgent, tensordict: TensorDictBase, explore: bool, plan: Act) -> TensorDictBase:
        """See :meth:`PlannerActs.__call__`."""
        chosen = self._chosen(tensordict, explore)
        tensordict = plan(tensordict, explore)
        if chosen is not None:
            own = policy_action(agent, tensordict["observation"], explore)
            tensordict["action"] = torch.where(chosen, own, tensordict["action"])
        return tensordict

    def _chosen(self, tensordict: TensorDictBase, explore: bool) -> Tensor | None:
        """Find the environments in which the policy acts, bool ``[batch, 1]``; ``None`` if the planner acts in all."""
        before = tensordict["policy_acts"] > 0
        if not explore:
            tensordict["next", "policy_acts"] = tensordict["policy_acts"].clone()
            tensordict["next", "choice_left"] = tensordict["choice_left"].clone()
            return torch.ones_like(before) if self.share.value >= 1 else None
        held = count_down(tensordict, "choice_left", self.hold)
        chosen = torch.where(held, before, self._drawn(before))
        tensordict["next", "policy_acts"] = chosen.float()
        return chosen if may_hold(chosen) else None

    def _drawn(self, like: Tensor) -> Tensor:
        """Draw a new choice for every environment, in the shape and on the device of ``like``."""
        share = self.share.value
        if share <= 0 or share >= 1:
            return torch.full_like(like, share >= 1)
        return (torch.rand(like.shape, generator=self.generator) < share).to(like.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; the planner alone, as an evaluation may change it, has no generator."""
        if "generator" in state:
            self.generator.set_state(state["generator"].cpu())


def make_who_acts(share: Dial | None, hold: int, device: torch.device) -> PlannerActs:
    """Make the planner act, or a mixture if the policy has a share."""
    return PlannerActs() if share is None else MixtureActs(share, hold, device)


def policy_action(agent: OffPolicyAgent, observation: Tensor, explore: bool) -> Tensor:
    """Compute the policy's action ``[batch, action]``: a draw when exploring, otherwise the mean."""
    sample = agent.policy.sample(agent.encode(observation))
    return sample.action if explore else agent.policy.action(sample.mean)


def act_by_policy(agent: OffPolicyAgent, tensordict: TensorDictBase) -> TensorDictBase:
    """Write the policy's mean as ``action [batch, action]``, without a plan; entries that a task ignores are zero."""
    tensordict["action"] = policy_action(agent, tensordict["observation"], explore=False)
    return mask_actions(agent.model.tasks, tensordict)


def act_randomly(agent: OffPolicyAgent, tensordict: TensorDictBase) -> TensorDictBase:
    """Write uniform actions, and :meth:`OffPolicyAgent.random_plan` as their plan.

    Args:
        agent: an agent in its seed phase.
        tensordict: the start of a step, of batch size ``[batch]``.
    """
    warm_start = tensordict["planner_mean"]
    sequences = torch.rand((len(warm_start), agent.config.virtual_count, *warm_start.shape[1:])) * 2 - 1
    sequences = sequences.to(warm_start.device)
    tensordict["action"] = sequences[:, 0, 0]
    tensordict["plan_mean"], tensordict["plan_std"] = agent.random_plan(sequences[:, 0, 0])
    if agent.uses_virtual:
        tensordict["planned"] = sequences
    tensordict["next", "planner_mean"] = torch.zeros_like(warm_start)
    for name in agent.who_acts.primers():
        tensordict["next", name] = torch.zeros_like(tensordict[name])
    return tensordict


def mask_actions(tasks: TaskEmbedding | None, tensordict: TensorDictBase) -> TensorDictBase:
    """Set to zero the entries of ``action`` (and of ``planned`` sequences) that an environment's task ignores."""
    if tasks is None:
        return tensordict
    mask = tasks.action_masks[tasks.index(tensordict["observation"])]
    tensordict["action"] = tensordict["action"] * mask
    if "planned" in tensordict.keys():  # noqa: SIM118 - a TensorDict is no container of keys
        tensordict["planned"] = tensordict["planned"] * mask[:, None, None]
    return tensordict


def near_the_action(action: Tensor, log_std: float) -> tuple[Tensor, Tensor]:
    """Stand in for the plan of a random action: a wide Gaussian around it, mean and std ``[batch, action]``."""
    return action, torch.full_like(action, math.exp(log_std))


def standard_normal(action: Tensor) -> tuple[Tensor, Tensor]:
    """Stand in for the plan of a random action: a standard normal, mean and std ``[batch, action]`` (BMPC)."""
    return torch.zeros_like(action), torch.ones_like(action)
