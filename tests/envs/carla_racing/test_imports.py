"""The parts for a command line, a schema or another interpreter's CARLA client import nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "tensordict", "torchrl", "gymnasium", "hydra")
NUMERIC = ("numpy", "scipy", "PIL")


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("pompc.envs.carla_racing", (*HEAVY, *NUMERIC)),
        ("pompc.envs.carla_racing.config", (*HEAVY, *NUMERIC)),
        ("pompc.envs.carla_racing.commands", (*HEAVY, *NUMERIC)),
        ("pompc.envs.carla_racing.standin.control", (*HEAVY, *NUMERIC)),
        ("pompc.envs.carla_racing.track.track", HEAVY),
    ],
)
def test_it_is_imported_without_heavy_packages(module, missing):
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_offers_its_classes_and_nothing_else():
    import pompc.envs.carla_racing as package

    assert all(getattr(package, name).__module__.startswith(package.__name__) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        package.Nothing  # noqa: B018
