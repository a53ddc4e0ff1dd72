"""noise: where a picture starts."""

from __future__ import annotations

from collections.abc import Mapping

from graph.node import Context, Effort, Field, Node
from graph.values import Denoiser, Latents


class Noise(
    Node, kind="noise", version=1, gives={"latents": "noise"},
    elsewhere={"EmptyLatentImage": "noise", "batch_size": "count", "noise_seed": "seed"},
):  # fmt: skip
    """Draw unit Gaussian noise in a model's latent space.

    Sample i of a batch is drawn with seed + i (modulo 2**64), so that any picture of a batch can be made alone.
    Drawn on the CPU in fp32 whatever the device: the same seed gives the same noise on every machine.
    variation_strength: how far to go from this noise towards that of `variation_seed` (and + i): 0 is this very noise,
    1 that very one. The generator that goes on is that of `seed`.
    width, height: of the picture, in pixels; without them, the size the model was trained at.

    Raises StepError for a size that the model's latents cannot have; OutOfMemory for one that no device here could
    denoise and decode, with the largest that could fit.
    """

    seed: int = Field(default=0, ge=0, lt=2**64, description="which noise; sample i takes seed + i")
    width: int | None = Field(default=None, ge=64, le=16384, multiple_of=8, description="picture width, pixels")
    height: int | None = Field(default=None, ge=64, le=16384, multiple_of=8, description="picture height, pixels")
    count: int = Field(default=1, ge=1, le=64, description="how many pictures")

    variation_seed: int = Field(default=0, ge=0, lt=2**64, description="other noise, to mix in")
    variation_strength: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False, description="how much of it")

    def effort(self, sizes: Mapping[str, int]) -> Effort:
        """As many pixels as are asked for; the size the model was trained at counts as 512 x 512."""
        return Effort((self.width or 512) * (self.height or 512) * self.count)

    def run(self, ctx: Context, model: Denoiser) -> Latents:
        from nodes.sd.noise import draw_noise, varied

        noise = draw_noise(ctx, model, self.seed, self.width, self.height, self.count)
        if self.variation_strength == 0:
            return noise
        other = draw_noise(ctx, model, self.variation_seed, self.width, self.height, self.count)
        return varied(noise, other, self.variation_strength)
