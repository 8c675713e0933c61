"""The page in a real browser: charts, controls, keys, widths, themes, and names that would be markup."""

import json
from itertools import pairwise

import imageio.v2 as imageio
import numpy as np
import pytest
from browser import Browser, find_chromium
from pages import page_of, write_methods, write_whole_run
from stored_runs import write_run

from pompc.report.html import videos

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome")
LINES = '[data-chart="curve"] g[data-method] path.middle'
CURVE = '[data-chart="curve"] svg'


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_methods(folder)
    write_methods(folder, seeds=1, envs=("lunar_lander",))
    page_of(folder, folder / "page.html", baseline="ppo")
    return (folder / "page.html").as_uri()


def count(browser, selector):
    return browser.run(f"document.querySelectorAll({json.dumps(selector)}).length")


def text_of(browser, selector):
    """The words of an element as they are seen; of a picture, which has no such, all of them."""
    return browser.run(
        f"((one) => one === null ? null : one.innerText ?? one.textContent)(document.querySelector({json.dumps(selector)}))"
    )


def test_every_chart_is_drawn_without_an_error(browser, page):
    browser.open(page)
    assert browser.problems == []
    assert text_of(browser, "#errors") == ""
    charts = browser.run(
        "[...document.querySelectorAll('[data-chart]')].map((box) => "
        "[box.dataset.chart, box.querySelectorAll('svg path, svg circle').length])"
    )
    kinds = ["curve", "diagnostic", "episodes", "overview", "profile", "trace", "trace"]  # of each environment
    assert sorted(kind for kind, _ in charts) == sorted(2 * kinds)
    assert min(shapes for _, shapes in charts) > 0
    assert count(browser, '[data-chart="curve"][data-env="0"] path.run') == 10
    assert count(browser, '[data-chart="episodes"][data-env="0"] .dot') == 20
    ticks = browser.run(
        f"[...document.querySelector({json.dumps(CURVE)}).querySelectorAll('text')].map((one) => one.textContent)"
    )
    assert {"0", "60", "100", "200", "environment steps", "return"} <= set(ticks)


def test_a_chart_says_in_words_what_it_shows(browser, page):
    browser.open(page)
    words = browser.run(f"document.querySelector({json.dumps(CURVE)}).getAttribute('aria-label')")
    assert words == "return over environment steps, on acrobot. At the end: mppi 72; ppo 52"
    assert count(browser, "[data-chart] svg[tabindex]:not([aria-label])") == 0
    levels = browser.run("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert count(browser, "th:not([scope])") == 0


@pytest.mark.parametrize(("width", "mobile"), [(360, True), (390, True), (768, False), (1280, False)])
def test_nothing_is_wider_than_the_screen(browser, page, width, mobile):
    browser.open(page, width=width, height=800, mobile=mobile)
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert browser.run("document.querySelector('[data-chart=curve] svg').getBoundingClientRect().width") > width * 0.8
    assert browser.problems == []


def test_charts_follow_the_width_of_the_window(browser, page):
    browser.open(page, width=1280)
    browser.resize(500, 800)
    browser.settle()
    assert browser.run("document.querySelector('[data-chart=curve] svg').width.baseVal.value") <= 500
    assert browser.run("document.documentElement.scrollWidth") == 500


def test_a_click_on_a_method_hides_it_everywhere_and_the_address_keeps_it(browser, page):
    browser.open(page)
    browser.point('.chips [data-method="mppi"]', click=True)
    assert browser.run("location.hash") == "#hide=mppi"
    assert count(browser, '[data-chart] [data-method="mppi"]') == 0
    assert count(browser, 'tr[data-of="mppi"]:not([hidden])') == 0
    assert count(browser, 'tr[data-of="ppo"]:not([hidden])') > 0
    browser.open(f"{page}#hide=mppi&hide=ppo")
    assert text_of(browser, '[data-chart="curve"]') == "All methods are hidden."
    browser.point('.chips [data-method="mppi"]', click=True)
    assert count(browser, LINES) == 2
    assert browser.problems == []


def test_the_axis_is_switched_by_a_click_and_what_is_not_on_it_is_said(browser, page):
    browser.open(page)
    browser.point('label:has([name="x"][value="model_steps"])', click=True)
    assert browser.run("location.hash") == "#x=model_steps"
    shown = browser.run(
        f"[...document.querySelectorAll({json.dumps(LINES)})].map((one) => one.parentNode.dataset.method)"
    )
    assert set(shown) == {"mppi"}
    assert "Not over steps of the planner's model: ppo (makes none)." in text_of(browser, "#env0")
    browser.open(f"{page}#x=model_steps&hide=mppi")
    assert "makes none" in text_of(browser, '[data-chart="curve"]')
    browser.open(f"{page}#x=seconds")
    assert "time of training" in text_of(browser, CURVE)
    assert count(browser, LINES) == 4


def test_metric_and_runs_are_chosen_by_the_address_too(browser, page):
    browser.open(f"{page}#y=success&runs=3")
    assert "success rate" in text_of(browser, CURVE)
    assert count(browser, '[data-chart="curve"][data-env="0"] path.run') == 2
    assert count(browser, '[data-chart="episodes"][data-env="0"] .dot') == 4
    assert browser.run("[controls.elements.y.value, controls.elements.runs.value]") == ["success", "3"]
    browser.run("location.hash = 'y=nothing&x=<b>&runs=99&hide=<img src=x onerror=bad()>'")
    browser.settle()
    assert browser.run("[controls.elements.y.value, controls.elements.runs.value, controls.elements.x.value]") == [
        "reward",
        "all",
        "step",
    ]
    assert browser.problems == []


def test_the_logarithmic_scale_has_both_signs_and_separates_what_an_outlier_flattens(browser, tmp_path):
    ends = {"good": -2.0, "fair": -20.0, "lost": -200_000.0, "won": 300.0}
    for algo, end in ends.items():
        write_whole_run(tmp_path / algo, (end, end, end), algo=algo)
    page_of(tmp_path, tmp_path / "page.html")
    heights = f"""Object.fromEntries([...document.querySelectorAll('{CURVE} g[data-method]')].map((group) =>
        [group.dataset.method, group.querySelector("path.middle").getBBox().y]))"""
    labels = f"[...document.querySelectorAll('{CURVE} text[text-anchor=end]')].map((one) => one.textContent)"
    browser.open((tmp_path / "page.html").as_uri())
    linear = browser.run(heights)
    assert abs(linear["good"] - linear["fair"]) < 1
    browser.run("location.hash = 'scale=log'")
    browser.settle()
    found = browser.run(heights)
    assert browser.run("controls.elements.scale.value") == "log"
    assert found["won"] < found["good"] < found["fair"] < found["lost"]
    assert found["fair"] - found["good"] > 15
    assert {"-100k", "-10", "0", "10", "100"} <= set(browser.run(labels))
    assert browser.problems == []


def test_the_pointer_and_the_arrow_keys_show_values(browser, page):
    browser.open(page)
    browser.point(CURVE, (0.98, 0.5))
    tip = text_of(browser, '[data-chart="curve"] .tip').split()
    assert tip[:3] == ["environment", "steps:", "200"]
    assert tip[3:5] == ["mppi", "72"]  # the best comes first
    assert "seed 4 74" in " ".join(tip) or "seed 4 54" in " ".join(tip)
    browser.run(f"document.querySelector({json.dumps(CURVE)}).focus()")
    browser.press("Home")
    assert "environment steps: 0" in text_of(browser, '[data-chart="curve"] .tip')
    browser.press("ArrowRight")
    assert "environment steps: 100" in text_of(browser, '[data-chart="curve"] .tip')
    browser.press("Escape")
    assert text_of(browser, '[data-chart="curve"] .tip') is None
    browser.run("document.querySelector('[data-chart=episodes] svg').focus()")
    browser.press("End")
    assert "ppo, seed 4" in text_of(browser, '[data-chart="episodes"] .tip')


def test_all_controls_are_reached_by_the_tabulator(browser, page):
    browser.open(page)
    seen = set()
    for _ in range(14):
        browser.press("Tab")
        seen.add(browser.run("document.activeElement.name || document.activeElement.dataset.method || ''"))
    assert {"x", "y", "runs", "theme", "mppi", "ppo"} <= seen


@pytest.mark.parametrize(
    ("scheme", "fragment", "is_dark"),
    [("light", "", False), ("dark", "", True), ("dark", "#theme=light", False), ("light", "#theme=dark", True)],
)
def test_the_theme_is_the_readers_and_every_colour_can_be_told_from_the_ground(
    browser, page, scheme, fragment, is_dark
):
    browser.open(page + fragment, scheme=scheme)
    names = ["--ground", "--ink", "--soft", "--accent", "--good", "--bad", *[f"m{index}" for index in range(8)]]
    found = browser.run(
        f"{json.dumps(names)}.map((name) => {{ const one = document.body.appendChild(document.createElement('i')); "
        "if (name[0] === 'm') one.className = name; one.style.color = `var(${name[0] === 'm' ? '--c' : name})`; "
        "const colour = getComputedStyle(one).color; one.remove(); "
        "return colour.match(/[\\d.]+/g).slice(0, 3).map(Number); })"
    )
    ground, *others = map(luminance, found)
    assert (ground < 0.1) == is_dark
    ratios = [(max(ground, other) + 0.05) / (min(ground, other) + 0.05) for other in others]
    assert min(ratios[:5]) >= 4.5  # words
    assert min(ratios[5:]) >= 3  # lines


def luminance(colour):
    """The relative luminance of WCAG 2."""
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (value / 255 for value in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_paper_is_light_and_has_no_controls(browser, page):
    browser.open(f"{page}#theme=dark", media="print", scheme="dark", width=800)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("[...document.querySelectorAll('.settings')].every((one) => one.offsetParent === null)")
    assert count(browser, LINES) == 4


def test_names_that_would_be_markup_are_inert(browser, tmp_path):
    evil = "</script><script>window.bad = 1</script><img src=x onerror='window.bad = 1'>"
    for seed in range(2):
        write_run(tmp_path / "runs" / str(seed), (0, 1, 2), seed, algo=evil, env=f"{evil}{seed}")
    page_of(tmp_path / "runs", tmp_path / "page.html")
    browser.open((tmp_path / "page.html").as_uri())
    browser.point(CURVE, (0.9, 0.5))
    assert browser.problems == []
    assert browser.run("window.bad === undefined")
    assert count(browser, "img") == 0
    assert evil[:43] in text_of(browser, '[data-chart="curve"] .tip')
    assert evil in text_of(browser, ".chips")
    assert text_of(browser, "h2").startswith("All")


def test_the_policy_stops_a_foreign_script_and_the_network(browser, page):
    browser.open(page)
    browser.run("document.body.append(Object.assign(document.createElement('script'), { text: 'window.bad = 1' })); 0")
    assert browser.run("window.bad === undefined")
    assert browser.run("fetch('data:,x').then(() => 'sent', () => 'refused')") == "refused"
    assert len(browser.problems) >= 2


def test_a_failing_chart_is_said_on_the_page(browser, tmp_path):
    page_of(write_methods(tmp_path / "runs", 1), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace('"profile":', '"nothing":'), encoding="utf-8")
    browser.open((tmp_path / "page.html").as_uri())
    assert "TypeError" in text_of(browser, "#errors")


@pytest.mark.parametrize("limit", [8_000_000, 10], ids=["in the page", "linked"])
def test_videos_of_the_best_and_the_worst_run_play(browser, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(videos, "EMBEDDED", limit)
    for seed in range(3):
        run = write_run(tmp_path / "my runs" / f"#{seed}", (0, 1, 10 * seed), seed)
        frames = np.full((4, 32, 48, 3), 80 * seed, dtype=np.uint8)
        imageio.mimwrite(run / "video.mp4", frames, fps=2, macro_block_size=2)
    text = page_of(tmp_path / "my runs", tmp_path / "out" / "page.html")
    assert ("data:video/mp4;base64," in text) == (limit > 10)
    browser.open((tmp_path / "out" / "page.html").as_uri())
    sizes = browser.run(
        "Promise.all([...document.querySelectorAll('video')].map((film) => new Promise((go) => { "
        "const done = () => go([film.videoWidth, film.videoHeight]); "
        "if (film.readyState) done(); else { film.onloadedmetadata = done; film.onerror = done; film.load(); } })))"
    )
    assert sizes == [[48, 32], [48, 32]]
    assert "best run, seed 2, 20" in text_of(browser, "#env0")
    assert "worst run, seed 0, 0" in text_of(browser, "#env0")
    assert browser.problems == []
