"""Train the text encoder alone first: it must tell, at the end of the text, everything a caption says.

Linear heads read the scene's words off the end state and the padding states; they are thrown away. A prompt
that is understood before the denoiser starts keeps the colours of two shapes apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.captions import caption
from training.scenes import SLOTS, draw_scene
from training.tokenizer import LENGTH

WIDTH = 96
_BATCH = 64


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Make an untrained text encoder: 3 layers of width 96, CLIP's arrangement."""
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Load the tokenizer from its folder, offline."""
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    return tokenizer


def tokens_of(prompts: Sequence[str], tokenizer: CLIPTokenizer) -> Tensor:
    """Turn prompts into token numbers, (n, 77), padded with the end-of-text token and cut."""
    batch = tokenizer(list(prompts), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    ids: Tensor = batch["input_ids"]
    return ids


def labels_of(told: Sequence[Mapping[str, str]]) -> Tensor:
    """Number what each caption tells: (n, slots), 0 for a slot that is not told."""
    rows = [[words.index(one[slot]) + 1 if slot in one else 0 for slot, words in SLOTS.items()] for one in told]
    return torch.tensor(rows)


class Reader(nn.Module):
    """The text encoder with a linear head for each slot."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(nn.Linear(WIDTH, len(words) + 1) for words in SLOTS.values())

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Read the slots: one (2n, words + 1) for each, from the end states, then from a padding state."""
        states = self.encoder(tokens).last_hidden_state
        end = tokens.argmax(-1)  # the end-of-text token has the highest number
        seen = torch.cat([states[torch.arange(len(states)), end], states[:, -1]])
        return [head(seen) for head in self.heads]


class Reading:
    """Lesson: say again what the caption says."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.tokenizer = tokenizer
        self.student = Reader(new_text_encoder(tokenizer))

    def loss(self, rng: np.random.Generator, progress: float) -> Tensor:
        tokens, labels = self.batch(Random(int(rng.integers(2**31))), _BATCH)
        guesses = self.student(tokens)
        twice = labels.repeat(2, 1)
        losses = [nn.functional.cross_entropy(g, twice[:, i]) for i, g in enumerate(guesses)]
        return torch.stack(losses).sum()

    def batch(self, rng: Random, count: int) -> tuple[Tensor, Tensor]:
        """Make captions of fresh scenes: tokens (n, 77) and labels (n, slots)."""
        pairs = [caption(draw_scene(rng).words, rng) for _ in range(count)]
        return tokens_of([text for text, _ in pairs], self.tokenizer), labels_of([told for _, told in pairs])


def accuracies(reader: Reader, tokens: Tensor, labels: Tensor) -> dict[str, float]:
    """Measure each slot on the captions that tell it, the worse of end and padding state; absent if none do."""
    with torch.no_grad():
        guesses = reader(tokens)
    found: dict[str, float] = {}
    for number, slot in enumerate(SLOTS):
        told = labels[:, number] > 0
        if told.any():
            right = (guesses[number].argmax(-1).view(2, -1) == labels[:, number])[:, told]
            found[slot] = right.float().mean(1).min().item()
    return found
