"""The words of a sweep: its own options, the combinations, the name of what is run."""

import pytest

from pompc.errors import UserError
from pompc.sweep.words import read

WORDS = ("algo=ppo,mppi", "env=acrobot", "seed=0,1", "steps=100")


def test_the_options_of_the_sweep_are_told_from_those_of_its_runs():
    request = read([*WORDS, "launcher=slurm", "slurm.minutes=5", "slurm.extra={account: lab}"])
    assert request.options.launcher == "slurm"
    assert request.options.slurm.minutes == 5
    assert request.options.slurm.extra == {"account": "lab"}
    assert [one.key for one in request.dimensions] == ["algo", "env", "seed", "steps"]


def test_all_runs_of_a_seed_come_before_the_next_seed():
    lines = read(WORDS).combinations()
    assert lines[0] == ["algo=ppo", "env=acrobot", "seed=0", "steps=100"]
    assert [(line[2], line[0]) for line in lines] == [
        ("seed=0", "algo=ppo"),
        ("seed=0", "algo=mppi"),
        ("seed=1", "algo=ppo"),
        ("seed=1", "algo=mppi"),
    ]


def test_a_later_word_of_the_same_key_counts():
    assert read([*WORDS, "seed=7", "algo=ppo"]).combinations() == [["algo=ppo", "env=acrobot", "seed=7", "steps=100"]]


@pytest.mark.parametrize("more", [("launcher=ray",), ("slurm.cpus=2",)])
def test_the_place_of_the_runs_does_not_change_their_name(more):
    assert read([*WORDS, *more]).code == read(WORDS).code


def test_the_name_is_of_what_is_run_in_any_order_and_spelling():
    assert read(WORDS[::-1]).code == read(WORDS).code
    assert read([*WORDS[:2], "seed=range(0,2)", WORDS[3]]).code == read(WORDS).code
    assert read([*WORDS[:2], "seed=choice(1,0)", WORDS[3]]).code == read(WORDS).code
    assert read([*WORDS, "num_envs=2"]).code != read(WORDS).code


def test_a_longer_search_has_the_name_of_the_shorter_one_and_another_objective_has_not():
    words = ("algo=ppo", "env=acrobot", "algo.clip_epsilon=interval(0.1,0.3)")
    assert read([*words, "search=5"]).code == read([*words, "search=9"]).code
    assert read([*words, "search=5"]).code != read([*words, "search=5", "objective=best"]).code


def test_a_run_is_named_by_what_differs_and_a_drawn_number_in_short():
    assert read(WORDS).label(["algo=ppo", "env=acrobot", "seed=0", "steps=100"]) == "algo=ppo seed=0"
    assert read(["algo=ppo", "env=acrobot"]).label(["algo=ppo", "env=acrobot"]) == "algo=ppo env=acrobot"
    request = read(["algo=ppo", "env=acrobot", "algo.clip_epsilon=interval(0,1)", "search=2"])
    assert request.label(["algo=ppo", "algo.clip_epsilon=0.123456789"]) == "algo.clip_epsilon=0.1235"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["launcher=pbs"], "launcher must be one of local, slurm, ray"),
        (["slurm.minute=3"], "did you mean 'slurm.minutes'"),
        (["slurm.minutes=0"], "slurm.minutes must be"),
        (["search=0"], "search must be"),
        (["algo.clip_epsilon=interval(0,1)"], "search it with search=TRIALS"),
        (["search=3"], "search= takes one algo: start a sweep for each of ppo, mppi"),
        (["search=3", "algo=ppo"], "nothing to search"),
        (["search=3", "algo=ppo", "steps=10,20", "seed=interval(0,9)"], "a search takes a list of seeds"),
    ],
)
def test_a_wrong_word_is_one_line(more, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        read([*WORDS, *more])
    assert "\n" not in str(caught.value)


def test_a_search_is_checked_at_each_value_and_each_end():
    request = read(
        ["algo=ppo", "env=acrobot", "seed=0,1", "num_envs=2,4", "algo.clip_epsilon=interval(0.1,0.3)", "search=3"]
    )
    lines = request.trials_to_check()
    assert lines[0] == ["algo=ppo", "env=acrobot", "seed=0", "num_envs=2", "algo.clip_epsilon=0.1"]
    assert {word for line in lines for word in line} >= {"seed=1", "num_envs=4", "algo.clip_epsilon=0.3"}
    assert len(lines) == 4
