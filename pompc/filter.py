"""The safety filter of an agent: it stands between the agent's decision and the environment."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec, Unbounded

from pompc.config.filter_options import FilterConfig
from pompc.data import carried
from pompc.errors import UserError
from pompc.models.protocols import Constrained, Safe
from pompc.planner.safety import Certifier
from pompc.registry import ENVIRONMENTS

if TYPE_CHECKING:
    from pompc.problem import Problem

FILTERED = "filtered"
"""The entry of a step that says what the filter did: ``corrected``, ``feasible``, ``correction``, ``margin``."""
BACKUP = "filter_backup"


class SafetyFilter:
    """Certify every action of an agent before the environment gets it.

    The backup manoeuvre lies in the TensorDict, so the filter has no state that a checkpoint would need.

    Args:
        config: options.
        model: the environment's explicit model.
        action_dim: size of an action.
        device: of the agent.
    """

    def __init__(self, config: FilterConfig, model: Any, action_dim: int, device: torch.device) -> None:
        self.config, self.model = config, model
        self.certifier = Certifier(config, model, action_dim, device)
        self._backup = Unbounded((config.horizon, action_dim), device=device)
        self._warned = False

    def primers(self) -> dict[str, TensorSpec]:
        """Return the spec of the backup that is carried in the TensorDict, without the batch dimension."""
        return {BACKUP: self._backup}

    def __call__(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Replace ``action [batch, action]`` by the certified one, and write :data:`FILTERED` with entries ``[batch, 1]``.

        While the agent explores and ``config.train`` is off, the action stays as it is and nothing is computed.
        """
        if explore and not self.config.train:
            return carried.keep(tensordict, [BACKUP])
        proposed, is_init = tensordict["action"], tensordict["is_init"]
        state = self.model.state(tensordict["observation"])
        certified = self.certifier.certify(state, proposed, tensordict[BACKUP], is_init)
        # A number that is not finite is no action to correct: it passes, and whoever steps the environment says so.
        action = torch.where(torch.isfinite(proposed).all(-1, keepdim=True), certified.action, proposed)
        self._warn_of_infeasible_starts(is_init, certified.ok)
        correction = (certified.action - proposed).norm(dim=-1, keepdim=True)
        entries = {
            "corrected": (correction > 0).float(),
            "feasible": certified.ok.float().unsqueeze(-1),
            "correction": correction,
            "margin": certified.margin.unsqueeze(-1),
        }
        tensordict[FILTERED] = TensorDict(entries, batch_size=tensordict.batch_size)
        tensordict["action"] = action
        tensordict["next", BACKUP] = certified.following
        return tensordict

    def margin_error(self, step: TensorDictBase) -> Tensor:
        """Measure what the model promised too much in a step: its largest error of a margin ``[batch]``, at least 0.

        Args:
            step: ``observation``, ``action`` and ``("next", "observation")``.
        """
        state, action = self.model.state(step["observation"]), step["action"]
        after = self.model.state(step["next", "observation"])
        promised = self.model.margins(state, action, self.model.step(state, action))
        missing = promised - self.model.margins(state, action, after)
        return missing.nan_to_num(0.0).amax(-1).clamp(min=0.0)  # the difference of two infinite margins is nan

    def _warn_of_infeasible_starts(self, is_init: Tensor, ok: Tensor) -> None:
        """Warn once if an episode starts where no manoeuvre to safety was found."""
        if self._warned:
            return
        bad = int((is_init.view(-1) & ~ok).sum())
        if bad:
            self._warned = True
            warnings.warn(
                f"the safety filter found no manoeuvre to safety from the start of {bad} of {int(is_init.sum())} episodes "
                "and brakes there without a guarantee: raise filter.horizon or filter.samples, or lower filter.tighten"
            )


def make_filter(config: FilterConfig, problem: Problem) -> SafetyFilter | None:
    """Make the filter of an agent; ``None`` if it is off.

    Raises:
        UserError: the environment has no explicit model, no margins or no braking manoeuvre, or its observations are
            pictures.
    """
    if not config.enabled:
        return None
    if problem.image_shape is not None:
        raise UserError("filter.enabled=true needs observations that give the model's state, not pictures")
    try:
        model: Any = problem.task_model()
    except UserError as error:
        owners = ", ".join(name for name, entry in ENVIRONMENTS.builtin.items() if entry.explicit_model)
        reason = str(error).partition(":")[0]
        raise UserError(f"{reason}: filter.enabled=true needs an environment that has them ({owners})") from error
    name, size = type(model).__name__, model.state_dim
    if not isinstance(model, Constrained):
        raise UserError(f"{name} has no margins, which filter.enabled=true needs: give it the method margins")
    if not isinstance(model, Safe):
        raise UserError(
            f"{name} has no braking manoeuvre, which filter.enabled=true needs: give it the methods brake and at_rest"
        )
    probe = torch.zeros(1, size, device=problem.device)
    returned = {"brake": (model.brake(probe), [1, problem.action_dim]), "at_rest": (model.at_rest(probe), [1])}
    margins = model.margins(probe, torch.zeros(1, problem.action_dim, device=problem.device), probe)
    if margins.ndim != 2 or len(margins) != 1 or margins.shape[1] == 0:
        raise UserError(f"{name}.margins returned the shape {list(margins.shape)} where [1, constraints] is needed")
    if bool(margins.isinf().all()):
        warnings.warn(f"{name} has nothing to keep away from, so filter.enabled=true changes no action: leave it out")
    for method, (tensor, shape) in returned.items():
        if list(tensor.shape) != shape:
            raise UserError(f"{name}.{method} returned the shape {list(tensor.shape)} where {shape} is needed")
    return SafetyFilter(config, model, problem.action_dim, problem.device)
