"""upscale_latents: a larger picture to paint on, without leaving latent space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from graph.errors import StepError
from graph.node import Context, Field, Misfit, Node
from graph.values import Latents

Method = Literal["nearest-exact", "bilinear", "bicubic", "area"]
NOISE = Misfit(
    "latents",
    "the latents are noise; enlarged, they would be noise no longer",
    "Draw noise of the larger size, or enlarge what a sampler gives.",
)


class UpscaleLatents(
    Node, kind="upscale_latents", version=1,
    elsewhere={
        "LatentUpscale": "upscale_latents", "LatentUpscaleBy": "upscale_latents", "samples": "latents",
        "scale_by": "factor", "upscale_method": "method",
    },
):  # fmt: skip
    """Enlarge latents by a factor, for a second pass of the sampler that draws what is lacking.

    Rows and columns become side * factor, rounded to whole ones (8 pixels each for Stable Diffusion). The result is
    blurred or blocky where a picture is looked at: it needs a sampler with a strength of 0.5 and more.
    The generators stay as they are: the second pass draws on where the first one ended.

    Raises StepError for noise, which would be noise no longer, for latents that carry a mask, a depth map or a small
    picture, and for more than 4,194,304 of them.
    """

    factor: float = Field(default=1.5, ge=1, le=8, allow_inf_nan=False, description="times as wide and as high")
    method: Method = Field(default="bilinear", description="nearest-exact is the sharpest, bicubic the smoothest")

    def misfits(self, arriving: Mapping[str, str]) -> Iterable[Misfit]:
        """Noise."""
        return [NOISE] if arriving.get("latents") == "noise" else []

    def run(self, ctx: Context, latents: Latents) -> Latents:
        from nodes.sd.latents import enlarged

        if latents.is_noise:
            raise StepError(NOISE.message, hint=NOISE.hint)
        return enlarged(latents, self.factor, self.method)
