"""Measure how wrong the planner's model of carla_racing is after one step, on the way that the planner itself drives::

    python results/carla_racing/one_step_error.py env.mass=1.2 env.friction=0.7 env.drive=0.8

Words are those of ``pompc run --algo mppi --env carla_racing``. It prints a line of a table: mean absolute errors of the
predicted state, and of the predicted reward, over 16 cars of 500 steps each.
"""

import sys

import torch

from pompc.config.spec import configure
from pompc.data.collector import with_agent_state
from pompc.envs.carla_racing.model import CAR_SIZE
from pompc.errors import UserError
from pompc.training.acting import acting
from pompc.training.assemble import assemble

ENTRIES = (
    *("s (m)", "n (m)", "heading (rad)", "vx (m/s)", "vy (m/s)", "yaw rate (rad/s)", "wheels (rad)", "drive (1)"),
    "reward",
)
SEED = 0


def errors(words: list[str], steps: int = 500) -> dict[str, float]:
    """Drive by the planner and predict every step: mean absolute error by the name of the entry, with its unit."""
    made = assemble(configure("mppi", "carla_racing", ["num_envs=16", f"seed={SEED}", *words]))
    model, found = made.family.task_model(), []
    env = with_agent_state(made.env, made.agent)
    with acting(made.agent, SEED):
        carried = env.reset()
        for _ in range(steps):
            stepped, carried = env.step_and_maybe_reset(made.agent(carried))
            after, action = stepped["next"], stepped["action"]
            state = model.state(stepped["observation"])
            expected = model.step(state, action)
            missed = model.difference(expected, model.state(after["observation"]))[..., :CAR_SIZE].abs()
            reward = (model.reward(state, action, expected).unsqueeze(-1) - after["reward"]).abs()
            found.append(torch.cat([missed, reward], -1))
    mean = torch.cat(found).mean(0).tolist()
    return dict(zip(ENTRIES, mean, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        measured = errors(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    print("| " + " | ".join(measured) + " |\n" + "|---" * len(measured) + "|")
    print("| " + " | ".join(f"{value:.2g}" for value in measured.values()) + " |")
