"""control: let a picture steer a sampler."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from graph.node import Context, Field, Node
from graph.values import Control, ControlNet, Picture


class SteerBy(
    Node, kind="control", version=1,
    elsewhere={
        "ControlNetApply": "control", "ControlNetApplyAdvanced": "control", "control_net": "controlnet",
        "start_percent": "start", "end_percent": "end",
    },
):  # fmt: skip
    """Say by which picture a ControlNet steers, and how much. Goes to a sampler's `controls`; several steer together.

    image: what the network was trained on: edges, a depth map, a pose ... It is resized to what is sampled.
    strength: 0 leaves the sampler alone.
    start, end: between which parts of the steps, 0 to 1.
    A network that pools its picture (shuffle) steers the positive prompt alone.
    """

    strength: float = Field(default=1.0, ge=0, le=10, allow_inf_nan=False, description="how much it steers")
    start: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False, description="from which part of the steps on")
    end: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False, description="up to which part of the steps")

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start {self.start:g} is not before end {self.end:g}\nLeave both out to steer all steps.")
        return self

    def run(self, ctx: Context, controlnet: ControlNet, image: Picture) -> Control:
        return Control(controlnet, image, self.strength, self.start, self.end)
