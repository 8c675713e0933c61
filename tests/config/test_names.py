"""The names that an option takes are those of the table in the code that it chooses from."""

from typing import NamedTuple

import pytest

from pompc.algorithms.adaptive_hrl import AdaptiveHRLConfig
from pompc.algorithms.pompc import POMPCConfig
from pompc.config.kinds import Choice
from pompc.config.schema import group
from pompc.envs.acrobot import GOALS, AcrobotConfig
from pompc.envs.carla_racing.config import CarlaRacingConfig
from pompc.envs.carla_racing.model import PLANNER_MODELS
from pompc.envs.carla_racing.simulators import SIMULATORS
from pompc.models.config import SIZES
from pompc.networks.layers import INITIALISERS
from pompc.networks.policies import POLICIES
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.priors import PRIORS
from pompc.onpolicy.candidates import SELECTORS
from pompc.onpolicy.mixing import MIXES, VIRTUAL_WEIGHTS
from pompc.onpolicy.virtual_sources import VIRTUAL_SOURCES
from pompc.planner import MPPIConfig
from pompc.planner.noise import NOISES
from pompc.planner.risk import RISKS
from pompc.system.precision import PLANNING, PRECISIONS


class Named(NamedTuple):
    config: type
    option: str
    table: object


TABLES = [
    Named(MPPIConfig, "noise", NOISES),
    Named(MPPIConfig, "risk", RISKS),
    Named(MPPIConfig, "matmul_precision", PLANNING),
    Named(OffPolicyConfig, "matmul_precision", PRECISIONS),
    Named(OffPolicyConfig, "model_size", SIZES),
    Named(OffPolicyConfig, "critic_init", INITIALISERS),
    Named(OffPolicyConfig, "policy", POLICIES),
    Named(POMPCConfig, "prior", PRIORS),
    Named(AdaptiveHRLConfig, "selector", SELECTORS),
    Named(AdaptiveHRLConfig, "virtual_source", VIRTUAL_SOURCES),
    Named(AdaptiveHRLConfig, "mix", MIXES),
    Named(AdaptiveHRLConfig, "virtual_weight", VIRTUAL_WEIGHTS),
    Named(AcrobotConfig, "goal", GOALS),
    Named(CarlaRacingConfig, "backend", SIMULATORS),
    Named(CarlaRacingConfig, "planner_model", PLANNER_MODELS),
]


@pytest.mark.parametrize(("config", "option", "table"), TABLES, ids=[entry.option for entry in TABLES])
def test_an_option_takes_the_names_of_its_table(config, option, table):
    kind = group(config).options[option].kind
    assert isinstance(kind, Choice)
    assert sorted(kind.values) == sorted(table)
