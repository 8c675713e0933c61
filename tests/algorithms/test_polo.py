"""POLO, a setting of BMPC's state values on the explicit model: nothing asks a policy; optimism finds a distant goal."""

import pytest
import tiny
import torch
from line import Line, LineConfig, LineModel
from small import config
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.bmpc import BMPC, BMPCConfig
from pompc.config.spec import configure
from pompc.data.collector import make_collector
from pompc.errors import UserError
from pompc.offpolicy.targets import StoredReturn

TASK = Line(LineConfig())
SETTING = {
    "learn_policy": False,
    "reanalyze_interval": 0,
    "num_proposals": 0,
    "target_steps": 3,
    "model": "known",
    "kl_weight": 0.0,
}


def agent_of(**options):
    """POLO on a line."""
    given = {**SETTING, "virtual_ratio": 1.0, "optimism": 1.0, "random_value_scale": 1.0, **options}
    return tiny.agent(BMPC, task_model=TASK.task_model, observation_dim=1, action_dim=1, **given)


def test_the_name_stands_for_values_of_states_on_the_explicit_model_without_a_policy():
    spec = configure("polo", "acrobot")
    chosen = spec.algorithm_config
    assert (chosen.model, chosen.state_values, chosen.learn_policy, chosen.num_proposals) == ("known", True, False, 0)
    assert (chosen.kl_weight, chosen.virtual_ratio) == (0.0, 1.0)
    assert chosen.optimism > 0
    assert chosen.random_value_scale > 0


@pytest.mark.parametrize("ratio", [0.0, 1.0], ids=["real return", "planned return"])
def test_nothing_asks_the_policy_and_it_stays_as_it_was_made(ratio):
    agent = agent_of(virtual_ratio=ratio)
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    agent.policy.forward = lambda state: pytest.fail("the policy was asked")
    metrics = tiny.World(agent).run(30)[-1]
    assert agent.updates > 10
    assert all(torch.equal(*pair) for pair in zip(before, agent.policy.parameters(), strict=True))
    assert {"value_loss", "value_scale"} <= metrics.keys()
    assert not [name for name in metrics if name.startswith("policy_loss")]


def test_both_readings_of_the_target_are_points_of_rho():
    """At 1 the loss is that of the planned sequences' returns, at 0 that of the stored returns of several steps."""
    losses = {}
    for ratio in (0.0, 1.0):
        torch.manual_seed(0)
        agent = agent_of(virtual_ratio=ratio)
        assert isinstance(agent.targets, StoredReturn)
        data = tiny.batch(agent)
        data["planned"] = torch.rand(4, 8, 1, 3, 1) * 2 - 1
        torch.manual_seed(1)
        total, losses[ratio] = agent.model_loss(data)
        name = "virtual_loss" if ratio else "value_loss"
        torch.testing.assert_close(total.detach(), agent.config.value_coef * losses[ratio][name])
    assert torch.equal(losses[0.0]["value_loss"], losses[1.0]["value_loss"])
    assert "virtual_loss" not in losses[0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            (asked, r"needs settings .*: algo\.num_proposals=0, policy_share=0, ")
            for asked in ({"num_proposals": 2}, {"policy_share": 0.5}, {"state_values": False}, {"target_steps": None})
        ),
        ({"kl_weight": 1.0}, "leaves no policy to learn from plans: set kl_weight=0"),
        ({"reanalyze_interval": 10}, r"leaves no policy .* and algo\.reanalyze_interval=0"),
    ],
)
def test_without_a_policy_nothing_asks_one_and_nothing_teaches_it(options, message):
    with pytest.raises(UserError, match=f"^algo\\.learn_policy=false {message}"):
        BMPCConfig(**{**SETTING, **options})


def test_an_environment_without_an_explicit_model_is_refused_in_one_line(tmp_path):
    from pompc.training.run import run

    with pytest.raises(UserError, match=r"^algo\.model=known: .* has no explicit dynamics") as error:
        run(config(tmp_path, "polo", "gym/Pendulum-v1"))
    assert "\n" not in str(error.value)


@torch.no_grad()
def driven(agent, start, steps):
    """Where the planner alone goes from ``start``: ``[steps]``."""
    x, places = torch.full((1, 1), start), []
    carried = {name: spec.zero(torch.Size([1])) for name, spec in agent.primers().items()}
    for step in range(steps):
        first = {"observation": x, "is_init": torch.full((1, 1), step == 0)}
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            td = agent(TensorDict({**carried, **first}, batch_size=[1]))
        carried = {name: td["next", name] for name in carried}
        x = TASK.task_model().step(x, td["action"])
        places.append(x.item())
    return places


@pytest.fixture
def _sparse(monkeypatch):
    """A reward at the origin alone, which a plan of one step sees from nowhere else."""
    near = lambda self, state, action, next_state: (next_state[..., 0].abs() < 0.3).float()  # noqa: E731
    monkeypatch.setattr(LineModel, "reward", near)


@pytest.mark.usefixtures("_sparse")
@pytest.mark.parametrize("ratio", [0.0, 1.0], ids=["real return", "planned return"])
def test_values_lead_plans_of_one_step_to_a_distant_reward(ratio):
    torch.manual_seed(0)
    planner = {"horizon": 1, "num_samples": 32, "num_elites": 8, "num_iterations": 2, "temperature": 0.05}
    options = {"mlp_dim": 32, "batch_size": 32, "learning_rate": 3e-3, "target_rate": 0.1, "temporal_decay": 1.0}
    options |= {"seed_steps": 200, "pretrain_updates": 80, "sequence": 4, "target_steps": 4, "random_value_scale": 0.3}
    options |= {"num_envs": 4, "update_to_data": 0.5}
    agent = agent_of(virtual_ratio=ratio, planner=planner, **options)
    starts = (-1.9, 1.2, 1.9)
    blind = agent.planner.plan(torch.tensor(starts).unsqueeze(-1))
    assert (blind.costs == 0).all(), "without values all plans of one step are equal"
    collector = make_collector(TASK.vectorise(4, seed=0), agent, agent.frames_per_batch)
    while agent.budget.transitions < 320:
        agent.learn(collector.rollout())
        while agent.pending_updates:
            agent.catch_up()
    collector.shutdown()
    assert max(abs(driven(agent, start, 12)[-1]) for start in starts) < 0.5  # with four seeds at most 0.23
