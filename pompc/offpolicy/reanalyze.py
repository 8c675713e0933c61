"""Lazy reanalysis: stale plans in the replay are made anew, a few at a time (BMPC, Wang et al. 2025, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.config.options import NonNegativeInt, PositiveInt
from pompc.errors import UserError
from pompc.offpolicy.config import LatentConfig, LogStd
from pompc.offpolicy.latent import LatentMPPIRL


@dataclass(frozen=True, kw_only=True)
class ReanalyzeConfig(LatentConfig):
    """Options of :class:`LazyReanalyze` beside those of the latent family.

    Attributes:
        reanalyze_interval: updates between two reanalyses; 0 never reanalyses.
        reanalyze_sequences: sequences of the batch that are planned again, every step of them; at most all.
        reanalyze_log_std_min: smallest log standard deviation of the policy's proposals in a reanalysis.
        reanalyze_log_std_max: largest log standard deviation of the policy's proposals in a reanalysis.
    """

    reanalyze_interval: NonNegativeInt = 10
    reanalyze_sequences: PositiveInt = 20
    reanalyze_log_std_min: LogStd = -2.0
    reanalyze_log_std_max: LogStd = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reanalyze_log_std_min < self.reanalyze_log_std_max:
            raise UserError(
                f"algo.reanalyze_log_std_min={self.reanalyze_log_std_min} must be below "
                f"algo.reanalyze_log_std_max={self.reanalyze_log_std_max}"
            )


class LazyReanalyze(LatentMPPIRL):
    """Plans again, with today's model, from the first observations of the batch, in place in the replay."""

    Config: type[ReanalyzeConfig] = ReanalyzeConfig

    def random_plan(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """A standard normal, whatever the action."""
        return torch.zeros_like(action), torch.ones_like(action)

    @torch.no_grad()
    def refresh(self, batch: TensorDictBase, indices: Tensor | None, pretraining: bool) -> None:
        """Every ``reanalyze_interval`` updates after the pretraining: new plans, without a warm start."""
        config: ReanalyzeConfig = self.config
        due = config.reanalyze_interval > 0 and not pretraining and self.updates % config.reanalyze_interval == 0
        if indices is None or not due:
            return
        assert self.planner is not None
        rows = (slice(self.horizon), slice(config.reanalyze_sequences))
        state = self.model.encode(batch["observation"][rows])
        flat = state.flatten(0, 1)
        plan = self.planner.plan(
            flat,
            proposals=self.proposals(flat, (config.reanalyze_log_std_min, config.reanalyze_log_std_max)),
            terminal_value=self.terminal_value(),
            discount=self.discounts(flat),
        )
        shape = (*state.shape[:2], -1)
        fresh = {"plan_mean": self.planner.select(plan)[:, 0].view(shape), "plan_std": plan.std[:, 0, 0].view(shape)}
        self.replay.update(indices[rows], fresh)
        for name, value in fresh.items():
            batch[name][rows] = value
