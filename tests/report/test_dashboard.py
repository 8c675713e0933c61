"""The specifications that wandb-workspaces validates; only the network is replaced."""

import json

import pytest
from dashboards import one_line, started, write

from pompc.cli import main
from pompc.report.dashboard import online
from pompc.report.dashboard.subject import Subject
from pompc.report.runs import find_runs


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
