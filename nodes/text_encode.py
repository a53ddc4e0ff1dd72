"""text_encode: a prompt into what steers a sampler."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import Conditioning, TextEncoder

MOST_CHUNKS = 50
"""3,750 tokens of Stable Diffusion."""


class TextEncode(
    Node, kind="text_encode", version=3, accelerated=True,
    elsewhere={
        "CLIPTextEncode": "text_encode", "CLIPSetLastLayer": "text_encode", "stop_at_clip_layer": "clip_skip",
        "clip": "text_encoder", "prompt": "text",
    },
):  # fmt: skip
    """Encode a prompt as the model's own text encoder reads it.

    syntax: what the signs in the text mean; docs/prompts.md has all of it. With `a1111` (more), (much more:1.5) and
    [less] weigh words, BREAK begins a new chunk, [from:to:0.5] and [one|other] change the prompt while it is
    sampled, and a backslash takes a sign as it is. With `subprompts` "tabby cat:0.25 white duck:0.75" mixes two
    prompts. With `plain` a sign is a sign.
    Any text is valid, the empty one too; a warning names what looks like a slip. A text too long for the encoder (75
    tokens for Stable Diffusion) is read in chunks, 50 at most, or cut; a warning names the words that are lost.
    clip_skip: 0 is what the model was trained with; web UIs count from 1 where this counts from 0.

    Raises StepError for a clip_skip that leaves no layer, for half a character in the text, and for a prompt that
    changes in more than 100 ways.
    """

    text: str = Field(default="", description="the prompt")
    clip_skip: int = Field(default=0, ge=0, description="how many of the encoder's last layers to leave out")
    syntax: Literal["a1111", "plain", "subprompts"] = Field(default="a1111", description="what signs in the text mean")
    long: Literal["chunk", "truncate"] = Field(default="chunk", description="what to do with a text that is too long")

    def run(self, ctx: Context, text_encoder: TextEncoder) -> Conditioning:
        from nodes.sd.encoding import encode_text

        chunks = MOST_CHUNKS if self.long == "chunk" else 1
        return encode_text(ctx, text_encoder, self.text, self.clip_skip, self.syntax, chunks)
