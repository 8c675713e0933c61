"""A replay of a dataset: filled once, sampled like any other, and never extended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from pompc.data.replay import SliceReplay
from pompc.errors import UserError


class FrozenReplay(SliceReplay):
    """Hold whole episodes, one after the other, in a ring of exactly their size.

    A checkpoint has only the columns that :meth:`update` has changed. The others come from the dataset again, whose digest
    is compared.

    Args:
        episodes: of T transitions each, ``[T + 1]``: ``observation``, ``action``, ``reward [..., 1]``, ``terminated
            [..., 1]`` and the extras. The last entry holds the final observation and zeros.
        slice_steps: transitions in a slice.
        device: device of the slots and the samples.
        extras: further keys that are stored.

    Raises:
        UserError: no episode is long enough for a slice.
    """

    def __init__(
        self,
        episodes: Sequence[TensorDictBase],
        slice_steps: int,
        device: torch.device | str = "cpu",
        extras: tuple[str, ...] = (),
    ) -> None:
        longest = max((len(episode) - 1 for episode in episodes), default=0)
        if longest < slice_steps:
            raise UserError(
                f"no episode of the dataset has the {slice_steps} steps of a sequence (the longest has {longest}): "
                "lower algo.sequence (null: planner.horizon)"
            )
        lengths = torch.tensor([len(episode) for episode in episodes])
        super().__init__(max(int(lengths.sum()), slice_steps + 2), 1, slice_steps, device, extras)
        names = ("observation", "action", "reward", "terminated", *self.extras)
        self._allocate({name: episodes[0][name][0] for name in names})
        start = 0
        for episode in episodes:
            stop = start + len(episode)
            for name in names:
                self._columns[name][start:stop] = episode[name].to(self.device)
            self._valid[start : max(stop - slice_steps, start)] = True
            start = stop
        self._starts = int(self._valid.sum())
        self._cursor[0], self._filled[0] = start % self._ring, start
        self.lengths = lengths
        self._updated: set[str] = set()
        self._digest = self._content()

    def extend(self, data: TensorDictBase) -> None:
        """Keep nothing: the transitions are those of the dataset."""

    def transitions(self, slots: Tensor) -> TensorDict:
        """Read transitions by their slots ``[...]``, with the observation after them under ``next``."""
        here, after = slots.to(self.device), (slots + 1).to(self.device)
        found: dict[str, Any] = {name: self._columns[name][here] for name in ("observation", "action", *self.extras)}
        following = {name: self._columns[name][here] for name in ("reward", "terminated")}
        following["observation"] = self._columns["observation"][after]
        found["next"] = TensorDict(following, batch_size=slots.shape, device=self.device)
        return TensorDict(found, batch_size=slots.shape, device=self.device)

    def update(self, indices: Tensor, fields: Mapping[str, Tensor]) -> None:
        """Overwrite stored fields; see :meth:`SliceReplay.update <pompc.data.replay.SliceReplay.update>`."""
        super().update(indices, fields)
        self._updated |= set(fields)

    def state_dict(self) -> dict[str, Any]:
        """Copy the columns that were updated, and the digest of the dataset."""
        return {
            "digest": self._digest,
            "updated": {name: self._columns[name].cpu().clone() for name in sorted(self._updated)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a :meth:`state_dict`.

        Raises:
            UserError: the dataset is another one.
        """
        if state.get("digest") != self._digest:
            raise UserError("the dataset has changed since this run began: restore it, or start with another run_dir=")
        for name, column in state["updated"].items():
            self._columns[name].copy_(column)
        self._updated = set(state["updated"])

    def _content(self) -> str:
        """Digest the dataset."""
        content = hashlib.sha256(str((self.slice_steps, self.lengths.tolist())).encode())
        for name in sorted(self._columns):
            column = self._columns[name].cpu().contiguous()
            content.update(f"{name} {column.dtype} {list(column.shape)}".encode())
            content.update(column.view(-1).view(torch.uint8).numpy().data)
        return content.hexdigest()
