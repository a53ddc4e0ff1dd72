"""Changing latents without a model."""

from __future__ import annotations

from dataclasses import replace

from torch.nn.functional import interpolate

from graph.errors import StepError
from graph.values import Latents
from nodes.sd.tensors import channels_last, freeze, in_layout, thaw

MOST = 1 << 22
"""Rows times columns at most: 268 million pixels for Stable Diffusion; no VAE decodes more."""


def enlarged(latents: Latents, factor: float, method: str) -> Latents:
    """Enlarge every sample, as the node `upscale_latents` says."""
    if latents.guide is not None:
        raise StepError(
            f"the latents carry a guide ({type(latents.guide).__name__}) that does not grow with them",
            hint="Decode them, enlarge the picture with upscale, and encode it anew.",
        )
    *_, rows, columns = latents.samples.shape
    high, wide = (max(1, round(side * factor)) for side in (rows, columns))
    if high * wide > MOST:
        raise StepError(f"latents of {wide:,} x {high:,} are too large", hint="Choose a smaller factor.")
    samples = interpolate(in_layout(thaw(latents.samples), latents.channels_last), (high, wide), mode=method)
    return replace(latents, samples=freeze(samples), channels_last=channels_last(samples))
