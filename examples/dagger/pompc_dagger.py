"""DAgger (Ross et al. 2011, arXiv 1011.0686): a policy clones the planner on the states that their mixture visits."""

from dataclasses import dataclass

import torch
from tensordict import TensorDict

from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.data.broken import learnable
from pompc.data.statistics import RunningMoments
from pompc.networks.actor_critic import tanh_mlp
from pompc.networks.optimizer_step import optimizer_step


@dataclass(frozen=True, kw_only=True)
class DAggerConfig(MPPIAgentConfig):
    """Options of :class:`DAgger` beside those of the planner alone; ``batch_size`` is the length of a round.

    Attributes:
        planner_share_decay: factor per round on the planner's share of the actions, which starts at 1.
        gradient_steps: gradient steps per round.
        minibatch_size: labelled states per gradient step.
        learning_rate: of Adam.
        hidden_sizes: widths of the policy's hidden layers.
    """

    planner_share_decay: float = 0.8
    gradient_steps: int = 200
    minibatch_size: int = 256
    learning_rate: float = 1e-3
    hidden_sizes: tuple[int, ...] = (64, 64)


class DAgger(MPPIAgent):
    """Label every visited state with the planner's action; act by a mixture, and in evaluation by the policy."""

    Config = DAggerConfig

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.moments = RunningMoments(problem.observation_dim)
        self.policy = tanh_mlp([problem.observation_dim, *config.hidden_sizes, problem.action_dim], last_gain=0.01)
        self.to(problem.device)
        self.optimizers["policy"] = torch.optim.Adam(self.policy.parameters(), lr=config.learning_rate)
        self.seen = TensorDict({}, batch_size=[0], device=problem.device)  # all labelled states

    def act(self, tensordict, explore):
        """Act by the planner in its share of the steps, otherwise by the policy ``[batch, action]``; keep the label."""
        own = self.policy(self.moments(tensordict["observation"])).clamp(-1.0, 1.0)
        if not explore:
            tensordict["next", "planner_mean"] = tensordict["planner_mean"]
            return tensordict.set("action", own)
        label = super().act(tensordict, explore)["action"]
        planner_acts = torch.rand(len(own), 1, device=own.device) < self.config.planner_share_decay**self.updates
        return tensordict.set("label", label).set("action", torch.where(planner_acts, label, own))

    def learn(self, data):
        """Add a round of transitions ``[num_envs, time]`` to the earlier rounds and fit the policy to the labels."""
        metrics, new = super().learn(data), learnable(data).select("observation", "label")
        self.seen = torch.cat([self.seen, new]) if len(self.seen) else new
        self.moments.update(new["observation"])
        losses = []
        for _ in range(self.config.gradient_steps):
            drawn = self.seen[torch.randint(len(self.seen), (self.config.minibatch_size,), device=self.seen.device)]
            loss = (self.policy(self.moments(drawn["observation"])) - drawn["label"]).square().mean()
            optimizer_step(self.optimizers["policy"], loss, max_grad_norm=10.0, name="policy")
            losses.append(loss.detach())
        return {"policy_loss": torch.stack(losses).mean().item(), **metrics}

    def training_state(self, *, replay=True):
        """Add the labelled states if asked."""
        state = super().training_state(replay=replay)
        return {**state, "replay": self.seen.to_dict()} if replay else state

    def load_training_state(self, state):
        """Restore what :meth:`training_state` returned."""
        super().load_training_state(state)
        if state.get("replay"):
            self.seen = TensorDict.from_dict(state["replay"], batch_dims=1, device=self.problem.device)
