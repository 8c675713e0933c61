"""Encode observations into latent states."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pompc.errors import UserError
from pompc.networks.layers import mlp, simplices


def random_shift(images: Tensor, pad: int) -> Tensor:
    """Shift every image ``[n, channel, height, width]`` by up to ``pad`` pixels, edges repeated (Yarats et al. 2021)."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (pad,) * 4, mode="replicate")
    offset = torch.randint(0, 2 * pad + 1, (2, count, 1), device=images.device)
    ys = (offset[0] + torch.arange(height, device=images.device))[:, None, :, None]
    xs = (offset[1] + torch.arange(width, device=images.device))[:, None, None, :]
    image = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[image, channel, ys, xs]


class PixelEncoder(nn.Module):
    """Four convolutions over stacked frames of 64 x 64 pixels (TD-MPC2, appendix). Acting shifts the frames at random too.

    Args:
        channels: channels of all stacked frames.
        latent_dim: size of the latent, a multiple of 16. The published 512 are 32 channels of 4 x 4.
        group: entries of a group of the simplicial normalisation; ``None`` leaves it out.

    Raises:
        UserError: the latent is not a multiple of 16.
    """

    def __init__(self, channels: int, latent_dim: int, group: int | None) -> None:
        super().__init__()
        if latent_dim % 16:
            raise UserError(f"algo.latent_dim={latent_dim}: from images it must be a multiple of 16")
        width = latent_dim // 16
        kernels = ((7, 2), (5, 2), (3, 2), (3, 1))
        layers: list[nn.Module] = []
        for index, (kernel, stride) in enumerate(kernels):
            layers += [nn.Conv2d(channels if index == 0 else width, width, kernel, stride=stride), nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1], nn.Flatten(), simplices(group))

    def forward(self, observation: Tensor) -> Tensor:
        """Encode pictures in [0, 255]: ``[..., channel, 64, 64]`` -> ``[..., latent]``."""
        images = random_shift(observation.reshape(-1, *observation.shape[-3:]).float(), pad=3)
        return self.net(images / 255.0 - 0.5).view(*observation.shape[:-3], -1)


class StateEncoder(nn.Module):
    """A normalised network over flat observations (TD-MPC2, section 3.1).

    Args:
        observation_dim: size of an observation.
        hidden: width of the hidden layers.
        layers: number of layers, the last included.
        latent_dim: size of the latent.
        group: entries of a group of the simplicial normalisation; ``None`` leaves it out.
    """

    def __init__(self, observation_dim: int, hidden: int, layers: int, latent_dim: int, group: int | None) -> None:
        super().__init__()
        self.net = mlp([observation_dim, *[hidden] * max(layers - 1, 1), latent_dim], last=simplices(group))

    def forward(self, observation: Tensor) -> Tensor:
        """Encode flat observations: ``[..., observation]`` -> ``[..., latent]``."""
        return self.net(observation)
