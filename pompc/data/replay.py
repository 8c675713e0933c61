"""Replay of whole episodes, sampled as slices of consecutive steps, for learning a world model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import LazyTensorStorage

from pompc.data.broken import intact
from pompc.errors import UserError
from pompc.system.process import is_out_of_memory


class SliceReplay:
    """The newest finished episodes, and slices of them drawn uniformly over all places where one can start.

    A row is one observation. Row t of an episode holds ``observation`` and what happened from it: ``action``, ``reward
    [1]``, ``terminated [1]`` and the extras of that step. An episode of T transitions takes T + 1 rows; the last holds
    the final observation and zeros, so that every observation is stored once. Each environment has a ring of
    ``capacity // num_envs`` rows, because their episodes end at different times; row ``p`` of environment ``e`` has
    number ``e * ring + p``. An episode can be sampled once it has ended, and a slice until one of its rows is
    overwritten. (TorchRL's ``SliceSampler`` draws the episode first, which over-samples short ones.)

    Args:
        capacity: rows over all environments.
        num_envs: environments in the data.
        slice_steps: transitions in a slice.
        device: where the rows are stored and the samples arrive.
        extras: further keys of the data to store.

    Raises:
        UserError: the capacity cannot hold one slice per environment.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        slice_steps: int,
        device: torch.device | str = "cpu",
        extras: tuple[str, ...] = (),
    ) -> None:
        self.capacity, self.num_envs, self.slice_steps, self.extras = capacity, num_envs, slice_steps, tuple(extras)
        self.device = torch.device(device)
        self._ring = capacity // num_envs
        if self._ring < slice_steps + 2:
            raise UserError(
                f"replay capacity {capacity} leaves {self._ring} rows to each of {num_envs} environments, fewer than"
                f" slices of {slice_steps} steps need: raise it to at least {num_envs * (slice_steps + 2)}"
            )
        self._columns: dict[str, Tensor] = {}
        # The bookkeeping stays on the CPU: drawing never waits for a device, and is the same on all of them.
        self._valid = torch.zeros(num_envs * self._ring, dtype=torch.bool)  # rows where a slice may start
        self._starts = 0  # how many those are
        self._cursor = torch.zeros(num_envs, dtype=torch.long)  # the next position in each ring
        self._filled = torch.zeros(num_envs, dtype=torch.long)  # rows in each ring
        self._running = torch.zeros(num_envs, dtype=torch.long)  # rows of the episode that has not ended
        self._offsets = torch.arange(slice_steps + 1).unsqueeze(1)
        self._envs = torch.arange(num_envs)

    def __len__(self) -> int:
        """Stored rows over all environments, those of running episodes included."""
        return int(self._filled.sum())

    @property
    def num_starts(self) -> int:
        """Rows where a slice may start now."""
        return self._starts

    # -- writing -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def extend(self, data: TensorDictBase) -> None:
        """Append transitions ``[num_envs, time]`` of a collector; where one is broken, its episode ends before it.

        Args:
            data: ``observation``, ``action``, the extras, and under ``next`` the ``observation``, ``reward [..., 1]``,
                ``terminated [..., 1]`` and ``done [..., 1]``.
        """
        if data.batch_size[0] != self.num_envs:
            raise ValueError(f"data of {data.batch_size[0]} environments in a replay for {self.num_envs}")
        after = data["next"]
        fields = {name: data[name] for name in ("observation", "action", *self.extras)}
        fields |= {name: after[name] for name in ("reward", "terminated")}
        fields = {name: value.to(self.device) for name, value in fields.items()}
        if not self._columns:
            self._allocate({name: value[0, 0] for name, value in fields.items()})
        done, final = after["done"].squeeze(-1).cpu(), after["observation"]
        good = intact(data)
        good = torch.ones_like(done) if good is None else good.cpu()
        for step in range(done.shape[1]):
            envs, lost = self._envs[good[:, step]], self._envs[~good[:, step] & (self._running > 0)]
            rows, here = self._claim(envs), envs.to(self.device)
            for name, value in fields.items():
                self._columns[name][rows] = value[here, step]
            ended = envs[done[envs, step]]
            if len(ended):
                self._finish(ended, final[ended.to(final.device), step])
            if len(lost):  # what a broken transition starts from is the last observation of its episode
                self._finish(lost, fields["observation"][lost.to(self.device), step])

    def _allocate(self, row: Mapping[str, Tensor]) -> None:
        """Make room for all rows, given one.

        Raises:
            UserError: they do not fit into the memory.
        """
        storage = LazyTensorStorage(len(self._valid), device=self.device)
        try:
            storage.set(0, TensorDict({name: value.to(self.device) for name, value in row.items()}))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            need = sum(value.nbytes for value in row.values()) * len(self._valid) / 1e9
            raise UserError(
                f"a replay of {len(self._valid):,} observations needs {need:,.1f} GB of {self.device} memory, more than "
                "there is: lower algo.buffer_size"
            ) from error
        # The whole table: ``storage.get`` shows as many leading rows as were written, which are not those of several rings.
        self._columns = dict(storage._storage.items())  # pyright: ignore[reportOptionalMemberAccess]

    def _claim(self, envs: Tensor) -> Tensor:
        """The next row of each of ``envs [n]``: numbers ``[n]`` on the replay's device, no longer starts of slices.

        Slices that start earlier and reach such a row are gone already, with the row they start at: rows are
        overwritten oldest first.
        """
        position = self._cursor[envs]
        rows = envs * self._ring + position
        self._starts -= int(self._valid[rows].sum())
        self._valid[rows] = False
        self._cursor[envs] = (position + 1) % self._ring
        self._filled[envs] = (self._filled[envs] + 1).clamp(max=self._ring)
        self._running[envs] += 1
        return rows.to(self.device)

    def _finish(self, envs: Tensor, observation: Tensor) -> None:
        """End the episodes of ``envs [n]`` with their final ``observation [n, ...]`` and make them available."""
        rows = self._claim(envs)
        for column in self._columns.values():
            column[rows] = 0
        self._columns["observation"][rows] = observation.to(self.device)
        for env in envs.tolist():
            length = min(int(self._running[env]), self._ring)
            starts = int(self._cursor[env]) - length + torch.arange(max(length - self.slice_steps, 0))
            self._valid[env * self._ring + starts % self._ring] = True
            self._starts += len(starts)
            self._running[env] = 0

    # -- reading -----------------------------------------------------------------------------------------------------

    def sample(self, batch_size: int) -> tuple[TensorDict, Tensor]:
        """Slices drawn uniformly and with replacement from all finished episodes, by torch's global CPU generator.

        Returns:
            A batch ``[slice_steps + 1, batch_size]``, time first: ``observation``, ``action``, ``reward [..., 1]``,
            ``terminated [..., 1]`` (float32, 0 or 1) and the extras; in its last time row only the observation belongs
            to the slice. And the rows' numbers ``[slice_steps + 1, batch_size]`` for :meth:`update`.

        Raises:
            UserError: no finished episode is long enough.
        """
        starts = self._draw(batch_size)
        position = starts % self._ring
        indices = (starts - position + (position + self._offsets) % self._ring).to(self.device)
        flat = indices.flatten()  # index_select copies whole rows, several times faster than indexing
        batch = {
            name: column.index_select(0, flat).unflatten(0, indices.shape) for name, column in self._columns.items()
        }
        batch["terminated"] = batch["terminated"].float()
        return TensorDict(batch, batch_size=indices.shape, device=self.device), indices

    def _draw(self, batch_size: int) -> Tensor:
        """Starts of slices ``[batch_size]``."""
        if not self._starts:
            raise UserError(
                f"the replay holds no finished episode of at least {self.slice_steps} steps: collect more before"
                " learning, or sample shorter slices"
            )
        span = int(self._filled.max())
        share = self._starts / (span * self.num_envs)
        if share < 1 / 8:
            starts = self._valid.nonzero().squeeze(1)
            return starts[torch.randint(len(starts), (batch_size,))]
        found = self._starts_among(span, int(1.2 * batch_size / share) + 16)
        while len(found) < batch_size:
            found = torch.cat([found, self._starts_among(span, batch_size)])
        return found[:batch_size]

    def _starts_among(self, span: int, count: int) -> Tensor:
        """Those of ``count`` rows, drawn from the first ``span`` of every ring, where a slice may start."""
        draws = torch.randint(span * self.num_envs, (count,))
        rows = draws // span * self._ring + draws % span
        return rows[self._valid[rows]]

    @torch.no_grad()
    def update(self, indices: Tensor, fields: Mapping[str, Tensor]) -> None:
        """Overwrite stored fields, for example with a newer plan; call it before rows are written anew.

        Args:
            indices: row numbers of a sample, of any shape; of a row that occurs repeatedly the last value stays.
            fields: new values ``[*indices.shape, ...]`` by name.

        Raises:
            KeyError: a field is not stored.
        """
        if unknown := sorted(set(fields) - set(self._columns)):
            raise KeyError(f"the replay does not store {', '.join(unknown)}; it stores {', '.join(self._columns)}")
        # A scattered write leaves open which of several values stays, and a resumed run must not differ.
        rows, which = indices.to(self.device).flatten().unique(return_inverse=True)
        order = torch.arange(len(which), device=self.device)
        last = torch.zeros_like(rows).scatter_reduce_(0, which, order, "amax")
        for name, value in fields.items():
            column = self._columns[name]
            if value.shape != indices.shape + column.shape[1:]:
                raise ValueError(
                    f"{name} of shape {list(value.shape)}, not {list(indices.shape + column.shape[1:])}, in an update"
                )
            column[rows] = value.to(column).reshape(-1, *column.shape[1:])[last]

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """A copy of the filled rows and the bookkeeping: CPU tensors and plain values only."""
        return {
            "shape": self._shape(),
            "cursor": self._cursor.clone(),
            "filled": self._filled.clone(),
            "running": self._running.clone(),
            "valid": self._pack(self._valid),
            "rows": {name: self._pack(column) for name, column in self._columns.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; samples are then the same bit for bit.

        Raises:
            UserError: the state is that of a replay of another shape.
        """
        if state["shape"] != (shape := self._shape()):
            changed = [name for name in shape if shape[name] != state["shape"].get(name)]
            was, now = (", ".join(f"{name}={of.get(name)}" for name in changed) for of in (state["shape"], shape))
            raise UserError(f"the saved replay has {was}, this one {now}: resume with the settings it was saved with")
        for name in ("cursor", "filled", "running"):
            getattr(self, f"_{name}").copy_(state[name])
        self._valid.zero_()
        self._unpack(state["valid"], self._valid)
        self._starts = int(self._valid.sum())
        self._columns = {}
        if len(self):
            self._allocate({name: packed[0] for name, packed in state["rows"].items()})
        for name, column in self._columns.items():
            self._unpack(state["rows"][name], column)

    def _shape(self) -> dict[str, Any]:
        names = ("capacity", "num_envs", "slice_steps")
        return {name: getattr(self, name) for name in names} | {"extras": list(self.extras)}

    def _rings(self, column: Tensor) -> list[Tensor]:
        """The filled part of every ring: views ``[filled, ...]`` of a column ``[row, ...]``."""
        return [ring[:filled] for ring, filled in zip(column.split(self._ring), self._filled.tolist(), strict=True)]

    def _pack(self, column: Tensor) -> Tensor:
        """The filled rows of all rings, one ring after the other, copied to the CPU."""
        return torch.cat([ring.cpu() for ring in self._rings(column)])

    def _unpack(self, packed: Tensor, column: Tensor) -> None:
        """Write back what :meth:`_pack` returned."""
        for ring, part in zip(self._rings(column), packed.split(self._filled.tolist()), strict=True):
            ring.copy_(part)
