"""The importance term of MPPI: samples drawn here, weighted as if they came from there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pompc.errors import NonFiniteError
from pompc.planner.config import MPPIConfig

RESOLVED = torch.finfo(torch.float32).eps
"""Directions of less than this share of the largest variance drown in what float32 rounds off the noise."""


class Importance:
    """Ratios of the base density, that of what is done without control, to the density of the samples.

    With control cost ``c`` and noise of covariance ``Sigma`` the base is ``N((1 - c) mean, Sigma)``. The samples come from
    several normal densities of that covariance: each is drawn around its own centre, the mean, zero or, a single one at
    its centre, a proposal. With ``n_j`` of ``n`` samples around centre ``m_j``, every sample ``v``, whatever its own
    centre, has the ratio to their mixture (the balance heuristic of Veach and Guibas 1995):

        ratio(v) = N(v; (1 - c) mean, Sigma) / sum_j n_j / n N(v; m_j, Sigma)
        log N(v; m, Sigma) = m' Sigma^-1 v - m' Sigma^-1 m / 2 + terms without m, which cancel

    Where all samples are drawn around the mean, its logarithm is ``-c mean' Sigma^-1 (v - mean)`` and a constant: the term
    of Williams et al. (2017). A ratio is at most ``n / n_j`` where the base is centre ``j``, so that a few samples far from
    the mean cannot get large ratios. ``docs/planner.md`` derives it.

    ``Sigma`` is ``D C D``: ``D`` the spread of every step, ``C`` the noise's covariance over time, separately for each
    action entry. Where the noise has fewer degrees of freedom than steps, ``C`` is singular: densities are those on its
    range, with the pseudo-inverse, and what leaves the range is infinitely unlikely. :meth:`reachable` takes that away.

    Args:
        config: options of the planner.
        covariance: of the noise over time ``[horizon, horizon]``, in float64.
        device: where plans are made.
    """

    def __init__(self, config: MPPIConfig, covariance: Tensor, device: torch.device) -> None:
        self._control_cost = config.control_cost
        self._num_samples, self._num_zero_mean = config.num_samples, config.num_zero_mean
        variance, directions = torch.linalg.eigh(covariance)
        made = variance > RESOLVED * variance[-1]
        directions = directions[:, made]
        self._inverse = ((directions / variance[made]) @ directions.T).to(device, torch.float32)
        self._range = (directions @ directions.T).to(device, torch.float32)
        self._is_singular = not bool(made.all())

    def reachable(self, sequences: Tensor, std: Tensor) -> Tensor:
        """What the noise can make of action sequences: the nearest in its range, in units of the spread.

        An entry without spread is zero, and so is what lies outside of the range.

        Args:
            sequences: ``[batch, candidate, sequence, horizon, action]``.
            std: ``[batch, candidate, horizon, action]``.
        """
        std = std.unsqueeze(2)
        if not self._is_singular:
            return torch.where(std > 0, sequences, 0.0)
        return torch.einsum("ij,bmkja->bmkia", self._range, sequences * _inverse(std)) * std

    def log_ratio(self, drawn: Tensor, mean: Tensor, std: Tensor, proposals: Tensor | None) -> Tensor:
        """Logarithm of every sample's ratio ``[batch, candidate, sample]``; its mean over samples is one.

        Args:
            drawn: samples before they are clamped ``[batch, candidate, sample, horizon, action]``: what the bounds make of
                them is part of the task.
            mean: they were drawn around ``[batch, candidate, horizon, action]``, reachable.
            std: spread ``[batch, candidate, horizon, action]``.
            proposals: among them ``[batch, candidate, p, horizon, action]``, reachable.

        Raises:
            NonFiniteError: a ratio overflows: the spread is too small for the mean.
        """
        centres = mean.unsqueeze(2)
        if proposals is not None:
            centres = torch.cat([centres, proposals], dim=2)
        inverse = _inverse(std.unsqueeze(2))
        duals = torch.einsum("ij,bmkja->bmkia", self._inverse, centres * inverse) * inverse
        along = torch.einsum("bmnha,bmkha->bmnk", drawn, duals)
        squares = torch.einsum("bmkha,bmkha->bmk", centres, duals).unsqueeze(2)
        around_mean = self._num_samples - self._num_zero_mean - (centres.shape[2] - 1)
        numbers = torch.ones(centres.shape[2], device=drawn.device)
        numbers[0] = around_mean
        terms = along - squares / 2 + (numbers / self._num_samples).log()
        if self._num_zero_mean:
            zero = torch.full_like(terms[..., :1], math.log(self._num_zero_mean / self._num_samples))
            terms = torch.cat([terms, zero], dim=-1)
        kept = 1 - self._control_cost
        ratio = kept * along[..., 0] - kept**2 * squares[..., 0] / 2 - torch.logsumexp(terms, dim=-1)
        if not torch.isfinite(ratio).all():
            raise NonFiniteError("planner importance term", "planner.init_std or min_std is too small for the mean")
        return ratio


def _inverse(std: Tensor) -> Tensor:
    """``1 / std``, and zero where there is no spread."""
    return torch.where(std > 0, 1 / std, 0.0)
