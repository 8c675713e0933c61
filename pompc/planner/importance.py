"""Weight samples as if they came from the base density: the importance term of MPPI."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pompc.errors import NonFiniteError
from pompc.planner.config import MPPIConfig
from pompc.planner.covariance import Correlation
from pompc.system.waiting import waits


class Importance:
    """Compute ratios of the base density to the density of the samples.

    With control cost ``c`` and noise of covariance ``Sigma`` the base density, that of actions without control, is
    ``N((1 - c) mean, Sigma)``. The samples come from several normal densities of the same covariance, with the mean, zero
    and every proposal as centres. A proposal counts as one sample at its centre. With ``n_j`` of ``n`` samples around
    centre ``m_j``, the ratio of any sample ``v`` is the one to the mixture (the balance heuristic of Veach and Guibas
    1995):

        ratio(v) = N(v; (1 - c) mean, Sigma) / sum_j n_j / n N(v; m_j, Sigma)
        log N(v; m, Sigma) = m' Sigma^-1 v - m' Sigma^-1 m / 2 + terms without m, which cancel

    If all samples are drawn around the mean, the logarithm of the ratio is ``-c mean' Sigma^-1 (v - mean)`` plus a
    constant: the term of Williams et al. (2017). If the base is centre ``j``, a ratio is at most ``n / n_j``, so a few
    samples far from the mean cannot get large ratios. ``docs/planner.md`` derives the formula.

    ``Sigma`` is ``D C D`` for each action entry: ``D`` is the standard deviation of every step, ``C`` the covariance of
    the noise over time. With a correlation ``R`` of the entries it is ``D (C x R) D``, the Kronecker product between. ``C``
    is singular if the noise has fewer degrees of freedom than steps. The densities are then
    those on its range, with the pseudo-inverse, and a sequence outside the range is infinitely unlikely.
    :meth:`reachable` projects sequences on the range.

    Args:
        config: options of the planner.
        covariance: covariance of the noise over time ``[horizon, horizon]``, in float64.
        device: device of the plans.
        dtype: dtype of the plans.
        correlation: of the entries of an action; ``None`` if they are independent.
    """

    def __init__(
        self,
        config: MPPIConfig,
        covariance: Tensor,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        correlation: Correlation | None = None,
    ) -> None:
        self._correlation = correlation
        self._control_cost = config.control_cost
        self._num_samples, self._num_zero_mean = config.num_samples, config.num_zero_mean
        variance, directions = torch.linalg.eigh(covariance)
        made = variance > torch.finfo(dtype).eps * variance[-1]  # rounding hides the other directions
        directions = directions[:, made]
        self._inverse = ((directions / variance[made]) @ directions.T).to(device, dtype)
        self._range = (directions @ directions.T).to(device, dtype)
        self._is_singular = not bool(made.all()) or (correlation is not None and correlation.is_singular)

    def reachable(self, sequences: Tensor, std: Tensor) -> Tensor:
        """Project action sequences on the range of the noise: the nearest sequence in units of the standard deviation.

        An entry with a standard deviation of zero becomes zero.

        Args:
            sequences: ``[batch, candidate, sequence, horizon, action]``.
            std: standard deviation ``[batch, candidate, horizon, action]``.

        Returns:
            ``[batch, candidate, sequence, horizon, action]``.
        """
        std = std.unsqueeze(2)
        if not self._is_singular:
            return torch.where(std > 0, sequences, 0.0)
        standard = torch.einsum("ij,bmkja->bmkia", self._range, sequences * _inverse(std))
        if self._correlation is not None:
            standard = standard @ self._correlation.range.to(standard)
        return standard * std

    def log_ratio(self, drawn: Tensor, mean: Tensor, std: Tensor, proposals: Tensor | None) -> Tensor:
        """Compute the logarithm of every sample's ratio; the expected ratio is one.

        Args:
            drawn: samples before the clamp, which is part of the task ``[batch, candidate, sample, horizon, action]``.
            mean: reachable mean of the samples ``[batch, candidate, horizon, action]``.
            std: standard deviation of the samples ``[batch, candidate, horizon, action]``.
            proposals: reachable proposals among the samples ``[batch, candidate, p, horizon, action]``.

        Returns:
            ``[batch, candidate, sample]``.

        Raises:
            NonFiniteError: a ratio overflows, because the standard deviation is too small for the mean.
        """
        centres = mean.unsqueeze(2)
        if proposals is not None:
            centres = torch.cat([centres, proposals], dim=2)
        inverse = _inverse(std.unsqueeze(2))
        duals = torch.einsum("ij,bmkja->bmkia", self._inverse, centres * inverse)
        if self._correlation is not None:
            duals = duals @ self._correlation.inverse.to(duals)
        duals = duals * inverse
        along = torch.einsum("bmnha,bmkha->bmnk", drawn, duals)
        squares = torch.einsum("bmkha,bmkha->bmk", centres, duals).unsqueeze(2)
        around_mean = self._num_samples - self._num_zero_mean - (centres.shape[2] - 1)
        numbers = torch.ones(centres.shape[2], device=drawn.device, dtype=drawn.dtype)
        numbers[0] = around_mean
        terms = along - squares / 2 + (numbers / self._num_samples).log()
        if self._num_zero_mean:
            zero = torch.full_like(terms[..., :1], math.log(self._num_zero_mean / self._num_samples))
            terms = torch.cat([terms, zero], dim=-1)
        kept = 1 - self._control_cost
        ratio = kept * along[..., 0] - kept**2 * squares[..., 0] / 2 - torch.logsumexp(terms, dim=-1)
        if waits(ratio.device):  # the plan becomes nan, see pompc.planner.finiteness
            return torch.where(torch.isfinite(ratio).all(), ratio, torch.nan)
        if not torch.isfinite(ratio).all():
            raise NonFiniteError("planner importance term", "planner.init_std or min_std is too small for the mean")
        return ratio


def _inverse(std: Tensor) -> Tensor:
    """Invert ``std``; zero stays zero."""
    return torch.where(std > 0, 1 / std, 0.0)
