"""The command line: exit codes, messages, and the packages that it does not import."""

import importlib
import importlib.metadata
import re
import subprocess
import sys
from types import ModuleType

import pytest

from pompc import cli

PROBE = """
import sys
from pompc.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
loaded = [name for name in ("torch", "torchrl", "wandb", "matplotlib", "mujoco", "hydra") if name in sys.modules]
print("loaded:", *loaded)
sys.exit(code)
"""


def probe(*arguments):
    """Run a command in a fresh interpreter; the last line of its output tells which heavy packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    *output, loaded = done.stdout.splitlines()
    return done.returncode, "\n".join(output), done.stderr, loaded.split()[1:]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["demo", "--help"],
        ["eval", "--help"],
        ["convert", "--help"],
        ["bench", "--help"],
        ["sweep", "--help"],
        ["carla", "--help"],
        ["carla", "standin", "--help"],
        ["--version"],
        ["list"],
    ],
)
def test_help_and_lists_import_nothing_heavy(arguments):
    code, output, errors, loaded = probe(*arguments)
    assert (code, errors, loaded) == (0, "", [])
    assert "pompc" in output or "adaptive_hrl" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--algo", "ppo", "--env", "acrobot", "stesp=3"], "did you mean 'steps'?"),
        (
            ["run", "--algo", "pop", "--env", "acrobot"],
            "there are: adaptive_hrl, tdmpc2, tdmpc_square, bmpc, pompc, adaptive_pompc,",
        ),
        (["run", "--algo", "ppo", "--env", "acrobot", "--seed", "x"], "seed must be a whole number"),
        (["run", "--algo", "ppo", "--env", "acrobot", "--fast"], "unknown argument '--fast'"),
        (["run"], "no algorithm given"),
        (["show", "--algo", "ppo"], "no environment given"),
        (
            ["run", "--algo", "tdmpc2", "--env", "acrobot", "planner.noise=pink"],
            "must be one of white, coloured, spline",
        ),
        (["run", "--algo", "tdmpc2", "--env", "acrobot", "algo.dropout=2"], "algo.dropout must lie in [0, 1], not 2.0"),
        (["eval", "no/such/run"], "there is no no/such/run"),
        (["eval", ".", "--episodes", "0"], "'0' is not a whole number of at least 1"),
        (["eval", ".", "--seed", "5000000000"], "at least 0 and below 2147483648"),
        (["eval", ".", "--video", "film.avi"], ".mp4"),
        (["convert", "no.pt", "--algo", "tdmpc2", "--env", "acrobot"], "there is no file no.pt"),
        (["convert", "no.pt", "--env", "acrobot"], "no algorithm given"),
        (
            ["convert", "no.pt", "--algo", "tdmpc2", "--env", "acrobot", "algo.mpl_dim=3"],
            "did you mean 'algo.mlp_dim'?",
        ),
        (["convert"], "required: CHECKPOINT"),
        (["sweep", "--algo", "ppo,mpi", "--env", "acrobot"], "did you mean 'mppi'?"),
        (
            ["sweep", "--algo", "ppo", "--env", "acrobot", "seed=0,x"],
            "seed must be a whole number, not 'x' (in seed=x)",
        ),
        (["rnu"], "invalid choice: 'rnu'"),
        (["carla"], "ACTION"),
        (["carla", "check", "nonsense"], "is no address of a server"),
        (["carla", "standin", "--port", "70000"], "'70000' is no port: take 0 to 65535"),
        (["carla", "standin", "--prot", "7"], "unknown argument '--prot'"),
        ([], "COMMAND"),
    ],
)
def test_errors_are_one_line_with_code_2_and_no_torch(arguments, message):
    code, _, errors, loaded = probe(*arguments)
    assert code == 2
    assert errors.startswith("pompc: error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not set(loaded) & {"torch", "torchrl", "wandb", "matplotlib", "mujoco"}


def test_show_prints_yaml_that_says_where_the_run_goes(capsys):
    from omegaconf import OmegaConf

    from pompc.config.spec import configure

    assert (
        cli.main(["show", "planner.horizon=5", "--algo", "mppi", "num_envs=2", "--env", "acrobot", "--seed", "4"]) == 0
    )
    output = capsys.readouterr().out
    spec = configure("mppi", "acrobot", ["planner.horizon=5", "num_envs=2", "seed=4"])
    assert OmegaConf.to_container(OmegaConf.create(output)) == spec.values
    assert output.startswith(f"# run directory: {spec.directory}\n")
    assert re.search(r"^  horizon: 5 +# model steps to look ahead$", output, re.M)


def fake(monkeypatch, module, name, function):
    """Replace what a command hands over to."""
    stand_in = ModuleType(module)
    setattr(stand_in, name, function)
    monkeypatch.setitem(sys.modules, module, stand_in)


def test_run_hands_over_the_composed_configuration(monkeypatch):
    fake(monkeypatch, "pompc.training.run", "run", lambda spec: spec.options.steps + spec.options.seed)
    assert cli.main(["run", "steps=9", "--algo", "ppo", "--seed", "2", "--env", "acrobot"]) == 11


def test_eval_hands_over_its_options(monkeypatch, tmp_path):
    seen = {}

    def evaluate_checkpoint(path, **options):
        seen.update(path=path, **options)
        return 0

    fake(monkeypatch, "pompc.training.play", "evaluate_checkpoint", evaluate_checkpoint)
    arguments = ["eval", str(tmp_path), "--episodes", "3", "env.time_limit=2", "--video", "a.mp4", "env.danger=[]"]
    assert cli.main(arguments) == 0
    assert (seen["path"], seen["episodes"], seen["seed"], seen["video"].name) == (tmp_path, 3, None, "a.mp4")
    assert not seen["best"]
    assert seen["overrides"] == ["env.time_limit=2", "env.danger=[]"]
    assert cli.main(["eval", str(tmp_path), "--best", "--seed", "4"]) == 0
    assert (seen["best"], seen["seed"]) == (True, 4)


def test_modules_of_the_current_folder_are_found_and_shadow_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "module_of_this_folder.py").write_text("VALUE = 3")
    (tmp_path / "colorsys.py").write_text("raise AssertionError('this is not the standard library')")
    for _ in range(2):
        assert cli.main(["list", "algos"]) == 0
    assert importlib.import_module("module_of_this_folder").VALUE == 3
    assert importlib.reload(importlib.import_module("colorsys")).rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_folder_that_was_deleted_is_no_error(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert cli.main(["list", "algos"]) == 0


def test_convert_hands_over_the_configuration_and_the_arguments_that_made_it(monkeypatch, tmp_path):
    seen = {}

    def convert(file, spec, **options):
        seen.update(file=file, spec=spec, **options)
        return 0

    fake(monkeypatch, "pompc.convert.convert", "convert", convert)
    (tmp_path / "a.pt").touch()
    arguments = ["convert", str(tmp_path / "a.pt"), "--algo", "tdmpc2", "--env", "acrobot", "steps=9", "--out", "b"]
    assert cli.main([*arguments, "--seed", "3"]) == 0
    assert (seen["file"], str(seen["out"])) == (tmp_path / "a.pt", "b")
    assert (seen["spec"].algorithm, seen["spec"].options.steps, seen["spec"].options.seed) == ("tdmpc2", 9, 3)
    assert seen["given"] == ["--algo", "tdmpc2", "--env", "acrobot", "--seed", "3", "steps=9"]


def test_interruption_is_130_and_a_bug_keeps_its_traceback(monkeypatch, capsys):
    def interrupted(spec):
        raise KeyboardInterrupt

    def broken(spec):
        raise ZeroDivisionError

    fake(monkeypatch, "pompc.training.run", "run", interrupted)
    assert cli.main(["run", "--algo", "ppo", "--env", "acrobot"]) == 130
    fake(monkeypatch, "pompc.training.run", "run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "--algo", "ppo", "--env", "acrobot"])


@pytest.mark.parametrize("command", ["list", "run --help", "show --algo ppo --env acrobot"])
def test_a_closed_pipe_is_silent(command):
    text = f"{sys.executable} -m pompc {command} | true"
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""


def test_nothing_of_hydra_is_left_behind(tmp_path):
    command = [sys.executable, "-m", "pompc", "show", "--algo", "ppo", "--env", "acrobot"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_another_package_adds_a_command(monkeypatch, capsys):
    def add(parser):
        parser.add_argument("word")
        parser.set_defaults(handler=lambda args: len(args.word))

    module = ModuleType("another_package")
    module.add = add
    monkeypatch.setitem(sys.modules, "another_package", module)
    point = importlib.metadata.EntryPoint("mine", "another_package:add", "pompc.commands")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "pompc.commands" else [])
    assert cli.main(["mine", "four"]) == 4
    assert cli.main(["mine"]) == 2
    assert "required: word" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "mine" in capsys.readouterr().out


def test_a_builtin_command_reads_no_entry_points(monkeypatch):
    def fail(group):
        raise AssertionError("entry points were read")

    monkeypatch.setattr(importlib.metadata, "entry_points", fail)
    assert cli.main(["carla", "check", "nonsense"]) == 2
