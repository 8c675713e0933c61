"""Both terms of the policy loss and their gradients are logged, and logging changes no number of a run."""

import math

import pytest
import tiny
import torch
from latent import batch, make

from pompc.algorithms.pompc import POMPC
from pompc.algorithms.tdmpc2 import TDMPC2
from pompc.metrics import TERM_METRICS, term_metrics, warn_of_skipped_steps
from pompc.offpolicy import losses
from pompc.registry import ALGORITHMS

LATENT = ("tdmpc2", "tdmpc_square", "boom", "bmpc", "pompc", "gem_mpc", "adaptive_pompc")


def flat_gradient(agent, loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(agent.policy.parameters()))])


def test_the_norms_are_those_of_the_terms_gradients_and_the_graph_is_kept():
    x, y = torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    terms = {"return": x.square().sum() / 2 + 2 * y.sum(), "kl": 10 * x.sum(), "other": torch.tensor(7.0)}
    found = term_metrics(terms, [x, y], gradients=True)
    assert found["return_term"] == 14.5
    assert found["return_grad_norm"].item() == pytest.approx(math.sqrt(9 + 16 + 4))
    assert found["kl_grad_norm"].item() == pytest.approx(math.sqrt(200))
    assert (found["other_term"], found["other_grad_norm"]) == (7, 0)
    assert x.grad is None
    assert y.grad is None
    terms["return"].backward()
    assert set(term_metrics(terms, [x, y], gradients=False)) == {"return_term", "kl_term", "other_term"}


@pytest.mark.parametrize("weight", [0.5, 3.0])
@pytest.mark.parametrize("name", LATENT)
def test_the_weighted_terms_make_the_policy_loss(name, weight):
    cls = ALGORITHMS.resolve(name)
    options = {"scale_threshold": 0.5} if name in ("tdmpc_square", "boom") else {}
    agent, data = make(cls, cls.Config, kl_weight=weight, entropy_coef=0.0, virtual_ratio=0.0, **options), batch()
    torch.manual_seed(3)
    agent.model_loss(data)
    loss, found = agent.policy_loss(data)
    torch.testing.assert_close(loss, weight * found["kl_term"] - found["return_term"])
    assert found.keys() >= set(TERM_METRICS)
    total, parts = flat_gradient(agent, loss).norm(), (found["return_grad_norm"], weight * found["kl_grad_norm"])
    assert min(parts) > 0
    assert abs(parts[0] - parts[1]) * 0.999 <= total <= sum(parts) * 1.001


@pytest.mark.parametrize(("convex", "weight"), [(False, math.inf), (True, math.inf), (True, 4.0)])
def test_imitation_alone_has_one_term_and_the_convex_form_the_same_two(convex, weight):
    agent, data = tiny.agent(POMPC, kl_weight=weight, convex=convex), None
    data = tiny.batch(agent)
    agent.model_loss(data)
    _, found = agent.policy_loss(data)
    assert ("return_term" in found, "kl_term" in found) == (math.isfinite(weight), True)
    assert agent.update(data.clone())["kl_grad_norm"] > 0


def test_without_lambda_there_is_nothing_to_weigh():
    agent = tiny.agent()
    assert not set(TERM_METRICS) & set(agent.update(tiny.batch(agent)))
    assert all(name not in metrics for metrics in tiny.World(agent).run(12) for name in TERM_METRICS)


@pytest.mark.parametrize(("options", "every"), [({"log_every": 4}, 4), ({"log_every": 4, "update_to_data": 0.5}, 2)])
def test_gradients_are_measured_once_per_row_and_values_in_every_update(options, every):
    agent = tiny.agent(kl_weight=1.0, **options)
    found = [agent.update(tiny.batch(agent)) for _ in range(9)]
    assert ["kl_grad_norm" in metrics for metrics in found] == [index % every == 0 for index in range(9)]
    assert all("kl_term" in metrics for metrics in found)


@pytest.mark.parametrize("cls", [TDMPC2, POMPC])
def test_measuring_changes_neither_weights_nor_random_numbers(cls, monkeypatch):
    states = []
    for measured in (True, False):
        torch.manual_seed(0)
        agent = tiny.agent(cls, kl_weight=1.0, log_every=1, dropout=0.3)
        if not measured:
            monkeypatch.setattr(losses, "term_metrics", lambda *a, **k: {})
        data = tiny.batch(agent)
        for _ in range(3):
            assert ("kl_grad_norm" in agent.update(data.clone())) is measured
        states.append((torch.get_rng_state(), *agent.state_dict().values()))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_with_a_low_floor_the_divergence_weighs_the_same_whatever_its_size(monkeypatch):
    """Divergences from a learned prior are small, from stored plans large; the published floor scales only large ones."""
    norms = {}
    for floor in (1.0, 0.01):
        for size in (0.05, 100.0):
            agent = make(POMPC, POMPC.Config, prior="plan", kl_scale_min=floor, scale_rate=1.0)
            data = batch()
            torch.manual_seed(3)
            agent.model_loss(data)
            sample = agent.policy.sample(data["state"])
            divergence = agent.planner_kl(data, sample)
            scaled = size * divergence / divergence.detach().max()
            monkeypatch.setattr(agent.policy, "sample", lambda state, sample=sample: sample)
            monkeypatch.setattr(agent, "planner_kl", lambda batch, sample, scaled=scaled: scaled)
            norms[floor, size] = agent.policy_loss(data)[1]["kl_grad_norm"].item()
    assert norms[0.01, 100.0] == norms[1.0, 100.0], "the range is above either floor"
    assert norms[0.01, 0.05] == pytest.approx(norms[0.01, 100.0], rel=1e-4)
    assert norms[1.0, 0.05] < norms[1.0, 100.0] / 10


def test_a_skipped_optimizer_step_is_reported_with_its_step():
    with pytest.warns(UserWarning, match=r"environment step 640 .*model_grad_norm.*skipped"):
        warn_of_skipped_steps({"model_grad_norm": float("nan"), "model_loss": 1.0}, 640)


def test_finite_metrics_report_nothing(recwarn):
    warn_of_skipped_steps({"model_grad_norm": 1.0, "value": float("nan")}, 640)
    assert not recwarn.list
