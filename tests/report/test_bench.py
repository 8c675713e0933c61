"""The benchmark: its measurements and its file. No test asks how fast this machine is."""

import csv
import importlib.machinery
import importlib.metadata
import json
import math
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pompc.errors import UserError
from pompc.offpolicy.config import tdmpc2_planner
from pompc.registry import BENCHMARKS
from pompc.report import latent_bench
from pompc.report.bench import bench, machine
from pompc.report.measurement import UNITS, BenchSettings, Measurement
from pompc.system.precision import onednn_is_float32
from pompc.system.timing import duration, durations, threads

TINY = BenchSettings(
    seconds=1e-3,
    num_envs=2,
    candidates=2,
    samples=8,
    horizon=3,
    batch_size=64,
    iterations=1,
    model_size=1,
    sequences=8,
    device="cpu",
)

DEFAULT = ["racing", "planner", "training", "collector", "latent"]


def measure(name):
    return BENCHMARKS.resolve(name)(TINY, BENCHMARKS[name].subject)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_measurement_gives_finite_positive_numbers_with_units(name, monkeypatch):
    monkeypatch.setattr(latent_bench, "tdmpc2_planner", lambda: replace(tdmpc2_planner(), num_samples=64))
    values = measure(name)
    assert values
    for key, value in values.items():
        assert math.isfinite(value)
        assert value > 0 or (value == 0 and key == "medium_action_error" and onednn_is_float32())
        assert key.endswith(tuple(UNITS))
    assert all(value <= 1 for key, value in values.items() if key.endswith("_share"))


def test_one_measurement_is_printed_and_written_with_its_machine(tmp_path, capsys):
    assert bench("planner", TINY) == 0
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["machine"] == json.loads(json.dumps(machine()))
    assert content["machine"]["torch"] == torch.__version__
    assert content["machine"]["cores"] >= 1
    values = content["measurements"]["planner"]
    assert values["batching_ratio"] == pytest.approx(values["one_by_one_ms"] / values["plan_ms"])
    printed = capsys.readouterr().out
    assert "two_threads" in printed
    assert "bench.json" in printed


def test_all_measurements_but_those_on_request_run_by_default(tmp_path, monkeypatch):
    seen = []

    def resolve(name):
        real = real_resolve(name)
        return replace(real, function=lambda settings, subject: seen.append((name, subject)) or {"it_ms": 1.0})

    real_resolve = BENCHMARKS.resolve
    monkeypatch.setattr(BENCHMARKS, "resolve", resolve)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench(None, TINY) == 0
    assert [name for name, _ in seen] == DEFAULT
    assert dict(seen) == {name: BENCHMARKS[name].subject for name in DEFAULT}
    assert list(json.loads((tmp_path / "bench.json").read_text())["measurements"]) == DEFAULT


def test_a_graphics_card_is_measured_beside_the_cpu_if_a_measurement_asks_for_it(tmp_path, monkeypatch):
    seen = []
    stand_in = Measurement(
        lambda settings, subject: seen.append(settings.device) or {"it_ms": 1.0}, devices=("cpu", "cuda")
    )
    monkeypatch.setattr(BENCHMARKS, "resolve", lambda name: stand_in)
    monkeypatch.setattr("pompc.report.bench.resolve_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert bench("planner", TINY) == 0
    assert seen == ["cpu", "cuda"]
    content = json.loads((tmp_path / "bench.json").read_text())
    assert list(content["measurements"]) == ["planner", "planner (cuda)"]


def test_another_package_adds_a_measurement(tmp_path, monkeypatch):
    package = ModuleType("another_package")
    package.fast = Measurement(lambda settings, subject: {f"{subject}_ms": settings.seconds})
    monkeypatch.setitem(sys.modules, "another_package", package)
    point = importlib.metadata.EntryPoint("mine", "another_package:fast", BENCHMARKS.group)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == BENCHMARKS.group else [])
    assert bench("mine", TINY) == 0
    assert json.loads((tmp_path / "bench.json").read_text())["measurements"] == {"mine": {"mine_ms": TINY.seconds}}


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="'speed'; there are: racing, planner, training, collector, latent"):
        bench("speed")
    assert not list(tmp_path.iterdir())


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        bench("planner_compile", TINY)


def test_random_state_and_threads_are_left_alone():
    before = torch.get_rng_state()
    bench("planner", TINY)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == 1
    with suppress(ZeroDivisionError), threads(2):
        assert torch.get_num_threads() == 2
        raise ZeroDivisionError
    assert torch.get_num_threads() == 1


class Clock:
    """A clock that moves only when told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def test_the_fastest_round_counts(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("pompc.system.timing.time", clock)
    costs = {"a": iter([9.0, 3.0, 2.0, 5.0, 4.0, 3.0]), "b": iter([1.0] * 6)}

    def act(name):
        clock.now += next(costs[name])

    assert durations({name: lambda name=name: act(name) for name in costs}, seconds=5.0) == {"a": 2.0, "b": 1.0}


def test_a_round_is_divided_by_its_calls(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("pompc.system.timing.time", clock)

    def act():
        clock.now += 0.25

    assert duration(act, seconds=10.0) == 0.25


def test_racing_over_servers_is_measured_with_one_and_with_two():
    pytest.importorskip("carla", reason="the CARLA client is not installed")
    pytest.importorskip("msgpack")
    values = measure("carla")
    assert values["two_servers_ratio"] == pytest.approx(
        values["two_servers_steps_per_s"] / values["one_server_steps_per_s"]
    )
    assert all(value > 0 for value in values.values())


@pytest.mark.parametrize("peer", [True, False])
def test_plans_are_measured_beside_a_peer_if_it_is_installed(peer, monkeypatch):
    commanded = []

    class Controller:
        def __init__(self, dynamics, cost, state_dim, **options):
            self.state = torch.zeros(options["num_samples"], state_dim)
            self.step = lambda: cost(dynamics(self.state, self.state[:, :2]), self.state[:, :2])

        def command(self, state):
            commanded.append(self.step())

    package = ModuleType("pytorch_mppi")
    package.MPPI, package.__spec__ = Controller, importlib.machinery.ModuleSpec("pytorch_mppi", None) if peer else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: package.__spec__)
    monkeypatch.setitem(sys.modules, "pytorch_mppi", package)
    monkeypatch.setattr("shutil.which", lambda name: None)
    values = BENCHMARKS.resolve("explicit")(replace(TINY, sizes=((8, 3),)), "mppi")
    names = {"eager_8x3_ms", "eager_8x3_median_ms"}
    if peer:
        names |= {"pytorch_mppi_8x3_ms", "pytorch_mppi_8x3_median_ms", "eager_to_pytorch_mppi_8x3_ratio"}
    assert set(values) == names
    assert all(value > 0 for value in values.values())
    assert bool(commanded) == peer


def test_a_csv_has_a_row_for_every_number_with_its_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(
        BENCHMARKS, "resolve", lambda name: Measurement(lambda settings, subject: {"a_ms": 1.0, "b_ms": 2.0})
    )
    assert bench("planner", TINY, tmp_path / "speed.csv") == 0
    rows = list(csv.DictReader((tmp_path / "speed.csv").open()))
    assert [(row["measurement"], row["name"], float(row["value"])) for row in rows] == [
        ("planner", "a_ms", 1.0),
        ("planner", "b_ms", 2.0),
    ]
    assert {row["cpu"] for row in rows} == {machine()["cpu"]}


def test_a_file_of_another_kind_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(BENCHMARKS, "resolve", lambda name: pytest.fail("measured"))
    with pytest.raises(UserError, match=r"speed.txt: take a name that ends in .json or .csv"):
        bench(None, TINY, Path("speed.txt"))
