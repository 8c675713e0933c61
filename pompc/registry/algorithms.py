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
    "imitate": Entry(
        "pompc.algorithms.imitate:Imitate",
        "behaviour cloning: a policy learns from the plans, and acts alone in evaluations",
        explicit_model=True,
        page="imitate",
        paper="Karg and Lucia 2020",
        way="expert",
        architecture="algorithmic",
    ),
    "trust_expert": Entry(
        "pompc.algorithms.trust_expert:TrustExpert",
        "a policy that learns by the return, and when to follow the planner instead, and for how long",
        explicit_model=True,
        paper="Schulz et al. 2024",
        way="expert",
        architecture="algorithmic",
        acts="learned switch",
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
}

_IMITATE = _CLASSES["imitate"]
_RISING = {"schedule": "linear", "initial": 0.0, "to": 1.0, "over": 20_000, "clock": "steps"}
_SETTINGS: dict[str, Entry] = {
    "dagger": _IMITATE.named(
        "imitate",
        "DAgger: the policy's share of the steps rises to one, the planner labels",
        {"policy_share": _RISING},
        paper="Ross et al. 2011",
    ),
    "plannetx": _IMITATE.named(
        "imitate",
        "PlanNetX: the policy's states follow those of the whole plan",
        {"algo.imitation": "plan_states", "algo.update_to_data": 0.1},  # an update takes a whole rollout
        paper="Hoffmann et al. 2024",
    ),
}
"""Published systems that are settings of an algorithm above."""

ALGORITHMS = Registry("algorithm", "pompc.algorithms", {**_CLASSES, **_SETTINGS})
