"""What rollouts see: their actions are driven in the plant as the environment drives them."""

import torch
from coverage import survives_not

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig


def test_actions_break_a_rule_in_the_plant_exactly_where_they_end_an_episode():
    """Full throttle with the wheels turned: some of these cars leave the track within the horizon, some do not."""
    num_envs, horizon = 24, 30
    family = CarlaRacing(CarlaRacingConfig(mass=1.2, friction=0.7, drive=0.8))
    env = family.vectorise(num_envs, seed=3)
    first = env.reset()
    steer = torch.linspace(-0.3, 0.3, num_envs)
    actions = torch.stack([steer, torch.ones(num_envs)], -1).unsqueeze(1).expand(-1, horizon, -1)
    start = family.task_model("cpu").state(first["observation"])
    ended, carrier = torch.zeros(num_envs, dtype=torch.bool), first
    for action in actions.unbind(1):
        carrier = env.step(carrier.set("action", action))["next"].exclude("reward")
        ended |= carrier["terminated"].squeeze(-1)
    assert 0 < ended.sum() < num_envs
    assert survives_not(env, start, actions).equal(ended)
