"""Drawing noise, and keeping the generators that drew it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from graph.node import Context
from graph.values import Denoiser, Latents
from nodes.sd import families
from nodes.sd.families import Floors
from nodes.sd.memory import named_out_of_memory
from nodes.sd.models import opened
from nodes.sd.room import check_room, roomiest
from nodes.sd.tensors import freeze, thaw
from nodes.sd.vae_tiles import tile_area

SEEDS = 2**64
PARALLEL = 1e-4
"""The sine of an angle between columns below which they are as good as parallel."""
TORCH_SEEDS = 2**32
"""torch's CPU generator (MT19937) takes the low 32 bits of a seed only."""


def draw_noise(ctx: Context, model: Denoiser, seed: int, width: int | None, height: int | None, count: int) -> Latents:
    """Draw noise for pictures of a size (pixels; None: the size that the model was trained at).

    Raises StepError for a size that the model's latents cannot have; OutOfMemory for one that no device here can
    denoise and decode, in whatever precision.
    """
    family, folder = families.named(model.family), opened(ctx.locate(model.digest), model.prediction)
    shape = family.latent_shape(folder, width, height)
    refuse_size(shape, family.floors(folder), count, family.factor(folder))
    generators = [generator(ctx, (seed + index) % SEEDS) for index in range(count)]
    with named_out_of_memory("cpu"):
        return unit_noise(shape, generators)


def unit_noise(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Latents:
    """Draw unit Gaussian noise: one sample of `shape` (channels, rows, columns) from each generator.

    Drawn on the CPU in fp32, whatever the device: what half precision computes with is this, rounded.
    """
    samples = torch.cat([torch.randn((1, *shape), generator=source, dtype=torch.float32) for source in generators])
    return Latents(freeze(samples), tuple(state(source) for source in generators), is_noise=True)


def varied(noise: Latents, other: Latents, share: float) -> Latents:
    """Go a part of the way (0 to 1) from noise to other noise, along the arcs between their columns.

    The columns of each channel are turned by themselves: what A1111 does with a variation seed.
    Source: Shoemake 1985, "Animating rotation with quaternion curves", section 3.3.
    """
    start, end = thaw(noise.samples).double(), thaw(other.samples).double()
    lengths = start.norm(dim=2, keepdim=True) * end.norm(dim=2, keepdim=True)
    angle = torch.acos(((start * end).sum(dim=2, keepdim=True) / lengths).clamp(-1, 1))
    whole = torch.sin(angle)
    turned = torch.sin((1 - share) * angle) / whole * start + torch.sin(share * angle) / whole * end
    between = torch.where(whole > PARALLEL, turned, torch.lerp(start, end, share))
    return replace(noise, samples=freeze(between.float()))


def refuse_size(shape: tuple[int, int, int], floors: Floors, count: int, factor: int) -> None:
    """Raise OutOfMemory for samples of a shape (channels, rows, columns) that no device here can sample."""
    channels, rows, columns = shape
    size, area = (columns * factor, rows * factor), rows * columns
    check_room("noise", 8 * channels * area * count, "cpu", size, factor)  # each sample, and the batch of them
    decoded = floors.decode * tile_area(*size) / factor**2
    check_room("a picture", int(2 * max(floors.step * area, decoded)), roomiest(), size, factor)


def generator(ctx: Context, seed: int) -> torch.Generator:
    """A generator on the CPU. A seed of more than 32 bits gives what its low 32 bits give, and a warning says so."""
    if seed >= TORCH_SEEDS:
        same = seed % TORCH_SEEDS
        ctx.warn(f"seed {seed} gives the same noise as seed {same}: torch's generator takes 32 bits of it")
    return torch.Generator().manual_seed(seed)


def state(source: torch.Generator) -> bytes:
    """Where a generator stands (5,056 bytes), to draw on from there."""
    return source.get_state().numpy().tobytes()


def resumed(saved: bytes) -> torch.Generator:
    """A generator that draws on from where another stood."""
    source = torch.Generator()
    source.set_state(torch.from_numpy(np.frombuffer(saved, np.uint8).copy()))
    return source
