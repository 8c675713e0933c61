"""Released checkpoints become run directories that play their weights, and nothing is lost silently."""

import csv
import shlex
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from released import as_released
from small import start_and_stop

from pompc import cli
from pompc.config.spec import configure
from pompc.convert.convert import published_size
from pompc.convert.released import read, sizes, translate
from pompc.models.config import SIZES
from pompc.networks.layers import SimNorm
from pompc.registry import ENVIRONMENTS, Entry
from pompc.training.assemble import assemble
from pompc.training.evaluate import evaluate

DATA = Path(__file__).parents[1] / "parity" / "data"
ALGORITHM = {"tdmpc2": "tdmpc2", "bmpc": "bmpc", "square": "tdmpc_square", "boom": "boom"}
FAST = ("planner.num_samples=24", "planner.num_elites=4", "planner.num_iterations=2", "algo.num_proposals=4")
PLAIN = (*FAST, "wandb.mode=disabled", "eval.episodes=2", "eval.video=false")
ENV = "released:Seven-v0"
SMALL = ("algo.encoder_dim=16", "algo.mlp_dim=24", "algo.latent_dim=16", "algo.ensemble_size=2", "algo.task_dim=4")


@pytest.fixture(autouse=True)
def _installed(monkeypatch, tmp_path):
    """Install two families of another package, and work in a folder of the test."""
    families = {"several": Entry("released:Several", ""), "screens": Entry("released:Screens", "")}
    monkeypatch.setattr(ENVIRONMENTS, "external", lambda: families, raising=False)
    monkeypatch.chdir(tmp_path)


def weights_of(kind):
    """Load the stored weights of one of the released codes."""
    return torch.load(DATA / f"{kind}.pt", weights_only=True)["state_dict"]


def saved(state, path="walker-walk-1.pt"):
    """Save a checkpoint as the released codes do."""
    torch.save({"model": state}, path)
    return path


def converted(checkpoint, algo, env=ENV, *arguments):
    """Run the command; return its exit code."""
    return cli.main(["convert", str(checkpoint), "--algo", algo, "--env", env, *arguments])


def refusal(capsys, checkpoint, algo="tdmpc2", env=ENV, *arguments):
    """Return the one line with which the command refuses; require that it left nothing behind."""
    before = sorted(Path().rglob("*"))
    assert converted(checkpoint, algo, env, *arguments) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return errors


def small_agent(env, *overrides, algo="tdmpc2"):
    """Make an agent with random weights, the last layers and the targets included."""
    parts = assemble(configure(algo, env, [*SMALL, *PLAIN, *overrides]))
    parts.env.close()
    for parameter in parts.agent.parameters():
        parameter.data.normal_(std=0.3)
    return parts


@pytest.mark.parametrize("kind", ALGORITHM)
def test_weights_of_the_released_codes_play_as_the_agent_in_memory(kind, capsys):
    state, algo = weights_of(kind), ALGORITHM[kind]
    assert converted(saved(state), algo, ENV, "--out", "run", *PLAIN) == 0
    capsys.readouterr()
    assert cli.main(["eval", "run", "--seed", "4"]) == 0
    table = capsys.readouterr().out

    log_stds = [] if kind == "square" else ["algo.log_std_min=-7", "algo.log_std_max=-6.9"]
    widths = [f"algo.{name}={value}" for name, value in sizes(state)["config"].items()]
    parts = assemble(configure(algo, ENV, [*PLAIN, *widths, *log_stds]))
    play = partial(evaluate, parts.agent, parts.family, episodes=2, seed=4, noise_seed=0, at_once=1)  # as num_envs
    untrained = play().mean()["reward"]
    missing, unexpected = parts.agent.load_state_dict(translate(state)[0], strict=False)
    assert not unexpected
    assert all(key.endswith("scale.value") for key in missing)
    returns = play().mean()["reward"]
    assert f"{returns:.4g}" in table
    assert f"{untrained:.4g}" not in table

    stored = torch.load("run/checkpoints/last.pt", weights_only=True)
    for key, value in translate(state)[0].items():
        assert torch.equal(stored["agent"][key], value), key
    assert Path("run/config.yaml").read_text().count(f"name: {algo}") == 1


def test_a_checkpoint_is_what_a_run_would_have_saved_and_training_goes_on_from_it(capsys):
    fast = ("steps=12", "algo.seed_steps=0", "algo.batch_size=4", "algo.log_every=4", "eval.every=12")
    assert converted(saved(weights_of("square")), "tdmpc_square", ENV, *PLAIN, *fast) == 0
    command = shlex.split(capsys.readouterr().out.split("train it on: ")[1].splitlines()[0])
    directory = Path("runs/tdmpc_square/gym-released-Seven-v0/converted-walker-walk-1")
    stored = torch.load(directory / "checkpoints" / "last.pt", weights_only=True)

    own = configure("tdmpc_square", ENV, [*PLAIN, *fast, *SMALL, "algo.episodic=false", "run_dir=own"])
    start_and_stop(own, 3)
    usual = torch.load("own/checkpoints/last.pt", weights_only=True)
    assert stored.keys() == usual.keys()
    for part in ("manifest", "agent", "training", "collector", "counters", "logs"):
        assert stored[part].keys() == usual[part].keys(), part

    assert cli.main(["eval", str(directory), "--seed", "1000"]) == 0  # the episodes of the training's evaluations
    before = capsys.readouterr().out
    assert command[0] == "pompc"
    assert cli.main(command[1:]) == 0
    with open(directory / "eval.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "12"]
    assert f"{float(rows[0]['reward']):.4g}" in before
    after = torch.load(directory / "checkpoints" / "last.pt", weights_only=True)
    assert after["training"]["updates"] > 0
    assert not torch.equal(after["agent"]["policy.net.2.bias"], stored["agent"]["policy.net.2.bias"])


def test_values_that_the_weights_decide_are_printed_and_cannot_be_given(capsys):
    checkpoint = saved(weights_of("bmpc"))
    assert converted(checkpoint, "bmpc", ENV, "--out", "run", *PLAIN) == 0
    config = torch.load("run/checkpoints/last.pt", weights_only=True)["config"]["algo"]
    assert (config["latent_dim"], config["log_std_min"], config["log_std_max"]) == (32, -7.0, -6.9)
    assert (config["reanalyze_log_std_min"], config["reanalyze_log_std_max"]) == (-2.0, 1.0)
    lines = capsys.readouterr().out.splitlines()
    assert "algo.latent_dim=32 algo.episodic=false algo.log_std_min=-7.0 algo.log_std_max=-6.9" in lines[1]
    assert "running scales, optimizer states, replay" in lines[2]
    said = refusal(capsys, checkpoint, "bmpc", ENV, "algo.latent_dim=64")
    assert "the weights decide algo.latent_dim (32): leave it out" in said


def test_missing_and_unknown_entries_are_printed(capsys):
    state = weights_of("square") | {f"_extra.{index}": torch.ones(1) for index in range(7)}
    state = {key: value for key, value in state.items() if not key.startswith("_target_Qs")}
    assert converted(saved(state), "tdmpc_square", ENV, "--out", "run", "algo.log_std_min=-5", *PLAIN) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "algo.log_std_min=-5.0 algo.log_std_max=2.0 are taken" in lines[2]
    assert "slow copies of the values" in lines[3]
    assert lines[4] == "unknown and left out: _extra.0, _extra.1, _extra.2, _extra.3, _extra.4 and 2 more"
    agent = torch.load("run/checkpoints/last.pt", weights_only=True)["agent"]
    assert torch.equal(agent["critic.target.linears.2.weight"], state["_Qs.params.8"])


def test_entries_of_tensordict_among_the_weights_are_ignored():
    notes = {"_Qs.params.__batch_size": torch.Size([2]), "_Qs.params.__device": None}
    notes |= {"_target_Qs_params.__device": torch.device("cpu"), "_Qs.module.9.weight": torch.empty(3, device="meta")}
    state = read(saved(weights_of("tdmpc2") | notes))
    assert translate(state)[1] == []
    assert sizes(state) == sizes(weights_of("tdmpc2"))


@pytest.mark.parametrize(
    ("kind", "algo", "said"),
    [
        ("tdmpc2", "bmpc", "values of states and actions: take --algo tdmpc2 or tdmpc_square, not bmpc"),
        ("bmpc", "tdmpc2", "values of states alone, and the code of BMPC wrote them: take --algo bmpc, not tdmpc2"),
        ("square", "ppo", "take --algo tdmpc2 or tdmpc_square, not ppo"),
        ("square", "boom", "a reward head of 2 hidden layers: take --algo tdmpc2 or tdmpc_square, not boom"),
        ("boom", "tdmpc2", "actions and a reward head of 3 hidden layers: take --algo boom, not tdmpc2"),
        ("boom", "bmpc", "values of states and actions: take --algo boom, not bmpc"),
    ],
)
def test_the_wrong_algorithm_is_answered_with_the_right_one(kind, algo, said, capsys):
    assert said in refusal(capsys, saved(weights_of(kind)), algo)


def test_action_values_of_the_code_of_bmpc_become_its_variant(capsys):
    state = weights_of("tdmpc2") | {"expl_log_std_min": torch.tensor(-2), "expl_log_std_dif": torch.tensor(2)}
    assert "take --algo bmpc, not tdmpc2" in refusal(capsys, saved(state))
    assert converted(saved(state), "bmpc", ENV, "--out", "run", *PLAIN) == 0
    config = torch.load("run/checkpoints/last.pt", weights_only=True)["config"]["algo"]
    assert (config["state_values"], config["reanalyze_log_std_max"]) == (False, 0.0)
    assert cli.main(["eval", "run"]) == 0


def test_the_layout_and_the_rules_of_boom(capsys):
    """Its encoder has no name, and what it decides by the size of the action cannot be read from the weights."""
    for env, rule in (("released:Many-v0", True), ("released:Dog-v0", False)):
        agent = assemble(configure("boom", env, [*PLAIN, *SMALL])).agent
        state = {key.replace("_encoder.state", "_encoder"): value for key, value in as_released(agent).items()}
        assert converted(saved(state), "boom", env, "--out", env[9:], *PLAIN) == 0
        assert "algo.latent_dim=16" in capsys.readouterr().out
        stored = torch.load(f"{env[9:]}/checkpoints/last.pt", weights_only=True)
        assert (stored["config"]["algo"]["simnorm"], stored["config"]["algo"]["reward_layers"]) == (None, 3)
        for key, value in agent.state_dict().items():
            assert torch.equal(stored["agent"][key], value), key
        assert isinstance(agent.model.dynamics[-1].activation, SimNorm) is rule


def test_another_environment_is_refused_with_both_numbers(capsys):
    state = weights_of("tdmpc2")
    said = refusal(capsys, saved(state), "tdmpc2", "released:Nine-v0")
    assert "the weights see observations of 7 numbers, gym-released-Nine-v0 has observations of 9 numbers" in said
    said = refusal(capsys, saved(state), "tdmpc2", "several")
    assert "the weights play a single task, several has 2 tasks at once" in said
    wider = {key: value for key, value in state.items() if key != "_encoder.state.0.weight"}
    wider["_encoder.state.0.weight"] = torch.ones(24, 9)
    said = refusal(capsys, saved(wider), "tdmpc2", "released:Nine-v0")
    assert "the weights choose 3 action entries, gym-released-Nine-v0 has 4 action entries" in said


@pytest.mark.parametrize("numbered", [False, True])
def test_multi_task_weights_play_where_the_tasks_are_the_same(numbered, capsys):
    parts = small_agent("several", "algo.episodic=true", "num_envs=2")
    state = as_released(parts.agent, numbered)
    masks = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    found = sizes(state | {"_action_masks": masks})
    assert (found["num_tasks"], found["action_dims"], found["observation_dim"]) == (2, [3, 2], 7)
    checkpoint = saved(state if numbered else state | {"_action_masks": masks})
    assert converted(checkpoint, "tdmpc2", "several", "--out", "run", "num_envs=2", *PLAIN) == 0
    expected = evaluate(parts.agent, parts.family, episodes=2, seed=1000, noise_seed=0).mean()["reward"]
    capsys.readouterr()
    assert cli.main(["eval", "run", "--seed", "1000"]) == 0
    assert f"{expected:.4g}" in capsys.readouterr().out

    assert "2 tasks at once, several has 3 tasks" in refusal(capsys, checkpoint, "tdmpc2", "several", "env.count=3")
    assert "the weights play 2 tasks at once, gym-released-Seven-v0 has a single task" in refusal(capsys, checkpoint)
    if not numbered:
        said = refusal(capsys, checkpoint, "tdmpc2", "several", "env.others=1")
        assert "have [3, 2] action entries, those of several [3, 1]" in said


def test_weights_that_see_pictures(capsys):
    parts = small_agent("screens", "algo.latent_dim=32")
    state = as_released(parts.agent)
    assert [key for key in state if key.startswith("_encoder.rgb.2")] == [
        "_encoder.rgb.2.weight",
        "_encoder.rgb.2.bias",
    ]
    checkpoint = saved(state)
    assert converted(checkpoint, "tdmpc2", "screens", "--out", "run", *PLAIN) == 0
    stored = torch.load("run/checkpoints/last.pt", weights_only=True)["agent"]
    for key, value in parts.agent.state_dict().items():
        assert torch.equal(stored[key], value), key
    assert "the weights see pictures of 6 channels" in refusal(capsys, checkpoint)


def test_files_that_are_no_released_checkpoints(capsys):
    whole = Path(saved(weights_of("tdmpc2"))).read_bytes()
    Path("cut.pt").write_bytes(whole[: len(whole) // 2])
    Path("text.pt").write_text("hello")
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 255
    Path("spoilt.pt").write_bytes(spoilt)
    assert zipfile.is_zipfile("spoilt.pt")
    torch.save([1, 2], "list.pt")
    torch.save({"model": [torch.ones(1)]}, "names.pt")
    torch.save({"model": {"layer.weight": torch.ones(2, 2)}}, "other.pt")
    before = {"_dynamics.0.0.weight": torch.ones(2, 2), "_encoder.state.1.weight": torch.ones(2, 2)}
    torch.save({"model": before}, "before.pt")
    messages = {
        "missing.pt": "there is no file missing.pt",
        "cut.pt": "cut.pt is truncated or not a torch checkpoint",
        "text.pt": "text.pt is truncated or not a torch checkpoint",
        "spoilt.pt": "spoilt.pt is damaged",
        "list.pt": "list.pt holds no model weights",
        "names.pt": "names.pt holds no model weights",
        "other.pt": "not weights of TD-MPC2",
        "before.pt": "layout from before TD-MPC2's release",
    }
    for file, message in messages.items():
        assert message in refusal(capsys, file), file


def test_a_checkpoint_of_this_library_and_a_directory_in_use(capsys):
    checkpoint = saved(weights_of("tdmpc2"))
    assert converted(checkpoint, "tdmpc2", ENV, "run_dir=run", *PLAIN) == 0
    assert "run exists and is not empty: give another --out" in refusal(
        capsys, checkpoint, "tdmpc2", ENV, "--out", "run"
    )
    own = Path("run/checkpoints/last.pt")
    assert "is a checkpoint of pompc already: `pompc eval` plays it" in refusal(capsys, own)


def test_incomplete_weights_and_other_models_are_refused(capsys):
    state = weights_of("tdmpc2")
    lacking = {key: value for key, value in state.items() if key != "_pi.1.ln.bias"}
    assert "policy.net.1.norm.bias is missing, needed [48]" in refusal(capsys, saved(lacking))
    deeper = state | {"_pi.3.weight": torch.ones(6, 6)}
    assert "policy.net.3.weight is [6, 6], needed not at all" in refusal(capsys, saved(deeper))
    wider = state | {"_pi.2.bias": torch.ones(7)}
    assert "policy.net.2.bias is [7], needed [6]" in refusal(capsys, saved(wider))
    regression = state | {"_reward.2.weight": torch.ones(1, 48)}
    assert "without two-hot bins" in refusal(capsys, saved(regression))


def test_published_sizes_are_recognised():
    for number, size in SIZES.items():
        found = published_size({**vars(size), "num_bins": 101})
        assert found == {"model_size": number, **dict.fromkeys(vars(size))}
    values = published_size({**vars(SIZES[5]), "ensemble_size": 2})
    assert values == {"model_size": 5, **dict.fromkeys(vars(SIZES[5])), "ensemble_size": 2}
    pixels = {key: value for key, value in vars(SIZES[5]).items() if not key.startswith("encoder")}
    assert published_size(pixels)["model_size"] == 5
    assert "model_size" not in published_size({**vars(SIZES[5]), "mlp_dim": 500})


def test_a_published_size_stays_one_number(capsys):
    env = "released:Many-v0"
    agent = assemble(configure("tdmpc2", env, [*PLAIN, "algo.model_size=1"])).agent
    assert converted(saved(as_released(agent)), "tdmpc2", env, "--out", "run", *PLAIN) == 0
    config = torch.load("run/checkpoints/last.pt", weights_only=True)["config"]["algo"]
    assert (config["model_size"], config["mlp_dim"], config["ensemble_size"]) == (1, None, None)
    assert "from the weights: algo.model_size=1\n" in capsys.readouterr().out
