"""Replay of whole episodes: keeps them and samples slices of consecutive steps, for learning a world model."""

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
    """Keep the newest finished episodes and draw slices of them, uniformly over all possible starts.

    Slot t of an episode holds one ``observation`` and the step that starts there: ``action``, ``reward [1]``,
    ``terminated [1]`` and the extras. An episode of T transitions takes T + 1 slots. The last slot holds the final
    observation and zeros, so every observation is stored once. Each environment has a ring of ``capacity // num_envs``
    slots, because episodes end at different times; slot ``p`` of environment ``e`` has the index ``e * ring + p``. An
    episode can be sampled after its end, and a slice until one of its slots is overwritten. (TorchRL's ``SliceSampler``
    draws the episode first, so it samples short episodes too often.)

    Args:
        capacity: slots over all environments.
        num_envs: environments in the data.
        slice_steps: transitions in a slice.
        device: device of the slots and the samples.
        extras: further keys of the data that are stored.

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
                f"replay capacity {capacity} leaves {self._ring} observations to each of {num_envs} environments, fewer"
                f" than slices of {slice_steps} steps need: raise it to at least {num_envs * (slice_steps + 2)}"
            )
        self._columns: dict[str, Tensor] = {}
        # The bookkeeping stays on the CPU, so drawing never waits for a device and every device draws the same slices.
        self._valid = torch.zeros(num_envs * self._ring, dtype=torch.bool)  # slots at which a slice may start
        self._starts = 0  # number of these slots
        self._cursor = torch.zeros(num_envs, dtype=torch.long)  # the next position in each ring
        self._filled = torch.zeros(num_envs, dtype=torch.long)  # slots in use in each ring
        self._running = torch.zeros(num_envs, dtype=torch.long)  # slots of the running episode
        self._offsets = torch.arange(slice_steps + 1).unsqueeze(1)
        self._envs = torch.arange(num_envs)

    def __len__(self) -> int:
        """Count the stored observations of all environments, those of running episodes included."""
        return int(self._filled.sum())

    @property
    def num_starts(self) -> int:
        """The number of slots at which a slice may start now."""
        return self._starts

    # -- writing -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def extend(self, data: TensorDictBase) -> None:
        """Append transitions ``[num_envs, time]`` of a collector. An episode ends before a broken transition.

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
            slots, here = self._claim(envs), envs.to(self.device)
            for name, value in fields.items():
                self._columns[name][slots] = value[here, step]
            ended = envs[done[envs, step]]
            if len(ended):
                self._finish(ended, final[ended.to(final.device), step])
            if len(lost):  # a broken transition starts from the last observation of its episode
                self._finish(lost, fields["observation"][lost.to(self.device), step])

    def _allocate(self, slot: Mapping[str, Tensor]) -> None:
        """Allocate all slots in the shapes and types of ``slot``.

        Raises:
            UserError: the slots do not fit into the memory.
        """
        storage = LazyTensorStorage(len(self._valid), device=self.device)
        try:
            storage.set(0, TensorDict({name: value.to(self.device) for name, value in slot.items()}))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            need = sum(value.nbytes for value in slot.values()) * len(self._valid) / 1e9
            raise UserError(
                f"a replay of {len(self._valid):,} observations needs {need:,.1f} GB of {self.device} memory, more than "
                "there is: lower algo.buffer_size"
            ) from error
        # ``storage.get`` gives only the written slots; these are all of them.
        self._columns = dict(storage._storage.items())  # pyright: ignore[reportOptionalMemberAccess]

    def _claim(self, envs: Tensor) -> Tensor:
        """Claim the next slot of each of ``envs [n]``: indices ``[n]`` on the replay's device.

        No slice starts at a claimed slot. No earlier slice reaches it, because the oldest slots are overwritten first.
        """
        position = self._cursor[envs]
        slots = envs * self._ring + position
        self._starts -= int(self._valid[slots].sum())
        self._valid[slots] = False
        self._cursor[envs] = (position + 1) % self._ring
        self._filled[envs] = (self._filled[envs] + 1).clamp(max=self._ring)
        self._running[envs] += 1
        return slots.to(self.device)

    def _finish(self, envs: Tensor, observation: Tensor) -> None:
        """End the episodes of ``envs [n]`` with their final ``observation [n, ...]`` and make them available."""
        slots = self._claim(envs)
        for column in self._columns.values():
            column[slots] = 0
        self._columns["observation"][slots] = observation.to(self.device)
        for env in envs.tolist():
            length = min(int(self._running[env]), self._ring)
            starts = int(self._cursor[env]) - length + torch.arange(max(length - self.slice_steps, 0))
            self._valid[env * self._ring + starts % self._ring] = True
            self._starts += len(starts)
            self._running[env] = 0

    # -- reading -----------------------------------------------------------------------------------------------------

    def sample(self, batch_size: int) -> tuple[TensorDict, Tensor]:
        """Draw slices uniformly and with replacement from all finished episodes, with torch's global CPU generator.

        Args:
            batch_size: number of slices.

        Returns:
            A batch ``[slice_steps + 1, batch_size]``, time first, and the indices of its slots for :meth:`update`. The
            batch has ``observation``, ``action``, ``reward [..., 1]``, ``terminated [..., 1]`` (float32, 0 or 1) and the
            extras. At the last time only the observation belongs to the slice.

        Raises:
            UserError: no finished episode is long enough.
        """
        starts = self._draw(batch_size)
        position = starts % self._ring
        indices = (starts - position + (position + self._offsets) % self._ring).to(self.device)
        flat = indices.flatten()  # index_select copies whole slots, several times faster than indexing
        batch = {
            name: column.index_select(0, flat).unflatten(0, indices.shape) for name, column in self._columns.items()
        }
        batch["terminated"] = batch["terminated"].float()
        return TensorDict(batch, batch_size=indices.shape, device=self.device), indices

    def _draw(self, batch_size: int) -> Tensor:
        """Draw starts of slices ``[batch_size]``."""
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
        """Draw ``count`` slots from the first ``span`` of every ring and keep those at which a slice may start."""
        draws = torch.randint(span * self.num_envs, (count,))
        slots = draws // span * self._ring + draws % span
        return slots[self._valid[slots]]

    @torch.no_grad()
    def update(self, indices: Tensor, fields: Mapping[str, Tensor]) -> None:
        """Overwrite stored fields, for example with a newer plan. Call it before the next :meth:`extend`.

        Args:
            indices: slots of a sample, of any shape; a slot that occurs repeatedly keeps its last value.
            fields: new values ``[*indices.shape, ...]`` by name.

        Raises:
            KeyError: a field is not stored.
        """
        if unknown := sorted(set(fields) - set(self._columns)):
            raise KeyError(f"the replay does not store {', '.join(unknown)}; it stores {', '.join(self._columns)}")
        # A scattered write keeps an arbitrary one of several values, but a resumed run must not differ.
        slots, which = indices.to(self.device).flatten().unique(return_inverse=True)
        order = torch.arange(len(which), device=self.device)
        last = torch.zeros_like(slots).scatter_reduce_(0, which, order, "amax")
        for name, value in fields.items():
            column = self._columns[name]
            if value.shape != indices.shape + column.shape[1:]:
                raise ValueError(
                    f"{name} of shape {list(value.shape)}, not {list(indices.shape + column.shape[1:])}, in an update"
                )
            column[slots] = value.to(column).reshape(-1, *column.shape[1:])[last]

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copy the used slots and the bookkeeping: CPU tensors and plain values only."""
        return {
            "shape": self._shape(),
            "cursor": self._cursor.clone(),
            "filled": self._filled.clone(),
            "running": self._running.clone(),
            "valid": self._pack(self._valid),
            "slots": {name: self._pack(column) for name, column in self._columns.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a :meth:`state_dict`; samples are then the same bit for bit.

        Raises:
            UserError: the state belongs to a replay of another shape.
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
            self._allocate({name: packed[0] for name, packed in state["slots"].items()})
        for name, column in self._columns.items():
            self._unpack(state["slots"][name], column)

    def _shape(self) -> dict[str, Any]:
        names = ("capacity", "num_envs", "slice_steps")
        return {name: getattr(self, name) for name in names} | {"extras": list(self.extras)}

    def _rings(self, column: Tensor) -> list[Tensor]:
        """Split a column ``[slot, ...]`` into the used part of every ring: views ``[filled, ...]``."""
        return [ring[:filled] for ring, filled in zip(column.split(self._ring), self._filled.tolist(), strict=True)]

    def _pack(self, column: Tensor) -> Tensor:
        """Copy the used slots of all rings to the CPU, one ring after the other."""
        return torch.cat([ring.cpu() for ring in self._rings(column)])

    def _unpack(self, packed: Tensor, column: Tensor) -> None:
        """Write the slots of :meth:`_pack` back."""
        for ring, part in zip(self._rings(column), packed.split(self._filled.tolist()), strict=True):
            ring.copy_(part)
