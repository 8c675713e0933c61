"""A predictive safety filter: pass an action on if a manoeuvre to safety follows it, else take the nearest that has one.

The sampling reading of Wabersich and Zeilinger (arXiv 1812.05506) and Tearle et al. (arXiv 2102.11907), from the published
description. docs/filter.md says what is guaranteed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pompc.config.filter_options import FilterConfig
from pompc.models.protocols import Safe
from pompc.planner.noise import SplineNoise

LINE_POINTS = 8  # actions between the proposed one and that of a safe manoeuvre, the latter included
NOISE_KNOTS = 5


class Certified(NamedTuple):
    """Certified actions of a batch of environments.

    Attributes:
        action: what to execute ``[batch, action]``.
        ok: whether a manoeuvre to safety starts with it, bool ``[batch]``.
        margin: least margin of the manoeuvre ``[batch]``.
        sequence: the manoeuvre ``[batch, horizon, action]``.
        following: the backup of the next step: the rest of the manoeuvre, then braking ``[batch, horizon, action]``.
    """

    action: Tensor
    ok: Tensor
    margin: Tensor
    sequence: Tensor
    following: Tensor


class _Candidates(NamedTuple):
    """Manoeuvres to choose from. The last is the backup.

    Attributes:
        sequences: actions until the braking begins ``[batch, candidate, horizon, action]``.
        brakes_from: the step from which the model brakes ``[batch, candidate]``; ``horizon`` for never.
        noise: added to every action ``[candidate, horizon, action]``.
    """

    sequences: Tensor
    brakes_from: Tensor
    noise: Tensor


class Certifier:
    """Certify actions with a model of the environment.

    It is a pure function of state, action and backup: the noise of its candidates is drawn once, by a generator of its own.

    Args:
        config: options.
        model: predicts the states, measures the margins and brakes.
        action_dim: size of an action, every entry in [-1, 1].
        device: device of the states and actions.
    """

    def __init__(self, config: FilterConfig, model: Safe, action_dim: int, device: torch.device | str = "cpu") -> None:
        self.config, self.model = config, model
        self._noise = _standard_noise(config, action_dim).to(device)
        self._weights = torch.linspace(0.0, 1.0, LINE_POINTS + 1)[1:].to(device)

    @torch.no_grad()
    def certify(
        self, state: Tensor, action: Tensor, backup: Tensor | None = None, is_init: Tensor | None = None
    ) -> Certified:
        """Choose the manoeuvre to safety whose first action is nearest to the proposed one.

        A manoeuvre is safe if all its margins are at least ``config.tighten`` and its last state is at rest. The candidates
        are the action followed by the backup, or by braking; the same from points on the line between the action and the
        backup's, or the braking one; noise around the backup; braking; the backup. Of equally near ones the first counts.
        Without a safe one the backup is executed, and ``ok`` is false.

        Args:
            state: model states ``[batch, state]``.
            action: proposed actions ``[batch, action]``; they are clipped to [-1, 1].
            backup: the last certified manoeuvre, :attr:`Certified.following` of the step before
                ``[batch, horizon, action]``; ``None`` brakes instead.
            is_init: brakes instead of the backup, bool ``[batch]`` or ``[batch, 1]``.
        """
        action = action.clamp(-1.0, 1.0)
        horizon = self.config.horizon
        braking = self.model.brake(state)
        if backup is None:
            backup = action.new_zeros(len(action), horizon, action.shape[-1])
            is_init = torch.ones(len(action), dtype=torch.bool, device=action.device)
        elif is_init is None:
            is_init = torch.zeros(len(action), dtype=torch.bool, device=action.device)
        candidates = self._candidates(action, backup, braking, is_init.view(-1, 1))
        actions, last, margin = self._roll_out(state, candidates)
        safe = (margin >= self.config.tighten) & self.model.at_rest(last)
        distance = (actions[:, :, 0] - action.unsqueeze(1)).norm(dim=-1)
        nearest = distance.masked_fill(~safe, torch.inf).argmin(1)
        ok = safe.any(1)
        chosen = torch.where(ok, nearest, safe.shape[1] - 1)
        envs = torch.arange(len(chosen), device=chosen.device)
        sequence, last = actions[envs, chosen], last[envs, chosen]
        following = torch.cat([sequence[:, 1:], self.model.brake(last).clamp(-1.0, 1.0).unsqueeze(1)], dim=1)
        return Certified(sequence[:, 0], ok, margin[envs, chosen], sequence, following)

    def _candidates(self, action: Tensor, backup: Tensor, braking: Tensor, is_init: Tensor) -> _Candidates:
        """Make the candidates; where ``is_init [batch, 1]``, braking stands in for the backup."""
        horizon, samples = self.config.horizon, len(self._noise)
        first = torch.where(is_init, braking, backup[:, 0])
        starts = torch.cat(
            [
                action.unsqueeze(1).expand(-1, 2, -1),  # then the backup; then braking
                torch.lerp(action.unsqueeze(1), first.unsqueeze(1), self._weights.view(-1, 1)),  # then the backup
                torch.lerp(action.unsqueeze(1), braking.unsqueeze(1), self._weights.view(-1, 1)),  # then braking
                first.unsqueeze(1).expand(-1, samples, -1),
                braking.unsqueeze(1),
                first.unsqueeze(1),
            ],
            dim=1,
        )
        tail = backup[:, 1:].unsqueeze(1).expand(-1, starts.shape[1], -1, -1)
        # The steps after which the model brakes: the whole horizon follows the backup.
        lengths = [horizon, 1, *[horizon] * LINE_POINTS, *[1] * LINE_POINTS, *[horizon] * samples, 1, horizon]
        brakes_from = torch.tensor(lengths, device=action.device)
        noise = action.new_zeros(starts.shape[1], *backup.shape[1:])
        noise[-2 - samples : -2] = self._noise
        return _Candidates(
            sequences=torch.cat([starts.unsqueeze(2), tail], dim=2),
            brakes_from=torch.where(is_init, 1, brakes_from),
            noise=noise,
        )

    def _roll_out(self, state: Tensor, candidates: _Candidates) -> tuple[Tensor, Tensor, Tensor]:
        """Roll the candidates out from ``state [batch, state]``.

        Returns:
            Actions ``[batch, candidate, horizon, action]``, last states ``[batch, candidate, state]`` and least margins
            ``[batch, candidate]``.
        """
        sequences, brakes_from, noise = candidates
        state = state.unsqueeze(1).expand(-1, sequences.shape[1], -1)
        actions, margin = [], state.new_full(sequences.shape[:2], torch.inf)
        for step in range(self.config.horizon):
            action = sequences[:, :, step]
            if step:  # the first action of braking is among the sequences
                action = torch.where((brakes_from <= step).unsqueeze(-1), self.model.brake(state), action)
            action = (action + noise[:, step]).clamp(-1.0, 1.0)
            following = self.model.step(state, action)
            margin = torch.minimum(margin, self.model.margins(state, action, following).amin(-1))
            actions.append(action)
            state = following
        return torch.stack(actions, dim=2), state, margin


def _standard_noise(config: FilterConfig, action_dim: int) -> Tensor:
    """Draw smooth noise ``[sample, horizon, action]`` of growing size, without touching any other random number."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        shape = (config.samples, config.horizon, action_dim)
        noise = SplineNoise(config.horizon, NOISE_KNOTS)(shape, torch.device("cpu"))
    return noise * torch.linspace(0.0, 1.0, config.samples + 1)[1:].view(-1, 1, 1)
