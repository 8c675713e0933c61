"""The yaml of every name agrees with the dataclass it configures, in names, values and types."""

import pytest
from omegaconf import OmegaConf

from pompc.config.compose import SHARED, algorithm_config, compose, environment_config
from pompc.config.schema import defaults
from pompc.errors import UserError
from pompc.registry import ALGORITHMS, ENVIRONMENTS

EXAMPLE = {"dmc": "dmc/cartpole-swingup", "gym": "gym/Pendulum-v1"}


def flat(value, prefix=""):
    """A nested value as ``{path: leaf}``, lists included, so that ``1`` and ``1.0`` can be told apart."""
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, item in items for key, leaf in flat(item, f"{prefix}.{name}").items()}
    return {prefix: (type(value).__name__, value)}


@pytest.mark.parametrize("name", ALGORITHMS.builtin)
def test_algorithm(name):
    values = OmegaConf.to_container(compose(name, "acrobot"))
    node = values["algo"] | {key: values[key] for key in SHARED if key in values}
    assert node.pop("name") == name
    cls = ALGORITHMS.resolve(name).Config
    assert flat(node) == flat(defaults(cls))
    assert algorithm_config(compose(name, "acrobot")) == cls()


@pytest.mark.parametrize("name", ENVIRONMENTS.builtin)
def test_environment(name):
    cfg = compose("ppo", EXAMPLE.get(name, name))
    node = OmegaConf.to_container(cfg.env)
    assert node.pop("name") == name
    cls = ENVIRONMENTS.resolve(name).Config
    assert flat(node) == flat(defaults(cls))
    assert environment_config(cfg) == cls()


@pytest.mark.parametrize("name", ALGORITHMS.builtin)
def test_a_key_that_the_dataclass_lacks_is_refused(name):
    cfg = compose(name, "acrobot")
    OmegaConf.set_struct(cfg, False)
    cfg.algo.no_such_option = 1
    with pytest.raises(UserError, match=r"unknown key 'algo"):
        algorithm_config(cfg)
