"""The car that is driven: the nominal one times factors, which may be drawn for every episode.

The planner's model believes in ``planner_parameters`` and sees none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .config import CarlaRacingConfig
from .physics.ops import Value
from .physics.road import Road
from .physics.vehicle import SingleTrack, VehicleParameters

STREAM = 1  # tells the seeds of the factors from those of the starts


class Factors(NamedTuple):
    """A car relative to the nominal one: floats, or tensors ``[num_envs]``.

    Attributes:
        mass: of its mass and yaw inertia.
        friction: of its tyre friction.
        drive: of the forces of its engine and brakes.
    """

    mass: Value
    friction: Value
    drive: Value


def plant(config: CarlaRacingConfig, road: Road, factors: Factors) -> SingleTrack:
    """Make the simulated car."""
    car = VehicleParameters().scaled(**factors._asdict())
    return SingleTrack(car, road.ops, road.curvature, config.substep, config.substeps)


class Variation:
    """The factors of the episodes: uniform around the configured ones.

    Args:
        config: the family's options.

    Attributes:
        middle: the configured factors.
        drawn: names of the factors that differ from episode to episode.
    """

    def __init__(self, config: CarlaRacingConfig) -> None:
        self.middle = Factors(config.mass, config.friction, config.drive)
        self._widths = Factors(config.mass_variation, config.friction_variation, config.drive_variation)
        self.drawn = tuple(name for name, width in self._widths._asdict().items() if width > 0.0)

    def at(self, draws: Sequence[Value]) -> Factors:
        """Turn three uniform draws in [0, 1), one per factor and drawn or not, into factors."""
        ranges = zip(self.middle, self._widths, draws, strict=True)
        return Factors(*(middle * (1.0 + width * (2.0 * draw - 1.0)) for middle, width, draw in ranges))

    def draw(self, random: np.random.Generator) -> Factors:
        """Draw for one episode, from a child of ``random``: its own draws stay as they are."""
        if not self.drawn:
            return self.middle
        (child,) = random.spawn(1)
        return self.at(child.random(len(Factors._fields)).tolist())


class FixedPlants:
    """The plants of a batch: the configured car in every environment and every episode.

    Args:
        config: the family's options.
        road: tables for ``TorchOps``.
        variation: of ``config``.

    Attributes:
        car: drives all environments.
        factors: of the environments.
    """

    def __init__(self, config: CarlaRacingConfig, road: Road, variation: Variation) -> None:
        self._config, self._road, self._variation = config, road, variation
        self._take(variation.middle)

    def _take(self, factors: Factors) -> None:
        self.factors, self.car = factors, plant(self._config, self._road, factors)

    def seed(self, seed: int) -> None:
        """Begin the draws that belong to ``seed``: none."""

    def begin(self, begun: Tensor) -> None:
        """Begin an episode in the environments that ``begun [num_envs]`` marks: the car stays."""

    def info(self) -> dict[str, Tensor]:
        """Return the drawn factors ``[num_envs, 1]`` by name: none."""
        return {}

    def snapshot(self) -> dict[str, Tensor]:
        """Return what the next step and the next episode depend on: nothing."""
        return {}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Continue from ``snapshot``."""


class DrawnPlants(FixedPlants):
    """The plants of a batch: another car in every environment and every episode.

    Args:
        config: the family's options.
        road: tables for ``TorchOps``.
        variation: of ``config``.
        num_envs: batch size.
    """

    def __init__(self, config: CarlaRacingConfig, road: Road, variation: Variation, num_envs: int) -> None:
        super().__init__(config, road, variation)
        self._generator = torch.Generator()  # on the CPU, as that of the starts
        self._take(Factors(*torch.tensor(variation.middle, device=road.ops.device).repeat(num_envs, 1).unbind(-1)))

    def seed(self, seed: int) -> None:
        """Begin the draws that belong to ``seed``; those of the starts are others."""
        self._generator.manual_seed(int(np.random.SeedSequence([seed, STREAM]).generate_state(1)[0]))

    def begin(self, begun: Tensor) -> None:
        """Draw a car for the environments that ``begun [num_envs]`` marks; the others keep theirs."""
        old = torch.stack(self.factors)
        draws = torch.rand(old.shape, generator=self._generator).to(old.device)
        new = torch.stack(self._variation.at(draws.unbind(0)))
        self._take(Factors(*torch.where(begun, new, old).unbind(0)))

    def info(self) -> dict[str, Tensor]:
        """Return the drawn factors ``[num_envs, 1]`` by name."""
        return {name: self.factors._asdict()[name].unsqueeze(-1).clone() for name in self._variation.drawn}

    def snapshot(self) -> dict[str, Tensor]:
        """Return what the next step and the next episode depend on."""
        return {"factors": torch.stack(self.factors), "factors_generator": self._generator.get_state()}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Continue from ``snapshot``, bit for bit."""
        device = self.factors.mass.device
        self._take(Factors(*snapshot["factors"].to(device, copy=True).unbind(0)))
        self._generator.set_state(snapshot["factors_generator"].cpu())


def plants(config: CarlaRacingConfig, road: Road, num_envs: int) -> FixedPlants:
    """Make the plants of a batch."""
    variation = Variation(config)
    return DrawnPlants(config, road, variation, num_envs) if variation.drawn else FixedPlants(config, road, variation)
