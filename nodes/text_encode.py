"""text_encode: a prompt into what steers a sampler."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Conditioning, TextEncoder


class TextEncode(Node, kind="text_encode", version=2, accelerated=True):
    """Encode a prompt as the model's own text encoder reads it.

    Any text is valid, the empty one too. What does not fit into the encoder (77 tokens for Stable Diffusion, two
    of them its marks of start and end) is left out, and a warning names the words.

    Raises StepError for a clip_skip that leaves no layer, and for a text with half a character in it.
    """

    text: str = Field(default="", description="the prompt")
    clip_skip: int = Field(default=0, ge=0, description="how many of the encoder's last layers to leave out")

    def run(self, ctx: Context, text_encoder: TextEncoder) -> Conditioning:
        from nodes.sd.tokens import encode_text

        return encode_text(ctx, text_encoder, self.text, self.clip_skip)
