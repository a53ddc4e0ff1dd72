"""load_vae: name another autoencoder."""

from __future__ import annotations

import json
from typing import Literal

from graph.errors import StepError
from graph.node import Context, Field, Node
from graph.values import Vae
from nodes.sd.alone_files import VaeFile

FAMILIES = {"sd": "sd1", "sdxl": "sdxl"}
SCALES = {"sd": 0.18215, "sdxl": 0.13025}
"""What latents are multiplied by. Source: the configs of the published models."""


class LoadVae(
    Node, kind="load_vae", version=1,
    elsewhere={"VAELoader": "load_vae", "vae_name": "path"},
):  # fmt: skip
    """Describe an autoencoder that takes the place of a model's own; its weights are read when a step needs them.

    path: a file (.safetensors, .ckpt, .pt), a folder as diffusers saves one, a whole model that has one, or a name in
    a `vae` folder.
    latents: in whose latent space it encodes and decodes: Stable Diffusion 1 and 2 share theirs, XL has another. A
    config says so by its scaling factor; a file of a VAE alone does not, and `latents` must.

    Raises MissingError for a folder that is incomplete, damaged, or holds something else or code; StepError where
    nothing says whose latents it takes.
    """

    path: VaeFile = Field(description="an autoencoder: a file, a folder of diffusers, or a name in DARKROOM_MODELS")
    latents: Literal["auto", "sd", "sdxl"] = Field(default="auto", description="whose latents; auto: as it says")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="what to compute in; auto leaves it to the device"
    )

    def run(self, ctx: Context) -> Vae:
        whose = self.path.latents if self.latents == "auto" else self.latents
        if whose not in FAMILIES:
            raise StepError(
                f'VAE "{self.path.written}" does not say whose latents it takes',
                hint="Write latents: sd (Stable Diffusion 1 and 2) or latents: sdxl.",
            )
        scale = () if self.path.latents else (json.dumps({"kind": "scale", "scale": SCALES[whose]}),)
        return Vae(ctx.digest(self.path), "vae", FAMILIES[whose], self.precision, scale)
