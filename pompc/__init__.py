"""pompc: MPPI-based reinforcement learning with two dials.

The KL-to-planner prior weight (lambda, ``kl_weight``) says how much the policy is pulled to the planner's action
distribution; the virtual-data ratio (rho, ``virtual_ratio``) says how much of value learning comes from the
planner's own rollouts. Nothing heavy is imported here: ``import pompc`` does not import torch.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import Any as _Any

__version__ = "0.2.0"

# In a bare checkout `algorithms/`, `envs/` and `configs/` lie beside this package; installed they lie inside it.
_root = _Path(__file__).resolve().parent.parent
if not _Path(__file__).with_name("algorithms").is_dir() and (_root / "algorithms").is_dir():
    __path__.append(str(_root))

_LAZY = {"load": "pompc.training.loaded", "LoadedAgent": "pompc.training.loaded"}


def __getattr__(name: str) -> _Any:
    """Import what needs torch when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(_LAZY[name]), name)
