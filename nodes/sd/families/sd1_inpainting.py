"""Stable Diffusion 1 for inpainting: its U-Net sees the mask, and the picture without what is to be painted."""

from __future__ import annotations

from nodes.sd.families.sd1 import StableDiffusion1
from nodes.sd.sights import SeesMask


class StableDiffusion1Inpainting(SeesMask, StableDiffusion1):
    """The family "sd1-inpainting"."""

    name = "sd1-inpainting"


FAMILY = StableDiffusion1Inpainting()
