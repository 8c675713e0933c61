"""What lambda weighs: `python lambda_terms.py RUN_DIR` learns on from a run's replay with either prior and either floor.

For each prior (stored plans, or one learned by forward KL) and each floor of the divergence's running scale, the agent
of the run's last checkpoint makes UPDATES more updates from its replay, without new data; the figures are means over the
last third. A learned prior that the run had none of starts anew.
"""

import statistics
import sys
from pathlib import Path

import torch

from pompc.config.spec import resolve
from pompc.training import checkpoint
from pompc.training.assemble import assemble
from pompc.training.seeding import seed_everything

UPDATES, EVERY = 450, 5
FLOORS = (0.01, 1.0, 2.0)
COLUMNS = ("kl", "kl_scale", "return_term", "kl_term", "return_grad_norm", "kl_grad_norm")


def measure(state, overrides):
    """Metrics of the measured updates of the last third, one dictionary each."""
    spec = resolve(state["config"]).changed(overrides)
    seed_everything(0)
    parts = assemble(spec, playing=True)
    parts.env.close()
    agent = parts.agent
    agent.load_state_dict(state["agent"], strict=False)
    agent.replay.load_state_dict(state["training"]["replay"])
    agent.imitation.scale.value.fill_(1.0)
    rows = [agent.update(*agent.replay.sample(agent.config.batch_size)) for _ in range(UPDATES)]
    return [row for row in rows[2 * UPDATES // 3 :] if "kl_grad_norm" in row]


def main(directory):
    """Print the table of a run."""
    state = checkpoint.load(Path(directory) / "checkpoints" / "last.pt")
    print("prior", "floor", *COLUMNS, "ratio of the gradients", sep=" | ")
    for prior in ("plan", "forward"):
        for floor in FLOORS:
            rows = measure(state, [f"algo.prior={prior}", f"algo.kl_scale_min={floor}", f"algo.log_every={EVERY}"])
            means = {name: statistics.fmean(float(row[name]) for row in rows) for name in COLUMNS}
            ratio = means["kl_grad_norm"] / means["return_grad_norm"]
            print(prior, floor, *(f"{means[name]:.3g}" for name in COLUMNS), f"{ratio:.3g}", sep=" | ", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        main(argument)
