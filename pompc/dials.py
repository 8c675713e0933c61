"""The dials of an agent: their settings, the disagreement that moves them, and their metrics.

``kl_weight`` (lambda) is the weight of the KL divergence between the policy and the planner in the policy loss;
``virtual_ratio`` (rho) is the share of the planner's own rollouts in value learning. Each is a number or a schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from pompc.config.filter_options import FilterConfig
from pompc.config.options import Options, Share, Top
from pompc.dial import Dial, Evidence, ScheduleConfig, Signals
from pompc.errors import UserError
from pompc.schedules import (
    Setting,
    asks_bias,
    asks_uncertainty,
    check_setting,
    highest_value,
    make_dial,
)

if TYPE_CHECKING:
    from torch import Tensor


KLWeight = Annotated[Annotated[float, Ge(0)] | ScheduleConfig, Top()]
VirtualRatio = Annotated[Share | ScheduleConfig, Top()]


@dataclass(frozen=True, kw_only=True)
class AgentConfig(Options):
    """The two dials and the safety filter of every agent.

    Attributes:
        kl_weight: lambda, the pull of the policy to the planner's action distribution; ``.inf`` is imitation alone.
        virtual_ratio: rho, the share of the planner's own rollouts in value learning.
        filter: the safety filter between the agent and the environment.
        measures_bias: whether the agent measures the bias of virtual targets, which ``virtual_ratio`` may follow.
        measures_terms: whether the agent measures the terms that lambda weighs, which ``kl_weight`` may follow.
    """

    section = "algo"
    measures_bias: ClassVar[bool] = False
    measures_terms: ClassVar[bool] = False

    kl_weight: KLWeight = 0.0
    virtual_ratio: VirtualRatio = 0.0
    filter: Annotated[FilterConfig, Top()] = field(default_factory=FilterConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting("kl_weight", self.kl_weight, measures_terms=self.measures_terms)
        check_setting("virtual_ratio", self.virtual_ratio, highest=1.0, measures_bias=self.measures_bias)
        self.filter.require_effect()

    @property
    def dials(self) -> dict[str, Setting]:
        """The settings of the agent's dials by name."""
        return {"kl_weight": self.kl_weight, "virtual_ratio": self.virtual_ratio}

    def refuse_dials(self, reason: str) -> None:
        """Refuse dials above zero.

        Args:
            reason: why the algorithm has no use for the dials.

        Raises:
            UserError: a dial is above zero.
        """
        for name, setting in self.dials.items():
            if highest_value(setting) > 0:
                raise UserError(f"{name} must be 0: {reason}")

    @property
    def follows_disagreement(self) -> bool:
        """Whether a dial moves by the disagreement of the value heads."""
        return any(map(asks_uncertainty, self.dials.values()))

    @property
    def follows_bias(self) -> bool:
        """Whether a dial moves by the bias of virtual targets."""
        return any(map(asks_bias, self.dials.values()))

    def require_ensemble(self, heads: int) -> None:
        """Refuse a single value head if a dial moves by disagreement.

        Raises:
            UserError: ``heads`` is 1 and a dial needs more.
        """
        if self.follows_disagreement:
            self.require_heads(heads, "a dial that moves by the disagreement of value heads")

    def require_heads(self, heads: int, who: str) -> None:
        """Refuse a single value head.

        Args:
            heads: size of the value ensemble.
            who: what needs more of them.

        Raises:
            UserError: ``heads`` is 1.
        """
        if heads < 2:
            raise UserError(f"algo.ensemble_size={heads}: {who} needs at least 2 of them")


class Dials:
    """The dials of one agent: they move together, are logged together and saved together.

    Args:
        config: the settings, :attr:`AgentConfig.dials`.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._all = {name: make_dial(setting) for name, setting in config.dials.items()}

    @property
    def kl_weight(self) -> Dial:
        """Lambda."""
        return self._all["kl_weight"]

    @property
    def virtual_ratio(self) -> Dial:
        """Rho."""
        return self._all["virtual_ratio"]

    def find(self, name: str) -> Dial | None:
        """Return the dial of this name; ``None`` if the agent does not have it."""
        return self._all.get(name)

    @property
    def move(self) -> bool:
        """Whether a dial has a schedule that changes it."""
        return not all(dial.fixed for dial in self._all.values())

    def update(self, signals: Signals) -> None:
        """Advance all dials by one learning update."""
        for dial in self._all.values():
            dial.update(signals)

    def metrics(self) -> dict[str, float]:
        """Return the values by name."""
        return {name: dial.value for name, dial in self._all.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {name: dial.state_dict() for name, dial in self._all.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; a dial that only a changed configuration has begins at its start."""
        for name, dial in self._all.items():
            if name in state:
                dial.load_state_dict(state[name])


def relative_variance(values: Tensor, reward: Tensor) -> float:
    """Divide the variance over members by the :func:`signal_variance`: a disagreement without units.

    The divisor is the current variance, not a running maximum: with a maximum the measure would fall quadratically while
    the ensemble is still wrong.

    Args:
        values: ``[member, sample]``.
        reward: rewards in the units of the values.
    """
    if values.shape[0] == 1:
        return 0.0
    return (values.var(0).mean() / signal_variance(values, reward)).item()


def signal_variance(values: Tensor, reward: Tensor) -> Tensor:
    """Add the variances of mean value and reward over samples: the unit of squared errors of values.

    It has the arguments of :func:`relative_variance`.
    """
    return values.mean(0).var() + reward.var() + 1e-8


def make_signals(values: Tensor, reward: Tensor, steps: int, evidence: Evidence | None = None) -> Signals:
    """Make the signals of an update from its :func:`relative_variance`.

    Args:
        values: ``[member, sample]``.
        reward: rewards in the units of the values.
        steps: environment steps so far.
        evidence: with a bias in squared units of the values.
    """
    relative = None if evidence is None else evidence.per(signal_variance(values, reward).item())
    return Signals(uncertainty=relative_variance(values, reward), steps=steps, evidence=relative)


def disagreement(values: Tensor, reward: Tensor) -> float:
    """Compute the share of disagreement in all variance, ``u / (1 + u)`` with ``u`` the :func:`relative_variance`.

    The share lies in [0, 1). It is zero if all members agree and near one if they have nothing in common, even with tiny
    values. So a peak in the first updates does not outweigh later updates. It has the arguments of
    :func:`relative_variance`.
    """
    relative = relative_variance(values, reward)
    return relative / (1 + relative)
