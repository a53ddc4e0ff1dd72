"""lora: change a model by a small file."""

from __future__ import annotations

from typing import NamedTuple

from graph.node import Context, Field, Node
from graph.values import Denoiser, TextEncoder
from nodes.sd.lora_files import LoraFile


class Changed(NamedTuple):
    model: Denoiser
    text_encoder: TextEncoder


class AddLora(
    Node, kind="lora", version=1,
    elsewhere={
        "LoraLoader": "lora", "LoraLoaderModelOnly": "lora", "lora_name": "path", "strength_model": "strength",
        "strength_clip": "text_strength", "clip": "text_encoder",
    },
):  # fmt: skip
    """Put a LoRA on top of a model: for several, one node after another.

    Plain LoRA and LoCon are read, for Stable Diffusion 1, 2 and XL, under the names that kohya's scripts, peft and
    diffusers write. The model of `load_model` stays as it is. A strength of 0 is the model itself.

    Raises MissingError for a file that is damaged or holds something else (LoHa, LoKr, DoRA ...), naming it;
    StepError for a LoRA that does not fit the model, naming both.
    """

    path: LoraFile = Field(description="a LoRA: a file, or a name in DARKROOM_MODELS")
    strength: float = Field(default=1.0, ge=-10, le=10, allow_inf_nan=False, description="how much of it is added")
    text_strength: float | None = Field(
        default=None, ge=-10, le=10, allow_inf_nan=False, description="the same for the text encoder; as strength"
    )

    def run(self, ctx: Context, model: Denoiser, text_encoder: TextEncoder) -> Changed:
        from nodes.sd.lora import add_lora

        text_strength = self.strength if self.text_strength is None else self.text_strength
        return Changed(*add_lora(ctx, model, text_encoder, self.path, self.strength, text_strength))
