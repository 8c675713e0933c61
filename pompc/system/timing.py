"""Time calls on a machine with other work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

ROUNDS = 5


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Use ``count`` torch threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def durations(
    actions: Mapping[str, Callable[[], object]], seconds: float, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Measure the seconds per call of every action in its fastest round: other work can only slow a round down.

    The rounds of the actions alternate, so that their ratios see the same machine.

    Args:
        actions: functions by name, each called once more before to warm up.
        seconds: rough duration for each action; a round has at least one call.
        device: the device to wait for at the end of every round.
    """
    best = dict.fromkeys(actions, float("inf"))
    for action in actions.values():
        action()
    for _ in range(ROUNDS):
        for name, action in actions.items():
            best[name] = min(best[name], _round(action, seconds / ROUNDS, torch.device(device)))
    return best


def spent(actions: Mapping[str, Callable[[], object]], seconds: float, rounds: int = 15) -> dict[str, list[float]]:
    """Measure the processor's seconds per call of every action in every round; the rounds of the actions alternate.

    Other work on the machine takes none of these seconds. They are those of all threads of the process.

    Args:
        actions: functions by name, each called once more before to warm up.
        seconds: rough duration for each action; a round has at least one call.
        rounds: number of rounds.
    """
    for action in actions.values():
        action()
    found: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            start, calls, passed = time.process_time(), 0, 0.0
            while passed < seconds / rounds or not calls:
                action()
                calls += 1
                passed = time.process_time() - start
            found[name].append(passed / calls)
    return found


def duration(action: Callable[[], object], seconds: float, device: torch.device | str = "cpu") -> float:
    """Measure the seconds per call of one action, as :func:`durations` does."""
    return durations({"it": action}, seconds, device)["it"]


def _round(action: Callable[[], object], seconds: float, device: torch.device) -> float:
    wait(device)
    start, calls, spent = time.perf_counter(), 0, 0.0
    while spent < seconds or not calls:
        action()
        calls += 1
        spent = time.perf_counter() - start
    wait(device)
    return (time.perf_counter() - start) / calls


def wait(device: torch.device) -> None:
    """Wait until a CUDA device has done its queue; the CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
