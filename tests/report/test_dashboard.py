"""The specifications that wandb-workspaces validates; only the network is replaced. And what to do without a login."""

import json
import shlex
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from stored_runs import write_run

from pompc.cli import main
from pompc.report.dashboard import command, online
from pompc.report.dashboard.subject import Subject
from pompc.report.dashboard.uploads import pending
from pompc.report.runs import find_runs

CURVE = (1.0, 2.0, 3.0)
METRICS = "step,return,virtual_ratio,uncertainty\n100,1.0,0.3,0.5\n"


def write(path, algo="ppo", env="acrobot", seed=0, wandb=None, code="code"):
    """Write a run directory; ``wandb`` is the node of its configuration."""
    config = {"seed": seed, "algo": {"name": algo}, "env": {"name": env}, "wandb": wandb or {"project": "pompc"}}
    return write_run(path, CURVE, seed, algo, env, config, METRICS, config_hash=code)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two algorithms with two seeds on one environment, one algorithm on another."""
    monkeypatch.chdir(tmp_path)
    for algo, seed in (("ppo", 0), ("ppo", 1), ("dtc", 0), ("dtc", 1)):
        write(Path("runs") / f"{algo}{seed}", algo, seed=seed, code=f"{algo}-code")
    write(Path("runs/lander"), env="lunar_lander", code="other")
    return tmp_path / "runs"


def started(run, *parts, synced=()):
    """Put the files of offline starts into a run directory."""
    for part in parts:
        folder = run / "wandb" / f"offline-run-2026010{part}_000000-abc"
        folder.mkdir(parents=True)
        (folder / "run-abc.wandb").write_text("")
        if part in synced:
            (folder / "run-abc.wandb.synced").write_text("")


# -- with a login ----------------------------------------------------------------------------------------------------


class Server:
    """Answers what wandb's server does, and keeps what was asked."""

    app_url = "https://wandb.test"

    def __init__(self, project=True):
        self.saved, self.project = [], project

    def execute_graphql(self, query, variables):
        if "ProjectInternalId" in query:
            return {"project": {"id": "p", "internalId": "42"} if self.project else None}
        self.saved.append({**variables, "spec": json.loads(variables["spec"])})
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        keys = ("name", "displayName", "description", "spec", "type")
        view = {
            "id": "Vmlldzox",
            "project": project,
            "updatedAt": "2026-01-01",
            **{key: variables[key] for key in keys},
        }
        return {"upsertView": {"view": view, "inserted": True}}


@pytest.fixture
def server(monkeypatch):
    """A login, and a server that does not exist."""
    pytest.importorskip("wandb_workspaces")
    import wandb

    answering = Server()

    class Api:
        default_entity = "me"

        def __init__(self):
            self._service_api = answering

        def projects(self, entity):
            return []

        def create_project(self, name, entity): ...

    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return answering


def panels(grid):
    return grid["metadata"]["panelBankSectionConfig"]["panels"]


@pytest.mark.usefixtures("runs")
def test_a_workspace_has_the_sections_of_what_was_logged(server):
    assert main(["dashboard"]) == 0
    workspace, _ = server.saved
    assert (workspace["entityName"], workspace["projectName"], workspace["type"]) == ("me", "pompc", "project-view")
    section = workspace["spec"]["section"]
    found = {part["name"]: part["panels"] for part in section["panelBankConfig"]["sections"]}
    assert list(found) == ["Learning curves", "Dials", "Uncertainty", "Planner and policy", "Videos"], "no speed"
    drawn = {name: [one["config"]["metrics"] for one in found[name]] for name in list(found)[:-1]}
    assert drawn["Learning curves"] == [["eval/reward"], ["eval/success"], ["train/return"]]
    assert drawn["Dials"] == [["train/virtual_ratio"]], "kl_weight was not logged"
    assert drawn["Planner and policy"] == [["eval/policy_gap"]]
    assert {one["config"]["xAxis"] for name in drawn for one in found[name]} == {"env_step"}
    assert [one["config"]["mediaKeys"] for one in found["Videos"]] == [["video"], ["curve"]]
    (chosen,) = section["runSets"]
    keys = [("config", "environment.value"), ("config", "algorithm.value"), ("run", "group")]
    assert [(key["section"], key["name"]) for key in chosen["grouping"]] == keys
    assert section["settings"]["xAxis"] == "env_step"
    groups = ["dtc/acrobot/dtc-code", "ppo/acrobot/ppo-code", "ppo/lunar_lander/other"]
    assert sorted(_filtered(chosen["filters"])) == groups


def _filtered(node):
    """Find the values of the only filter."""
    if "filters" in node:
        (node,) = (inner for inner in node["filters"] if inner.get("value") or inner.get("filters"))
        return _filtered(node)
    assert (node["key"]["section"], node["key"]["name"], node["op"]) == ("run", "group", "IN")
    return node["value"]


@pytest.mark.usefixtures("runs")
def test_a_report_asks_the_question_and_has_a_run_set_per_environment(server, capsys):
    assert main(["dashboard", "--question", "Does it pay?", "--title", "Dials"]) == 0
    workspace, report = server.saved
    assert (report["displayName"], report["description"], report["type"]) == ("Dials", "Does it pay?", "runs")
    blocks = report["spec"]["blocks"]
    text = json.dumps(blocks)
    assert '"Does it pay?"' in text
    address = f"https://wandb.test/me/pompc?nw={workspace['name'].removeprefix('nw-').removesuffix('-v')}"
    assert address in text, "a link to the workspace"
    grids = [block for block in blocks if block["type"] == "panel-grid"]
    sets = [run_set for grid in grids for run_set in grid["metadata"]["runSets"]]
    assert list(dict.fromkeys(one["name"] for one in sets)) == ["acrobot", "lunar_lander"]
    by_name = {one["name"]: one for one in sets}
    assert _filtered(by_name["lunar_lander"]["filters"]) == ["ppo/lunar_lander/other"]
    assert [key["name"] for key in by_name["acrobot"]["grouping"]] == ["algorithm.value", "group"]
    assert "summary:best/reward" in by_name["acrobot"]["runFeed"]["columnOrder"]
    kinds = [one["viewType"] for one in panels(grids[0])]
    assert kinds == ["Run History Line Plot"] * 3 + ["Run Comparer"]
    corners = [(one["layout"]["x"], one["layout"]["y"]) for one in panels(grids[0])]
    assert corners == [(0, 0), (8, 0), (16, 0), (0, 6)]
    out = capsys.readouterr().out
    assert f"workspace: {address}\n" in out
    assert "report: https://wandb.test/me/pompc/reports/Dials--Vmlldzox" in out


def test_returns_are_also_drawn_over_time_and_model_steps_if_they_are_known(runs):
    (runs / "ppo0" / "timing.csv").write_text("step,wall_s,env_steps_per_s,model_steps\n100,1.0,100,5\n")
    sections = pytest.importorskip("pompc.report.dashboard.panels").sections
    drawn = [(one.x, *one.y) for one in sections(Subject.of(find_runs([runs])).names)["Learning curves"]]
    assert drawn[-2:] == [("time/wall_s", "eval/reward"), ("time/model_steps", "eval/reward")]


def test_entity_and_project_may_be_given(runs, server, capsys):
    started(runs / "ppo0", 1)
    assert main(["dashboard", "--entity", "team", "--project", "mine"]) == 0
    assert {(view["entityName"], view["projectName"]) for view in server.saved} == {("team", "mine")}
    assert "  wandb sync --project mine --entity team runs/ppo0/wandb/offline-run-" in capsys.readouterr().out


def one_line(capsys):
    line = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("wandb:")]
    assert len(line) == 1
    return line[0]


@pytest.mark.usefixtures("runs")
def test_what_wandb_refuses_is_one_line(server, monkeypatch, capsys):
    server.project = False
    assert main(["dashboard"]) == 2
    assert "project 'me/pompc' not found" in one_line(capsys)
    import wandb

    def refused(self):
        raise wandb.errors.CommError("no such key,\nnowhere")

    monkeypatch.setattr(wandb.Api, "__init__", refused)
    assert main(["dashboard"]) == 2
    assert one_line(capsys).startswith(
        "pompc: error: wandb: no such key, nowhere; check --entity, --project and `wandb"
    )


@pytest.mark.usefixtures("runs")
def test_a_login_without_a_user_or_team_asks_for_one(server, monkeypatch, capsys):
    import wandb

    monkeypatch.setattr(wandb.Api, "default_entity", None)
    assert main(["dashboard"]) == 2
    assert one_line(capsys) == "pompc: error: the wandb login has no default user or team: give --entity"


@pytest.mark.usefixtures("runs", "server")
def test_a_missing_package_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(online, "find_spec", lambda name: None)
    assert main(["dashboard"]) == 2
    assert one_line(capsys).endswith("needs wandb-workspaces: pip install 'pompc[dashboard]'")


@pytest.mark.usefixtures("server")
def test_runs_of_several_projects_need_a_choice(tmp_path, capsys):
    for index, name in enumerate(("a", "b")):
        write(tmp_path / name, seed=index, wandb={"project": name})
    assert main(["dashboard", str(tmp_path)]) == 2
    assert "the runs are of several wandb projects: a (" in (said := one_line(capsys))
    assert said.endswith("; give --project, or fewer runs")
    assert main(["dashboard", str(tmp_path), "--project", "c"]) == 0


def test_a_group_that_the_run_names_is_its_group(tmp_path):
    write(tmp_path / "a", wandb={"group": "mine", "project": "there"})
    subject = Subject.of(find_runs([tmp_path]))
    assert (subject.groups, subject.project) == ({"acrobot": ["mine"]}, "there")


# -- without a login -------------------------------------------------------------------------------------------------


@pytest.fixture
def _offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.usefixtures("_offline")
def test_offline_it_says_what_to_type_and_writes_the_page(runs, capsys):
    started(runs / "ppo0", 2, 1)
    started(runs / "ppo1", 1, 2, synced=(1,))
    started(runs / "dtc0", 1, synced=(1,))
    assert main(["dashboard"]) == 0
    lines = capsys.readouterr().out.splitlines()
    where = "wandb/offline-run-2026010"
    assert lines[2:4] == [
        f"  wandb sync runs/ppo0/{where}1_000000-abc runs/ppo0/{where}2_000000-abc",
        f"  wandb sync runs/ppo1/{where}2_000000-abc",
    ]
    assert lines[4] == "without wandb files, as with wandb.mode=disabled: runs/dtc1, runs/lander"
    assert lines[5] == "written: dashboard.html"
    page = (runs.parent / "dashboard.html").read_text()
    assert all(word in page for word in ("acrobot", "lunar_lander", "ppo", "dtc"))


@pytest.mark.usefixtures("_offline")
def test_wandb_itself_finds_the_parts_that_the_command_names(runs):
    started(runs / "ppo0", 1, 2, 3, synced=(2,))
    folders = pending(runs / "ppo0")
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *map(str, folders)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=runs).stderr
    assert "Would sync 2 run(s)" in said
    assert all(f"{folder.name}/run-abc.wandb" in said for folder in folders)


@pytest.mark.usefixtures("_offline")
def test_a_path_with_a_space_stays_one_word(tmp_path, capsys):
    run = write(tmp_path / "my runs" / "a")
    started(run, 1)
    assert main(["dashboard", str(tmp_path), "--out", str(tmp_path / "x.html")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "wandb sync" in line)
    assert shlex.split(line)[2:] == [str(run / "wandb" / "offline-run-20260101_000000-abc")]


@pytest.mark.usefixtures("_offline", "runs")
@pytest.mark.parametrize(("sits_here", "flags", "opened"), [(True, [], 1), (True, ["--no-open"], 0), (False, [], 0)])
def test_the_page_is_opened_where_somebody_sees_it(sits_here, flags, opened, monkeypatch):
    seen = []
    monkeypatch.setattr(webbrowser, "open", seen.append)
    monkeypatch.setattr(command, "_has_display", lambda: sits_here)
    assert main(["dashboard", *flags]) == 0
    assert seen == [Path("dashboard.html").resolve().as_uri()] * opened


@pytest.mark.parametrize(("is_tty", "screen", "shown"), [(True, ":0", True), (True, "", False), (False, ":0", False)])
def test_a_browser_needs_a_terminal_and_a_screen(is_tty, screen, shown, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_tty, raising=False)
    assert command._has_display() is shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere is no run directory, and has none below"),
        (["--out", "a.png"], "an .html file, not a.png"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard", *arguments]) == 2
    assert said in one_line(capsys)
