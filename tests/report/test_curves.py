"""What a panel draws of methods whose runs end at different steps, or go on."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pompc.report.curves import Panel, plot_panels
from pompc.report.learning_curves import Line, of_lines
from pompc.report.runs import Run


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draw one panel of methods, and return its axes and what was written."""

    def draw(*outputs, axis="step", **methods):
        figures, written = [], []
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (figures.append(figure), written.append(path)))
        curves = {name: of_lines(lines) for name, lines in methods.items()}
        plot_panels([Panel(title="t", curves=curves)], *(outputs or [tmp_path / "out.png"]), axis=axis)
        return figures[0].axes[0], written

    return draw


def test_a_logarithmic_scale_shows_both_signs(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: figures.append(figure))
    curve = of_lines([line(100, [-1e5, 1e2])])
    plot_panels([Panel(title="t", curves={"ppo": curve})], tmp_path / "a.png", scale="log")
    (axes,) = figures[0].axes
    low, high = axes.transData.transform([(0, -1e5), (0, 1e2)])[:, 1]
    middle = axes.transData.transform((0, -1.0))[1]
    assert 0.4 < (middle - low) / (high - low) < 0.8


def test_the_same_curves_are_the_same_files(tmp_path):
    curve = of_lines([line(100, [1, 2]), line(100, [2, 3])])
    files = [tmp_path / f"{number}{suffix}" for suffix in (".svg", ".png") for number in (1, 2)]
    for file in files:
        plot_panels([Panel(title="t", curves={"ppo": curve})], file)
    contents = [file.read_bytes() for file in files]
    assert contents[0] == contents[1]
    assert contents[2] == contents[3]
    assert b"<dc:date>" not in contents[0]


def test_more_methods_than_colours_have_other_markers(draw):
    axes, _ = draw(**{f"m{number}": [line(100, [number, number])] for number in range(21)})
    looks = [(str(shown.get_color()), shown.get_marker()) for shown in axes.lines]
    assert len(set(looks)) == len(looks) == 21


def line(end, values, status="finished"):
    run = Run(path=None, algo="ppo", env="acrobot", seed=0, status=status)
    return Line(places=np.linspace(0, end, len(values)), values=np.array(values, dtype=float), run=run)


def data(axes):
    return [(shown.get_xdata().tolist(), shown.get_ydata().tolist(), shown) for shown in axes.lines]


def test_a_run_has_a_thin_line_and_the_mean_is_pale_where_not_all_runs_are(draw):
    axes, _ = draw(ppo=[line(200, [0, 10, 20]), line(100, [0, 20])])
    (_, whole, main), (_, middle, pale), (_, one, thin), (ends, other, _) = data(axes)
    np.testing.assert_array_equal(whole, [0, 15, np.nan])
    assert middle == [0, 15, 20]
    assert pale.get_alpha() < 1
    assert (one, other, ends) == ([0, 10, 20], [0, 20], [0, 100])
    assert thin.get_linewidth() < main.get_linewidth()


def test_an_ended_method_continues_dashed_and_one_that_goes_on_ends_with_an_open_dot(draw):
    axes, _ = draw(short=[line(50, [1, 2])], long=[line(100, [3, 4])], on=[line(40, [5, 6], "running")])
    found = {shown.get_linestyle(): (x, y) for x, y, shown in data(axes) if shown.get_linestyle() == "--"}
    assert found == {"--": ([50, 100], [2, 2])}
    dots = [(x, y) for x, y, shown in data(axes) if shown.get_markerfacecolor() == "none"]
    assert dots == [([40], [6])]


def test_the_axis_is_named_and_every_format_is_written(draw, tmp_path):
    outputs = [tmp_path / "new" / "a.png", tmp_path / "new" / "a.svg"]
    axes, written = draw(*outputs, axis="model_steps", ppo=[line(2e9, [0, 1])])
    assert axes.get_xlabel() == "steps of the planner's model"
    assert axes.xaxis.get_major_formatter()(2e9) == "2G"
    assert written == outputs
