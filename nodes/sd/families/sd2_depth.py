"""Stable Diffusion 2 for depth: its U-Net sees how far away everything is.

The network that guesses the depth of a photograph comes with the model, and is not run: a depth picture is given.
"""

from __future__ import annotations

from nodes.sd.families.sd2 import StableDiffusion2
from nodes.sd.sights import SeesDepth


class StableDiffusion2Depth(SeesDepth, StableDiffusion2):
    """The family "sd2-depth"."""

    name = "sd2-depth"
    pipelines = frozenset({"StableDiffusionDepth2ImgPipeline"})


FAMILY = StableDiffusion2Depth()
