"""Translate weights from the layouts of the released TD-MPC2, TD-M(PC)^2, BMPC and BOOM codes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.training import checkpoint

_PARTS = {
    "_encoder.state": "model.encoder.net",
    "_encoder": "model.encoder.net",
    "_dynamics": "model.dynamics",
    "_reward": "model.reward_head",
    "_termination": "model.termination_head",
    "_terminated": "model.termination_head",
    "_pi": "policy.net",
}
# Copies of the value heads that the released codes keep for their own bookkeeping, and constants.
_IGNORED = re.compile(r"(_Qs\.module|_detach_Qs|_target_Qs\.module|_detach_Qs_params|(expl_)?log_std_|_action_masks)")
_STACKED = re.compile(r"(_Qs\.params|_target_Qs_params|_target_Qs\.params)\.(\d+)\.(ln\.)?(weight|bias)$")
_NUMBERED = re.compile(r"(_Qs\.params|_target_Qs\.params)\.(\d+)$")
_FLAT_LAYER = ("linears.{}.weight", "linears.{}.bias", "norms.{}.weight", "norms.{}.bias")
_ENCODER = re.compile(r"_encoder\.(?:state\.)?(\d+)\.weight$")
_REWARD = re.compile(r"_reward\.(\d+)\.weight$")
_CONVOLUTION = re.compile(r"_encoder\.rgb\.(\d+)\.(weight|bias)$")
# Names under which the newer codes store the bounds of a log-std -> this library's keys, without _min and _max.
_LOG_STDS = {"log_std": "log_std", "expl_log_std": "reanalyze_log_std"}


class Sizes(TypedDict):
    """The sizes of a released model, and of the problem it was trained on.

    Attributes:
        config: keys of :class:`~pompc.offpolicy.config.OffPolicyConfig`.
        pixels: whether the observations are pictures.
        observation_dim: entries of an observation without the task's index, or channels of a picture.
        action_dim: entries of the longest action of a task.
        num_tasks: number of tasks; ``None`` for a single task.
        action_dims: entries of each task's action; ``None`` if they are not known.
        values_see_actions: ``False`` for BMPC's values of states.
        reanalyses: whether the code of BMPC wrote the weights.
    """

    config: dict[str, Any]
    pixels: bool
    observation_dim: int
    action_dim: int
    num_tasks: int | None
    action_dims: list[int] | None
    values_see_actions: bool
    reanalyses: bool


def translate(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Translate released weights to entries of ``agent.load_state_dict``; return them and the keys without counterpart.

    It reads both layouts of the value ensemble: named parameters (since 2024) and numbered ones (before).
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
    """Translate a key of ``_Qs`` or their targets to ``critic.heads.*`` or ``critic.target.*``; ``None`` for other keys."""
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
    """Translate a key of encoder, dynamics, reward, termination, policy or task embedding; ``None`` for other keys."""
    if key == "_task_emb.weight":
        return "model.tasks.table.weight"
    for theirs, ours in _PARTS.items():
        index, _, leaf = key.removeprefix(theirs + ".").partition(".")
        if not key.startswith(theirs + ".") or not index.isdigit():
            continue
        if leaf.startswith("ln."):
            return f"{ours}.{index}.norm.{leaf.removeprefix('ln.')}"
        normed = f"{theirs}.{index}.ln.weight" in state
        return f"{ours}.{index}.{'linear.' if normed else ''}{leaf}"
    if match := _CONVOLUTION.match(key):
        # The released encoder counts its preprocessing layers, so convolutions are matched by their order.
        return f"model.encoder.net.{2 * _layers(state, _CONVOLUTION).index(int(match[1]))}.{match[2]}"
    return None


def _layers(state: dict[str, Tensor], pattern: re.Pattern[str]) -> list[int]:
    """List the numbers of the layers whose keys match, in order."""
    return sorted({int(match[1]) for key in state if (match := pattern.match(key))})


def _first(state: dict[str, Tensor], pattern: re.Pattern[str]) -> Tensor:
    """Find the weights of the first layer whose keys match."""
    keys = {int(match[1]): key for key in state if key.endswith(".weight") and (match := pattern.match(key))}
    return state[keys[min(keys)]]


def sizes(state: dict[str, Tensor]) -> Sizes:
    """Read the sizes of a model and of its problem from the weights.

    Raises:
        UserError: the weights are not of a model this library knows.
    """
    if "_dynamics.0.0.weight" in state:
        raise UserError(
            "these weights have the layout from before TD-MPC2's release, as a few of its files do, and their code was "
            "not published: take the file of another seed"
        )
    heads = translate(state)[0].get("critic.heads.linears.0.weight")
    encoder, convolutions, reward = (_layers(state, pattern) for pattern in (_ENCODER, _CONVOLUTION, _REWARD))
    try:
        mlp_dim, dynamics_in = state["_dynamics.0.weight"].shape
        latent = state["_dynamics.2.weight"].shape[0]
        bins = state[f"_reward.{reward[-1]}.weight"].shape[0]
        encoder_dim, seen = _first(state, _CONVOLUTION if convolutions else _ENCODER).shape[:2]
        ensemble_size, _, values_in = heads.shape  # pyright: ignore[reportOptionalMemberAccess]
    except (KeyError, IndexError, AttributeError, ValueError):
        raise UserError(
            "not weights of TD-MPC2, TD-M(PC)^2, BMPC or BOOM: an encoder, dynamics, rewards or values are missing"
        ) from None
    if bins < 2:
        raise UserError("these weights predict rewards and values without two-hot bins, which pompc cannot")
    table, masks = state.get("_task_emb.weight"), state.get("_action_masks")
    task_dim = 0 if table is None else table.shape[1]
    config = {
        "mlp_dim": mlp_dim,
        "latent_dim": latent,
        "ensemble_size": ensemble_size,
        "num_bins": bins,
        "reward_layers": len(reward) - 1,
        "episodic": any(key.startswith(("_termination.", "_terminated.")) for key in state),
    }
    if not convolutions:
        config |= {"encoder_dim": encoder_dim, "encoder_layers": len(encoder)}
    if table is not None:
        config["task_dim"] = task_dim
    return {
        "config": config,
        "pixels": bool(convolutions),
        "observation_dim": seen - (0 if convolutions else task_dim),
        "action_dim": dynamics_in - latent - task_dim,
        "num_tasks": None if table is None else len(table),
        "action_dims": None if masks is None else masks.sum(-1).int().tolist(),
        "values_see_actions": values_in != latent + task_dim,
        "reanalyses": "expl_log_std_min" in state,
    }


def log_std_bounds(state: dict[str, Tensor]) -> dict[str, float]:
    """Read the bounds of log-stds by their config keys; empty if the weights are older than 2024 and lack them."""
    found = {}
    for theirs, ours in _LOG_STDS.items():
        if f"{theirs}_min" in state and f"{theirs}_dif" in state:
            low, width = (state[f"{theirs}_{name}"].item() for name in ("min", "dif"))
            found |= {f"{ours}_min": round(float(low), 4), f"{ours}_max": round(float(low + width), 4)}
    return found


def read(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a released checkpoint, ``{"model": weights}`` or the weights alone, to the CPU.

    Raises:
        UserError: the file is missing, damaged, or no such checkpoint.
    """
    try:
        if zipfile.is_zipfile(path):  # torch itself does not compare checksums
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise UserError(f"{path} is damaged ({damaged}): fetch it again")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"no checkpoint {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    except Exception as error:  # zipfile, pickle and torch raise all kinds on bytes that are not what they expect
        raise UserError(f"{path} is truncated or not a torch checkpoint: give a .pt file of weights") from error
    weights = content.get("model", content) if isinstance(content, dict) else {}
    if checkpoint.writer_version(content) is not None:
        raise UserError(f"{path} is a checkpoint of pompc already: `pompc eval` plays it as it is")
    # In the newer layout tensordict keeps batch sizes and devices among the weights.
    entries = weights.items() if isinstance(weights, dict) else ()
    tensors = {key: value for key, value in entries if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no model weights: give a file as the released codes save it")
    return tensors
