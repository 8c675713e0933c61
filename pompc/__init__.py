"""pompc: MPPI-based reinforcement learning with two dials.

The KL-to-planner prior weight (lambda, ``kl_weight``) says how much the policy is pulled to the planner's action
distribution; the virtual-data ratio (rho, ``virtual_ratio``) says how much of value learning comes from the
planner's own rollouts. Nothing heavy is imported here: ``import pompc`` does not import torch.
"""

from pathlib import Path as _Path

__version__ = "0.2.0"

# In a bare checkout `algorithms/`, `envs/` and `configs/` lie beside this package; installed they lie inside it.
_root = _Path(__file__).resolve().parent.parent
if not _Path(__file__).with_name("algorithms").is_dir() and (_root / "algorithms").is_dir():
    __path__.append(str(_root))
