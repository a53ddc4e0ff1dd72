"""micro_condition: tell a model what size and beauty its picture is to have come from."""

from __future__ import annotations

from dataclasses import replace

from graph.node import Context, Field, Node
from graph.values import Conditioning


class MicroCondition(Node, kind="micro_condition", version=1):
    """Say with a prompt what the picture is to look as if it came from. Only Stable Diffusion XL listens.

    original_width, original_height: of the picture before it was cropped, pixels; small ones look blurred.
    crop_left, crop_top: what was cropped away, pixels; 0 puts the subject into the middle.
    target_width, target_height: of the picture to be made. What is left out is the size that is sampled.
    aesthetic_score: 1 to 10, for the refiner; left out, 6 for the positive prompt and 2.5 for the negative.

    Source: Podell et al. 2023 (arXiv:2307.01952), section 2.2, "micro-conditioning".
    """

    original_width: int | None = Field(default=None, ge=1, le=65536, description="width before cropping, pixels")
    original_height: int | None = Field(default=None, ge=1, le=65536, description="height before cropping, pixels")
    crop_left: int | None = Field(default=None, ge=0, le=65536, description="pixels cropped from the left")
    crop_top: int | None = Field(default=None, ge=0, le=65536, description="pixels cropped from the top")
    target_width: int | None = Field(default=None, ge=1, le=65536, description="width of the picture to make, pixels")
    target_height: int | None = Field(default=None, ge=1, le=65536, description="height of the picture to make, pixels")
    aesthetic_score: float | None = Field(default=None, ge=0, le=10, allow_inf_nan=False, description="for the refiner")

    def run(self, ctx: Context, conditioning: Conditioning) -> Conditioning:
        said = dict(conditioning.micro) | {name: float(value) for name, value in self if value is not None}
        micro = tuple(sorted(said.items()))
        variants = tuple(replace(variant, micro=micro) for variant in conditioning.variants)
        return replace(conditioning, micro=micro, variants=variants)
