"""The names of what a run logs, with units and meanings.

A name is ``group/column``: ``train`` is a row of metrics.csv, ``eval`` of eval.csv, ``time`` of timing.csv; ``best`` and
``final`` are the summary of the whole run. wandb, TensorBoard and dashboards use the same names. The metrics of other
people's algorithms and environments get names of the same form, without an entry here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

STEP, SECONDS, MODEL_STEPS = "env_step", "time/wall_s", "time/model_steps"
"""The axes; every row has them."""

RETURN, REWARD, SHARE, COUNT, NATS, LOSS, RATIO = "return", "reward", "share", "count", "nats", "loss", "ratio"


@dataclass(frozen=True)
class Metric:
    """What a name stands for.

    Attributes:
        unit: of its values.
        meaning: a phrase.
        best: which of a run's values is the best, ``max`` or ``min``; ``None`` if neither is.
    """

    unit: str
    meaning: str
    best: str | None = None

    @property
    def summary(self) -> str:
        """What wandb keeps of a run: ``last``, and the best value, if there is one."""
        return "last" if self.best is None else f"{self.best},last"


def _metrics(group: str, entries: dict[str, tuple[str, str] | tuple[str, str, str]]) -> Iterator[tuple[str, Metric]]:
    return ((f"{group}/{name}", Metric(*entry)) for name, entry in entries.items())


_TASK = {
    "success": (SHARE, "episodes that succeeded", "max"),
    "cost": (COUNT, "violations of constraints in an episode", "min"),
    "length": ("agent steps", "length of an episode"),
    "lap_time": ("s", "duration of a lap", "min"),
    "speed": ("m/s", "speed at the end of an episode"),
    "mass": (RATIO, "the plant's mass, by the nominal one"),
    "friction": (RATIO, "friction of the plant's tyres, by the nominal one"),
    "drive": (RATIO, "force of the plant's engine and brakes, by the nominal ones"),
    "expense": ("EUR", "money spent on energy in an episode", "min"),
    "task": ("index", "mean index of the tasks of the episodes"),
}
_FILTER = {
    "corrected": (SHARE, "steps whose action the safety filter replaced"),
    "feasible": (SHARE, "steps with a certified manoeuvre to safety"),
    "correction": ("action", "mean distance of the action from the proposed one"),
    "margin": ("margin", "least margin of the certified manoeuvres"),
}
_DIALS = {
    "kl_weight": ("weight", "lambda, the pull of the policy to the planner"),
    "virtual_ratio": (SHARE, "rho, the share of virtual data in value learning"),
    "policy_share": (SHARE, "decisions that the policy takes in the place of the planner"),
    "blend": (SHARE, "weight of the model against the learned value in every step of a plan"),
    "epsilon": (SHARE, "decisions of the switch that are drawn at random"),
}
_PROGRESS = {
    "reward": (REWARD, "mean reward of a step"),
    "return": (RETURN, "mean return of the episodes that ended"),
    "episodes": (COUNT, "episodes that ended"),
    "cost_per_step": ("1/step", "violations of constraints per step"),
    "terminated": (SHARE, "steps that terminated an episode"),
    "broken": (COUNT, "transitions that the environment lost"),
    "updates": (COUNT, "updates so far"),
    "gradient_steps": (COUNT, "gradient steps on the values in this row"),
    "learning_rate": ("rate", "learning rate"),
    "plans": (COUNT, "plans made so far for the imitation"),
}
_POLICY = {
    "policy_loss": (LOSS, "loss of the policy"),
    "policy_grad_norm": ("gradient", "norm of the policy's gradient before clipping"),
    "policy_kl": (NATS, "divergence of the policy from the one before the update"),
    "policy_std": ("action", "mean standard deviation of the policy"),
    "entropy": (NATS, "entropy of the policy"),
    "clip_fraction": (SHARE, "samples whose ratio was clipped"),
    "kl": (NATS, "divergence of the policy from the planner"),
    "kl_scale": ("scale", "running scale of that divergence"),
    "kl_term": (LOSS, "term of the divergence in the policy's loss, before its weight"),
    "kl_grad_norm": ("gradient", "norm of the gradient of that term"),
    "return_term": (LOSS, "term of the return in the policy's loss, before its weight"),
    "return_grad_norm": ("gradient", "norm of the gradient of that term"),
    "return_scale": ("scale", "running scale of the returns"),
    "prior_loss": (LOSS, "loss of the learned prior"),
    "gate_open": (SHARE, "stored plans that the learned prior learns from"),
    "imitation_weight": ("weight", "mean weight of an imitated action"),
    "action_error": ("action", "root mean square distance of the policy from the plans"),
    "tracking": (SHARE, "how well the policy follows its reference: 1 is exactly"),
    "switch_loss": (LOSS, "loss of the switch between planner and policy"),
    "expert_share": (SHARE, "choices of the switch for the planner"),
}
_VALUES = {
    "value": (RETURN, "mean value, in the scale in which values are learned"),
    "value_loss": (LOSS, "loss of the values"),
    "value_scale": ("scale", "running scale of the values"),
    "explained_variance": (SHARE, "variance of the value targets that the values explain", "max"),
    "uncertainty": (SHARE, "disagreement of the value heads", "min"),
    "virtual_loss": (LOSS, "loss of the values on virtual targets"),
    "real_error": ("value²/variance", "variance of values that learn from real targets alone"),
    "virtual_error": ("value²/variance", "squared bias of values that learn from virtual targets alone"),
    "virtual_bias": (RETURN, "mean virtual minus mean real value target, in the scale of the values"),
    "virtual_weight": ("weight", "mean weight of a virtual transition"),
    "virtual_transitions": (COUNT, "virtual transitions in this row"),
}
_MODEL = {
    "model_steps": (COUNT, "steps of the planner's model so far"),
    "effective_samples": (COUNT, "samples of a plan that count, by their weights"),
    "td_error": (RETURN, "root mean square temporal difference of the planner's own values", "min"),
    "advantage": (RETURN, "root mean square estimated advantage of the actions"),
    "offset": (RETURN, "offset that takes up the bias of the planner's soft values, in units of cost"),
    "phi_change": ("phi", "largest change of an entry of the planner's learned parameters in an update"),
    "phi_distance": ("phi", "distance of the planner's learned parameters from their start"),
    "phi_gradient": ("gradient", "norm of the policy gradient with respect to them"),
    "model_loss": (LOSS, "loss of the world model and the values"),
    "model_grad_norm": ("gradient", "norm of its gradient before clipping"),
    "consistency_loss": (LOSS, "error of predicted latent states"),
    "dynamics_disagreement": ("latent", "root mean square distance of the dynamics' heads from their mean", "min"),
    "reward_loss": (LOSS, "error of predicted rewards"),
    "termination_loss": (LOSS, "error of predicted terminations"),
    "model_error": ("observation", "mean absolute error of the model in one step"),
    "model_error_max": ("observation", "largest error of the model in one step"),
    "alpha_w": ("observation", "mean distance of the next observation to the model's"),
    "alpha_p": (SHARE, "total variation between the model and the environment, for Gaussian noise"),
    "reward_error": (REWARD, "mean absolute error of the model's reward"),
    "reward_error_max": (REWARD, "largest error of the model's reward"),
    "residual_loss": (LOSS, "loss of the learned residual"),
    "residual_error": (RATIO, "error with the residual over the error without: 0 is a perfect model", "min"),
    "margin_loss": (LOSS, "loss of the learned margin"),
    "margin_missed": (SHARE, "violations that the learned margin allows", "min"),
    "margin_refused": (SHARE, "harmless steps that the learned margin refuses", "min"),
}
_EVALUATION = {
    "reward": (RETURN, "mean return of the evaluation's episodes", "max"),
    "cut": (SHARE, "episodes that were cut at eval.max_steps"),
    "margin_error": ("margin", "0.95 quantile of what the model promised too much of a margin in a step"),
    "policy_reward": (RETURN, "mean return of the bare policy", "max"),
    "policy_success": (SHARE, "episodes in which the bare policy succeeded", "max"),
    "policy_gap": (RETURN, "return of the agent minus that of its bare policy"),
    "planner_kl": (NATS, "divergence of the policy from the plan"),
    "value": (RETURN, "mean value of the visited states"),
    "value_error": (RETURN, "mean value minus Monte-Carlo return: above zero is overestimation"),
    "value_error_rms": (RETURN, "root mean square of that error"),
    "value_error_start": (RETURN, "that error in the first step of an episode"),
    "policy_value_error": (RETURN, "that error where the bare policy acts"),
}
_TIME = {
    "wall_s": ("s", "seconds of training over all starts, without evaluations"),
    "env_steps_per_s": ("1/s", "environment steps per second of training"),
    "model_steps": (COUNT, "steps of the planner's model so far"),
}
_OUTCOME = {
    "env_step": ("steps", "the step of that evaluation"),
    "reward": (RETURN, "its mean return"),
    "success": (SHARE, "its success"),
    "cost": (COUNT, "its mean cost"),
}

METRICS: dict[str, Metric] = {
    STEP: Metric("steps", "environment steps so far, action repeat counted: the axis of every curve"),
    **dict(_metrics("train", _PROGRESS | _TASK | _FILTER | _DIALS | _POLICY | _VALUES | _MODEL)),
    **dict(_metrics("eval", _EVALUATION | _TASK | _FILTER)),
    **dict(_metrics("time", _TIME)),
    **dict(_metrics("best", _OUTCOME)),
    **dict(_metrics("final", _OUTCOME | _TIME | _DIALS)),
}
"""Every name that pompc's own algorithms and environments log."""
DIALS = tuple(_DIALS)
"""Columns of metrics.csv that are the dials."""
DRIVERS = (
    *("uncertainty", "real_error", "virtual_error", "virtual_bias"),
    *("model_error", "reward_error", "alpha_w", "alpha_p"),
)
"""Columns of metrics.csv on which schedules of the dials may depend, or that say how far virtual data can be trusted."""
MEDIA: dict[str, str] = {
    "curve": "the learning curve, after every evaluation",
    "video": "an episode, at the end of the run",
}
"""Pictures and films by name."""
