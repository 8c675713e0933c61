"""Act without any trace in the training, for evaluations and videos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.training.seeding import isolated

if TYPE_CHECKING:
    from pompc.agent import MPPIRL


@contextmanager
def acting(agent: MPPIRL, seed: int, *, explore: bool = False) -> Iterator[None]:
    """Let ``agent`` act inside the block, in evaluation mode, with random numbers from ``seed``.

    The block leaves the global random states, the modes of all modules and the step counter as they were.

    Args:
        agent: acts.
        seed: of the random numbers.
        explore: act as in training; otherwise deterministically.
    """
    exploration = ExplorationType.RANDOM if explore else ExplorationType.DETERMINISTIC
    modes = {module: module.training for module in agent.modules()}
    model_steps = agent.model_steps
    agent.eval()
    try:
        with isolated(seed, agent.problem.device), torch.no_grad(), set_exploration_type(exploration):
            yield
    finally:
        if agent.planner is not None:
            agent.planner.model_steps = model_steps
        for module, training in modes.items():
            module.training = training
