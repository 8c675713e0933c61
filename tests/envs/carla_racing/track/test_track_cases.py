"""Tracks of users: the circuits of ``cases/tracks``, and the forms of their files."""

import warnings

import numpy as np
import pytest
from circuits import BASE, LENGTH, TRACKS, changed

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.track.track import Track
from pompc.errors import UserError


def family(path, **options):
    return CarlaRacing(CarlaRacingConfig(track=str(path), **options))


def refusal(path, **options):
    """Return the one line that refuses a track; it names the file."""
    with pytest.raises(UserError) as caught:
        family(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    "name", ["base", "inner_shoulder", "namespace", "no_predecessor", "sections_unsorted", "zone_repeat"]
)
def test_a_circuit_that_can_be_driven_is_driven(name):
    env = family(TRACKS / f"{name}.xodr").make()
    for seed in range(3):
        env.reset(seed=seed)
        results = [env.step(np.array([0.1, 0.1], np.float32)) for _ in range(10)]
        assert not any(terminated for _, _, terminated, _, _ in results)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("decl_wrong_encoding", ["'foo-8'", "UTF-8"]),
        ("narrow", ["1.60 m wide", "the car 1.8 m"]),
        ("step_in_offset", ["road 1 to road 2", "3.000 m", "env.joint_tolerance=0.01"]),
        ("superelev_60deg", ["road 1", "banked by up to 60.0 degrees"]),
        ("tiny_ring", ["25.1 m", "at least 30 m"]),
        ("zone_blocks", ["object 1 of road 1", "89.0..99.0 m", "0.00 m", "env.danger_zones=false"]),
    ],
)
def test_a_circuit_that_cannot_be_driven_is_refused(name, words):
    message = refusal(TRACKS / f"{name}.xodr")
    for word in words:
        assert word in message


def test_a_lane_lies_beyond_the_strips_without_traffic():
    track = Track.load(TRACKS / "inner_shoulder.xodr")
    np.testing.assert_allclose(np.hypot(track.x, track.y - 60.0), 68.0, atol=1e-6)
    np.testing.assert_allclose(track.half_width, 4.0)


def test_sections_hold_from_their_s_whatever_their_order():
    track = Track.load(TRACKS / "sections_unsorted.xodr")
    np.testing.assert_allclose(
        track.half_width_at([1.0, 89.0, 91.0, 187.0, 190.0, 277.0, 280.0]), [6, 6, 3, 3, 6, 6, 3]
    )


def test_a_zone_is_repeated_along_its_road():
    zones = Track.load(TRACKS / "zone_repeat.xodr").zones
    middles = [(zone.s_start + zone.s_end) / 2 for zone in zones]
    np.testing.assert_allclose(middles, [20, 50, 80, 110, *(LENGTH + s for s in (20, 50, 80, 110))], atol=1e-5)
    np.testing.assert_allclose([(z.s_end - z.s_start, z.n_min, z.n_max) for z in zones], [(5, 3, 5)] * 8, atol=1e-5)


def test_without_danger_zones_one_may_lie_across_the_road():
    family(TRACKS / "zone_blocks.xodr", danger_zones=False)


DECLARED = '<?xml version="1.0" encoding="{}"?>'
NAMED = changed(('name=""', 'name="Kurve fünf"'))


def declared(encoding):
    return NAMED.replace(DECLARED.format("utf-8"), DECLARED.format(encoding))


ENCODINGS = {
    "utf-8": (NAMED, "utf-8"),
    "utf-8 with its mark": (NAMED, "utf-8-sig"),
    "CRLF": (NAMED.replace("\n", "\r\n"), "utf-8"),
    "no declaration": (NAMED[NAMED.index("\n") + 1 :], "utf-8"),
    "utf-16": (declared("utf-16"), "utf-16"),
    "utf-16 that declares utf-8": (NAMED, "utf-16"),
    "utf-16 without its mark": (declared("UTF-16"), "utf-16-le"),
    "utf-16, big end first": (declared("UTF-16"), "utf-16-be"),
    "utf-32": (declared("utf-32"), "utf-32"),
    "latin-1": (declared("ISO-8859-1"), "latin-1"),
    "windows": (declared("windows-1252"), "cp1252"),
    "a code page of many bytes": (declared("gb18030"), "gb18030"),
    "utf-8 that declares utf-16": (declared("utf-16"), "utf-8"),
}


@pytest.mark.parametrize("case", ENCODINGS)
def test_a_file_is_read_in_its_encoding(write, case):
    text, encoding = ENCODINGS[case]
    track = Track.load(write(text.encode(encoding)))
    np.testing.assert_array_equal(track.x, Track.load(TRACKS / "base.xodr").x)
    assert 'name="Kurve fünf"' in track.text
    if "?>" in track.text:  # what a server is given says what it is
        assert track.text.startswith(DECLARED.format("utf-8"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an XML file"),
        (b"\0" * 40, "not an XML file"),
        (BASE.encode()[:900], "not an XML file"),
        (declared("ascii").encode(), "is not in its encoding, ascii"),
        (NAMED.encode("latin-1"), "is not in its encoding, utf-8"),
        (declared("rot13").encode(), "'rot13' is unknown"),
        (NAMED.encode("utf-16")[:-1], "is not in its encoding, utf-16"),
    ],
)
def test_a_file_in_no_encoding_is_refused(write, data, words):
    assert words in refusal(write(data))


@pytest.mark.parametrize("prefix", ["", "o:"])
def test_a_prefix_of_a_namespace_does_not_matter(load, prefix):
    text = BASE[BASE.index("<OpenDRIVE>") :].replace("</", "~").replace("<", f"<{prefix}").replace("~", f"</{prefix}")
    text = text.replace("OpenDRIVE>", 'OpenDRIVE xmlns:o="http://example.org/x"><o:note/>', 1)
    track = load(text)
    np.testing.assert_array_equal(track.x, Track.load(TRACKS / "base.xodr").x)
    assert "<OpenDRIVE" in track.text, "a server does not know prefixes"


def test_a_folder_or_a_missing_file_is_refused(tmp_path):
    (tmp_path / "folder.xodr").mkdir()
    assert "cannot read" in refusal(tmp_path / "folder.xodr")
    assert "cannot read" in refusal(tmp_path / "none.xodr")


def test_endings_and_homes_are_taken_as_usual(monkeypatch, tmp_path):
    (tmp_path / "A.XODR").write_text(BASE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Track.load("~/A.XODR").name == "A"


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (
            '<lateralProfile><superelevation s="0" a="0.2" b="0" c="0" d="0"/></lateralProfile>',
            "banked by up to 11.5 deg",
        ),
        (
            '<lateralProfile><superelevation s="0" a="0" b="0.002" c="0" d="0"/></lateralProfile>',
            "banked by up to 21.6",
        ),
        (
            '<lateralProfile><crossfall side="both" s="0" a="0.1" b="0" c="0" d="0"/></lateralProfile>',
            "banked by up to 5.7",
        ),
        ('<lateralProfile><shape s="0" t="0" a="0" b="0.1" c="0" d="0"/></lateralProfile>', "banked by up to 5.7 deg"),
        ('<elevationProfile><elevation s="0" a="3" b="0.1" c="0" d="0"/></elevationProfile>', "climb by up to 5.7 deg"),
    ],
)
def test_a_road_that_is_not_flat_is_one_warning(write, profile, words):
    path = write(changed(("</planView>", f"</planView>{profile}")))
    with pytest.warns(UserWarning, match=words) as caught:
        family(path).make()
    assert len(caught) == 1


def test_a_road_at_a_height_is_flat(write):
    profile = '<elevationProfile><elevation s="0" a="210" b="0" c="0" d="0"/></elevationProfile>'
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        family(write(changed(("</planView>", f"</planView>{profile}"))))
