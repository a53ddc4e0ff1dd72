"""load_upscaler: name a net that enlarges pictures."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import SuperResolution
from nodes.sd.super_resolution import UpscalerFile


class LoadUpscaler(
    Node, kind="load_upscaler", version=1,
    elsewhere={"UpscaleModelLoader": "load_upscaler", "model_name": "path"},
):  # fmt: skip
    """Describe a super-resolution net; its weights are read when `upscale` needs them.

    path: `builtin:tiny-upscaler`, or a .safetensors or .pth file with an ESRGAN net (RRDBNet, under its names of 2018,
    2019 or 2021; 1, 2, 4 or 8 times) or a compact one (SRVGGNetCompact): relative to the workflow, absolute, or by
    name in the folders of DARKROOM_MODELS. Which net it is follows from the names and shapes of its weights.

    Raises MissingError for a file that is damaged, or holds another kind of net, with what it looks like.
    """

    path: UpscalerFile = Field(description="a net: builtin:tiny-upscaler, a file, or a name in DARKROOM_MODELS")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="what to compute in; auto leaves it to the device"
    )

    def run(self, ctx: Context) -> SuperResolution:
        return SuperResolution(ctx.digest(self.path), "upscaler", self.path.family, self.precision)
