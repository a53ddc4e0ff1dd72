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


class LoadModel(
    Node, kind="load_model", version=1,
    elsewhere={"CheckpointLoaderSimple": "load_model", "ckpt_name": "path", "clip": "text_encoder"},
):  # fmt: skip
    """Describe the parts of a diffusion model; their weights are read when a step needs them.

    path: `builtin:tiny`, a folder as diffusers saves it, or a checkpoint in one file (.safetensors, .ckpt):
    relative to the workflow, absolute, or by name on the search path. Files enter keys by their content.
    prediction: what the model was trained to predict. Only checkpoints in one file may leave it open, those of
    Stable Diffusion 2 above all; docs/models.md says what auto goes by.

    Raises MissingError for a model that is incomplete, holds code, or is of a family that cannot be run.
    """

    path: ModelFile = Field(
        description="a model: builtin:tiny, a diffusers folder, a checkpoint, or a name on the search path"
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="what to compute in; auto leaves it to the device"
    )
    prediction: Literal["auto", "epsilon", "v_prediction"] = Field(
        default="auto", description="what the model predicts; auto leaves it to the model"
    )

    def run(self, ctx: Context) -> Parts:
        digest, family = ctx.digest(self.path), self.path.family
        return Parts(
            Denoiser(digest, "unet", family, self.precision, prediction=self.prediction.removeprefix("auto")),
            TextEncoder(digest, self.path.text_encoder, family, self.precision),
            Vae(digest, "vae", family, self.precision),
        )
