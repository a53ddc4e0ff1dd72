"""Train the net that enlarges what the built-in model paints four times: `python -m training.upscaler`.

The net is the compact one of Real-ESRGAN: 3x3 convolutions at the small size, the colours of 4x4 pixels at once in
the last, added to the nearest pixel. It starts as the bilinear filter, exactly: three features carry the colours
through (PReLU with slope 1 is the identity), the last convolution is bilinear minus nearest.
Source: Wang et al. 2021 (arXiv:2107.10833); Shi et al. 2016 (arXiv:1609.05158) for the rearranged pixels.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch import Tensor, nn

from training import heap  # noqa: F401  # before torch allocates anything
from training.drawing import draw, draw_figures
from training.loop import Course, train
from training.pictures import COUNT, scene_of
from training.vae import to_pixels, to_signal

SCALE, FEATURES, CONVOLUTIONS = 4, 24, 5
COURSE = Course("upscaler", steps=4000, rate=2e-3, cooldown=0.7, decay=0.995, weight_decay=0.0, workers=1)
VAE = Path("nodes/sd/tiny/vae")
TARGET = Path("nodes/sd/tiny/upscaler/model.safetensors")
WORK = Path("build/tiny")
FIGURES, LANDSCAPES, HELD_OUT = 300, 300, 40
"""How many scenes of each kind are learned from, and how many of each are kept for the score."""
BATCH, CROP = 16, 16
"""Crops a step, and their side in small pixels."""
MARGIN = 8
"""Small pixels around a crop that the net sees too; past the picture's border, its outermost pixels again."""
Pixels = NDArray[np.uint8]


class Pair(NamedTuple):
    """A small picture, (h, w, 3), and what it should become, (4 h, 4 w, 3)."""

    small: Pixels
    large: Pixels


class Compact(nn.Module):
    """The net. Takes and gives (n, 3, h, w) in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *[FEATURES] * (CONVOLUTIONS + 1)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.PReLU(after, init=0.1)]
        self.body = nn.Sequential(*layers, nn.Conv2d(FEATURES, 3 * SCALE**2, 3, padding=1))
        with torch.no_grad():
            self._start_bilinear()

    def forward(self, small: Tensor) -> Tensor:
        detail = nn.functional.pixel_shuffle(self.body(small), SCALE)
        return detail + nn.functional.interpolate(small, scale_factor=SCALE, mode="nearest")

    def _start_bilinear(self) -> None:
        *layers, last = self.body
        for layer in layers:
            layer.weight[:3] = 1.0 if isinstance(layer, nn.PReLU) else 0.0
            if isinstance(layer, nn.Conv2d):
                layer.bias.zero_()
                for colour in range(3):
                    layer.weight[colour, colour, 1, 1] = 1.0
        last.weight.zero_()
        last.bias.zero_()
        for colour in range(3):
            last.weight[colour * SCALE**2 : (colour + 1) * SCALE**2, colour] = _bilinear() - _nearest()


def _bilinear() -> Tensor:
    """The share of each of 3x3 small pixels in each of 4x4 large ones: (16, 3, 3)."""
    places = (torch.arange(SCALE) + 0.5) / SCALE - 0.5
    along = (1 - (places[:, None] - torch.arange(-1, 2)).abs()).clamp(min=0)
    return torch.einsum("ay,bx->abyx", along, along).reshape(SCALE**2, 3, 3)


def _nearest() -> Tensor:
    share = torch.zeros(SCALE**2, 3, 3)
    share[:, 1, 1] = 1.0
    return share


def pairs(first: int, figures: int, landscapes: int) -> list[Pair]:
    """Make pairs from the scenes that follow number `first`.

    Of figures there are two: reduced, and reduced and then encoded and decoded, as the model's pictures are. A
    landscape cannot be drawn larger; it is reduced itself.
    """
    whole = AutoencoderKL.from_pretrained(VAE, local_files_only=True)
    made: list[Pair] = []
    counts = {True: landscapes, False: figures}
    number = first
    while any(counts.values()):
        scene, number = scene_of(number), number + 1
        flat = scene.words["kind"] == "landscape"
        if not counts[flat]:
            continue
        counts[flat] -= 1
        large = draw(scene) if flat else draw_figures(scene, SCALE)
        small = np.asarray(Image.fromarray(large).reduce(SCALE))
        made.append(Pair(small, large))
        if not flat:
            made.append(Pair(_through(whole, small), large))
    return made


def _through(vae: AutoencoderKL, picture: Pixels) -> Pixels:
    with torch.no_grad():
        return to_pixels(vae.decode(vae.encode(to_signal(picture[None])).latent_dist.mean).sample)[0]


class Enlarging:
    """Lesson: large crops from small ones, half of them where much happens. Crops at random alone teach nothing but
    flat colour, and lose to Lanczos."""

    def __init__(self, known: list[Pair]) -> None:
        torch.manual_seed(0)
        self.student, self.known = Compact(), known

    def loss(self, rng: np.random.Generator, progress: float) -> Tensor:
        crops = sorted((self._crop(rng) for _ in range(2 * BATCH)), key=lambda pair: -_unrest(pair.large))[:BATCH]
        gap = _inner(self.student(_unit(crops, "small"))) - _unit(crops, "large")
        # Charbonnier's loss: Lai et al. 2017 (arXiv:1704.03915), section 3.3.
        return (gap.square() + 1e-6).sqrt().mean()

    def _crop(self, rng: np.random.Generator) -> Pair:
        small, large = self.known[rng.integers(len(self.known))]
        y, x = rng.integers(0, small.shape[0] - CROP + 1, 2)
        cut = Pair(
            _framed(small)[y : y + CROP + 2 * MARGIN, x : x + CROP + 2 * MARGIN],
            large[SCALE * y : SCALE * (y + CROP), SCALE * x : SCALE * (x + CROP)],
        )
        turn, flip = int(rng.integers(4)), int(rng.integers(2))
        return Pair(*(np.rot90(side, turn)[:, :: 1 - 2 * flip] for side in cut))


def _framed(small: Pixels) -> Pixels:
    return np.pad(small, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), "edge")


def _inner(made: Tensor) -> Tensor:
    cut = SCALE * MARGIN
    return made[..., cut:-cut, cut:-cut]


def _unrest(pixels: Pixels) -> float:
    return float(np.abs(np.diff(pixels.astype(np.int16), axis=0)).mean())


def _unit(crops: list[Pair], side: str) -> Tensor:
    stacked = np.stack([getattr(pair, side) for pair in crops]).astype(np.float32)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 255


def enlarge(net: nn.Module, small: Pixels) -> Pixels:
    """Enlarge one picture, (h, w, 3)."""
    with torch.no_grad():
        made = _inner(net(_unit([Pair(_framed(small), small)], "small"))).clamp(0, 1)
    pixels: Pixels = (made[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return pixels


def scores(net: nn.Module) -> dict[str, dict[str, float]]:
    """Mean PSNR in dB over held-out scenes, of the net and of Lanczos: everywhere, and where edges are."""
    known = pairs(COUNT + 10_000, HELD_OUT, HELD_OUT)
    landscapes = [pair for pair in known if len(pair.large) == 128]
    figures = [pair for pair in known if len(pair.large) > 128]
    kinds = {"figures, reduced": figures[::2], "figures, decoded": figures[1::2], "landscapes, reduced": landscapes}
    return {name: _score(net, some) for name, some in kinds.items()}


def _score(net: nn.Module, some: list[Pair]) -> dict[str, float]:
    ours = [enlarge(net, pair.small) for pair in some]
    size = some[0].large.shape[1::-1]
    theirs = [np.asarray(Image.fromarray(pair.small).resize(size, Image.Resampling.LANCZOS)) for pair in some]
    edges = [_edges(pair.large) for pair in some]
    everywhere = [np.ones_like(edge) for edge in edges]
    frame = [_frame(edge) for edge in edges]
    places = {"everywhere": everywhere, "edges": edges, "border": frame}
    return {
        f"{place}, {who}": round(
            float(np.mean([_psnr(a, pair.large, m) for a, pair, m in zip(made, some, masks, strict=True)])), 2
        )
        for place, masks in places.items()
        for who, made in (("net", ours), ("lanczos", theirs))
    }


def _edges(pixels: Pixels) -> NDArray[np.bool_]:
    """Within four pixels of a step of colour."""
    signed = pixels.astype(np.int16)
    steps = np.zeros(signed.shape[:2], bool)
    steps[1:] |= np.abs(np.diff(signed, axis=0)).max(-1) > 20
    steps[:, 1:] |= np.abs(np.diff(signed, axis=1)).max(-1) > 20
    return np.asarray(Image.fromarray(steps.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(9))) > 0


def _frame(like: NDArray[np.bool_]) -> NDArray[np.bool_]:
    frame = np.ones_like(like)
    frame[8:-8, 8:-8] = False
    return frame


def _psnr(made: Pixels, wanted: Pixels, where: NDArray[np.bool_]) -> float:
    gap = (made.astype(np.float32) - wanted.astype(np.float32))[where]
    return float(10 * np.log10(255**2 / max(float(np.square(gap).mean()), 1e-2)))


def _lesson() -> Enlarging:
    return Enlarging(pairs(0, FIGURES, LANDSCAPES))


def main() -> None:
    """Train, write the weights in half precision, and print the scores."""
    net = Compact()
    net.load_state_dict(train(_lesson, COURSE, WORK))
    net.half().float()
    TARGET.parent.mkdir(exist_ok=True)
    save_file({name: weight.half().contiguous() for name, weight in net.state_dict().items()}, TARGET)
    json.dump(scores(net.eval()), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
