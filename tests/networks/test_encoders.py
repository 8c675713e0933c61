"""Encoders: the augmentation is a shift with repeated edges, and the latents lie on simplices."""

import numpy as np
import pytest
import torch
from torch import nn

from pompc.networks.encoders import PixelEncoder, StateEncoder, random_shift
from pompc.networks.layers import NormedLinear


def shifts(image, pad):
    """Make all shifted copies of ``image [channel, height, width]`` by their offset, with numpy."""
    height, width = image.shape[-2:]
    padded = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    offsets = [(down, right) for down in range(2 * pad + 1) for right in range(2 * pad + 1)]
    return {(y, x): torch.as_tensor(padded[:, y : y + height, x : x + width]) for y, x in offsets}


def which(shifted, image, pad):
    """Find the offset of every image of ``shifted [n, channel, height, width]`` among ``copies``."""
    table = shifts(image, pad)
    equal = torch.stack([(shifted == copy).flatten(1).all(-1) for copy in table.values()])
    assert (equal.sum(0) == 1).all()
    offsets = list(table)
    return [offsets[index] for index in equal.int().argmax(0).tolist()]


@pytest.mark.parametrize("pad", [0, 1, 3])
@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 9)])
def test_every_image_is_shifted_as_a_whole_with_repeated_edges(shape, pad):
    image = torch.rand(*shape)
    assert len(which(random_shift(image.expand(40, *shape), pad), image, pad)) == 40


def test_every_shift_is_as_likely_and_images_are_shifted_apart():
    image, count = torch.rand(1, 7, 7), 4900
    found = which(random_shift(image.expand(count, 1, 7, 7), 3), image, 3)
    counts = np.array([found.count(offset) for offset in shifts(image, 3)])
    assert ((counts - 100) ** 2 / 100).sum() < 84  # 48 degrees of freedom: exceeded once in a thousand


def test_every_image_keeps_its_own_content():
    images = torch.arange(5.0)[:, None, None, None] * torch.ones(5, 2, 8, 8)
    assert torch.equal(random_shift(images, 3), images)


@pytest.fixture(scope="module")
def pixels():
    torch.manual_seed(0)
    return PixelEncoder(9, 512, 8).eval()


def test_four_convolutions_end_in_4_by_4_of_32_channels(pixels):
    kernels = [(layer.out_channels, layer.kernel_size[0], layer.stride[0]) for layer in pixels.net[:-2:2]]
    assert kernels == [(32, 7, 2), (32, 5, 2), (32, 3, 2), (32, 3, 1)]
    assert pixels.net[:-2](torch.zeros(1, 9, 64, 64)).shape == (1, 32, 4, 4)
    assert PixelEncoder(9, 128, 8)(torch.zeros(1, 9, 64, 64)).shape == (1, 128)


@pytest.mark.parametrize("lead", [(2,), (3, 2)])
def test_pixels_become_simplices_of_eight(pixels, lead):
    latent = pixels(torch.randint(0, 256, (*lead, 9, 64, 64), dtype=torch.uint8))
    assert latent.shape == (*lead, 512)
    torch.testing.assert_close(latent.unflatten(-1, (64, 8)).sum(-1), torch.ones(*lead, 64))


def test_leading_dimensions_keep_their_order(pixels):
    """Shifting does not change images of one colour, so every latent belongs to one image."""
    level = torch.randint(0, 256, (3, 2, 9, 1, 1), dtype=torch.uint8)
    images = level.expand(3, 2, 9, 64, 64)
    latent = pixels(images)
    for first in range(3):
        for second in range(2):
            alone = pixels.net(images[first, second].unsqueeze(0).float() / 255 - 0.5)
            torch.testing.assert_close(latent[first, second], alone[0])


def test_acting_shifts_too_and_a_seed_repeats_it(pixels):
    images = torch.randint(0, 256, (2, 9, 64, 64), dtype=torch.uint8)
    latents = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        latents.append(pixels(images))
    assert torch.equal(latents[0], latents[2])
    assert not torch.equal(latents[0], latents[1])


@pytest.mark.parametrize(("layers", "expected"), [(1, 2), (2, 2), (5, 5)])
def test_state_encoders_have_the_layers_they_are_told_and_at_least_two(layers, expected):
    encoder = StateEncoder(7, 24, layers, 16, 8)
    assert [type(layer) for layer in encoder.net] == [NormedLinear] * expected
    widths = [layer.linear.out_features for layer in encoder.net]
    assert widths == [24] * (expected - 1) + [16]
    latent = encoder(torch.randn(3, 2, 7) * 50)
    assert latent.shape == (3, 2, 16)
    torch.testing.assert_close(latent.unflatten(-1, (2, 8)).sum(-1), torch.ones(3, 2, 2))


def test_gradients_reach_the_first_layer(pixels):
    weight = torch.randn(512)
    (pixels(torch.rand(2, 9, 64, 64) * 255) @ weight).sum().backward()
    first = next(layer for layer in pixels.net if isinstance(layer, nn.Conv2d))
    assert first.weight.grad.abs().sum() > 0
