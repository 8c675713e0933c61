"""The parts for a command line, a schema or another interpreter's CARLA client import no torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "pompc.envs.carla_racing",
        "pompc.envs.carla_racing.config",
        "pompc.envs.carla_racing.commands",
        "pompc.envs.carla_racing.standin.control",
        "pompc.envs.carla_racing.track.track",
    ],
)
def test_it_is_imported_without_torch(module):
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_offers_its_classes_and_nothing_else():
    import pompc.envs.carla_racing as package

    assert all(getattr(package, name).__module__.startswith(package.__name__) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        package.Nothing  # noqa: B018
