"""The racing task: start, faults and reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .config import CarlaRacingConfig
from .physics import opponents as traffic
from .physics.opponents import Opponents
from .physics.ops import Value
from .physics.road import CAR_REACH, ZONE_APPROACH, Road
from .physics.vehicle import Car

TOUCH_LENGTH, TOUCH_WIDTH = 4.5, 1.9  # m between two cars' centres
HALF_TURN = 1.5707963267948966
START_OFFSET, START_HEADING, START_SPEED = 1.0, 0.05, (5.0, 15.0)  # m, rad, m/s


class Episode(NamedTuple):
    """Progress of an episode; floats or tensors ``[...]``.

    Attributes:
        driven: m along the track since the start.
        steps: actions since the start.
        slow: s since the car was last faster than the stall speed.
        laps: full laps completed.
        lap_began: the step at which the current lap began.
        lap_time: s of the last completed lap, 0 before there is one.
    """

    driven: Value
    steps: Value
    slow: Value
    laps: Value
    lap_began: Value
    lap_time: Value


FRESH = Episode(driven=0.0, steps=0.0, slow=0.0, laps=0.0, lap_began=0.0, lap_time=0.0)


class Judgement(NamedTuple):
    """Judgement of a step: reward, whether a fault ended the episode, and the entries of ``info``."""

    reward: Value
    terminated: Value
    success: Value
    cost: Value
    lap_time: Value
    speed: Value


class Surroundings(NamedTuple):
    """Distances (m) of a car; rules and planner costs are functions of them.

    Attributes:
        edge: from the car's side to the edge of the track, negative outside.
        zone: sideways from the car's side to the strip of the next danger zone, negative in it.
        nearness: how near that zone is ahead: 0 far, 1 inside.
        gaps: along the track to each opponent.
        sides: sideways to each opponent, positive to the left.
    """

    edge: Value
    zone: Value
    nearness: Value
    gaps: Value
    sides: Value


class Faults(NamedTuple):
    """The rules that a car breaks; bools."""

    off_track: Value
    zone: Value
    collision: Value
    spin: Value


def look_round(road: Road, car: Car, opponents: Opponents) -> Surroundings:
    """Measure the distance from the car to everything it must not touch."""
    ops = road.ops
    half_width, centre, reach, nearness = road.edges(car.s)
    return Surroundings(
        edge=half_width - CAR_REACH - ops.abs(car.n),
        zone=ops.abs(car.n - centre) - reach,
        nearness=nearness,
        gaps=ops.each(lambda s, ego_s: road.gap(ego_s, s), (opponents.s,), car.s),
        sides=ops.each(lambda n, ego_n: n - ego_n, (opponents.n,), car.n),
    )


def faults(road: Road, car: Car, around: Surroundings) -> Faults:
    """Judge the rules that need only the present state; the planner's model uses them too."""
    ops = road.ops

    def touches(gap: Value, side: Value) -> Value:
        return ops.logical_and(ops.abs(gap) < TOUCH_LENGTH, ops.abs(side) < TOUCH_WIDTH)

    return Faults(
        off_track=around.edge < 0.0,
        zone=ops.logical_and(around.nearness >= 1.0, around.zone < 0.0),
        collision=ops.any(ops.each(touches, (around.gaps, around.sides))),
        spin=ops.abs(car.e) > HALF_TURN,
    )


class Margins(NamedTuple):
    """Distances from breaking each rule; a fault is a negative one.

    Attributes:
        edge: from the car's side to the edge of the track (m).
        zone: from the next danger zone, to its strip sideways or to its start ahead, the greater of both (m); inside, the
            way out sideways. Ahead, 30 m is the most.
        spin: heading left to a spin (rad).
        collisions: from the box around each opponent, along the track or sideways, the greater of both (m).
    """

    edge: Value
    zone: Value
    spin: Value
    collisions: Value


def margins(road: Road, car: Car, around: Surroundings) -> Margins:
    """Measure how far a car is from every fault of :func:`faults`; the sign is exactly its judgement."""
    ops = road.ops

    def apart(gap: Value, side: Value) -> Value:
        return ops.maximum(ops.abs(gap) - TOUCH_LENGTH, ops.abs(side) - TOUCH_WIDTH)

    beside = ops.maximum(around.zone, (1.0 - around.nearness) * ZONE_APPROACH)
    return Margins(
        edge=around.edge,
        zone=ops.where(around.nearness >= 1.0, around.zone, beside),
        spin=HALF_TURN - ops.abs(car.e),
        collisions=ops.each(apart, (around.gaps, around.sides)),
    )


def penalty(config: CarlaRacingConfig, road: Road, fault: Faults) -> Value:
    """Sum the penalties of the faults."""
    number = road.ops.number
    return (
        number(fault.off_track) * config.off_track_penalty
        + number(fault.zone) * config.zone_penalty
        + number(fault.collision) * config.collision_penalty
        + number(fault.spin) * config.spin_penalty
    )


def progress_reward(config: CarlaRacingConfig, distance: Value) -> Value:
    """Reward of moving ``distance`` m along the track in one step."""
    return distance * (1.0 / (config.reward_speed * config.control_step))


class RacingTask:
    """Start, traffic and judgement, in the values of the road's executor.

    Args:
        config: the family's options.
        road: the track's tables.
    """

    def __init__(self, config: CarlaRacingConfig, road: Road) -> None:
        self.config, self.road, self.ops = config, road, road.ops
        self.num_draws = 4 + 3 * config.num_opponents
        self._start_offset = min(START_OFFSET, road.room / 2)

    def start(self, draws: Sequence[Value], slots: Value) -> tuple[Car, Opponents]:
        """Place a car and its traffic, away from danger zones and from each other.

        Args:
            draws: ``num_draws`` uniform numbers in [0, 1).
            slots: 0, 1, .. ``num_opponents`` - 1: a list, or a tensor ``[opponent, 1]``.
        """
        road, number = self.road, self.config.num_opponents
        s = road.start(draws[0])
        n, e = self._start_offset * (2.0 * draws[1] - 1.0), START_HEADING * (2.0 * draws[2] - 1.0)
        v = START_SPEED[0] + (START_SPEED[1] - START_SPEED[0]) * draws[3]
        zero = 0.0 * v
        car = Car(s, n, e, v, zero, zero, zero, zero)
        lists = (draws[4 : 4 + number], draws[4 + number : 4 + 2 * number], draws[4 + 2 * number :], slots)

        def place(where: Value, speed: Value, lane: Value, slot: Value, ego: Value) -> tuple[Value, ...]:
            return traffic.place(road, ego, slot, number, (where, speed, lane))

        return car, self.ops.gather(Opponents, self.ops.each(place, lists, s))

    def advance(self, opponents: Opponents) -> Opponents:
        """Move the traffic by one step."""

        def move(s: Value, n: Value, v: Value, cruise: Value, left: Value) -> tuple[Value, ...]:
            return traffic.advance(self.road, s, v, cruise, left, self.config.control_step)

        return self.ops.gather(Opponents, self.ops.each(move, opponents))

    def judge(
        self, before: Value, car: Car, opponents: Opponents, episode: Episode, touched: bool = False
    ) -> tuple[Episode, Judgement]:
        """Judge a step that moved the car from ``before`` (m along the track) to ``car``.

        If the simulator saw the car touch something (``touched``), that is a collision, wherever the opponents are.
        """
        ops, config, dt = self.ops, self.config, self.config.control_step
        distance = self.road.gap(before, car.s)
        driven, steps = episode.driven + distance, episode.steps + 1.0
        slow = ops.where(car.vx < config.stall_speed, episode.slow + dt, 0.0 * episode.slow)
        stalled = slow >= config.stall_time - 0.5 * dt
        lap_done = driven >= (episode.laps + 1.0) * self.road.length
        laps = episode.laps + ops.number(lap_done)
        lap_time = ops.where(lap_done, dt * (steps - episode.lap_began), episode.lap_time)
        lap_began = ops.where(lap_done, steps, episode.lap_began)
        fault = faults(self.road, car, look_round(self.road, car, opponents))
        if touched:
            fault = fault._replace(collision=True)
        violations = ops.number(stalled)
        for broken in fault:
            violations = violations + ops.number(broken)
        fine = penalty(config, self.road, fault) + config.stall_penalty * ops.number(stalled)
        terminated = violations > 0.0
        judgement = Judgement(
            reward=progress_reward(config, distance) - fine,
            terminated=terminated,
            success=ops.number(laps > 0.0),  # a clean lap: a violation would have ended the episode
            cost=violations,
            lap_time=lap_time,
            speed=car.vx,
        )
        return Episode(driven, steps, slow, laps, lap_began, lap_time), judgement
