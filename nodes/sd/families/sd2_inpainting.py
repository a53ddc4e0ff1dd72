"""Stable Diffusion 2 for inpainting: its U-Net sees the mask, and the picture without what is to be painted."""

from __future__ import annotations

from nodes.sd.families.sd2 import StableDiffusion2
from nodes.sd.sights import SeesMask


class StableDiffusion2Inpainting(SeesMask, StableDiffusion2):
    """The family "sd2-inpainting"."""

    name = "sd2-inpainting"


FAMILY = StableDiffusion2Inpainting()
