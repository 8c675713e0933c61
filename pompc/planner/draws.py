"""Draw the samples of an iteration, and let them keep the limits of an action."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from pompc.planner.inputs import Inputs
from pompc.system.compiling import compiled

if TYPE_CHECKING:
    from pompc.planner.mppi import MPPI


class Draws:
    """Draw samples around a mean, by :meth:`MPPI.sample` and the planner's limits.

    Args:
        planner: draws the noise, makes samples of it and has their limits.
        traceable: whether :meth:`MPPI.sample` can be compiled. With ``planner.compile`` the samples are then made in one
            graph, of noise that is drawn before; limits that go step by step are not, as the graph would grow with them.
    """

    def __init__(self, planner: MPPI, *, traceable: bool) -> None:
        self._planner = planner
        worth = planner.config.compile and traceable and planner.limits.elementwise
        self._graph = compiled(self._made) if worth else None

    def __call__(
        self, given: Inputs, iteration: int, mean: Tensor, std: Tensor, proposals: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw the samples of an iteration.

        Args:
            given: inputs of the plan.
            iteration: its number, from 0.
            mean: ``[batch, candidate, horizon, action]``.
            std: standard deviation ``[batch, candidate, horizon, action]``.
            proposals: sequences to include ``[batch, candidate, p, horizon, action]``.

        Returns:
            What the densities of the importance term are of (without one the same), and what the model sees, which keeps
            the limits: both ``[batch, candidate, sample, horizon, action]``.
        """
        noise = given.noise_of(iteration)
        if self._graph is None:
            return self._made(mean, std, proposals, noise, given.first, given.previous)
        if noise is None:
            planner = self._planner
            batch, candidates, horizon, action = mean.shape
            shape = (batch, candidates, planner.config.num_samples, horizon, action)
            noise = planner.noise(shape, planner.device, planner.dtype, planner.generator)
        return self._graph(mean, std, proposals, noise, given.first, given.previous)

    def _made(
        self,
        mean: Tensor,
        std: Tensor,
        proposals: Tensor | None,
        noise: Tensor | None,
        first: Tensor | None,
        previous: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Make samples of the noise; ``None`` leaves it to :meth:`MPPI.sample` to draw it."""
        drawn = self._planner.sample(mean, std, proposals, noise)
        if first is not None:
            drawn[..., 0, :] = first[:, None, None]
        actions = self._planner.limits(drawn, previous)
        return actions if self._planner.importance is None else drawn, actions
