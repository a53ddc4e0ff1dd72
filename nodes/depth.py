"""depth: show a model how far away everything is to be."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import Latents, Picture


class Depth(Node, kind="depth", version=1):
    """Put a depth picture beside latents, for a model trained to see one (Stable Diffusion 2 depth).

    latents: noise, to paint a new picture of that depth, or those of a picture (vae_encode), to repaint it.
    image: its brightness is the depth, stretched to the whole range from far to near. It gets the size of the latents.

    Raises StepError for a picture of one grey, and for latents that carry a mask or another picture already.
    Source: diffusers, StableDiffusionDepth2ImgPipeline.prepare_depth_map.
    """

    near: Literal["bright", "dark"] = Field(default="bright", description="which parts of the picture are near")

    def run(self, ctx: Context, latents: Latents, image: Picture) -> Latents:
        from nodes.sd.depth import with_depth

        return with_depth(latents, image, self.near)
