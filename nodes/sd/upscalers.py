"""The super-resolution nets. Where nodes/sd/super_resolution.py says what a file holds, these compute with it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle, pixel_unshuffle

from nodes.sd.checkpoints import read_weight
from nodes.sd.pickles import read_entries
from nodes.sd.super_resolution import Compact, Esrgan, described

DAMPING = 0.2
"""What a block's result is multiplied by before it is added. Source: Wang et al. 2018 (arXiv:1809.00219), 3.1."""
LEAK = 0.2
"""The slope of ESRGAN's leaky ReLUs below zero."""


def load_upscaler(path: Path, dtype: torch.dtype) -> nn.Module:
    """Build a net on the CPU, in eval mode, with its weights as `dtype`. It takes and gives (n, 3, h, w) in 0..1.

    Raises MissingError for a file that holds no such net.
    """
    net, names = described(path)
    entries = read_entries(path)
    with torch.device("meta"):
        module = RRDBNet(net) if isinstance(net, Esrgan) else SRVGGNetCompact(net)
    state = {name: read_weight(path, entries[old], dtype) for name, old in names.items()}
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()


class RRDBNet(nn.Module):
    """ESRGAN's generator."""

    def __init__(self, net: Esrgan) -> None:
        super().__init__()
        wide, self.folded, self.doublings = net.features, net.folded, net.doublings
        self.conv_first = _conv(3 * net.folded**2, wide)
        self.body = nn.Sequential(*(ResidualBlock(wide, net.growth) for _ in range(net.blocks)))
        self.conv_body = _conv(wide, wide)
        for number in range(1, net.doublings + 1):
            self.add_module(f"conv_up{number}", _conv(wide, wide))
        self.conv_hr, self.conv_last = _conv(wide, wide), _conv(wide, 3)

    def forward(self, small: Tensor) -> Tensor:
        features = self.conv_first(pixel_unshuffle(small, self.folded))
        features = features + self.conv_body(self.body(features))
        for number in range(1, self.doublings + 1):
            larger = interpolate(features, scale_factor=2, mode="nearest")
            features = leaky_relu(self.get_submodule(f"conv_up{number}")(larger), LEAK)
        large: Tensor = self.conv_last(leaky_relu(self.conv_hr(features), LEAK))
        return large


class ResidualBlock(nn.Module):
    """Three dense blocks, each damped, and all of them once more."""

    def __init__(self, wide: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(wide, growth) for _ in range(3))

    def forward(self, features: Tensor) -> Tensor:
        return features + DAMPING * self.rdb3(self.rdb2(self.rdb1(features)))


class DenseBlock(nn.Module):
    """Five convolutions, each seeing what all before it gave."""

    def __init__(self, wide: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 6):
            self.add_module(f"conv{number}", _conv(wide + (number - 1) * growth, growth if number < 5 else wide))

    def forward(self, features: Tensor) -> Tensor:
        *growing, last = self.children()
        seen = features
        for conv in growing:
            seen = torch.cat([seen, leaky_relu(conv(seen), LEAK)], 1)
        return features + DAMPING * last(seen)


class SRVGGNetCompact(nn.Module):
    """Convolutions and PReLUs; what they give is added to the nearest pixel."""

    def __init__(self, net: Compact) -> None:
        super().__init__()
        wide, self.scale = net.features, net.scale
        layers = [_conv(3, wide), nn.PReLU(wide)]
        for _ in range(net.convolutions):
            layers += [_conv(wide, wide), nn.PReLU(wide)]
        self.body = nn.Sequential(*layers, _conv(wide, 3 * net.scale**2))

    def forward(self, small: Tensor) -> Tensor:
        return pixel_shuffle(self.body(small), self.scale) + interpolate(small, scale_factor=self.scale, mode="nearest")


def _conv(takes: int, gives: int) -> nn.Module:
    return nn.Conv2d(takes, gives, 3, padding=1)
