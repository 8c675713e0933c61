"""A measurement of ``pompc bench``, and the sizes that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CPU, CUDA = "cpu", "cuda"
UNITS = {"_per_s": "1/s", "_ms": "ms", "_ratio": "times", "_share": "of the time", "_error": "of [-1, 1]"}


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How big and how long the measurements are.

    Attributes:
        seconds: per timed piece.
        num_envs: environments.
        candidates: per plan, ``M``.
        samples: per candidate, ``K``.
        horizon: model steps of a plan.
        batch_size: environment steps per training iteration.
        iterations: timed training iterations, after one to warm up.
        model_size: of off-policy agents, millions of parameters.
        sequences: per update of an off-policy agent.
        sizes: samples and steps of the plans beside other packages; ``None`` takes those of the measurement.
        device: ``cpu`` or ``cuda``.
    """

    seconds: float = 1.0
    num_envs: int = 16
    candidates: int = 4
    samples: int = 64
    horizon: int = 20
    batch_size: int = 2048
    iterations: int = 3
    model_size: int = 5
    sequences: int = 256
    sizes: tuple[tuple[int, int], ...] | None = None
    device: str = CPU


QUICK = BenchSettings(
    seconds=0.1,
    num_envs=4,
    candidates=2,
    samples=32,
    horizon=10,
    batch_size=256,
    iterations=1,
    model_size=1,
    sequences=32,
)
"""Sizes of a look at whether everything runs, in less than a minute."""

Function = Callable[[BenchSettings, str], dict[str, float]]
"""Measures an algorithm or an environment by its name; the names of its numbers end in one of ``UNITS``."""


@dataclass(frozen=True)
class Measurement:
    """A function that measures, with the conditions of its use.

    Attributes:
        function: takes the sizes and the name of the entry that brings the measurement.
        on_request: run only with ``--only``, because it takes long or needs an extra.
        devices: run on each of these that the machine has.
    """

    function: Function
    on_request: bool = False
    devices: tuple[str, ...] = (CPU,)

    def __call__(self, settings: BenchSettings, subject: str) -> dict[str, float]:
        """Measure ``subject``: numbers by name."""
        return self.function(settings, subject)


def measurement(*, on_request: bool = False, devices: tuple[str, ...] = (CPU,)) -> Callable[[Function], Measurement]:
    """Make a measurement of a function; see :class:`Measurement`."""
    return lambda function: Measurement(function, on_request, devices)
