"""Film one episode as an mp4, with the planner's trajectories if the environment can draw them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import imageio.v2 as imageio
import numpy as np
import torch
from tensordict import TensorDict

from pompc.environment import close
from pompc.errors import UserError
from pompc.training.acting import acting
from pompc.training.stopping import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pompc.agent import MPPIRL
    from pompc.environment import EnvironmentFamily

MAX_FRAMES = 2000


def record_episode(
    agent: MPPIRL,
    family: EnvironmentFamily,
    path: Path,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    stop: StopRequest | None = None,
) -> dict[str, float]:
    """Write one deterministic episode of at most ``MAX_FRAMES`` frames to ``path`` (.mp4).

    An unfinished film is deleted.

    Args:
        agent: the agent that acts.
        family: the environment's family.
        path: the film.
        seed: seed of the episode and of the agent's random numbers.
        device: the agent's device.
        stop: request to watch between frames; ``None`` watches none.

    Returns:
        The ``return`` of what was filmed, and the last value of every info key of the family.

    Raises:
        UserError: the environment gives no frames.
        Stopped: ``stop`` was requested.
    """
    stop, summary = stop or StopRequest(), {}
    stop.check()
    path.parent.mkdir(parents=True, exist_ok=True)
    env = family.make(render_mode="rgb_array")
    fps = env.metadata.get("render_fps", 30)
    try:
        # Frames are cut to even sizes (`_even`), the only need of the codec.
        writer = imageio.get_writer(path, fps=fps, codec="libx264", quality=8, macro_block_size=2)
        with (
            acting(agent, seed),
            closing(writer),
        ):  # as a block itself, the writer leaves its encoder running after an error
            for frame, facts in _frames(env, agent, seed, device):
                summary |= {key: float(facts[key]) for key in ("return", *family.info_keys) if key in facts}
                writer.append_data(_even(frame))
                stop.check()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        close(env)
    return summary


def _frames(
    env: gymnasium.Env, agent: MPPIRL, seed: int, device: torch.device | str
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yield frames ``[height, width, 3]`` uint8, each of the state from which its plan was made.

    With a frame comes the ``info`` of the step before it, and under ``return`` the sum of the rewards so far.
    """
    overlay = getattr(env.unwrapped, "overlay", None)
    (observation, _), info, total = env.reset(seed=seed), {}, 0.0
    carried = {name: spec.zero(torch.Size([1])) for name, spec in agent.primers().items()}
    for index in range(MAX_FRAMES):
        td = TensorDict({**carried, **_inputs(observation, index == 0)}, batch_size=[1], device=device)
        td = agent(td)
        plan = agent.overlay(td)
        if overlay is not None and plan is not None:
            overlay(*plan)
        yield _render(env), {**info, "return": total}
        observation, reward, terminated, truncated, info = env.step(td["action"][0].cpu().numpy())
        total += float(reward)
        if terminated or truncated:
            yield _render(env), {**info, "return": total}
            return
        carried = {name: td["next", name] for name in carried}


def _inputs(observation: np.ndarray, first: bool) -> dict[str, Any]:
    return {
        "observation": torch.as_tensor(observation)[None],
        "is_init": torch.tensor([[first]]),
    }


def _render(env: gymnasium.Env) -> np.ndarray:
    frame = env.render()
    if not isinstance(frame, np.ndarray):
        raise UserError(f"{env} gives no frames with render_mode=rgb_array: set eval.video=false")
    return frame


def _even(frame: np.ndarray) -> np.ndarray:
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
