"""Noise that is correlated between the entries of an action, from a covariance matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.planner import inputs
from pompc.planner.config import MPPIConfig
from pompc.planner.counted import CountedNoise
from pompc.planner.noise import NOISES, Noise, NoiseOf, WhiteNoise

RESOLVED = 1e-12
"""Share of the largest variance below which a direction of the covariance counts as not sampled."""


class Correlation:
    """Split a covariance matrix into standard deviations and a correlation matrix ``R``.

    Args:
        covariance: ``[action, action]``, symmetric. It may be singular: directions without variance are not sampled.
        action_dim: size of an action.

    Attributes:
        std: standard deviations ``[action]``, float64.
        mixing: a matrix ``M [action, action]`` with ``M M' = R``, float64.
        inverse: pseudo-inverse of ``R``.
        range: projection on the range of ``R``.
        is_singular: whether ``R`` lacks a direction.

    Raises:
        UserError: the matrix has another size than the action, or a negative variance in some direction.
    """

    def __init__(self, covariance: Sequence[Sequence[float]], action_dim: int) -> None:
        matrix = torch.tensor(covariance, dtype=torch.float64)
        if len(matrix) != action_dim:
            raise UserError(
                f"planner.init_covariance is a matrix of size {len(matrix)}, and an action has {action_dim} entries: give "
                f"{action_dim} lines of {action_dim} numbers"
            )
        self.std = matrix.diagonal().clamp(min=0.0).sqrt()
        inverse = torch.where(self.std > 0, 1 / self.std, 0.0)
        variance, directions = torch.linalg.eigh(matrix * inverse[:, None] * inverse)
        if bool((matrix.diagonal() < 0).any()) or variance[0] < -1e-9 * variance[-1].abs():
            raise UserError(
                "planner.init_covariance has a negative variance in some direction, so it is no covariance: make it "
                "positive semi-definite"
            )
        made = variance > RESOLVED * variance[-1]
        kept, self.is_singular = directions[:, made], not bool(made.all())
        self.mixing = directions * variance.clamp(min=0.0).sqrt()
        self.inverse = (kept / variance[made]) @ kept.T
        self.range = kept @ kept.T


class CorrelatedNoise(NoiseOf):
    """Mix the entries of standard noise, so that they have a correlation matrix; each keeps its unit variance.

    Args:
        noise: noise with independent entries.
        correlation: the matrix to give them.
    """

    def __init__(self, noise: Noise, correlation: Correlation) -> None:
        super().__init__(noise)
        self._mixing = correlation.mixing

    def __call__(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :class:`~pompc.planner.noise.Noise`."""
        return self._noise(shape, device, dtype, generator) @ self._mixing.T.to(device, dtype)


def make_noise(config: MPPIConfig, action_dim: int, dtype: torch.dtype) -> tuple[Noise, Tensor, Correlation | None]:
    """Make the noise of a planner.

    Returns:
        The noise, the standard deviation at the start of a plan (``[horizon, 1]`` or ``[horizon, action]``), and the
        correlation of the entries; ``None`` if they are independent.

    Raises:
        UserError: ``init_std`` or ``init_covariance`` does not fit the action.
    """
    noise = NOISES[config.noise](config)
    if config.compile and isinstance(noise, WhiteNoise):
        noise = CountedNoise()
    growth = noise.growth(config.horizon).unsqueeze(-1).to(dtype)
    if config.init_covariance is None:
        return noise, inputs.initial_std(config.init_std, action_dim, dtype) * growth, None
    correlation = Correlation(config.init_covariance, action_dim)
    return CorrelatedNoise(noise, correlation), correlation.std.to(dtype) * growth, correlation
