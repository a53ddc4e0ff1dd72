"""load_controlnet: name a network that steers a sampler."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import ControlNet
from nodes.sd.alone_files import ControlNetFile


class LoadControlNet(
    Node, kind="load_controlnet", version=1,
    elsewhere={"ControlNetLoader": "load_controlnet", "control_net_name": "path"},
):  # fmt: skip
    """Describe a ControlNet; its weights are read when a sampler needs them. A `control` node gives it a picture.

    path: a folder as diffusers saves one (config.json and weights), a file in its authors' names or diffusers' (.pth,
    .safetensors), or a name in a `controlnet` folder.
    It must be made for the family of the model that is sampled with: Stable Diffusion 1, 2 or XL.

    Raises MissingError for a folder that is incomplete, damaged, or holds something else or code.
    """

    path: ControlNetFile = Field(
        description="a ControlNet: a file, a folder of diffusers, or a name in DARKROOM_MODELS"
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="what to compute in; auto leaves it to the device"
    )

    def run(self, ctx: Context) -> ControlNet:
        return ControlNet(ctx.digest(self.path), "controlnet", self.path.network, self.precision)
