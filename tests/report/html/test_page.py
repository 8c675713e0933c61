"""The page of a comparison without a browser: it is whole, safe, and says what is missing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from pages import page_of, write_methods
from stored_runs import write_run

from pompc.errors import UserError
from pompc.report.html.page import embedded

BEST = '<span class="tag">best</span>'


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the words between them; what is in scripts apart."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.styles, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        place = self.scripts if self.cdata_elem == "script" else self.styles if self.cdata_elem else self.words
        place.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def data_of(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found[1], parse_constant=refuse)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_methods(folder)
    write_methods(folder, seeds=1, envs=("lunar_lander",))
    return page_of(folder, folder / "page.html")


def test_a_page_needs_nothing_but_itself(page):
    elements = Elements(page)
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"@import|url\(", "".join(elements.styles))
    assert not elements.all("link")
    assert not [attributes for _, attributes in elements.found if "src" in attributes]
    assert [name for name, attributes in elements.found if attributes.get("href", "#")[0] != "#"] == []
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import\()", "".join(elements.scripts))


def test_the_policy_allows_this_script_alone(page):
    policy = next(one["content"] for one in Elements(page).all("meta") if "http-equiv" in one)
    _, script = re.findall(r"<script[^>]*>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'")


def test_the_data_are_json_and_those_of_the_runs(page):
    data = data_of(page)
    assert data["methods"] == ["mppi", "ppo"]
    first, _ = data["environments"]
    (run,) = [one for one in first["runs"] if (one["method"], one["seed"]) == ("mppi", 3)]
    assert run["eval"]["reward"] == [0, 35, 73]
    assert run["x"] == {"step": [0, 100, 200], "seconds": [0, 10, 20], "model_steps": [0, 100000, 200000]}
    band = first["bands"]["reward"]["step"]["mppi"]
    assert (band["x"], band["middle"], band["runs"]) == ([0, 100, 200], [0, 35, 72], [5, 5, 5])
    assert 70 <= band["low"][-1] < 72 < band["high"][-1] <= 74
    assert list(first["bands"]["reward"]["model_steps"]) == ["mppi"]  # ppo makes none
    assert first["episodes"][0]["values"]["reward"] == [71, 69]
    assert first["middles"]["virtual_ratio"]["step"]["ppo"]["middle"] == [0.3, 0.2]


def test_the_page_is_the_same_every_time_and_small(page, tmp_path):
    runs = write_methods(tmp_path)
    assert page_of(runs, tmp_path / "a.html") == page_of(runs, tmp_path / "b.html")
    data = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    assert len(page) - len(data) < 90_000
    assert len(data) < 40_000  # 12 runs of three evaluations


def test_every_method_environment_and_run_is_named(page):
    text = Elements(page).text
    for words in ("mppi and ppo on acrobot and lunar_lander", "12 runs", "2 methods", "acrobot/mppi/seed4"):
        assert words in text


@pytest.mark.parametrize(
    ("seeds", "gap", "marks"), [(5, 20, 1), (5, 1, 0), (4, 20, 0)], ids=["apart", "overlapping", "too few runs"]
)
def test_the_best_is_marked_only_if_its_interval_lies_above_all_others(tmp_path, seeds, gap, marks):
    text = page_of(write_methods(tmp_path, seeds, gap), tmp_path / "page.html")
    assert text.count(BEST) == marks
    assert ("No method is marked as the best" in text or "no method is marked as the best" in text) == (not marks)


def test_a_probability_is_bold_if_its_interval_leaves_out_a_half(tmp_path):
    write_methods(tmp_path / "apart", gap=20)
    write_methods(tmp_path / "same", gap=0)
    assert "<b>1.00</b>" in page_of(tmp_path / "apart", tmp_path / "apart.html")
    same = page_of(tmp_path / "same", tmp_path / "same.html")
    assert "0.50<small>" in same
    assert "<b>0" not in same


def test_censored_runs_are_said_in_words(tmp_path):
    text = page_of(write_methods(tmp_path, gap=20), tmp_path / "page.html", threshold=52.5)
    assert "3 of 5 runs had not reached it by 200 steps, so the median is beyond that" in text
    assert "all runs reach it" in text
    alone = page_of(tmp_path, tmp_path / "page.html", threshold=1000.0)
    assert alone.count("no run had reached it by 200 steps") == 2


def test_what_is_missing_is_said(tmp_path):
    write_run(tmp_path / "runs" / "a", (0, 1, 2), algo="ppo")
    elements = Elements(page_of(tmp_path / "runs", tmp_path / "page.html"))
    for words in (
        "Not over seconds of training: ppo (no timing.csv).",
        "No metrics.csv in any run, so no traces of training.",
        "No video.mp4 in any run",
        "One method: nothing to be better than.",
        "The configurations do not differ.",
        "No config.yaml that names the environment, so the command is unknown.",
        "Of fewer than 5 runs there is no interval",
    ):
        assert words in elements.text
    axes = {one["value"]: "disabled" in one for one in elements.all("input") if one["name"] == "x"}
    assert axes == {"step": False, "seconds": True, "model_steps": True}


def test_a_dial_that_never_moves_is_said_and_not_drawn(page):
    elements = Elements(page)
    assert "Constant in all runs, so not drawn: kl_weight 0." in elements.text
    drawn = {one["data-column"] for one in elements.all("div") if one.get("data-chart") == "trace"}
    assert drawn == {"virtual_ratio", "loss"}


def test_names_are_texts_whatever_they_hold(tmp_path):
    evil = "<script>bad()</script>"
    for seed in range(2):
        config = {"algo": {"name": evil, "note": f"'\"><img src=x onerror=bad()> {seed}"}, "seed": seed}
        identity = {"algo": evil, "env": '"><svg onload=bad()>', "config": config, "versions": {"<b>pompc": "</p>"}}
        write_run(tmp_path / "runs" / f"<i>{seed}", (0, 1, 2), seed, **identity)
    text = page_of(tmp_path / "runs", tmp_path / "page.html")
    elements = Elements(text)
    assert [one.get("type") for one in elements.all("script")] == ["application/json", None]
    assert not [attributes for _, attributes in elements.found if any(name.startswith("on") for name in attributes)]
    assert not elements.all("img") + elements.all("i")
    assert evil in elements.text
    assert evil in " ".join(data_of(text)["methods"])


@pytest.mark.parametrize("value", ["</script>", "<!--", "&lt;", "\u2028"])
def test_embedded_json_cannot_end_its_element(value):
    text = embedded({value: [value]})
    assert not re.search("[<>&]", text)
    assert json.loads(text) == {value: [value]}


def test_the_configurations_show_what_differs_alone(tmp_path):
    for seed, lag in enumerate((1, 1, 3)):
        config = {"algo": {"name": "ppo", "lag": lag, "same": 7}, "seed": seed}
        write_run(tmp_path / "runs" / str(seed), (0, 1, 2), seed, config=config, algo=f"ppo{seed}")
    text = page_of(tmp_path / "runs", tmp_path / "page.html")
    section = text[text.index('id="differences"') : text.index('id="reproduce"')]
    assert "algo.lag" in section
    assert "algo.same" not in section
    assert re.findall(r'class="other"><code>(.*?)<', section) == ["3"]


def test_a_page_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*page.html"):
        page_of(write_methods(tmp_path / "runs", 1), tmp_path / "file" / "page.html")
