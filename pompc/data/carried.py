"""What an agent carries from step to step in the TensorDict: entries of the same name in the next step."""

from __future__ import annotations

from collections.abc import Iterable

from tensordict import TensorDictBase

from pompc.errors import UserError


def keep(tensordict: TensorDictBase, names: Iterable[str]) -> TensorDictBase:
    """Carry entries to the next step as they are."""
    for name in names:
        tensordict["next", name] = tensordict[name].clone()
    return tensordict


def require_written(tensordict: TensorDictBase, names: Iterable[str], agent: str) -> None:
    """Refuse a decision that did not write all entries of the next step: a warm start would be lost silently.

    Args:
        tensordict: a step after its decision.
        names: what the agent's ``primers()`` names.
        agent: the agent's class, for the message.

    Raises:
        UserError: an entry is missing.
    """
    written = tensordict.get("next", {})
    for name in names:
        if name not in written:
            raise UserError(
                f"{agent}.act must write ('next', {name!r}), which primers() carries to the next step: "
                f"write it, or set it to tensordict[{name!r}] to keep it"
            )
