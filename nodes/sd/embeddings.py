"""Textual inversion at work: vectors that take the place of words, beside an encoder's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graph.node import Context
from graph.values import TextEncoder
from nodes.sd import families
from nodes.sd.checkpoints import read_weight
from nodes.sd.embedding_files import parts, read_embedding


def learned(ctx: Context, handle: TextEncoder, encoders: Mapping[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """The vectors that prompts may name: by component, by word, (count, width), as the encoders compute."""
    family = families.named(handle.family)
    found: dict[str, dict[str, torch.Tensor]] = {name: {} for name in encoders}
    for said in map(json.loads, handle.embeddings):
        path = ctx.locate(said["digest"])
        embedding = read_embedding(path)
        for component, label in parts(embedding, family).items():
            like = next(encoders[component].parameters())
            vectors = read_weight(path, embedding.tensors[label], like.dtype).to(like.device)
            found[component][said["word"]] = vectors.reshape(-1, vectors.shape[-1])
    return found


def extended(encoder: Any, vectors: Sequence[torch.Tensor]) -> Any:
    """The same encoder with more words behind its own; it shares all weights, and the given one stays as it is."""
    if not vectors:
        return encoder
    # The modules themselves are no longer shared: transformers hangs its hooks on them, once for each owner.
    shared = {id(weight): weight for weight in (*encoder.parameters(), *encoder.buffers())}
    longer = copy.deepcopy(encoder, shared)
    longer.set_input_embeddings(_Longer(longer.get_input_embeddings(), torch.cat(list(vectors))))
    return longer


class _Longer(torch.nn.Module):
    """A table of words that goes on in another."""

    def __init__(self, table: torch.nn.Embedding, more: torch.Tensor) -> None:
        super().__init__()
        self.table, self.more = table, more

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: int, any shape; those past the table are rows of `more`."""
        known = self.table.num_embeddings
        rows: torch.Tensor = self.table(ids.clamp(max=known - 1))
        rows[ids >= known] = self.more[ids[ids >= known] - known].to(rows.device)
        return rows
