"""Depth pictures as a model sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from graph.errors import StepError
from graph.values import DepthMap, Latents, Picture
from nodes.sd.sights import WORDS
from nodes.sd.tensors import freeze


def with_depth(latents: Latents, picture: Picture, near: str) -> Latents:
    """Put a depth picture beside latents, as the node `depth` says."""
    if latents.guide is not None:
        raise StepError(
            f"the latents carry {WORDS[type(latents.guide)][0]} already",
            hint="Take those of a noise node or of vae_encode.",
        )
    levels = torch.from_numpy(np.array(picture.pixels.convert("L"), np.float32))[None, None]
    small = torch.nn.functional.interpolate(levels, latents.samples.shape[2:], mode="bicubic", align_corners=False)
    low, high = small.amin(), small.amax()
    if low == high:
        raise StepError("the depth picture is one grey: everything would be equally far away")
    scaled = 2.0 * (small - low) / (high - low) - 1.0
    return replace(latents, guide=DepthMap(freeze(-scaled if near == "dark" else scaled)))
