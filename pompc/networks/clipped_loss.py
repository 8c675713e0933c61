"""PPO's clipped policy loss."""

from __future__ import annotations

from tensordict.nn import TensorDictModule
from torchrl.modules import IndependentNormal, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss

from pompc.networks.actor_critic import Actor


def make_clipped_loss(actor: Actor, clip_epsilon: float, entropy_coef: float) -> ClipPPOLoss:
    """Make the clipped surrogate and the entropy bonus of an actor (Schulman et al. 2017).

    The loss reads the actor's ``in_keys``, ``policy_action``, ``log_prob`` and ``advantage``.

    Args:
        actor: the policy.
        clip_epsilon: largest change of the probability ratio that the policy gains from.
        entropy_coef: weight of the entropy.
    """
    keys = ["loc", "scale"]
    module = TensorDictModule(actor, in_keys=list(actor.in_keys), out_keys=keys)
    policy = ProbabilisticActor(
        module, in_keys=keys, out_keys=["policy_action"], distribution_class=IndependentNormal, return_log_prob=True
    )
    options = {"clip_epsilon": clip_epsilon, "entropy_bonus": True, "entropy_coeff": entropy_coef}
    loss = ClipPPOLoss(policy, functional=False, **options)
    loss.set_keys(action="policy_action", sample_log_prob="log_prob")
    return loss
