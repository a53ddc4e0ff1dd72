"""What a model is given to paint a part of a picture anew."""

from __future__ import annotations

import numpy as np
import torch

from graph.node import Context
from graph.values import Inpainting, Latents, Mask, Picture, Vae
from nodes.sd.autoencoder import check_picture, encoded, to_tensor
from nodes.sd.noise import generator, state
from nodes.sd.pasting import check_same_size
from nodes.sd.residency import weights
from nodes.sd.tensors import channels_last, freeze


def inpainting(ctx: Context, handle: Vae, picture: Picture, mask: Mask, seed: int, tile: int | None) -> Latents:
    """Encode a picture, and the picture without what the mask covers. A mask half covered, or more, repaints.

    The latents are the middle of the picture's distribution; nothing is drawn yet.
    Raises StepError for a mask of another size than the picture's, and for sides that are no multiples of the VAE's
    factor; OutOfMemory, before the weights are loaded, for a size that can never fit.

    Source: diffusers, StableDiffusionInpaintPipeline: the mask is thinned out to the latents, not averaged.
    """
    check_same_size(picture, mask)
    factor = check_picture(ctx, handle, picture, tile)
    hole = torch.from_numpy(np.array(mask.pixels))[None, None] >= 128
    small = torch.nn.functional.interpolate(hole.float(), size=(picture.height // factor, picture.width // factor))
    _warn_of_nothing(ctx, hole, small)
    with weights.use(handle, ctx) as vae, torch.inference_mode():
        pixels = to_tensor(picture)
        shown, masked = (encoded(ctx, vae, seen, factor, tile).float() for seen in (pixels, pixels * ~hole))
        scale = vae.config.scaling_factor
        middle = scale * shown.chunk(2, dim=1)[0]
        guide = Inpainting(freeze(small), freeze(shown), freeze(masked), scale, channels_last(shown))
        return Latents(freeze(middle), (state(generator(ctx, seed)),), channels_last=guide.channels_last, guide=guide)


def _warn_of_nothing(ctx: Context, hole: torch.Tensor, small: torch.Tensor) -> None:
    if not bool(hole.any()):
        ctx.warn("the mask keeps the whole picture: nothing is painted")
    elif not bool(small.any()):
        ctx.warn("the mask is too thin for the latents: nothing is painted. Let a mask_edit node grow it.")
