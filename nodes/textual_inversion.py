"""textual_inversion: a word of its own for what a file was trained to show."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import TextEncoder
from nodes.sd.embedding_files import EmbeddingFile, add_embedding


class TextualInversion(Node, kind="textual_inversion", version=1):
    """Let prompts name an embedding: for several, one node after another.

    In a prompt its word is a word like others, whatever its case: `style`, `<style>` or `embedding:style`. Files of
    web UIs, of diffusers, and of trainers for Stable Diffusion XL are read, also those with several vectors. The
    text encoder that is given stays as it is, and both share their weights.

    Raises MissingError for a file that is damaged or holds something else; StepError for vectors of another model's
    width, naming both, and for a word that is taken.
    """

    path: EmbeddingFile = Field(description="an embedding: a file, or a name in DARKROOM_MODELS")
    token: str = Field(default="", description="its word in prompts; left out: the file's name without its suffix")

    def run(self, ctx: Context, text_encoder: TextEncoder) -> TextEncoder:
        return add_embedding(ctx, text_encoder, self.path, self.token)
