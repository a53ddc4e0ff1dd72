"""Between pictures and latents."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from graph.errors import StepError
from graph.node import Context
from graph.values import Latents, Picture, Vae
from nodes.sd import families
from nodes.sd.checkpoints import compute_dtype
from nodes.sd.models import opened
from nodes.sd.noise import generator, state
from nodes.sd.residency import weights
from nodes.sd.room import check_room
from nodes.sd.tensors import channels_last, freeze, in_layout, thaw
from nodes.sd.vae_tiles import Span, granted, in_tiles, spans, tile_side

Compute = Callable[[torch.Tensor], torch.Tensor]


def encode_picture(ctx: Context, handle: Vae, picture: Picture, seed: int, tile: int | None) -> Latents:
    """Sample the latents of a picture; `tile` is as the node says.

    Raises StepError for sides that are no multiples of the VAE's factor; OutOfMemory, before the weights are loaded,
    for a size that can never fit.
    """
    factor = check_picture(ctx, handle, picture, tile)
    with weights.use(handle, ctx) as vae, torch.inference_mode():
        source = generator(ctx, seed)
        moments = encoded(ctx, vae, to_tensor(picture), factor, tile)
        latents = _finite(vae.config.scaling_factor * DiagonalGaussianDistribution(moments).sample(source))
        samples = latents.float()
        return Latents(freeze(samples), (state(source),), channels_last=channels_last(samples))


def check_picture(ctx: Context, handle: Vae, picture: Picture, tile: int | None) -> int:
    """Make sure that a picture can be encoded; gives the VAE's factor. Raises as `encode_picture` does."""
    family, model = families.named(handle.family), opened(ctx.locate(handle.digest))
    factor, size = family.factor(model), (picture.width, picture.height)
    check_sides(picture, factor, "the VAE")
    _refuse_room(ctx, "encoding", family.floors(model).encode / factor**2, size, tile, factor)
    return factor


def encoded(ctx: Context, vae: Any, pixels: torch.Tensor, factor: int, tile: int | None) -> torch.Tensor:
    """Give the distribution of a picture's latents: means and logarithms of variances, (1, 2 * channels, ...).

    pixels: (1, 3, height, width), -1 to 1.
    """

    def compute(part: torch.Tensor) -> torch.Tensor:
        moments: torch.Tensor = vae.encode(part.to(ctx.device, vae.dtype)).latent_dist.parameters
        return moments

    rows, columns = _tiles(pixels, factor, granted(ctx, tile), factor)
    return in_tiles(_counted(ctx, compute, len(rows) * len(columns)), pixels, rows, columns, factor, 1)


def decode_latents(ctx: Context, handle: Vae, latents: Latents, tile: int | None) -> list[Picture]:
    """Decode every sample by itself; `tile` is as the node says.

    Raises StepError for latents of another kind of model, and where the VAE gives values that are no numbers;
    OutOfMemory, before the weights are loaded, for a size that can never fit.
    """
    if latents.level:
        ctx.warn(
            f"the latents have noise of level {latents.level:.3g} left: "
            "let another sampler go on from the step at which theirs ended"
        )
    family, model = families.named(handle.family), opened(ctx.locate(handle.digest))
    factor, (*_, rows, columns) = family.factor(model), latents.samples.shape
    size = (columns * factor, rows * factor)
    _refuse_room(ctx, "decoding", family.floors(model).decode / factor**2, size, tile, factor)
    samples = in_layout(thaw(latents.samples), latents.channels_last)
    with weights.use(handle, ctx) as vae, torch.inference_mode():
        if samples.shape[1] != vae.config.latent_channels:
            raise StepError(
                f"latents have {samples.shape[1]} channels, but this VAE takes {vae.config.latent_channels}",
                hint="Decode with the VAE of the same model.",
            )
        down, across = _tiles(samples, 1, granted(ctx, tile), factor)

        def compute(part: torch.Tensor) -> torch.Tensor:
            return family.decode(vae, part.to(ctx.device, vae.dtype))

        counted = _counted(ctx, compute, len(samples) * len(down) * len(across))
        return [to_picture(_finite(in_tiles(counted, one, down, across, 1, factor))) for one in samples.split(1)]


def _tiles(source: torch.Tensor, takes: int, tile: int | None, factor: int) -> tuple[list[Span], list[Span]]:
    """The tiles down and across, in latents."""
    rows, columns = (side // takes for side in source.shape[-2:])
    side = tile_side(columns * factor, rows * factor, tile) // factor
    return spans(rows, side), spans(columns, side)


def _counted(ctx: Context, compute: Compute, total: int) -> Compute:
    """The same, saying after each time how many of `total` are done."""
    done = itertools.count(1)

    def counted(part: torch.Tensor) -> torch.Tensor:
        made = compute(part)
        ctx.progress(next(done), total)
        return made

    return counted


def to_tensor(picture: Picture) -> torch.Tensor:
    """Turn a picture into float32 (1, 3, height, width), -1 to 1. Alpha is dropped, grey is spread over RGB.

    Lies in memory pixel by pixel, as diffusers' VaeImageProcessor leaves it: another layout gives other bits.
    """
    pixels = np.array(picture.pixels.convert("RGB")).astype(np.float32) / 255.0
    return 2.0 * torch.from_numpy(pixels[None].transpose(0, 3, 1, 2)) - 1.0


def to_picture(decoded: torch.Tensor) -> Picture:
    """Turn (1, 3, height, width), -1 to 1, into a picture: clipped, and rounded half to even as diffusers does."""
    unit = (decoded * 0.5 + 0.5).clamp(0, 1)
    pixels = unit.cpu().permute(0, 2, 3, 1).float().numpy()[0]
    return Picture(Image.fromarray((pixels * 255).round().astype("uint8")))


def check_sides(picture: Picture, factor: int, taker: str) -> None:
    """Raise StepError, with the nearest sizes, for sides that are no multiples of what `taker` takes."""
    if picture.width % factor or picture.height % factor:
        near = " or ".join(dict.fromkeys(f"{_near(picture, factor, up)}" for up in (False, True)))
        raise StepError(
            f"the picture is {picture.width} x {picture.height} pixels, but {taker} takes multiples of {factor}",
            hint=f"Put a resize node with multiple_of: {factor} before it. The nearest sizes are {near}.",
        )


def _finite(made: torch.Tensor) -> torch.Tensor:
    if not bool(made.isfinite().all()):
        raise StepError(
            "the VAE gave values that are no numbers",
            hint="Try precision: fp32 in load_model; if that is so already, fetch the model again.",
        )
    return made


def _refuse_room(ctx: Context, what: str, floor: float, size: tuple[int, int], tile: int | None, factor: int) -> None:
    """floor: numbers in memory at one time for each pixel of the picture."""
    side = tile_side(*size, granted(ctx, tile))
    part = (min(size[0], side), min(size[1], side))
    needed = int(floor * part[0] * part[1]) * compute_dtype("vae", ctx.precision).itemsize
    check_room(what if part == size else f"{what} a tile", needed, ctx.device, part, factor)


def _near(picture: Picture, factor: int, up: bool) -> str:
    sides = (picture.width, picture.height)
    return " x ".join(str(max(factor, (side // factor + (up and side % factor > 0)) * factor)) for side in sides)
