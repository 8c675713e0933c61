"""The latent family: learning a world model, values and a policy from replayed sequences (TD-MPC2, descendants)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import NonFiniteError
from pompc.offpolicy.latent_losses import LatentLosses
from pompc.system.precision import matmul_precision
from pompc.terms import TERM_METRICS

PATIENCE = 5  # times the seed phase that a first episode may take before a warning


class LatentMPPIRL(LatentLosses):
    """An off-policy agent that plans with a learned world model; TD-MPC2 (Hansen et al. 2024) where both dials are zero.

    Subclasses override :meth:`value_target`, :meth:`policy_loss`, :meth:`planner_kl` and what they need beside.
    Batches are time first: ``observation [horizon + 1, batch, ...]``, and of every step ``action``, ``reward``,
    ``terminated``, ``plan_mean`` and ``plan_std`` (the plan the action was drawn from) ``[horizon, batch, ...]``.

    Args:
        config: options.
        problem: the environment.
    """

    learns_policy_in_pretraining = True
    _warned = False  # of terminations

    @property
    def frames_per_batch(self) -> int:
        """One step of every environment."""
        return self.problem.num_envs

    @property
    def batches_per_row(self) -> int:
        """Steps of all environments to the next multiple of ``log_every`` transitions."""
        left = self.config.log_every - self.transitions % self.config.log_every
        return -(-left // self.problem.num_envs)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of an update, in order."""
        losses = ("consistency_loss", "reward_loss", "value_loss", "termination_loss", "virtual_loss", "model_loss")
        return (
            *losses,
            "model_grad_norm",
            "policy_loss",
            "policy_grad_norm",
            "return_scale",
            "kl",
            "kl_scale",
            "entropy",
            *TERM_METRICS,
            *(("uncertainty",) if self.dials_move else ()),
        )

    @property
    def backlog(self) -> int:
        """Updates owed, those before the first planned action first."""
        if self.replay.num_starts == 0:
            return 0
        return max(self.pretrain_left, 0) + int(self.owed)

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Keep the transitions, then make the updates they call for."""
        self.replay.extend(data)
        self.transitions += data.numel()
        self._warn_of_terminations(data)
        if self.pretrain_left >= 0:
            self.owed += self.config.update_to_data * data.numel()
        elif self.transitions > self.seed_steps:
            self._begin(data.numel())
        metrics = self.catch_up()
        dials = {"kl_weight": self.kl_weight.value, "virtual_ratio": self.virtual_ratio.value}
        return {**{name: metrics.get(name, math.nan) for name in self.metric_names}, **dials, "updates": self.updates}

    def _begin(self, new: int) -> None:
        """Owe the first burst of updates, once there is a sequence to learn from; say so where none comes.

        Args:
            new: transitions that have just been added.
        """
        if self.replay.num_starts > 0:
            given = self.config.pretrain_updates
            self.pretrain_left = self.seed_steps if given is None else given
            return
        patience = PATIENCE * (self.seed_steps + self.problem.num_envs)
        if self.transitions >= patience > self.transitions - new:
            warnings.warn(f"nothing is learned yet: {self.idle_reason()}", stacklevel=2)

    def idle_reason(self) -> str | None:
        """See ``MPPIRL.idle_reason``."""
        if self.updates:
            return None
        if self.transitions <= self.seed_steps:
            return (
                f"all {self.transitions:,} transitions were of the seed phase (algo.seed_steps, here {self.seed_steps:,}); "
                "raise steps"
            )
        if self.replay.num_starts == 0:
            return (
                f"in {self.transitions:,} transitions no episode of at least {self.horizon} steps has ended; lower "
                "planner.horizon, or, where episodes do not end, give the environment a time limit"
            )
        return "the run ended before the first update was due; raise steps or algo.update_to_data"

    def _warn_of_terminations(self, data: TensorDictBase) -> None:
        """Say once that an episode of ``data`` has terminated where terminations are not learned."""
        if self.model.termination_head is not None or self._warned or not bool(data["next", "terminated"].any()):
            return
        self._warned = True
        warnings.warn(
            "an episode has terminated, and algo.episodic=false: plans and the targets that the model makes go on beyond "
            "the end of an episode; set algo.episodic=true",
            stacklevel=3,
        )

    def catch_up(self) -> dict[str, Tensor]:
        """Make at most ``log_every`` of the updates owed; their mean metrics."""
        made: dict[str, list[Tensor]] = {}
        for _ in range(min(self.backlog, max(self.config.log_every, self.problem.num_envs))):
            pretraining = self.pretrain_left > 0
            metrics = self.update(*self.replay.sample(self.config.batch_size), pretraining=pretraining)
            self.pretrain_left -= pretraining
            self.owed -= not pretraining
            for name, value in metrics.items():
                made.setdefault(name, []).append(value)
        return {name: values[0] if len(values) == 1 else torch.stack(values).mean() for name, values in made.items()}

    def update(
        self, batch: TensorDictBase, indices: Tensor | None = None, *, pretraining: bool = False
    ) -> dict[str, Tensor]:
        """One update of everything on a batch of sequences ``[horizon + 1, batch]``.

        Args:
            batch: as the class says.
            indices: where the batch lies in the replay ``[horizon + 1, batch]``; none where it does not.
            pretraining: before the first planned action.

        Raises:
            NonFiniteError: a loss or a gradient; the batch is attached to it.
        """
        with matmul_precision(self.config.matmul_precision):
            self.refresh(batch, indices, pretraining)
            self.critic.train()
            loss, metrics = self.model_loss(batch)
            metrics |= {"model_loss": loss.detach(), "model_grad_norm": self.descend("model", loss, batch)}
            if self.model.tasks is not None:
                self.model.tasks.bound()
            if self.learns_policy_in_pretraining or not pretraining:
                loss, more = self.policy_loss(batch)
                metrics |= {
                    **more,
                    "policy_loss": loss.detach(),
                    "policy_grad_norm": self.descend("policy", loss, batch),
                }
            metrics |= self.learn_prior(batch)
            self.critic.eval()
            self.critic.follow(self.config.target_rate)
        self.updates += 1
        self.ranges.look(self.updates)
        return metrics | self.move_dials(batch)

    def learn_prior(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """One step of a learned prior, where the algorithm has one; its metrics."""
        return {}

    def refresh(self, batch: TensorDictBase, indices: Tensor | None, pretraining: bool) -> None:
        """Renew what the replay holds of old plans before learning from it; nothing by default."""

    def descend(self, name: str, loss: Tensor, batch: TensorDictBase) -> Tensor:
        """One clipped gradient step of an optimizer; the norm of the gradient before clipping."""
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        if not bool(torch.isfinite(loss.detach() + norm)):
            error = NonFiniteError(f"{name} loss", f"loss {loss.item():.6g}, gradient norm {norm.item():.6g}")
            error.batch = batch.detach()  # pyright: ignore[reportAttributeAccessIssue]
            raise error
        optimizer.step()
        return norm

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Adds the counters of updates owed and, where asked, the replay."""
        counters = {"transitions": self.transitions, "pretrain_left": self.pretrain_left, "owed": float(self.owed)}
        kept = {"replay": self.replay.state_dict()} if replay else {}
        return {**super().training_state(replay=replay), **counters, **kept}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; a state without replay is enough to act and evaluate."""
        super().load_training_state(state)
        self.transitions, self.pretrain_left, self.owed = (state[k] for k in ("transitions", "pretrain_left", "owed"))
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
