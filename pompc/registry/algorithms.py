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
    "boom": Entry(
        "pompc.algorithms.boom:Boom",
        "BOOM: TD-MPC2 with its policy aligned with the stored plans, by their values",
        released_values="actions",
        paper="Zhan et al. 2025",
        way="aligned",
        architecture="algorithmic",
    ),
    "gem_mpc": Entry(
        "pompc.algorithms.gem_mpc:GEMMPC",
        "PO-MPC whose prior clones only better plans, and proposes to the planner beside the policy",
        paper="Serra-Gomez et al. 2026b",
        way="aligned",
        architecture="algorithmic",
    ),
    "awac": Entry(
        "pompc.algorithms.weighted_imitation:WeightedImitation",
        "TD-MPC2 whose policy imitates the replay, good actions more (the awac actor of TD-M(PC)^2's code)",
        paper="Lin et al. 2025",
        way="aligned",
        architecture="algorithmic",
        page="weighted_imitation",
    ),
    "imitate": Entry(
        "pompc.algorithms.imitate:Imitate",
        "behaviour cloning: a policy learns from the plans, and acts alone in evaluations",
        explicit_model=True,
        way="expert",
        paper="Karg and Lucia 2020",
        page="imitate",
    ),
    "trust_expert": Entry(
        "pompc.algorithms.trust_expert:TrustExpert",
        "a policy that learns by the return, and when to follow the planner instead, and for how long",
        explicit_model=True,
        way="expert",
        acts="learned switch",
        paper="Schulz et al. 2024",
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
    "mpq": Entry(
        "pompc.algorithms.mpq:MPQ",
        "values learned from plans, in which every step is charged by model and value: the blend falls",
        explicit_model=True,
        way="aligned",
        architecture="integrated",
        paper="Bhardwaj et al. 2021",
    ),
    "mpc_critic": Entry(
        "pompc.algorithms.mpc_critic:MPCCritic",
        "the planner is policy, V and Q at once; its cost or model learns from its own values",
        explicit_model=True,
        way="closed_loop",
        architecture="parameterised",
        paper="Cai et al. 2023",
    ),
    "subgoal": Entry(
        "pompc.algorithms.subgoal:Subgoal",
        "PPO over the planner's cost parameters, warm-started by the plan's end",
        explicit_model=True,
        way="closed_loop",
        architecture="hierarchical",
        page="hrl_mpc",
        paper="Brito et al. 2021",
    ),
    "ac_mpc": Entry(
        "pompc.algorithms.ac_mpc:ACMPC",
        "PPO through the planner as a layer, whose cost a network sets in every step",
        explicit_model=True,
        way="closed_loop",
        architecture="hierarchical",
        paper="Romero et al. 2024",
    ),
    "dtc": Entry(
        "pompc.algorithms.dtc:DTC",
        "PPO that sees a plan as its reference and is rewarded for tracking it",
        explicit_model=True,
        way="preprocessing",
        acts="policy",
        paper="Jenelten et al. 2024",
    ),
}

_IMITATE = _CLASSES["imitate"]
_SQUARE, _AWAC = _CLASSES["tdmpc_square"], _CLASSES["awac"]
_RISING = {"schedule": "linear", "initial": 0.0, "to": 1.0, "over": 20_000, "clock": "steps"}
_VALUES_OF_PLANS = {
    "kl_weight": 0.0,
    "virtual_ratio": 1.0,
    "algo.model": "known",
    "algo.mlp_dim": 128,
    "algo.temporal_decay": 1.0,
    "algo.reanalyze_interval": 0,
}
"""Values of states on the explicit model that learn from the planner's sequences alone."""
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
        page="hrl_mpc",
        paper="Reiter et al. 2023",
    ),
    "polo": _CLASSES["bmpc"].named(
        "bmpc",
        "optimistic values of states at the end of short plans on the explicit model, no policy",
        {
            **_VALUES_OF_PLANS,
            "algo.sequence": 16,
            "algo.target_steps": 16,
            "algo.learn_policy": False,
            "algo.num_proposals": 0,
            "algo.optimism": 1.0,
            "algo.ensemble_size": 6,
            "algo.random_value_scale": 1.0,
            "planner.horizon": 16,
            "planner.temperature": 0.5,
        },
        explicit_model=True,
        architecture="integrated",
        page="polo",
        paper="Lowrey et al. 2019",
    ),
    "cacto": _CLASSES["bmpc"].named(
        "bmpc",
        "an actor that climbs reward and value through the explicit model starts long plans, which teach the values",
        {
            **_VALUES_OF_PLANS,
            "algo.sequence": 1,
            "algo.num_proposals": 1,
            "algo.proposal_noise": 0.0,
            "algo.proposals_after": 2000,
            "algo.seed_steps": 0,
            "algo.pretrain_updates": 0,
            "planner.horizon": 30,
        },
        explicit_model=True,
        page="cacto",
        paper="Grandesso et al. 2023",
    ),
    "efficient_tdmpc": _CLASSES["tdmpc2"].named(
        "tdmpc2",
        "TD-MPC2 whose planner averages returns over an ensemble of dynamics and over rollout depths",
        {"algo.dynamics_heads": 3, "planner.depth_decay": 1.0},
        page="efficient_tdmpc",
        paper="Evers et al. 2026",
    ),
    "tdmpc_square_late": _SQUARE.named(
        "tdmpc_square",
        "TD-M(PC)^2 whose pull to the plans begins later: threshold 10 instead of 2",
        {"algo.scale_threshold": 10.0},
        page="tdmpc_square",
    ),
    "tdmpc_square_arc75": _SQUARE.named(
        "tdmpc_square",
        "TD-M(PC)^2 with 75 % of the planner's samples from the policy, instead of 5 %",
        {"algo.num_proposals": 384},
        page="tdmpc_square",
    ),
    "bc": _AWAC.named(
        "awac",
        "TD-MPC2 whose policy imitates the stored plans alone (the bc actor of TD-M(PC)^2's code)",
        {"algo.imitation": "density"},
        page="weighted_imitation",
    ),
    "bc_sac": _AWAC.named(
        "awac",
        "TD-MPC2 whose policy also nears the executed actions (the bc_sac actor of TD-M(PC)^2's code)",
        {"kl_weight": 1.0, "algo.imitation": "square"},
        page="weighted_imitation",
    ),
    "dagger": _IMITATE.named(
        "imitate",
        "DAgger: the policy's share of the steps rises to one, the planner labels",
        {"policy_share": _RISING},
        page="imitate",
        paper="Ross et al. 2011",
    ),
    "plannetx": _IMITATE.named(
        "imitate",
        "PlanNetX: the policy's states follow those of the whole plan",
        {"algo.imitation": "plan_states", "algo.update_to_data": 0.1},  # an update takes a whole rollout
        page="imitate",
        paper="Hoffmann et al. 2024",
    ),
}
"""Published systems that are settings of an algorithm above."""

ALGORITHMS = Registry("algorithm", "pompc.algorithms", {**_CLASSES, **_SETTINGS})
