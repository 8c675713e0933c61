"""``pompc run`` on CARLA servers: faults, Ctrl-C, lost servers, resuming; nothing stays behind on a server."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter

from served import address, quiet, rows, run_words
from small import complete, config

from pompc import cli
from pompc.envs.carla_racing.server import server as connected_server


def start(words):
    """Start the run as a process."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "pompc", *words], text=True, env=quiet(), **pipes)


def wait(condition, process, seconds=60):
    """Wait for the condition while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_survives_faults_and_resumes_after_a_stop(servers, tmp_path, capsys):
    metrics = tmp_path / "metrics.csv"
    words = run_words(tmp_path, servers, "steps=1000000")
    with start(words) as process:
        try:
            wait(lambda: len(rows(metrics)) >= 4, process)
            servers[0].fault("drop_snapshots", 1)
            faulty = len(rows(metrics))
            wait(lambda: any(float(row["broken"]) > 0 for row in rows(metrics)[faulty:]), process)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "interrupted at step" in out.splitlines()[-1]
    assert f"{servers[0].port}: tick: no answer within 2 s; the episode ends here" in err
    for server in servers:
        assert server.state()["actors"] == ["spectator"]
        assert not server.state()["synchronous"]
    stopped = rows(metrics)
    check_evaluations(rows(tmp_path / "eval_episodes.csv"))

    # Each environment loses the episode that a resumed run cannot continue; then server 1 is lost in the third batch.
    servers[1].fault("kill", 30 + 3 * 32 + 10)
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert f"continues at step {int(stopped[-1]['step']):,}" in out
    (line,) = [text for text in err.splitlines() if text.startswith("pompc: error")]
    assert f"the CARLA server at 127.0.0.1:{servers[1].port} has failed 2 times in a row" in line
    assert servers[0].state()["actors"] == ["spectator"]
    lost = rows(metrics)
    assert len(lost) > len(stopped)
    assert float(lost[len(stopped)]["broken"]) == 2.0
    status = json.loads((tmp_path / "run.json").read_text())
    assert (status["status"], status["step"]) == ("interrupted", int(lost[-1]["step"])), "what was learned is saved"

    servers[1].restart()
    assert cli.main([*words[:-1], f"steps={int(lost[-1]['step']) + 128}"]) == 0
    assert "finished" in capsys.readouterr().out
    finished = rows(metrics)
    assert [row["step"] for row in finished] == [str(64 * (i + 1)) for i in range(len(lost) + 2)]
    check_evaluations(rows(tmp_path / "eval_episodes.csv"))


def test_a_server_that_dies_and_comes_back_costs_an_episode(server, tmp_path):
    metrics = tmp_path / "metrics.csv"
    with start(run_words(tmp_path, [server], "steps=640", "eval.at_start=false", "env.retries=6")) as process:
        try:
            wait(lambda: len(rows(metrics)) >= 2, process)
            server.kill()
            time.sleep(0.5)
            server.restart()
            _, err = process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert sum(float(row["broken"]) for row in rows(metrics)) >= 1
    assert server.state()["actors"] == ["spectator"]
    assert not server.state()["synchronous"]


def test_an_agent_trained_elsewhere_plays_on_any_number_of_servers(servers, tmp_path, capsys, monkeypatch):
    whole, connected = connected_server.take_over, []
    monkeypatch.setattr(connected_server, "take_over", lambda *words: connected.append(words) or whole(*words))
    run_dir = complete(config(tmp_path, "ppo", "carla_racing", "num_envs=4"))
    where = [f"env.servers=[{','.join(map(address, servers))}]", "env.backend=carla"]
    assert cli.main(["eval", str(run_dir), "--episodes", "3", *where]) == 0
    assert "mean of 3" in capsys.readouterr().out
    assert len(connected) == 2, "the connection to a server stays open between the rounds"


def check_evaluations(episodes):
    """Expect three episodes per evaluation, with different starts that are the same in every evaluation."""
    assert set(Counter(row["step"] for row in episodes).values()) == {3}
    assert all(float(row["length"]) <= 30 for row in episodes)
    first = [row["reward"] for row in episodes[:3]]
    assert len(set(first)) == 3
