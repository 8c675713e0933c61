"""``pompc export --onnx``: files that decide as the agent does, and nothing that does not."""

import re

import numpy as np
import pytest
import small
import torch

from pompc import cli
from pompc.convert import command, onnx_files
from pompc.convert.draws import Draws

SMALLEST = ("planner.num_iterations=1", "planner.horizon=2", "planner.num_samples=8", "algo.num_proposals=1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}

    def get(algo, *options):
        if algo not in made:
            made[algo] = small.complete(small.config(tmp_path_factory.mktemp(algo), algo, "linear_system", *options))
        return made[algo]

    return get


def exported(run, capsys, *arguments):
    capsys.readouterr()
    code = cli.main(["export", str(run), "--onnx", *arguments])
    return code, capsys.readouterr()


def test_the_planner_and_the_policy_run_without_torch_as_the_agent_decides(runs, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    code, said = exported(runs("tdmpc2", *SMALLEST), capsys, "--out", str(tmp_path / "files"), "--batch", "2")
    assert code == 0
    lines = said.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{tmp_path}/files/{n}.onnx" for n in ("policy", "planner")]
    for line in lines:
        assert 0 <= float(re.search(r"largest difference (\S+)$", line)[1]) < 1e-5
    policy, planner = (onnxruntime.InferenceSession(tmp_path / "files" / f"{n}.onnx") for n in ("policy", "planner"))
    assert [one.name for one in policy.get_inputs()] == ["observation"], "the mean needs no noise"
    inputs = {one.name: one for one in planner.get_inputs()}
    assert list(inputs) == ["observation", "is_init", "planner_mean", "normal", "uniform"]
    assert [one.name for one in planner.get_outputs()] == ["action", "next_planner_mean"]
    rng = np.random.default_rng(0)
    given = {name: rng.random(one.shape).astype(np.float32) for name, one in inputs.items()}
    given["is_init"] = np.zeros(inputs["is_init"].shape, bool)
    actions = [planner.run(None, given | {"normal": given["normal"] * scale})[0] for scale in (1, 1, -3)]
    assert np.array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])
    assert '"algo": "tdmpc2"' in policy.get_modelmeta().custom_metadata_map["pompc"]


def test_common_random_numbers_are_constants_of_the_file(runs, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    code, said = exported(runs("ac_mpc"), capsys, "--out", str(tmp_path / "files"))
    assert code == 0
    assert "policy: not exported, ac_mpc has no policy over actions" in said.out
    line = said.out.splitlines()[-1]
    assert "observation [1, 2], is_init [1, 1], planner_mean [1, 3, 1] -> action, next_planner_mean" in line
    assert float(re.search(r"largest difference (\S+)$", line)[1]) < 1e-5


def test_a_file_that_differs_is_not_kept(runs, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxscript")
    convert = onnx_files._convert

    def spoiled(graph, inputs, file, opened):
        with torch.no_grad():
            graph.agent.actor.net[-1].bias.add_(0.5)
        convert(graph, inputs, file, opened)

    monkeypatch.setattr(onnx_files, "_convert", spoiled)
    code, said = exported(runs("ppo"), capsys, "--out", str(tmp_path / "files"))
    assert code == 2
    assert re.search(r"policy.onnx is not kept: its outputs differ from the agent's by 0\.\d+", said.err)
    assert not (tmp_path / "files").exists()


def test_what_cannot_be_exported_is_said_in_a_line(runs, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxscript")

    def refuses(*_):
        raise RuntimeError("no operator for this\nand much more")

    monkeypatch.setattr(onnx_files, "_convert", refuses)
    code, said = exported(runs("ppo"), capsys, "--out", str(tmp_path / "files"))
    assert code == 2
    assert "policy: cannot be exported, RuntimeError: no operator for this\n" in said.out
    assert "planner: not exported, ppo has none\n" in said.out
    assert said.err == f"pompc: error: nothing of {runs('ppo')} can be exported\n"


def test_a_missing_extra_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    code, said = exported(tmp_path, capsys)
    assert code == 2
    assert said.err == "pompc: error: --onnx needs onnx, onnxscript, onnxruntime: pip install 'pompc[onnx]'\n"


def draw():
    return [
        torch.randn(2, 3),
        torch.randn((2,), device="cpu"),
        torch.randn_like(torch.ones(2)),
        torch.rand(4),
        torch.randint(0, 7, (50,)),
        torch.randperm(5),
        torch.multinomial(torch.tensor([[0.0, 0.2, 0.8], [1.0, 0.0, 0.0]]), 1),
    ]


def test_the_same_numbers_make_the_same_draws():
    with Draws() as first:
        expected = draw()
    assert (len(first.normal), len(first.uniform)) == (10, 4 + 50 + 5 + 2)
    with Draws(first.normal, first.uniform):
        again = draw()
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))
    assert sorted(expected[5].tolist()) == [0, 1, 2, 3, 4]
    assert {*expected[4].tolist()} <= {*range(7)}
    assert expected[6][1].item() == 0


def test_an_index_is_drawn_by_its_weight():
    weights, shares = torch.tensor([[0.1, 0.0, 0.6, 0.3]]), torch.linspace(0, 0.9999, 1000)
    with Draws(torch.empty(0), shares):
        drawn = torch.multinomial(weights.expand(1000, 4), 1)
    assert drawn.squeeze(1).bincount(minlength=4).tolist() == pytest.approx([100, 0, 600, 300], abs=1)
