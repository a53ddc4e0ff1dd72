"""Stable Diffusion 2: OpenCLIP's ViT-H without its last layer; attention that is entered by linear layers.

What a model predicts (the noise, or the velocity in the one trained at 768 pixels) stands in its scheduler's config.
"""

from __future__ import annotations

from nodes.sd.families.sd1 import StableDiffusion1


class StableDiffusion2(StableDiffusion1):
    """The family "sd2"."""

    name = "sd2"
    conditioning = "openclip-h"
    linear_projection = True


FAMILY = StableDiffusion2()
