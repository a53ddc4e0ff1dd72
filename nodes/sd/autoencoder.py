"""Between pictures and latents."""

from __future__ import annotations

import numpy as np
import torch
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


def encode_picture(ctx: Context, handle: Vae, picture: Picture, seed: int) -> Latents:
    """Sample the latents of a picture.

    Raises StepError for sides that are no multiples of the VAE's factor; OutOfMemory, before the weights are loaded,
    for a size that can never fit.
    """
    family, folder = families.named(handle.family), opened(ctx.locate(handle.digest))
    factor, area = family.factor(folder), picture.width * picture.height
    _refuse_size(picture, factor)
    numbers = family.floors(folder).encode * area / factor**2
    _refuse_room(ctx, "encoding", numbers, (picture.width, picture.height), factor)
    with weights.use(handle, ctx) as vae, torch.inference_mode():
        source = generator(ctx, seed)
        pixels = to_tensor(picture).to(vae.device, vae.dtype)
        latents = _finite(vae.config.scaling_factor * vae.encode(pixels).latent_dist.sample(source))
        samples = latents.float()
        return Latents(freeze(samples), (state(source),), channels_last=channels_last(samples))


def decode_latents(ctx: Context, handle: Vae, latents: Latents) -> list[Picture]:
    """Decode every sample by itself.

    Raises StepError for latents of another kind of model, and where the VAE gives values that are no numbers;
    OutOfMemory, before the weights are loaded, for a size that can never fit.
    """
    family, folder = families.named(handle.family), opened(ctx.locate(handle.digest))
    factor, (*_, rows, columns) = family.factor(folder), latents.samples.shape
    numbers = family.floors(folder).decode * rows * columns
    _refuse_room(ctx, "decoding", numbers, (columns * factor, rows * factor), factor)
    samples = in_layout(thaw(latents.samples), latents.channels_last)
    pictures = []
    with weights.use(handle, ctx) as vae, torch.inference_mode():
        if samples.shape[1] != vae.config.latent_channels:
            raise StepError(
                f"latents have {samples.shape[1]} channels, but this VAE takes {vae.config.latent_channels}",
                hint="Decode with the VAE of the same model.",
            )
        for index in range(len(samples)):
            one = samples[index : index + 1].to(vae.device, vae.dtype)
            pictures.append(to_picture(_finite(family.decode(vae, one))))
            ctx.progress(index + 1, len(samples))
    return pictures


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


def _finite(made: torch.Tensor) -> torch.Tensor:
    if not bool(made.isfinite().all()):
        raise StepError(
            "the VAE gave values that are no numbers",
            hint="Try precision: fp32 in load_model; if that is so already, fetch the model again.",
        )
    return made


def _refuse_room(ctx: Context, what: str, numbers: float, size: tuple[int, int], factor: int) -> None:
    check_room(what, int(numbers) * compute_dtype("vae", ctx.precision).itemsize, ctx.device, size, factor)


def _refuse_size(picture: Picture, factor: int) -> None:
    if picture.width % factor or picture.height % factor:
        near = " or ".join(dict.fromkeys(f"{_near(picture, factor, up)}" for up in (False, True)))
        raise StepError(
            f"the picture is {picture.width} x {picture.height} pixels, but the VAE takes multiples of {factor}",
            hint=f"Put a resize node with multiple_of: {factor} before it. The nearest sizes are {near}.",
        )


def _near(picture: Picture, factor: int, up: bool) -> str:
    sides = (picture.width, picture.height)
    return " x ".join(str(max(factor, (side // factor + (up and side % factor > 0)) * factor)) for side in sides)
