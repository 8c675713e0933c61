"""A learned switch: who acts, and for how many steps, by values of following the policy or the expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torchrl.data import TensorSpec, Unbounded

from pompc.data.holding import count_down
from pompc.networks.layers import EnsembleMLP, initialise
from pompc.networks.twohot import TwoHot
from pompc.offpolicy.acting import Act, PlannerActs, policy_action
from pompc.offpolicy.expert_query import plan_where
from pompc.schedules import Dial

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent

POLICY, EXPERT, RANDOM = 0.0, 1.0, -1.0
"""Who took a step, as the replay keeps it: ``actor [..., 1]``."""


class SkipValues(nn.Module):
    """Values ``Q(s, who, j)`` of following an actor for j steps and the policy from then on.

    Args:
        input_dim: size of a state as the networks see it.
        hidden: width of the two hidden layers.
        skips: the numbers of steps j, in increasing order.
        two_hot: encoding of the values.
    """

    def __init__(self, input_dim: int, hidden: int, skips: Sequence[int], two_hot: TwoHot) -> None:
        super().__init__()
        self.skips, self.two_hot = tuple(skips), two_hot
        self.heads = EnsembleMLP(2 * len(self.skips), [input_dim, hidden, hidden, len(two_hot.bins)])
        initialise(self.heads)
        nn.init.zeros_(self.heads.linears[-1].weight)  # pyright: ignore[reportArgumentType]

    def forward(self, inputs: Tensor) -> Tensor:
        """Value ``inputs [..., input]``: ``[..., who, skip]``, the policy before the expert."""
        return self._by_choice(self.two_hot.decode(self.heads(inputs)))

    def loss(self, inputs: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compare with the valid targets, a mean cross-entropy.

        Args:
            inputs: ``[..., input]``.
            target: ``[..., who, skip]``.
            valid: which of them count, bool ``[..., who, skip]``.
        """
        logits = self.heads(inputs)
        terms = self._by_choice(self.two_hot.cross_entropy(logits, target.flatten(-2).movedim(-1, 0)))
        return (terms * valid).sum() / valid.sum().clamp_min(1)

    def _by_choice(self, values: Tensor) -> Tensor:
        """Reorder ``[who * skip, ...]`` to ``[..., who, skip]``."""
        return values.movedim(0, -1).unflatten(-1, (2, len(self.skips)))


def best_choice(values: Tensor) -> Tensor:
    """Find the best of ``[..., who, skip]`` as an index of their flattened form ``[...]``.

    Ties go to the first: the policy before the expert, few steps before many.
    """
    flat = values.flatten(-2)
    place = torch.arange(flat.shape[-1], 0, -1, device=flat.device)
    return ((flat == flat.amax(-1, keepdim=True)) * place).argmax(-1)


def skip_targets(
    reward: Tensor,
    ended: Tensor,
    actor: Tensor,
    chosen: Tensor,
    value: Tensor,
    skips: Sequence[int],
    discount: float,
) -> tuple[Tensor, Tensor]:
    """Make targets ``sum_{i<j} discount^i r_{t+i} + discount^j V(s_{t+j})`` at every step of sequences.

    All parts of a hold count: one of 4 steps has targets of 1, 2 and 4 steps. Two holds are never joined: the second was
    chosen after its first state was seen, and so says more of good outcomes than of bad ones. Nothing comes after the end
    of an episode, which may cut a hold short.

    Args:
        reward: ``[time, batch]``, costs of the expert taken off.
        ended: whether the step ended the episode, bool ``[time, batch]``.
        actor: who took the step ``[time, batch]``; a random step begins no target.
        chosen: whether a new choice was made before the step, bool ``[time, batch]``.
        value: value of the state after the step ``[time, batch]``.
        skips: the numbers of steps j, in increasing order.
        discount: per step.

    Returns:
        Targets ``[time, batch, who, skip]``, and which are valid, bool ``[time, batch, who, skip]``.
    """
    time = len(reward)
    total, alive, valid = torch.zeros_like(reward), torch.ones_like(ended), actor != RANDOM
    targets, valids = [], []
    for step in range(skips[-1]):
        now = [_later(x, step, filler) for x, filler in ((reward, 0.0), (actor, RANDOM), (ended, 0.0), (value, 0.0))]
        joined = _later(chosen, step, 1.0).bool() if step else torch.zeros_like(ended)
        valid = valid & (~alive | ((now[1] == actor) & ~joined))
        total = total + discount**step * alive * now[0]
        alive = alive & ~now[2].bool()
        if step + 1 in skips:
            targets.append(total + discount ** (step + 1) * alive * now[3])
            valids.append(valid)
    target, valid = torch.stack(targets, -1), torch.stack(valids, -1)
    who = torch.stack([actor == POLICY, actor == EXPERT], -1).unsqueeze(-1)
    shape = (time, *reward.shape[1:], 2, len(skips))
    return target.unsqueeze(-2).expand(shape), valid.unsqueeze(-2) & who


def _later(x: Tensor, steps: int, filler: float) -> Tensor:
    """Move ``x [time, ...]`` back by ``steps``; beyond its end stands the filler."""
    rest = x[steps:].float()
    return torch.cat([rest, torch.full_like(x[: len(x) - len(rest)], 0).float() + filler])


class SwitchActs(PlannerActs):
    """Let the better actor act, and keep it for the best number of steps; explore by random choices.

    A separate generator draws them. It draws nothing in evaluations, or if ``epsilon`` is 0.

    Args:
        values: of the choices.
        epsilon: the share of random choices.
        device: the device of the agent.
        always_plan: plan in all environments, because learning needs the plans; otherwise only where the expert acts.
    """

    def __init__(self, values: SkipValues, epsilon: Dial, device: torch.device, *, always_plan: bool) -> None:
        self.values, self.epsilon, self.device, self.always_plan = values, epsilon, device, always_plan
        self.generator = torch.Generator().manual_seed(torch.initial_seed())
        self.skips = torch.tensor(values.skips, device=device)

    def primers(self) -> dict[str, TensorSpec]:
        """Return the specs of the current choice and of the number of steps for which it is still kept."""
        return {name: Unbounded((1,), device=self.device) for name in ("expert_acts", "choice_left")}

    def __call__(self, agent: OffPolicyAgent, tensordict: TensorDictBase, explore: bool, plan: Act) -> TensorDictBase:
        """See :meth:`PlannerActs.__call__ <pompc.offpolicy.acting.PlannerActs.__call__>`."""
        choice = best_choice(self.values(agent.model.inputs(agent.encode(tensordict["observation"]))))
        choice = self._explored(choice) if explore else choice
        count = len(self.skips)
        held = count_down(tensordict, "choice_left", self.skips[choice % count].unsqueeze(-1))
        fresh = (choice // count).unsqueeze(-1).float()
        expert = torch.where(held, tensordict["expert_acts"], fresh)
        tensordict["next", "expert_acts"] = expert
        if explore:
            tensordict["actor"], tensordict["chosen"] = expert, (~held).float()
        acts, own = expert > 0, policy_action(agent, tensordict["observation"], explore)
        planned = acts | self.always_plan
        tensordict = plan_where(agent, tensordict, explore, plan, planned.squeeze(-1), own)
        tensordict["action"] = torch.where(acts, tensordict["action"], own)
        return tensordict

    def _explored(self, choice: Tensor) -> Tensor:
        """Replace a share of the choices ``[batch]`` by uniform ones."""
        if self.epsilon.value <= 0:
            return choice
        drawn = torch.rand(choice.shape, generator=self.generator) < self.epsilon.value
        other = torch.randint(2 * len(self.skips), choice.shape, generator=self.generator)
        return torch.where(drawn.to(choice.device), other.to(choice.device), choice)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.generator.set_state(state["generator"].cpu())
