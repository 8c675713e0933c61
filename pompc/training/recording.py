"""Record the episodes of an evaluation, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from tensordict import TensorDictBase

from pompc.data.dataset import Episode


class Recorder(Protocol):
    """What watches an evaluation."""

    def begin(self) -> None:
        """Forget the steps since the last :meth:`end`: episodes begin in a batch of environments."""
        ...

    def add(self, stepped: TensorDictBase) -> None:
        """Take in a step of all environments ``[num_envs]``, their next state under ``next``."""
        ...

    def end(self) -> None:
        """Keep the first episode of every environment."""
        ...


class EpisodeRecorder:
    """Make an :class:`~pompc.data.dataset.Episode` of the first episode of every environment.

    Args:
        keep: takes the episodes, in the order of their environments.
        extras: entries of a step that are kept if the agent writes them; zero beside the final observation.
        info_keys: scalars of the environment; nan beside the first observation.
        seeds: the seed of the i-th episode over all batches; ``None`` if episodes have none.
    """

    def __init__(
        self,
        keep: Callable[[Episode], None],
        *,
        extras: Sequence[str] = (),
        info_keys: Sequence[str] = (),
        seeds: Callable[[int], int | None],
    ) -> None:
        self._keep, self._extras, self._info_keys, self._seeds = keep, tuple(extras), tuple(info_keys), seeds
        self._steps: list[TensorDictBase] = []
        self._count = 0

    def begin(self) -> None:
        """See :meth:`Recorder.begin`."""
        self._steps = []

    def add(self, stepped: TensorDictBase) -> None:
        """See :meth:`Recorder.add`."""
        after = [("next", name) for name in ("observation", "reward", "terminated", "done", *self._info_keys)]
        kept = stepped.select("observation", "action", *self._extras, *after, strict=False)
        self._steps.append(kept.clone().cpu())

    def end(self) -> None:
        """See :meth:`Recorder.end`. An episode that has not ended is truncated at its last step."""
        steps = torch.stack(self._steps, dim=1)  # pyright: ignore[reportCallIssue]
        done = steps["next", "done"].squeeze(-1)
        for env in range(len(done)):
            ends = done[env].nonzero().flatten().tolist()
            length = ends[0] + 1 if ends else done.shape[1]
            self._keep(self._episode(steps[env, :length], self._seeds(self._count)))
            self._count += 1
        self._steps = []

    def _episode(self, steps: TensorDictBase, seed: int | None) -> Episode:
        """Make the episode of one environment's steps ``[time]``."""
        after = steps["next"]
        truncations = np.zeros(len(steps), bool)
        truncations[-1] = not bool(after["terminated"][-1])
        infos = {}
        for name in self._extras:
            if name in steps.keys():  # noqa: SIM118 - a TensorDict
                infos[name] = torch.cat([steps[name], torch.zeros_like(steps[name][:1])]).numpy()
        for name in self._info_keys:
            column = after[name].squeeze(-1)
            infos[name] = torch.cat([torch.full_like(column[:1], torch.nan), column]).numpy()
        return Episode(
            observations=torch.cat([steps["observation"], after["observation"][-1:]]).numpy(),
            actions=steps["action"].numpy(),
            rewards=after["reward"].squeeze(-1).numpy(),
            terminations=after["terminated"].squeeze(-1).numpy(),
            truncations=truncations,
            infos=infos,
            seed=seed,
        )
