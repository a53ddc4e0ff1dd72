"""Train the VAE: pictures (3, 128, 128) in -1..1 to latents (4, 16, 16) and back.

It starts near the identity. The residual stream carries [r, g, b, -r, -g, -b, +3, -3]: the constants keep
the group norm from erasing flat colour, and silu(x) - silu(-x) = x turns the last layer into a copy. So the
untrained VAE already shrinks and enlarges a picture (about 20 dB), and training adds the edges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

Pixels = NDArray[np.uint8]
_CARRIED = 8
_NOISE = 0.04
"""Deviation of every latent before it is made standard. It is fixed: with a learned one and a KL term, the
fourth channel, in which the fine detail is, was given up for noise."""


def to_signal(pixels: Pixels) -> Tensor:
    """Turn (n, h, w, 3) bytes into (n, 3, h, w) float in -1..1."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2).contiguous() / 127.5 - 1


def to_pixels(signal: Tensor) -> Pixels:
    """Turn (n, 3, h, w) in -1..1 into (n, h, w, 3) bytes; values outside are clipped."""
    scaled = ((signal.detach() + 1) * 127.5).round().clamp(0, 255)
    pixels: Pixels = scaled.to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def new_vae(sample: Tensor) -> AutoencoderKL:
    """Make a VAE that is nearly the identity; `sample`, (n, 3, 128, 128), sets the scale of its norms."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(12, 24, 48, 48),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=1,
        mid_block_add_attention=False,
        latent_channels=4,
        sample_size=128,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        _near_identity(vae)
        _calibrate(vae, sample)
    return vae


def finish_encoder(vae: AutoencoderKL, pixels: Pixels) -> float:
    """Give the fourth latent its meaning and every latent mean 0 and deviation 1; the encoder is then final.

    Trained from the identity, three channels carry the colours and the fourth stays empty. It gets what the
    decoder misses most, the first principal component of its error in a cell of 8x8 pixels, read off the
    encoder's last features by least squares. The decoder learns to use it in its own lesson.

    pixels: (n, 128, 128, 3), a fair sample of the training pictures.
    Returns the share of that component's variance which the features explain.
    """
    signal = to_signal(pixels)
    with torch.no_grad():
        _fold(vae.encoder.conv_out, vae.quant_conv)
        missed = _most_missed(vae, signal)
        explained = _fit_fourth(vae, signal, missed)
        _standardise(vae, signal)
    return explained


def _fold(conv: nn.Conv2d, mix: nn.Conv2d) -> None:
    """Move a 1x1 convolution into the one before it; it becomes the identity."""
    matrix = mix.weight[:, :, 0, 0]
    conv.weight.copy_(torch.einsum("ij,jkhw->ikhw", matrix, conv.weight))
    conv.bias.copy_(matrix @ conv.bias + mix.bias)
    mix.weight.copy_(torch.eye(len(matrix))[..., None, None])
    mix.bias.zero_()


def _most_missed(vae: AutoencoderKL, signal: Tensor) -> Tensor:
    """Project the pictures on the decoder's commonest error within a cell: (n, 16, 16)."""
    error = _cells(vae.decode(vae.encode(signal).latent_dist.mean).sample - signal)
    _, directions = torch.linalg.eigh(error.flatten(0, 2).T @ error.flatten(0, 2))
    # eigh sorts upwards; the sign is set by the first number, so that it is always the same.
    direction = directions[:, -1] * directions[0, -1].sign()
    return _cells(signal) @ direction


def _cells(signal: Tensor) -> Tensor:
    """Cut (n, 3, h, w) into cells of 8x8 pixels: (n, h/8, w/8, 192)."""
    cut = signal.unfold(2, 8, 8).unfold(3, 8, 8)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3)


def _fit_fourth(vae: AutoencoderKL, signal: Tensor, wanted: Tensor) -> float:
    """Let latent 3 be the linear guess at `wanted` from the last features; return the share explained."""
    seen: list[Tensor] = []
    handle = vae.encoder.conv_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    vae.encode(signal)
    handle.remove()
    columns = nn.functional.unfold(seen[0], 3, padding=1).transpose(1, 2).flatten(0, 1).double()
    columns = torch.cat([columns, torch.ones(len(columns), 1)], 1)
    target = wanted.flatten().double()
    ridge = 1e-4 * len(columns) * torch.eye(columns.shape[1])
    answer = torch.linalg.solve(columns.T @ columns + ridge, columns.T @ target)
    conv = vae.encoder.conv_out
    conv.weight[3] = answer[:-1].view_as(conv.weight[3]).float()
    conv.bias[3] = answer[-1].float()
    return float(1 - (columns @ answer - target).var() / target.var())


def _standardise(vae: AutoencoderKL, signal: Tensor) -> None:
    """Scale and shift the latents in the two 1x1 convolutions; their variances become a constant."""
    latents = vae.encode(signal).latent_dist.mean
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, back = vae.quant_conv, vae.post_quant_conv
    into.weight[:4] /= deviation[:, None, None, None]
    into.bias[:4] = (into.bias[:4] - mean) / deviation
    into.weight[4:] = 0
    into.bias[4:] = 2 * math.log(_NOISE)
    back.weight[:, 3] = 0
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight *= deviation[None, :, None, None]
    back.weight[3, 3] = 0.3


@dataclass
class Both:
    """Lesson one: encoder and decoder together."""

    student: AutoencoderKL
    pixels: Pixels

    def loss(self, rng: np.random.Generator, progress: float) -> Tensor:
        batch = to_signal(_crops(self.pixels, rng, 16, 64) if progress < 0.6 else _whole(self.pixels, rng, 4))
        mean = self.student.encode(batch).latent_dist.mean
        back = self.student.decode(mean + _NOISE * torch.randn_like(mean)).sample
        return _difference(back, batch) + 1e-3 * mean.square().mean()


class Decoder:
    """Lesson two: the decoder alone, on crops with edges in them."""

    def __init__(self, vae: AutoencoderKL, pixels: Pixels) -> None:
        self.vae, self.pixels = vae, pixels
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
        self.student = nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})

    def loss(self, rng: np.random.Generator, progress: float) -> Tensor:
        batch = to_signal(_busy_crops(self.pixels, rng, 16, 64) if progress < 0.6 else _whole(self.pixels, rng, 4))
        with torch.no_grad():
            latents = self.vae.encode(batch).latent_dist.sample()
        return _difference(self.vae.decode(latents).sample, batch)


def _difference(made: Tensor, wanted: Tensor) -> Tensor:
    gap = made - wanted
    slopes = gap.diff(dim=-1).abs().mean() + gap.diff(dim=-2).abs().mean()
    return gap.abs().mean() + gap.square().mean() + 0.5 * slopes


def _whole(pixels: Pixels, rng: np.random.Generator, count: int) -> Pixels:
    return pixels[np.sort(rng.choice(len(pixels), count, replace=False))]


def _crops(pixels: Pixels, rng: np.random.Generator, count: int, size: int) -> Pixels:
    corners = rng.integers(0, (128 - size) // 8 + 1, (count, 2)) * 8
    some = rng.integers(0, len(pixels), count)
    return np.stack([pixels[n, y : y + size, x : x + size] for n, (y, x) in zip(some, corners, strict=True)])


def _busy_crops(pixels: Pixels, rng: np.random.Generator, count: int, size: int) -> Pixels:
    """Choose the half of twice as many crops in which more happens."""
    crops = _crops(pixels, rng, 2 * count, size)
    busy = np.abs(np.diff(crops.astype(np.int16), axis=2)).mean((1, 2, 3))
    return crops[np.argsort(busy)[count:]]


def _near_identity(vae: AutoencoderKL) -> None:
    for name, layer in vae.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight *= 0.1
            layer.bias.zero_()
            if "conv_shortcut" in name or "upsamplers" in name:
                _copy_channels(layer)
            elif "downsamplers" in name:
                _average_channels(layer)
    _spread_colours(vae.encoder.conv_in)
    _spread_colours(vae.decoder.conv_in)
    _gather_colours(vae.encoder.conv_out)
    _gather_colours(vae.decoder.conv_out)
    # The fourth latent starts as a mixture of everything else.
    vae.encoder.conv_out.weight[3] = torch.randn_like(vae.encoder.conv_out.weight[3]) * 0.25
    vae.encoder.conv_out.weight[4:] = 0
    vae.encoder.conv_out.bias[4:] = 2 * math.log(_NOISE)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.copy_(torch.eye(conv.weight.shape[0])[..., None, None])


def _copy_channels(conv: nn.Conv2d) -> None:
    middle = conv.kernel_size[0] // 2
    for channel in range(min(conv.in_channels, conv.out_channels)):
        conv.weight[channel, :, middle, middle] = 0
        conv.weight[channel, channel, middle, middle] = 1


def _average_channels(conv: nn.Conv2d) -> None:
    for channel in range(conv.out_channels):
        conv.weight[channel, channel, :2, :2] += 0.25


def _spread_colours(conv: nn.Conv2d) -> None:
    conv.weight[:_CARRIED] = 0
    for colour in range(3):
        conv.weight[colour, colour, 1, 1] = 1
        conv.weight[colour + 3, colour, 1, 1] = -1
    conv.bias[6], conv.bias[7] = 3, -3


def _gather_colours(conv: nn.Conv2d) -> None:
    for colour in range(3):
        conv.weight[colour] *= 0.1
        conv.weight[colour, colour, 1, 1] = 1
        conv.weight[colour, colour + 3, 1, 1] = -1


def _calibrate(vae: AutoencoderKL, sample: Tensor) -> None:
    """Let the two last norms undo, on average, what they do."""
    with _watching(vae.encoder.conv_norm_out):
        latents = vae.encode(sample).latent_dist.mean
    with _watching(vae.decoder.conv_norm_out):
        vae.decode(latents)


@contextmanager
def _watching(norm: nn.GroupNorm) -> Iterator[None]:
    """Set the norm's weight and bias from the next thing that passes, before it passes."""

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        flat = inputs[0].flatten(1)
        norm.weight.fill_(flat.std(1).mean().item())
        norm.bias.fill_(flat.mean().item())

    handle = norm.register_forward_pre_hook(look)
    yield
    handle.remove()
