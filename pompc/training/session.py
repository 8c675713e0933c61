"""Everything a run holds between two iterations: what a checkpoint saves and a resumed run gets back."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from tensordict import TensorDictBase

from pompc.config.run_options import EvalConfig, RunConfig
from pompc.config.spec import RunSpec
from pompc.data.broken import BROKEN, count, intact
from pompc.metrics import warn_of_skipped_steps
from pompc.report.curves import plot_learning_curve
from pompc.training import checkpoint
from pompc.training.assemble import assemble
from pompc.training.directory import RunDirectory
from pompc.training.evaluate import UNLIMITED_STEPS, EvalResult, evaluate
from pompc.training.filtered import filter_statistics
from pompc.training.finetune import begin_with
from pompc.training.logger import CSVLog
from pompc.training.offline import make_source
from pompc.training.seeding import load_random_state, random_state, seed_everything
from pompc.training.stopping import RECORDING, SAVING, StopRequest
from pompc.training.summary import run_summary
from pompc.training.tensorboard_log import TensorBoardLog, require_tensorboard
from pompc.training.trackers import Axes, Tracker, Trackers
from pompc.training.wandb_log import WandbLog, wandb_mode

LOGS = ("metrics", "eval", "eval_episodes", "timing")


@dataclass
class Counters:
    """Progress of a run.

    Attributes:
        step: environment steps, action repeat counted.
        evaluated: the step of the last evaluation, -1 before the first.
        best: the best mean return of an evaluation.
        wall_s: seconds of training over all starts of the run, evaluations and checkpoints left out.
    """

    step: int = 0
    evaluated: int = -1
    best: float = -math.inf
    wall_s: float = 0.0


class Session:
    """The objects of a run and its state.

    Args:
        spec: the resolved configuration.
        directory: the run directory, locked by the caller.
        stop: request to stop the run; ``None`` watches none.

    Attributes:
        whole: whether an iteration has ended, so that the state may be saved.
        saved: the progress in ``checkpoints/last.pt``; ``None`` without that file.
        identity: tells this run from all others.
        set_aside: folder of the files of an earlier start that left no checkpoint; ``None`` without such a start.
        learns_from: lines about the dataset of the run; empty without ``data``.
        transferred: lines about the weights that a new run began with; empty without ``finetune.source``.
    """

    def __init__(self, spec: RunSpec, directory: RunDirectory, stop: StopRequest | None = None) -> None:
        self.spec = spec
        self.stop = stop or StopRequest()
        self.whole, self.saved = True, cast(Counters | None, None)
        self.identity = spec.identity
        self.options: RunConfig = spec.options
        self.directory = directory
        if self.options.tensorboard:
            require_tensorboard()
        seed_everything(self.options.seed)
        parts = assemble(spec)
        self.family, self.agent, self.device = parts.family, parts.agent, parts.device
        self._compares_policy = parts.compares_policy
        self.collector, self.learns_from = make_source(parts, spec)
        _warn_of_endless_episodes(parts.agent.problem.episode_length, self.options.eval)
        self.counters = Counters()
        self.logs = {name: CSVLog(directory / f"{name}.csv") for name in LOGS}
        self.set_aside: Path | None = None
        self.transferred: list[str] = []
        logged = {name: log.last_step() for name, log in self.logs.items()}
        if directory.last.exists():
            self._load()
        else:
            self.set_aside = directory.set_aside([log.path for log in self.logs.values()])
            for log in self.logs.values():
                log.truncate(0)
            self.transferred = begin_with(parts, spec)
        checkpoint.write_atomic(directory / "config.yaml", spec.to_yaml().encode())
        self.trackers = self._trackers(logged)
        self._tick = time.perf_counter()

    def _trackers(self, logged: dict[str, int]) -> Trackers:
        """Start what shows the run elsewhere.

        Args:
            logged: the last step of each CSV file before it was cut back to the checkpoint.
        """
        directory, start, options = self.directory.path, self.counters.step, self.options.wandb
        rows = {"train": "metrics", "time": "timing", "eval": "eval", "curve": "eval"}
        done = {name: logged[log] for name, log in rows.items()} if start else {}
        makers: dict[str, Callable[[], Tracker]] = {}
        if wandb_mode(options.mode) != "disabled":
            values, who = self.spec.values, self.identity
            makers["wandb"] = lambda: WandbLog(directory, who, options, values, is_new=start == 0, logged=done)
        if self.options.tensorboard:
            makers["TensorBoard"] = lambda: TensorBoardLog(directory, start)
        return Trackers(makers)

    def log_training(self, batches: list[TensorDictBase], metrics: dict[str, float]) -> dict[str, float]:
        """Count the batches, write their row to metrics.csv and timing.csv, and return the row."""
        data = _ends(batches, self.family.info_keys)
        steps = data.numel() * self.family.action_repeat
        self.counters.step += steps
        statistics = {**episode_statistics(data, self.family.info_keys), **filter_statistics(batches)}
        row = {"step": self.counters.step, **statistics, **metrics, **count(data)}
        self.logs["metrics"].write(row)
        warn_of_skipped_steps(metrics, self.counters.step)
        now = time.perf_counter()
        self.counters.wall_s += now - self._tick
        timing = {
            "step": self.counters.step,
            "wall_s": self.counters.wall_s,
            "env_steps_per_s": steps / (now - self._tick),
            "model_steps": self.agent.model_steps,
        }
        self._tick = now
        self.logs["timing"].write(timing)
        self.trackers.log("train", self.axes, row)
        self.trackers.log("time", self.axes, timing)
        return row

    def evaluate(self) -> tuple[EvalResult, bool]:
        """Evaluate, write both CSV files of evaluations, draw the curve; return the result and whether it is the best.

        Raises:
            Stopped: a stop was asked for; nothing has changed.
        """
        options = self.options.eval
        with self.stop.during(RECORDING):
            result = evaluate(
                self.agent,
                self.family,
                episodes=options.episodes,
                seed=options.seed,
                noise_seed=self.options.seed,
                device=self.device,
                at_once=self.options.evaluated_at_once,
                max_steps=options.max_steps,
                diagnose=options.diagnose,
                compare_policy=self._compares_policy,
                stop=self.stop,
            )
            self.whole = False  # until all of it is written
            improved = self._record(result)
            self.whole = True
        self._tick = time.perf_counter()
        return result, improved

    def _record(self, result: EvalResult) -> bool:
        step, mean = self.counters.step, result.mean()
        head = {"step": step, "reward": mean.pop("reward"), "seed": self.options.seed}
        self.logs["eval"].write({**head, **mean})
        for index, episode in enumerate(result.episodes):
            rest = {name: value for name, value in episode.items() if name != "reward"}
            row = {"step": step, "reward": episode["reward"], "seed": self.options.seed, "episode": index, **rest}
            self.logs["eval_episodes"].write(row)
        self.trackers.log("eval", self.axes, {**head, **mean})
        self._plot()
        self.counters.evaluated = step
        improved = head["reward"] > self.counters.best
        self.counters.best = max(self.counters.best, head["reward"]) if improved else self.counters.best
        return improved

    def _plot(self) -> None:
        curve = self.directory / "curve.png"
        try:
            plot_learning_curve([self.directory / "eval.csv"], curve, title=self.title)
        except OSError as error:
            raise checkpoint.WriteError(curve, error) from error
        self.trackers.media("curve", self.axes, curve)

    @property
    def axes(self) -> Axes:
        """Where the run is."""
        return Axes(self.counters.step, self.counters.wall_s, self.agent.model_steps)

    @property
    def title(self) -> str:
        """Name the run for people."""
        who = self.identity
        return f"{who['algo']} on {who['env']}, seed {who['seed']}"

    def save(self, *, last: bool = True, best: bool = False) -> None:
        """Write the state to ``checkpoints/last.pt`` and, if asked, to ``checkpoints/best.pt``.

        The best comes first: a run that is lost between the two continues from before this evaluation and makes it again.
        """
        if not (last or best):
            return
        self.counters.wall_s += time.perf_counter() - self._tick  # pending updates have no row
        with self.stop.during(SAVING):
            if best:  # playing needs no replay, which may be large
                checkpoint.save(self.directory.best, self._state(replay=False))
            if last:
                checkpoint.save(self.directory.last, self._state())
                self.saved = replace(self.counters)
        self._tick = time.perf_counter()

    def close(self) -> None:
        """Close the logs and the environments."""
        self.trackers.close(lambda: run_summary(self.directory.path, self.agent.dials.metrics()))
        for log in self.logs.values():
            log.close()
        self.collector.shutdown()

    def _state(self, *, replay: bool = True) -> dict[str, Any]:
        return {
            "manifest": checkpoint.manifest(**self.identity, step=self.counters.step),
            "config": dict(self.spec.values),
            "agent": dict(self.agent.state_dict()),
            "training": self.agent.training_state(replay=replay),
            "collector": self.collector.snapshot(),
            "random": random_state(self.device),
            "counters": asdict(self.counters),
            "logs": {name: log.position() for name, log in self.logs.items()},
        }

    def _load(self) -> None:
        fix = "restore a copy, or move it away to start again"
        state = checkpoint.load(self.directory.last, fix=fix)
        self.directory.require_same(self.directory.last, state["manifest"], self.identity)
        self.agent.load_state_dict(state["agent"])
        self.agent.load_training_state(state["training"])
        self.collector.restore(state["collector"])
        self.counters, self.saved = Counters(**state["counters"]), Counters(**state["counters"])
        for name, log in self.logs.items():
            log.truncate(state["logs"][name])
        load_random_state(state["random"], self.device)  # last: building and restoring draw numbers


def _warn_of_endless_episodes(episode_length: int | None, options: EvalConfig) -> None:
    """Warn, before the first episode, that nothing is known to end one."""
    if episode_length is None:
        warnings.warn(
            "no time limit of the environment's episodes is known: an evaluation episode is cut after "
            f"{options.max_steps or UNLIMITED_STEPS:,} environment steps (eval.max_steps); where episodes do not end by "
            "themselves, give the environment a limit (one of gymnasium takes env.kwargs={max_episode_steps: 1000})"
        )


def _ends(batches: list[TensorDictBase], info_keys: tuple[str, ...]) -> TensorDictBase:
    """Join what :func:`episode_statistics` reads of consecutive batches ``[num_envs, time]``."""
    keys = [("next", name) for name in ("done", "episode_reward", "step_count", *info_keys, BROKEN)]
    return cast(TensorDictBase, torch.cat([batch.select(*keys, strict=False) for batch in batches], dim=1))


def episode_statistics(data: TensorDictBase, info_keys: tuple[str, ...]) -> dict[str, float]:
    """Summarise the task in a batch ``[num_envs, time]``.

    Returns:
        The number of ``episodes`` that ended in it, the broken ones left out. If one ended, their means: return, length and
        the last value of every info key that is known; but ``cost_per_step`` over all transitions instead of the cost.
    """
    good, done = intact(data), data["next", "done"].squeeze(-1)
    if good is not None:
        done = done & good
    keys = {"return": "episode_reward", "length": "step_count"} | {key: key for key in info_keys if key != "cost"}
    row = {name: data["next", key][done].double().nanmean().item() for name, key in keys.items()}
    if "cost" in info_keys:
        row["cost_per_step"] = data["next", "cost"].double().nanmean().item()
    return {"episodes": int(done.sum()), **{name: value for name, value in row.items() if math.isfinite(value)}}
