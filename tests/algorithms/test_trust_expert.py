"""Trust the expert: how much the planner is followed depends on what it is worth."""

import pytest
import torch
from line import Line, LineConfig, LineModel
from pointed import agent, collected

from pompc.algorithms.trust_expert import TrustExpert
from pompc.errors import UserError
from pompc.offpolicy.switch import best_choice

STARTS = torch.linspace(-2, 2, 9).unsqueeze(-1)


class Worthless(LineModel):
    """The cost of an expert that goes away from the origin."""

    def running(self, state, action, next_state, parameters):
        return -next_state[..., 0].abs()


class WithWorthlessExpert(Line):
    """The line with that expert."""

    def task_model(self, device="cpu"):
        return Worthless()


def greedy_share(learner):
    """Share of the starts in which the switch prefers the expert."""
    with torch.no_grad():
        values = learner.skip_values(learner.model.inputs(STARTS))
    return (best_choice(values) >= len(learner.config.skips)).float().mean().item()


def trained(of):
    """Learn on the line with half of the choices at random, and a policy that does not learn."""
    torch.manual_seed(0)
    small = {"mlp_dim": 24, "ensemble_size": 2, "discount": 0.8, "seed_steps": 40, "pretrain_updates": 80}
    learner = agent(
        TrustExpert, of, {"num_samples": 16, "num_iterations": 2}, skips=(1, 2, 4), sequence=4, epsilon=0.5,
        learning_rate=3e-3, target_rate=0.1, update_to_data=0.5, **small,
    )  # fmt: skip
    learner.policy_loss = lambda batch: (sum(p.sum() for p in learner.policy.parameters()) * 0.0, {})
    collected(learner, 100, of)
    return learner


def test_an_expert_that_is_worth_something_is_followed_and_a_worthless_one_is_not():
    """With three seeds the shares were at least 0.67 and at most 0.22."""
    assert greedy_share(trained(Line(LineConfig()))) > 0.5
    assert greedy_share(trained(WithWorthlessExpert(LineConfig()))) < 0.3


def test_the_share_of_the_expert_is_a_metric():
    learner = agent(TrustExpert, seed_steps=0, mlp_dim=16, ensemble_size=2)
    data = collected(learner, 22)
    acted = learner.learn(data[-1])
    assert acted["expert_share"] == data[-1]["actor"].mean()
    assert "expert_share" not in agent(TrustExpert).learn(data[0]), "random steps are of nobody"
    assert (data[0]["actor"] == -1).all()


def test_the_expert_is_the_planner_without_a_discount():
    assert agent(TrustExpert).planner.config.discount == 1.0
    assert agent(TrustExpert).discount < 1.0
    assert agent(TrustExpert, planner_cost="reward").planner.config.discount == agent(TrustExpert).discount


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy_share": 0.5}, "policy_share must be 0: trust_expert learns who acts"),
        ({"skips": (4, 2)}, r"algo\.skips=\[4, 2\] must be increasing"),
        ({"skips": (1, 16)}, r"algo\.skips has 16 steps, .* raise algo\.sequence"),
        ({"epsilon": 1.5}, r"algo\.epsilon must"),
        ({"optimism": 1.0}, r"algo\.optimism has no effect with algo\.planner_cost=task"),
        ({"planner": {"stochastic": True}}, "an expert acts by the mean of its plan"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, said):
    with pytest.raises(UserError, match=said) as error:
        agent(TrustExpert, **options)
    assert "\n" not in str(error.value)
