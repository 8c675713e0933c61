"""The commands that README.md and docs/ print: `make` accepts them, `pompc run` resolves them, the others parse."""

import ast
import importlib.metadata
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pompc.cli import _parse, main
from pompc.envs.dm_control import REQUIREMENT

ROOT = Path(__file__).parent.parent
OWN = "extending.md"  # its commands name the algorithms of its examples
TOP = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES = [*TOP, *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != OWN)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PLACEHOLDERS = {"ALGO": "pompc", "HOST:PORT": "localhost:2000"}


def blocks(page):
    """Split the lines of the page's bash blocks into words; join continued lines and drop comments."""
    text = "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S))
    return [words for line in text.replace("\\\n", " ").splitlines() if (words := shlex.split(line, comments=True))]


def inline(page):
    """Split the commands in the page's prose into words; of pompc's only runs, because prose only names the others."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return [shlex.split(text) for text in re.findall(r"`((?:make|pip|pompc run) [^`]+)`", prose)]


COMMANDS = {shlex.join(words): words for page in PAGES for words in [*blocks(page), *inline(page)]}
MEASURED = r"\d (?:ms|s|min|h|steps/s|car-steps/s)\b|\d times\b|\*\*\d|± \d"  # a time, a speed, a factor, a result
COMMIT = r"`([0-9a-f]{7})`"
IMPORTS = ast.Import | ast.ImportFrom
KNOWN = ("make", "pip", "pompc", "python")
FIGURES = ["README.md", "docs/results.md", "docs/speed.md"]  # pages whose sections carry commits
RESULTS = [f"results/{name}/README.md" for name in ("carla_racing", "dmc", "virtual_targets")]
SHOWN = """
pompc() { printf '%s\\n' "$(printf '%q ' "$@")"; }
python() { :; }
"""
"""Shell functions that print the arguments of ``pompc`` as words and run nothing."""


@pytest.fixture(autouse=True)
def _the_packages_of_the_quickstart(monkeypatch, tmp_path):
    """Install the algorithm of the quickstart, and put its environment in a folder of importable modules."""
    text = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
    examples = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", text, re.S))
    (tmp_path / "my_algorithm.py").write_text(examples["algorithm"], encoding="utf-8")
    (tmp_path / "my_task.py").write_text(examples["environment"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = tomllib.loads("".join(re.findall(r"```toml\n(.*?)```", text, re.S)))["project"]["entry-points"]
    points = {group: [EntryPoint(*item, group) for item in table.items()] for group, table in found.items()}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.get(group, []))


def of(tool):
    return [pytest.param(words, id=text) for text, words in COMMANDS.items() if words[0] == tool]


def resolves(words, capsys):
    """Resolve the configurations of `pompc run` and `pompc sweep`; parse the arguments of any other command."""
    words = [PLACEHOLDERS.get(word, word) for word in words]
    if words[0] == "sweep":
        for package, word in (("submitit", "launcher=slurm"), ("ray", "launcher=ray"), ("optuna", "search=20")):
            if word in words:
                pytest.importorskip(package)
        assert main([*words, *([] if "--dry-run" in words else ["--dry-run"])]) == 0, capsys.readouterr().err
    elif words[0] == "run":
        code = main(["show", *words[1:]])
        assert code == 0, capsys.readouterr().err
    else:
        _parse(words)
    for word in words:
        assert not word.startswith("results/") or "*" in word or (ROOT / word).exists(), f"there is no {word}"


def test_every_command_is_of_a_known_tool():
    others = {words[0] for words in COMMANDS.values()} - set(KNOWN)
    assert others <= {"cd", "docker", "git", "sudo", ".venv/bin/pre-commit"}, "a tool that no test here looks at"
    assert all(of(tool) for tool in KNOWN)


@pytest.mark.parametrize("words", of("pompc"))
def test_a_command_of_pompc_resolves(words, capsys):
    resolves(words[1:], capsys)


@pytest.mark.parametrize("page", RESULTS[:2])
def test_the_commands_of_a_page_of_results_resolve_with_the_options_of_today(page, capsys):
    """The shell expands their loops and variables."""
    scripts = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    done = subprocess.run(
        ["bash", "-ec", SHOWN + "\n".join(scripts) + "\nwait"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commands = [shlex.split(line) for line in dict.fromkeys(done.stdout.splitlines())]
    assert sum(words[0] == "run" for words in commands) >= 3
    for words in commands:
        resolves(words, capsys)


@pytest.mark.parametrize("words", of("make"))
def test_a_command_of_make_runs_what_resolves(words, tmp_path, capsys):
    command = [*words, "--dry-run", "--silent", f"VENV={tmp_path}/venv"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    program, *arguments = shlex.split(output.splitlines()[-1])
    if Path(program).name == "pompc":
        resolves(arguments, capsys)


@pytest.mark.parametrize("words", of("pip"))
def test_a_command_of_pip_names_what_there_is(words):
    *options, what = words[1:]
    assert options in (["install"], ["install", "--no-deps"])
    extras = re.fullmatch(r"(?:\.|pompc)(?:\[([\w,]+)\])?", what)
    if extras is None:
        assert (options[-1], what) == ("--no-deps", REQUIREMENT)
    elif extras[1]:
        assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("words", of("python"))
def test_a_command_of_python_runs_a_script_that_is_there(words):
    """Only its imports are checked, because the script runs for minutes."""
    script = ROOT / words[1]
    imports = [node for node in ast.parse(script.read_text(encoding="utf-8")).body if isinstance(node, IMPORTS)]
    exec(compile(ast.Module(imports, type_ignores=[]), str(script), "exec"), {})


def test_the_control_suite_is_one_version_everywhere():
    assert f"{REQUIREMENT}; python_version < '3.13'" in PROJECT["dependencies"]
    dry = subprocess.run(["make", "--dry-run", "install", "VENV=none"], cwd=ROOT, capture_output=True, text=True)
    assert f"none/bin/python -m pip install --no-deps {REQUIREMENT}\n" in dry.stdout


def test_the_versions_of_python_are_the_same_everywhere():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    for page in ("README.md", "Makefile"):
        assert "Python 3.11, 3.12 or 3.13" in (ROOT / page).read_text(encoding="utf-8")
    classifiers = [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)]
    assert [entry for entry in PROJECT["classifiers"] if ":: 3." in entry] == classifiers


def interpreter(path, version, fits):
    """Write a program that answers the Makefile as a Python interpreter and makes an environment with its name."""
    path.write_text(
        "#!/bin/sh\n"
        f'case "$1" in\n-c) exit {0 if fits else 1};;\n--version) echo "Python {version}";;\n'
        f'-m) [ "$2" = venv ] || exit 0; mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;\nesac\n'
    )
    path.chmod(0o755)
    return str(path)


def install(tmp_path, *candidates):
    command = ["make", "install", f"PYTHON={' '.join(candidates)}", f"VENV={tmp_path}/venv"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_make_takes_the_first_interpreter_that_fits(tmp_path):
    old = interpreter(tmp_path / "old", "3.10.13", fits=False)
    good, other = (interpreter(tmp_path / name, "3.12.1", fits=True) for name in ("good", "other"))
    assert install(tmp_path, "nowhere3", old, good, other).returncode == 0
    assert (tmp_path / "venv/bin/python").read_text() == Path(good).read_text()


def test_make_refuses_in_one_line_if_no_interpreter_fits(tmp_path):
    result = install(tmp_path, interpreter(tmp_path / "old", "3.10.13", fits=False), "nowhere3")
    refusal, _ = result.stderr.splitlines()  # the other one is make's own
    assert refusal.startswith(
        f"pompc needs Python 3.11, 3.12 or 3.13 ({tmp_path}/old is Python 3.10.13, nowhere3 is not "
    )
    assert refusal.endswith(": name one with make PYTHON=/path/to/python3.12 ...")
    assert result.returncode == 2
    assert not (tmp_path / "venv").exists()


def test_make_leaves_nothing_of_an_environment_that_could_not_be_made(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir -p "$3/bin"; touch "$3/bin/python"; exit 1\n')
    broken.chmod(0o755)
    assert install(tmp_path, str(broken)).returncode == 2
    assert not (tmp_path / "venv/bin/python").exists()


def measured(page):
    """Find the sections of a page with measured figures, by heading."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    sections = {text.partition("\n")[0]: text for text in re.split(r"^## ", prose, flags=re.M)}
    return {heading: text for heading, text in sections.items() if re.search(MEASURED, text)}


def test_the_pages_with_figures_are_known():
    assert "Results" in measured(ROOT / "README.md")
    assert "Racing" in measured(ROOT / "docs/results.md")
    assert {"Racing and the planner", "World-model algorithms"} <= measured(ROOT / "docs/speed.md").keys()


@pytest.mark.parametrize("page", FIGURES)
def test_figures_carry_their_commit(page):
    """Every section with measured figures names a commit, or a page of results that names one."""
    for heading, text in measured(ROOT / page).items():
        pages = {ROOT / folder / "README.md" for folder in re.findall(r"\bresults/\w+", text)}
        sources = [text, *(source.read_text(encoding="utf-8") for source in pages)]
        assert any(re.search(COMMIT, source) for source in sources), f"no commit for the figures of {heading}"


@pytest.mark.parametrize("page", [*FIGURES, "docs/adaptive_pompc.md", *RESULTS])
def test_the_commits_that_figures_name_exist(page):
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    shallow = subprocess.run(["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True)
    if shallow.stdout.strip() != "false":
        pytest.skip("this clone has no history")
    for commit in set(re.findall(COMMIT, (ROOT / page).read_text(encoding="utf-8"))):
        found = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True)
        assert found.returncode == 0, f"{page} names {commit}, which is no commit of this repository"
