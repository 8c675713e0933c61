"""Action noise for sampling planners: unit variance at every step, white or correlated over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from pompc.planner.config import MPPIConfig


class Noise(Protocol):
    """Draw standard noise over a horizon."""

    def __call__(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw noise of ``shape = (..., horizon, action)`` with unit variance in every entry.

        Without a ``generator`` it draws from torch's global random state of the device.
        """
        ...

    def covariance(self, horizon: int) -> Tensor:
        """Compute the covariance over time of each action entry ``[horizon, horizon]``, float64 with ones on the diagonal.

        It is the same for all action entries. The covariance is singular if the noise has fewer degrees of freedom
        than steps.
        """
        ...

    def growth(self, horizon: int) -> Tensor:
        """Compute the standard deviation of every step in units of that of the first ``[horizon]``, float64."""
        ...


class WhiteNoise:
    """Draw independent normal noise (Williams et al. 2017, information-theoretic MPC)."""

    def __call__(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :class:`Noise`."""
        *lead, horizon, action = shape
        # Each entry is contiguous in memory, because the model reads one action entry of one step at a time.
        drawn = torch.randn((horizon, action, *lead), device=device, dtype=dtype, generator=generator)
        return drawn.movedim((0, 1), (-2, -1))

    def covariance(self, horizon: int) -> Tensor:
        """See :class:`Noise`: the identity."""
        return torch.eye(horizon, dtype=torch.float64)

    def growth(self, horizon: int) -> Tensor:
        """See :class:`Noise`: ones."""
        return torch.ones(horizon, dtype=torch.float64)


class LinearNoise:
    """Mix normal noise over time.

    Args:
        mixing: weights ``[horizon, input]`` of independent inputs; they are normalised to unit variance at every step.
    """

    def __init__(self, mixing: np.ndarray) -> None:
        mixing = mixing / np.linalg.norm(mixing, axis=1, keepdims=True)
        self._exact = torch.as_tensor(mixing, dtype=torch.float64)
        self._mixing = self._exact.to(torch.float32)
        self._covariance = torch.as_tensor(mixing @ mixing.T, dtype=torch.float64)

    def __call__(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :class:`Noise`."""
        if self._mixing.dtype != dtype or self._mixing.device != device:
            self._mixing = self._exact.to(device, dtype)
        *lead, _, action = shape
        inputs = torch.randn((self._mixing.shape[1], action, *lead), device=device, dtype=dtype, generator=generator)
        return torch.tensordot(self._mixing, inputs, dims=1).movedim((0, 1), (-2, -1))

    def covariance(self, horizon: int) -> Tensor:
        """See :class:`Noise`: ``M M'`` of the mixing matrix ``M``."""
        return self._covariance

    def growth(self, horizon: int) -> Tensor:
        """See :class:`Noise`: ones."""
        return torch.ones(horizon, dtype=torch.float64)


class IntegratedNoise(LinearNoise):
    """Sum white noise over the horizon: the change of the action between steps is drawn.

    Args:
        horizon: number of steps.
    """

    def __init__(self, horizon: int) -> None:
        super().__init__(np.tril(np.ones((horizon, horizon))))

    def growth(self, horizon: int) -> Tensor:
        """See :class:`Noise`: the root of the number of the step."""
        return torch.arange(1, horizon + 1, dtype=torch.float64).sqrt()


class ColouredNoise(LinearNoise):
    """Draw power-law noise with spectral density ``1 / f^exponent`` (Timmer and Koenig 1995; Pinneri et al. 2020, iCEM).

    Args:
        horizon: number of steps.
        exponent: 0 is white, 1 pink, 2 Brownian.
    """

    def __init__(self, horizon: int, exponent: float) -> None:
        # Filtering a white series twice as long in the frequency domain keeps the ends of the horizon independent.
        length = 2 * horizon
        frequency = np.fft.rfftfreq(length)
        frequency[0] = frequency[1]
        transfer = frequency ** (-exponent / 2)
        impulse = np.fft.irfft(np.fft.rfft(np.eye(length), axis=0) * transfer[:, None], length, axis=0)
        super().__init__(impulse[:horizon])


class SplineNoise(LinearNoise):
    """Draw normal noise at ``knots`` support points and join them by a spline (as mujoco_mpc, hydrax and judo do).

    Args:
        horizon: number of steps.
        knots: number of support points, evenly spaced from the first to the last step.
    """

    def __init__(self, horizon: int, knots: int) -> None:
        from scipy.interpolate import make_interp_spline  # here, because it takes longer to load than the whole planner

        knots = min(knots, horizon)
        support = np.linspace(0, max(horizon - 1, 1), knots) if knots > 1 else np.zeros(1)
        if knots == 1:
            super().__init__(np.ones((horizon, 1)))
            return
        spline = make_interp_spline(support, np.eye(knots), k=min(3, knots - 1))
        super().__init__(spline(np.arange(horizon)))


class NoiseOf:
    """Change the draws of another noise, whose covariance over time stays.

    Args:
        noise: what is drawn.
    """

    def __init__(self, noise: Noise) -> None:
        self._noise = noise

    def covariance(self, horizon: int) -> Tensor:
        """See :class:`Noise`: that of the other noise."""
        return self._noise.covariance(horizon)

    def growth(self, horizon: int) -> Tensor:
        """See :class:`Noise`: that of the other noise."""
        return self._noise.growth(horizon)


class CommonNoise(NoiseOf):
    """Repeat one draw of another noise in every plan: common random numbers.

    A plan is then a smooth function of its arguments, and the same one in acting and learning. All environments and
    candidates, and all iterations of a plan, have the same draw. A noise that is common already keeps its draw.

    Args:
        noise: what is drawn.
        seed: of the draw, which leaves torch's random state as it is.
    """

    def __init__(self, noise: Noise, seed: int = 0) -> None:
        super().__init__(noise)
        self._seed = seed
        self._drawn: dict[tuple[torch.device, torch.dtype, tuple[int, ...]], Tensor] = {}

    def __call__(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :class:`Noise`; the last three sizes are ``sample, horizon, action``, and the seed replaces ``generator``."""
        key = (device, dtype, shape[-3:])
        if key not in self._drawn:
            own, host = torch.Generator().manual_seed(self._seed), torch.device("cpu")  # the same draw on every device
            self._drawn[key] = self._noise(shape[-3:], host, dtype, own).to(device)
        return self._drawn[key].expand(shape)


class MirroredNoise(NoiseOf):
    """Draw pairs of opposite samples (antithetic variates).

    The iteration for a quadratic cost then stops at its minimum, however few the samples: by symmetry their weighted mean
    does not move from there. An odd sample has no partner, nor has one whose noise the planner sets to zero.

    Args:
        noise: what is drawn.
    """

    def __call__(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :class:`Noise`; the last three sizes are ``sample, horizon, action``."""
        *lead, count, horizon, action = shape
        half = self._noise((*lead, -(-count // 2), horizon, action), device, dtype, generator)
        return torch.cat([half, -half], -3)[..., :count, :, :]


NOISES: dict[str, Callable[[MPPIConfig], Noise]] = {
    "white": lambda config: WhiteNoise(),
    "coloured": lambda config: ColouredNoise(config.horizon, config.noise_exponent),
    "spline": lambda config: SplineNoise(config.horizon, config.noise_knots),
    "integrated": lambda config: IntegratedNoise(config.horizon),
}
"""Noise by the name that ``planner.noise`` takes."""
