"""The algorithms and their named settings."""

from __future__ import annotations

from pompc.registry.entries import Entry, Registry

_CLASSES = {
    "adaptive_hrl": Entry(
        "pompc.algorithms.adaptive_hrl:AdaptiveHRL",
        "PPO over the planner's cost parameters, with virtual rollouts mixed in by uncertainty",
        explicit_model=True,
        paper="Hori et al. 2026",
        way="closed_loop",
        architecture="hierarchical",
    ),
    "tdmpc2": Entry(
        "pompc.algorithms.tdmpc2:TDMPC2",
        "a latent world model, value-maximising policy and MPPI: lambda = 0",
        released_values="actions",
        paper="Hansen et al. 2024",
        way="aligned",
        architecture="algorithmic",
    ),
    "tdmpc_square": Entry(
        "pompc.algorithms.tdmpc_square:TDMPCSquare",
        "TD-M(PC)^2: TD-MPC2 with its policy held near the stored plans",
        released_values="actions",
        paper="Lin et al. 2025",
        way="aligned",
        architecture="algorithmic",
    ),
    "bmpc": Entry(
        "pompc.algorithms.bmpc:BMPC",
        "a policy that imitates the plans, lazily renewed: lambda = infinity",
        released_values="states",
        paper="Wang et al. 2025",
        way="aligned",
        architecture="algorithmic",
    ),
    "pompc": Entry(
        "pompc.algorithms.pompc:POMPC",
        "return and KL to the planner's prior in any proportion lambda",
        paper="Serra-Gomez et al. 2026",
        way="aligned",
        architecture="algorithmic",
    ),
    "adaptive_pompc": Entry(
        "pompc.algorithms.adaptive_pompc:AdaptivePOMPC",
        "PO-MPC with virtual value targets annealed by uncertainty",
        way="aligned",
        architecture="algorithmic",
    ),
    "ppo": Entry(
        "pompc.algorithms.ppo:PPO",
        "PPO on the raw action, no planner: the model-free baseline",
        page="baselines",
        paper="Schulman et al. 2017",
        way="baseline",
        acts="policy",
    ),
    "mppi": Entry(
        "pompc.algorithms.mppi:MPPIAgent",
        "the planner alone with its nominal cost: the baseline without learning",
        explicit_model=True,
        page="baselines",
        paper="Williams et al. 2017",
        way="baseline",
    ),
    "subgoal": Entry(
        "pompc.algorithms.subgoal:Subgoal",
        "PPO over the planner's cost parameters, warm-started by the plan's end",
        page="hrl_mpc",
        paper="Brito et al. 2021",
        explicit_model=True,
        way="closed_loop",
        architecture="hierarchical",
    ),
    "dtc": Entry(
        "pompc.algorithms.dtc:DTC",
        "PPO that sees a plan as its reference and is rewarded for tracking it",
        paper="Jenelten et al. 2024",
        explicit_model=True,
        way="preprocessing",
        architecture="parallel",
        acts="policy",
    ),
}

_SETTINGS: dict[str, Entry] = {
    "hrl_mpc": _CLASSES["adaptive_hrl"].named(
        "adaptive_hrl",
        "PPO over the planner's cost parameters from real data alone, one candidate: rho = 0",
        {
            "virtual_ratio": 0.0,
            "planner.num_samples": 256,
            "algo.candidates": 1,
            "algo.ensemble_size": 1,
            "algo.bootstrap": 1.0,
        },
        paper="Reiter et al. 2023",
    ),
}
"""Published systems that are settings of an algorithm above."""

ALGORITHMS = Registry("algorithm", "pompc.algorithms", {**_CLASSES, **_SETTINGS})
