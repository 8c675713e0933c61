"""Networks: the batched ensemble equals its members; the actor starts at the given mean and std."""

import torch

from pompc.networks.actor_critic import GaussianActor, ValueEnsemble


def test_ensemble_equals_its_members_one_by_one():
    ensemble = ValueEnsemble(3, 4, (8, 8))
    x = torch.randn(2, 5, 4)
    together = ensemble(x)
    assert together.shape == (3, 2, 5)
    for member in range(3):
        h = x
        for index, (w, b) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            h = h @ w[member] + b[member]
            h = torch.tanh(h) if index < 2 else h
        torch.testing.assert_close(together[member], h[..., 0])


def test_members_start_apart_and_learn_apart():
    ensemble = ValueEnsemble(3, 4, (8,))
    x = torch.randn(6, 4)
    assert ensemble(x).std(0).min() > 0
    ensemble(x)[1].sum().backward()
    grads = ensemble.weights[0].grad
    assert grads[1].abs().sum() > 0
    assert grads[0].abs().sum() == 0


def test_actor_starts_at_its_initial_mean_and_std():
    start = torch.tensor([0.3, -0.7])
    actor = GaussianActor(5, 2, (16,), initial_std=0.4, initial_mean=start)
    mean, std = actor(torch.randn(50, 5))
    assert (mean - start).abs().max() < 0.1
    torch.testing.assert_close(std, torch.full((50, 2), 0.4))
