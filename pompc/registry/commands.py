"""Demos, sub-commands and measurements."""

from __future__ import annotations

from pompc.registry.entries import Entry, Registry

DEMOS = Registry(
    "demo",
    "pompc.demos",
    {
        "racing": Entry(
            "pompc.envs.carla_racing.demo:ADAPTIVE_HRL", "adaptive_hrl drives a lap past danger zones and traffic"
        ),
    },
)
"""Agents that packages ship. An entry's target is the path of a file that :func:`pompc.training.export.export` wrote."""
COMMANDS = Registry(
    "command",
    "pompc.commands",
    {
        "compare": Entry("pompc.report.command:add", "put runs side by side: tables and curves"),
        "dashboard": Entry("pompc.report.dashboard.command:add", "compare runs in wandb, or on a page without a login"),
        "sweep": Entry(
            "pompc.sweep.commands:add", "do many runs, several at a time, or search values by their returns"
        ),
        "finetune": Entry(
            "pompc.training.finetune_command:add", "train on another environment, from the weights of a run"
        ),
        "export": Entry("pompc.convert.command:add", "write a trained agent as ONNX files, compared in onnxruntime"),
        "collect": Entry(
            "pompc.training.collect_command:add", "play episodes with a checkpoint and write them as a dataset"
        ),
        "carla": Entry("pompc.envs.carla_racing.commands:add", "look at a CARLA server, or run a stand-in for one"),
    },
)

_RACING = "pompc.envs.carla_racing.bench"
BENCHMARKS = Registry(
    "measurement",
    "pompc.benchmarks",
    {
        "racing": Entry(f"{_RACING}:racing", "the racing environment and its model", subject="carla_racing"),
        "planner": Entry(
            "pompc.report.planner_bench:planner", "a plan for a batch of environments", subject="carla_racing"
        ),
        "training": Entry(f"{_RACING}:training", "training with and without a planner", subject="carla_racing"),
        "collector": Entry(f"{_RACING}:collector", "TorchRL's collector against a bare loop", subject="carla_racing"),
        "latent": Entry("pompc.report.latent_bench:latent", "a plan and an update of TD-MPC2", subject="tdmpc2"),
        "planner_compile": Entry(
            "pompc.report.planner_bench:planner_compile", "the plan with a compiled model", subject="carla_racing"
        ),
        "explicit": Entry(
            "pompc.report.peers_bench:explicit", "a plan for a planar car beside other packages", subject="mppi"
        ),
        "latent_compile": Entry(
            "pompc.report.latent_bench:latent_compile", "the plan and the update, compiled", subject="tdmpc2"
        ),
        "carla": Entry(f"{_RACING}:carla", "racing over one and over two CARLA stand-ins", subject="carla_racing"),
    },
)
