"""Weights in the layouts of the released TD-MPC2, TD-M(PC)^2 and BMPC codes -> this library's."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from pompc.errors import UserError

_PARTS = {
    "_encoder.state": "model.encoder.net",
    "_dynamics": "model.dynamics",
    "_reward": "model.reward_head",
    "_termination": "model.termination_head",
    "_pi": "policy.net",
}
# Copies of the value heads that the released codes keep for their own bookkeeping, and constants.
_IGNORED = re.compile(r"(_Qs\.module|_detach_Qs|_target_Qs\.module|_detach_Qs_params|(expl_)?log_std_|_action_masks)")
_STACKED = re.compile(r"(_Qs\.params|_target_Qs_params|_target_Qs\.params)\.(\d+)\.(ln\.)?(weight|bias)$")
_NUMBERED = re.compile(r"(_Qs\.params|_target_Qs\.params)\.(\d+)$")
_FLAT_LAYER = ("linears.{}.weight", "linears.{}.bias", "norms.{}.weight", "norms.{}.bias")


def translate(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Released weights -> ``agent.load_state_dict`` entries, and the keys that have no counterpart.

    Both layouts of the value ensemble are read: named parameters (since 2024) and numbered ones (before).
    """
    found: dict[str, Tensor] = {}
    unknown = []
    for key, value in state.items():
        name = _value_head(key) or _network(key, state)
        if name is not None:
            found[name] = value
        elif not _IGNORED.match(key):
            unknown.append(key)
    return found, unknown


def _value_head(key: str) -> str | None:
    """``_Qs`` and their targets: ``critic.heads.*`` and ``critic.target.*``."""
    if match := _STACKED.match(key):
        owner, index, norm, leaf = match.groups()
        return f"critic.{_owner(owner)}.{'norms' if norm else 'linears'}.{index}.{leaf}"
    if match := _NUMBERED.match(key):
        layer, leaf = divmod(int(match[2]), 4)
        return f"critic.{_owner(match[1])}.{_FLAT_LAYER[leaf].format(layer)}"
    return None


def _owner(name: str) -> str:
    return "target" if name.startswith("_target") else "heads"


def _network(key: str, state: dict[str, Tensor]) -> str | None:
    """Encoder, dynamics, reward, termination, policy, task embedding."""
    if key == "_task_emb.weight":
        return "model.tasks.table.weight"
    for theirs, ours in _PARTS.items():
        if not key.startswith(theirs + "."):
            continue
        index, _, leaf = key.removeprefix(theirs + ".").partition(".")
        if leaf.startswith("ln."):
            return f"{ours}.{index}.norm.{leaf.removeprefix('ln.')}"
        normed = f"{theirs}.{index}.ln.weight" in state
        return f"{ours}.{index}.{'linear.' if normed else ''}{leaf}"
    if key.startswith("_encoder.rgb."):
        return _convolution(key, state)
    return None


def _convolution(key: str, state: dict[str, Tensor]) -> str:
    """The released encoder counts its preprocessing layers, ours does not: match the convolutions by their order."""
    index, leaf = key.removeprefix("_encoder.rgb.").split(".")
    order = sorted({int(name.split(".")[2]) for name in state if name.startswith("_encoder.rgb.")})
    return f"model.encoder.net.{2 * order.index(int(index))}.{leaf}"


def sizes(state: dict[str, Tensor]) -> dict[str, Any]:
    """What the weights say about their model: this library's config keys, and the dimensions of the problem.

    Returns:
        ``config`` (keys of :class:`~pompc.learning.latent_config.LatentConfig`), ``observation_dim``, ``action_dim`` and
        ``values_see_actions`` (false for BMPC's state values).

    Raises:
        UserError: the weights are not of a model this library knows.
    """
    translated, _ = translate(state)
    try:
        dynamics = translated["model.dynamics.0.linear.weight"]
        policy = translated["policy.net.2.weight"]
        reward = translated["model.reward_head.2.weight"]
        heads = translated["critic.heads.linears.0.weight"]
        encoder = [v for k, v in translated.items() if re.fullmatch(r"model\.encoder\.net\.\d+\.linear\.weight", k)]
        action_dim = policy.shape[0] // 2
        first = encoder[0]
    except (KeyError, IndexError) as error:
        raise UserError(
            f"these are not weights of TD-MPC2, TD-M(PC)^2 or BMPC from states: they lack {error}"
        ) from None
    latent = encoder[-1].shape[0]
    return {
        "config": {
            "encoder_dim": first.shape[0],
            "encoder_layers": len(encoder),
            "mlp_dim": dynamics.shape[0],
            "latent_dim": latent,
            "num_values": heads.shape[0],
            "num_bins": reward.shape[0],
            "episodic": any(key.startswith("model.termination_head") for key in translated),
        },
        "observation_dim": first.shape[1],
        "action_dim": action_dim,
        "values_see_actions": heads.shape[2] != latent,
    }


def read(path: Any) -> dict[str, Tensor]:
    """The weights of a released checkpoint (``{"model": weights}`` or the weights alone), on the CPU.

    Raises:
        UserError: the file is missing or is no such checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint {path}") from None
    except Exception as error:
        raise UserError(f"{path} is not a torch checkpoint of weights ({str(error).splitlines()[0]})") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no model weights: give a file as the released codes save it")
    return content
