"""What a diffusion upscaler starts from."""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import DDPMScheduler

from graph.errors import StepError
from graph.node import Context
from graph.values import Denoiser, Latents, Picture, SmallPicture
from nodes.sd import families
from nodes.sd.autoencoder import check_sides, to_tensor
from nodes.sd.configs import undescribed
from nodes.sd.families.x4 import NOISING
from nodes.sd.models import Model, opened
from nodes.sd.noise import generator, refuse_size, unit_noise
from nodes.sd.pixels import check_area
from nodes.sd.samplers import trained
from nodes.sd.tensors import freeze

MOST_NOISE = 350
"""The highest level, where a model does not say it."""


def upscale_noise(ctx: Context, model: Denoiser, picture: Picture, seed: int, level: int) -> Latents:
    """Draw as the node `upscale_noise` says: first the noise on the picture, then the latents."""
    family, described = families.named(model.family), opened(ctx.locate(model.digest))
    if SmallPicture not in family.guides:
        raise StepError(
            f'a model of family "{family.name}" is no diffusion upscaler',
            hint="Load one (stable-diffusion-x4-upscaler), or put an upscale node there.",
        )
    factor = family.factor(described)
    check_sides(picture, factor, "the upscaler")
    check_area(picture.width * factor, picture.height * factor, "the enlarged picture", "Take a smaller picture.")
    channels, *_ = family.latent_shape(described, None, None)
    refuse_size((channels, picture.height, picture.width), family.floors(described), 1, factor)
    source, scheduler = generator(ctx, seed), _scheduler(described, level)
    pixels = to_tensor(picture)
    noisy = scheduler.add_noise(pixels, torch.randn(pixels.shape, generator=source), torch.tensor([level]))
    latents = unit_noise((channels, picture.height, picture.width), [source])
    return replace(latents, guide=SmallPicture(freeze(noisy), level))


def _scheduler(model: Model, level: int) -> DDPMScheduler:
    """What puts the noise on. Raises StepError for a level that the model was not trained at, or MissingError."""
    highest, config = model.index.get("max_noise_level", MOST_NOISE), trained(model, NOISING, MOST_NOISE + 1)
    if not isinstance(highest, int) or level > highest:
        raise StepError(f"noise_level is {level}, but the model takes at most {highest!r:.40}")
    try:
        return DDPMScheduler.from_config(config)
    except Exception as error:  # whatever a constructor makes of senseless numbers
        raise model.wrong("/".join(NOISING), undescribed("DDPMScheduler", error)) from error
