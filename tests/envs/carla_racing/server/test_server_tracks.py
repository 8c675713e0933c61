"""Tracks of several lanes and of all encodings on a CARLA server."""

from contextlib import closing

import numpy as np
import pytest
from circuits import BASE, TRACKS, changed, lanes, section, width
from served import drive, embedded, family

from pompc.envs.carla_racing.server import server as connected_server
from pompc.errors import UserError


def agree(server, path):
    """Require that server and embedded simulator drive a track alike and that traffic stands on the road."""
    options = {"track": str(path), "num_opponents": 1}
    with closing(family(server, **options).make()) as there, closing(embedded(**options).make()) as here:
        np.testing.assert_allclose(there.reset(seed=0)[0], here.reset(seed=0)[0], atol=2e-5)
        for one, other in zip(drive(there, 8), drive(here, 8), strict=True):
            np.testing.assert_allclose(one[0], other[0], atol=2e-5)
            assert one[1:4] == pytest.approx(other[1:4], abs=2e-5)


@pytest.mark.parametrize("name", ["base", "namespace", "inner_shoulder", "no_predecessor"])
def test_a_circuit_is_driven_on_a_server(server, name):
    agree(server, TRACKS / f"{name}.xodr")


def test_a_place_on_a_wide_lane_beside_a_narrow_one_is_on_the_road(server, write):
    pair = section(0, [("driving", width(2))], [("driving", width(9))])
    agree(server, write(lanes(pair)))


@pytest.mark.parametrize(
    ("declared", "encoding"), [("utf-16", "utf-16"), ("ISO-8859-1", "latin-1"), ("utf-8", "utf-8-sig")]
)
def test_a_server_receives_a_text_of_any_encoding(server, write, declared, encoding):
    text = changed(('encoding="utf-8"', f'encoding="{declared}"'), ('name=""', 'name="Kurve fünf"'))
    agree(server, write(text.encode(encoding)))
    assert server.state()["map"] == "OpenDriveMap"


def test_the_error_does_not_advise_a_value_that_is_set(server, write, monkeypatch):
    monkeypatch.setattr(connected_server.Server, "_on_road", lambda self, pose: False)
    with (
        closing(family(server, track=str(write(BASE))).make()) as env,
        pytest.raises(UserError, match="leaves the roads of OpenDriveMap") as caught,
    ):
        env.reset(seed=0)
    assert "env.map" not in str(caught.value)
