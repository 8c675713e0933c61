"""BOOM written from its published description, in plain functions of tensors by their official names.

Nothing of the library is called here, so that files of any size can be made to compare it with. A file has the layout of
those in tests/parity/data, and is a dictionary. Symbols: A action entries, H horizon, S running scale of the values.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn import functional as F

DISCOUNT, SCALE = 0.99, 3.0
HALF_LOG_TAU = math.log(2 * math.pi) / 2


@dataclass(frozen=True)
class Sizes:
    """Sizes of a file; ``pair`` are the two value heads that every draw takes, if there are more than two."""

    obs: int
    action: int
    enc: int
    enc_layers: int
    mlp: int
    latent: int
    group: int
    horizon: int
    batch: int
    heads: int
    bins: int = 51
    pair: tuple[int, int] = (0, 1)
    seed: int = 0

    @property
    def simplices(self):
        """Whether latents are normalised in groups: not for 24 to 48 action entries."""
        return not 24 <= self.action <= 48

    @property
    def coef(self):
        """The weight of the alignment per action entry."""
        return 1 / 1000 if 24 <= self.action <= 48 else 1 / 50


class PlainBoom:
    """Weights by their official names, and what is computed with them."""

    def __init__(self, sizes):
        self.sizes, self.generator = sizes, torch.Generator().manual_seed(sizes.seed)
        planner = {"horizon": sizes.horizon, "num_samples": 64, "num_elites": 12, "num_pi_trajs": 8, "iterations": 6}
        planner |= {"min_std": 0.05, "max_std": 2, "temperature": 0.5}
        policy = {"log_std_min": -7.0, "log_std_max": -6.9, "entropy_coef": 0.0}
        model = {"dropout": 0.0, "simnorm_dim": sizes.group, "vmin": -10, "vmax": 10}
        learning = {"lr": 3e-4, "enc_lr_scale": 0.3, "grad_clip_norm": 20, "tau": 0.01, "rho": 0.5}
        coefs = {"consistency_coef": 20, "reward_coef": 0.1, "value_coef": 0.1}
        self.config = {**planner, **policy, **model, **learning, **coefs}
        seen = sizes.latent + sizes.action
        self.weights = {}
        encoder = [sizes.obs, *[sizes.enc] * (sizes.enc_layers - 1), sizes.latent]
        self._network("_encoder", encoder, plain_last=False)
        self._network("_dynamics", [seen, sizes.mlp, sizes.mlp, sizes.latent], plain_last=False)
        self._network("_reward", [seen, *[sizes.mlp] * 3, sizes.bins])  # three hidden layers
        self._network("_pi", [sizes.latent, sizes.mlp, sizes.mlp, 2 * sizes.action])
        for owner in ("_Qs", "_target_Qs"):
            self._heads(owner, [seen, sizes.mlp, sizes.mlp, sizes.bins])
        for last in ("_reward.3.weight", "_Qs.params.8", "_target_Qs.params.8"):
            self.weights[last] *= 0.3  # so small values that the policy's noise hardly shows in them
        self.scale = SCALE
        bins = torch.linspace(-10, 10, sizes.bins)
        self.centres, self.width = bins, 20 / (sizes.bins - 1)

    def _draw(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def _network(self, name, widths, plain_last=True):
        for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
            self.weights[f"{name}.{index}.weight"] = self._draw(fan_out, fan_in) / math.sqrt(fan_in)
            self.weights[f"{name}.{index}.bias"] = 0.1 * self._draw(fan_out)
            if index < len(widths) - 2 or not plain_last:
                self.weights[f"{name}.{index}.ln.weight"] = 1 + 0.1 * self._draw(fan_out)
                self.weights[f"{name}.{index}.ln.bias"] = 0.1 * self._draw(fan_out)

    def _heads(self, owner, widths):
        """Number the parameters of a stack of heads: weight, bias, and scale and shift of the normalisation."""
        heads, shapes = self.sizes.heads, []
        for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
            shapes += [((heads, fan_out, fan_in), fan_in, 0.0), ((heads, fan_out), 100, 0.0)]
            if index < len(widths) - 2:
                shapes += [((heads, fan_out), 100, 1.0), ((heads, fan_out), 100, 0.0)]
        for number, (shape, fan_in, centre) in enumerate(shapes):
            self.weights[f"{owner}.params.{number}"] = centre + self._draw(*shape) / math.sqrt(fan_in)

    # -- networks

    def _layers(self, name, x, activation):
        """Apply linear layers, each but a plain one with layer normalisation and Mish, the last with ``activation``."""
        count = sum(
            key.startswith(f"{name}.") and key.endswith(".weight") and ".ln." not in key for key in self.weights
        )
        for index in range(count):
            part = f"{name}.{index}"
            x = F.linear(x, self.weights[f"{part}.weight"], self.weights[f"{part}.bias"])
            if f"{part}.ln.weight" in self.weights:
                x = F.layer_norm(x, x.shape[-1:], self.weights[f"{part}.ln.weight"], self.weights[f"{part}.ln.bias"])
                x = activation(x) if index == count - 1 else F.mish(x)
        return x

    def _simplices(self, x):
        if not self.sizes.simplices:
            return x
        return torch.cat([torch.softmax(part, -1) for part in x.split(self.sizes.group, -1)], -1)

    def encode(self, obs):
        return self._layers("_encoder", obs, self._simplices)

    def next(self, z, a):
        return self._layers("_dynamics", torch.cat([z, a], -1), self._simplices)

    def reward_logits(self, z, a):
        return self._layers("_reward", torch.cat([z, a], -1), None)

    def policy(self, z):
        """Mean before squashing and log-std."""
        mean, raw = self._layers("_pi", z, None).chunk(2, -1)
        low, high = self.config["log_std_min"], self.config["log_std_max"]
        return mean, low + 0.5 * (high - low) * (torch.tanh(raw) + 1)

    def sample(self, z):
        mean, log_std = self.policy(z)
        noise = torch.randn(mean.shape, generator=self.generator)
        return torch.tanh(mean + noise * log_std.exp())

    def value_logits(self, z, a, owner="_Qs"):
        found = []
        for head in range(self.sizes.heads):
            x = torch.cat([z, a], -1)
            for layer in range(3):
                weight, bias = (self.weights[f"{owner}.params.{4 * layer + k}"][head] for k in (0, 1))
                x = F.linear(x, weight, bias)
                if layer < 2:
                    scale, shift = (self.weights[f"{owner}.params.{4 * layer + k}"][head] for k in (2, 3))
                    x = F.mish(F.layer_norm(x, x.shape[-1:], scale, shift))
            found.append(x)
        return torch.stack(found)

    def decode(self, logits):
        x = (torch.softmax(logits, -1) * self.centres).sum(-1)
        return x.sign() * (x.abs().exp() - 1)

    def cross_entropy(self, logits, target):
        """Compare with the two bins beside the symlog of the target, by their distance from it."""
        x = (target.sign() * target.abs().log1p()).clamp(-10, 10)
        place = (x + 10) / self.width
        below = place.floor().long().clamp(max=self.sizes.bins - 2)
        share = (place - below).unsqueeze(-1)
        log = torch.log_softmax(logits, -1)
        low, high = (log.gather(-1, (below + k).unsqueeze(-1)) for k in (0, 1))
        return -((1 - share) * low + share * high).squeeze(-1)

    def two_values(self, z, a, owner="_Qs"):
        return self.decode(self.value_logits(z, a, owner))[list(self.sizes.pair)]

    # -- learning

    def learn(self, batches):
        """Make an update per batch; return the metrics of each."""
        config = self.config
        model = [key for key in self.weights if not key.startswith(("_pi", "_target"))]
        policy = [key for key in self.weights if key.startswith("_pi")]
        for key in (*model, *policy):
            self.weights[key].requires_grad_(True)
        encoder = [key for key in model if key.startswith("_encoder")]
        groups = [{"params": [self.weights[key] for key in encoder], "lr": config["lr"] * config["enc_lr_scale"]}]
        groups += [{"params": [self.weights[key] for key in model if key not in encoder]}]
        self.model_optimizer = torch.optim.Adam(groups, lr=config["lr"])
        self.policy_optimizer = torch.optim.Adam([self.weights[key] for key in policy], lr=config["lr"], eps=1e-5)
        found = [self._update(batch, model, policy) for batch in batches]
        for value in self.weights.values():
            value.requires_grad_(False)
        return found

    def _update(self, batch, model, policy):
        config, steps = self.config, range(self.sizes.horizon)
        with torch.no_grad():
            encoded = self.encode(batch["obs"][1:])
            future = self.two_values(encoded, self.sample(encoded), "_target_Qs").amin(0)
            target = batch["reward"].squeeze(-1) + DISCOUNT * future
        states, consistency = [self.encode(batch["obs"][0])], 0.0
        for t in steps:
            states.append(self.next(states[-1], batch["action"][t]))
            consistency = consistency + config["rho"] ** t * (states[-1] - encoded[t]).square().mean() / len(steps)
        reward = value = 0.0
        for t in steps:
            weight = config["rho"] ** t / len(steps)
            logits = self.reward_logits(states[t], batch["action"][t])
            reward = reward + weight * self.cross_entropy(logits, batch["reward"][t].squeeze(-1)).mean()
            for head in self.value_logits(states[t], batch["action"][t]):
                value = value + weight * self.cross_entropy(head, target[t]).mean() / self.sizes.heads
        total = config["consistency_coef"] * consistency + config["reward_coef"] * reward + config["value_coef"] * value
        self.model_optimizer.zero_grad()
        total.backward()
        everything = [self.weights[key] for key in (*model, *policy)]  # the policy's last gradient is among them
        norm = torch.nn.utils.clip_grad_norm_(everything, config["grad_clip_norm"])
        self.model_optimizer.step()
        metrics = {"consistency_loss": consistency, "reward_loss": reward, "value_loss": value, "total_loss": total}
        metrics |= {"grad_norm": norm, **self._update_policy(states, batch, model, policy)}
        with torch.no_grad():
            for key in model:
                if key.startswith("_Qs"):
                    self.weights[key.replace("_Qs", "_target_Qs")].lerp_(self.weights[key], config["tau"])
        return {name: float(torch.as_tensor(entry).detach()) for name, entry in metrics.items()}

    def _update_policy(self, states, batch, model, policy):
        """Climb the lesser head, and follow the plans with the weights of their states."""
        actions, coef = self.sizes.action, self.sizes.coef
        for key in model:
            self.weights[key].requires_grad_(False)
        climb = align = 0.0
        for t in range(self.sizes.horizon):
            z = states[t].detach()
            action, std = self.sample(z), self.policy(z)[1].exp().detach().clamp(min=0.05)
            q = self.two_values(z, action).amin(0)
            if t == 0:
                low, high = torch.quantile(q.detach(), torch.tensor([0.05, 0.95]))
                self.scale += self.config["tau"] * (max(float(high - low), 1.0) - self.scale)
            q = q / self.scale
            error = (action - batch["planner_mean"][t]) / std
            density = actions * ((-error.square() / 2 - std.log()).sum(-1) - HALF_LOG_TAU)
            density = density / self.scale if self.scale > 2 else 0 * density
            weight = self.config["rho"] ** t / self.sizes.horizon
            climb = climb - weight * q.mean()
            align = align - weight * (torch.softmax(q.detach(), 0) * density).sum()
        loss = climb + actions * coef * align
        self.policy_optimizer.zero_grad()
        loss.backward()
        clipped = torch.nn.utils.clip_grad_norm_([self.weights[key] for key in policy], self.config["grad_clip_norm"])
        self.policy_optimizer.step()
        for key in model:
            self.weights[key].requires_grad_(True)
        found = {"pi_loss": loss, "pi_q_loss": climb, "pi_fkl_loss": align, "pi_grad_norm": clipped}
        return {**found, "pi_scale": self.scale}

    # -- planning

    def sequence_value(self, z, actions):
        """Value sequences ``[horizon, ..., action]`` from ``z [..., latent]``: rewards, and the mean of two heads."""
        total = 0.0
        for t, action in enumerate(actions):
            total = total + DISCOUNT**t * self.decode(self.reward_logits(z, action))
            z = self.next(z, action)
        return total + DISCOUNT ** len(actions) * self.two_values(z, self.sample(z)).mean(0)

    def plans(self, obs, runs):
        """Plan ``runs`` times from ``obs [1, obs]``; return the chosen first actions ``[run, action]``."""
        config, horizon, actions = self.config, self.sizes.horizon, self.sizes.action
        z = self.encode(obs).expand(runs, -1)
        proposed, now = [], z.unsqueeze(1).expand(-1, config["num_pi_trajs"], -1)
        for _ in range(horizon):
            proposed.append(self.sample(now))
            now = self.next(now, proposed[-1])
        mean, std = torch.zeros(horizon, runs, actions), torch.full((horizon, runs, actions), float(config["max_std"]))
        drawn = config["num_samples"] - config["num_pi_trajs"]
        for _ in range(config["iterations"] + 2 * (actions >= 20)):
            noise = torch.randn(horizon, runs, drawn, actions, generator=self.generator)
            samples = (mean.unsqueeze(2) + std.unsqueeze(2) * noise).clamp(-1, 1)
            samples = torch.cat([torch.stack(proposed), samples], 2)
            value = self.sequence_value(z.unsqueeze(1).expand(-1, config["num_samples"], -1), samples)
            best, index = value.topk(config["num_elites"], -1)
            elites = samples.gather(2, index.view(1, runs, -1, 1).expand(horizon, -1, -1, actions))
            score = (config["temperature"] * (best - best.amax(-1, keepdim=True))).exp()
            score = (score / score.sum(-1, keepdim=True)).view(1, runs, -1, 1)
            mean = (score * elites).sum(2)
            std = (score * (elites - mean.unsqueeze(2)).square()).sum(2).sqrt()
            std = std.clamp(config["min_std"], config["max_std"])
        chosen = torch.multinomial(score.view(runs, -1), 1, generator=self.generator)
        return elites[0].gather(1, chosen.unsqueeze(-1).expand(-1, -1, actions)).squeeze(1)

    # -- the file

    @torch.no_grad()
    def inference(self):
        """Compute every network on 16 states."""
        sizes, number = self.sizes, 16
        obs, action = self._draw(number, sizes.obs), self._draw(number, sizes.action).tanh()
        latent = self.encode(obs)
        rewards, values = self.reward_logits(latent, action), self.value_logits(latent, action)
        mean, log_std = self.policy(latent)
        sequences = self._draw(sizes.horizon, number, sizes.action).tanh()
        targets = self.value_logits(latent, action, "_target_Qs")
        found = {"obs": obs, "action": action, "latent": latent, "next_latent": self.next(latent, action)}
        found |= {"policy_mean": mean.tanh(), "policy_log_std": log_std}
        found |= {"reward_logits": rewards, "reward": self.decode(rewards).unsqueeze(-1), "value_logits": values}
        found |= {"value": self.decode(values).unsqueeze(-1), "target_value": self.decode(targets).unsqueeze(-1)}
        value = self.sequence_value(latent, sequences).unsqueeze(-1)
        return {**found, "action_sequences": sequences, "sequence_value": value}

    def batch(self):
        """Draw a training batch."""
        shape = (self.sizes.horizon, self.sizes.batch)
        return {
            "obs": self._draw(shape[0] + 1, shape[1], self.sizes.obs),
            "action": self._draw(*shape, self.sizes.action).tanh(),
            "reward": self._draw(*shape, 1),
            "planner_mean": self._draw(*shape, self.sizes.action).tanh(),
            "planner_std": self._draw(*shape, self.sizes.action).abs() + 0.05,
        }


def make_file(sizes, updates=4, runs=200):
    """Make the dictionary of a parity file of these sizes."""
    plain = PlainBoom(sizes)
    state = {key: value.clone() for key, value in plain.weights.items()}
    state |= {"log_std_min": torch.tensor(-7.0), "log_std_dif": torch.tensor(0.1)}
    inference, obs = plain.inference(), plain._draw(1, sizes.obs)
    with torch.no_grad():
        planned = plain.plans(obs, runs)
    batches = [plain.batch() for _ in range(updates)]
    metrics = plain.learn(batches)
    with torch.no_grad():
        latent = plain.encode(inference["obs"])
        value = plain.decode(plain.value_logits(latent, inference["action"])).unsqueeze(-1)
        after = {"latent": latent, "value": value, "policy_mean": plain.policy(latent)[0].tanh()}
    planner = {"obs": obs, "runs": runs, "action_mean": planned.mean(0), "action_std": planned.std(0)}
    file = {"kind": "boom", "config": plain.config, "obs_dim": sizes.obs, "discount": DISCOUNT, "initial_scale": SCALE}
    file |= {"state_dict": state, "inference": inference, "planner": planner, "batches": batches, "metrics": metrics}
    return {**file, "after": after, **({"pair": list(sizes.pair)} if sizes.heads > 2 else {})}
