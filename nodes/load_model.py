"""load_model: name a model's parts."""

from __future__ import annotations

from typing import Literal, NamedTuple

from graph.node import Context, Field, Node
from graph.values import Denoiser, TextEncoder, Vae
from nodes.sd.files import ModelFile


class Parts(NamedTuple):
    model: Denoiser
    text_encoder: TextEncoder
    vae: Vae


class LoadModel(Node, kind="load_model", version=1):
    """Describe the parts of a diffusion model; their weights are read when a step needs them.

    path: `builtin:tiny`, or a folder as diffusers saves it: relative to the workflow, absolute, or by name in one
    of the folders that the environment variable DARKROOM_MODELS lists. Files enter keys by their content.

    Raises MissingError for a folder that is incomplete, holds code, or is of a family that cannot be run.
    """

    path: ModelFile = Field(description="a model: builtin:tiny, a diffusers folder, or a name in DARKROOM_MODELS")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="what to compute in; auto leaves it to the device"
    )

    def run(self, ctx: Context) -> Parts:
        digest, family = ctx.digest(self.path), self.path.family
        return Parts(
            Denoiser(digest, "unet", family, self.precision),
            TextEncoder(digest, self.path.text_encoder, family, self.precision),
            Vae(digest, "vae", family, self.precision),
        )
