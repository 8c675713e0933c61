"""What bfloat16 products change in a trained agent's plans and gradients: python results/dmc/precision.py RUN_DIR...

For observations drawn from the run's own replay: the mean change of the planned first action (from the same random numbers)
by bfloat16 factors, and by bfloat16 differences between samples (``centred``), beside what other random numbers change in
float32; and the cosine between the gradients of an update in both precisions beside that between those on two batches.
"""

import sys
from pathlib import Path

import torch

from pompc.config.spec import resolve
from pompc.report.latent_bench import precision_effect
from pompc.system.precision import matmul_precision
from pompc.training import checkpoint
from pompc.training.assemble import assemble

PLAIN = ("planner.compile=false", "algo.compile=false", "algo.dropout=0.0")


def loaded(state, precision):
    """The checkpoint's agent, planning with that precision."""
    spec = resolve(state["config"]).changed([*PLAIN, f"planner.matmul_precision={precision}"])
    agent = assemble(spec).agent
    agent.load_state_dict(state["agent"])
    agent.load_training_state(state["training"])
    return agent


def gradients(agent, batch, precision):
    """Of the model's and of the policy's loss, flat."""
    batch = batch.clone()
    model = [p for group in agent.optimizers["model"].param_groups for p in group["params"]]
    with matmul_precision(precision):
        torch.manual_seed(1)
        found = [torch.autograd.grad(agent.model_loss(batch)[0], model)]
        torch.manual_seed(2)
        found.append(torch.autograd.grad(agent.policy_loss(batch)[0], list(agent.policy.parameters())))
    return [torch.cat([g.flatten() for g in group]) for group in found]


def main():
    """One line per run."""
    torch.set_num_threads(1)
    for run in sys.argv[1:]:
        state = checkpoint.load(Path(run) / "checkpoints" / "last.pt")
        agent, low = loaded(state, "highest"), loaded(state, "medium")
        torch.manual_seed(0)
        batches = [agent.replay.sample(agent.config.batch_size)[0] for _ in range(2)]
        seen = batches[0]["observation"][0, :64]
        effect = precision_effect(agent, {"bf16": low, "centred": loaded(state, "centred")}, seen)
        exact, rounded = (gradients(agent, batches[0], precision) for precision in ("highest", "medium"))
        other = gradients(agent, batches[1], "highest")
        for name, a, b, c in zip(("model", "policy"), exact, rounded, other, strict=True):
            effect[f"{name}_gradient_bf16"] = torch.cosine_similarity(a, b, dim=0).item()
            effect[f"{name}_gradient_other_batch"] = torch.cosine_similarity(a, c, dim=0).item()
        print(state["manifest"]["algo"], state["manifest"]["step"], {k: round(v, 4) for k, v in effect.items()})


if __name__ == "__main__":
    main()
