"""sampler: from noise to a clean picture, in latent space."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import Conditioning, Control, Denoiser, Latents

Method = Literal[
    "ddim", "ddpm", "deis", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde", "dpmpp_2m_sde_karras", "dpmpp_2s",
    "euler", "euler_a", "heun", "kdpm2", "kdpm2_a", "lcm", "plms", "unipc",
]  # fmt: skip


class Sampler(Node, kind="sampler", version=2, accelerated=True):
    """Denoise latents step by step, steered by two prompts.

    latents: noise, or a clean picture to repaint (its `strength` says how much: 0 returns it, 1 keeps almost
    nothing). noise: what to add to a clean picture instead of noise drawn from its own generator.
    Every sample of a batch is sampled alone, with its own generator: the same bits as if it were made by itself.
    controls: ControlNets with their pictures; they steer together.
    cfg: how strongly to follow `positive` rather than `negative`; 1 and less does without `negative`.

    Raises StepError where strength * steps is less than one step, where noise has a strength below 1, and where
    the model gives values that are no numbers; OutOfMemory; Stopped, within one step, if the user asked to stop.
    """

    method: Method = Field(default="dpmpp_2m", description="the sampling method; docs/samplers.md compares them")
    steps: int = Field(default=30, ge=1, le=1000, description="how many steps from pure noise")
    cfg: float = Field(default=7.5, ge=0, le=100, allow_inf_nan=False, description="guidance scale")
    rescale: float = Field(
        default=0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="how much of what guidance adds to contrast to take back",
    )
    strength: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False, description="how much may change")
    eta: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False, description="fresh noise per step, for ddim")

    def run(
        self,
        ctx: Context,
        model: Denoiser,
        positive: Conditioning,
        negative: Conditioning,
        latents: Latents,
        noise: Latents | None = None,
        controls: list[Control] | None = None,
    ) -> Latents:
        from nodes.sd.sampling import Settings, sample

        settings = Settings(self.method, self.steps, self.cfg, self.strength, self.eta, self.rescale)
        return sample(ctx, model, positive, negative, latents, noise, controls or [], settings)
