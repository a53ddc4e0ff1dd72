"""From a prompt to a text encoder's hidden states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from graph.errors import StepError
from graph.node import Context
from graph.values import Conditioning, TextEncoder
from nodes.sd import families
from nodes.sd.embeddings import extended, learned
from nodes.sd.families import Passage, Prompt
from nodes.sd.headers import FETCH_MODEL
from nodes.sd.models import Model, opened
from nodes.sd.prompts import Paragraphs, Syntax, meaning
from nodes.sd.residency import weights
from nodes.sd.tensors import freeze
from nodes.sd.tokens import Tokens, chunked

MOST_SHOWN = 300
"""Characters of the lost words that a warning shows."""

States = Callable[[Any, Tokens], tuple[torch.Tensor, torch.Tensor | None]]
"""How an encoder reads one chunk: its states, (1, longest, width), and the pooled state, (1, width)."""


def encode_text(
    ctx: Context, handle: TextEncoder, text: str, clip_skip: int, syntax: Syntax, chunks: int
) -> Conditioning:
    """Encode a prompt, in so many chunks at most; warn of words that do not fit in, and of slips.

    Raises StepError for half a character in the text, and what `meaning` raises.
    """
    _refuse_halves(text)
    meant = meaning(text, syntax)
    for trouble in meant.troubles:
        ctx.warn(trouble)
    family, model = families.named(handle.family), opened(ctx.locate(handle.digest))
    with ExitStack() as borrowed, torch.inference_mode():
        encoders = {
            name: borrowed.enter_context(weights.use(replace(handle, component=name), ctx)) for name in family.encoders
        }
        vectors = learned(ctx, handle, encoders)

        def encoded(words: Paragraphs) -> Prompt:
            return family.encode(model, handle.digest, encoders, Passage(words, chunks, vectors), clip_skip)

        mixes = [[(encoded(words), share) for words, share in mix] for mix in meant.variants]
        first, *others = [_conditioning(_mixed(mix), family.conditioning) for mix in mixes]
    if lost := next((prompt.lost for mix in mixes for prompt, _ in mix if prompt.lost), ""):
        shown = lost if len(lost) <= MOST_SHOWN else lost[:MOST_SHOWN] + " ..."
        ctx.warn(f'the prompt is too long for the model, these words are lost: "{shown}"')
    return replace(first, variants=tuple(others), script=meant.script)


def read(
    model: Model, digest: str, encoders: Mapping[str, torch.nn.Module], passage: Passage, states: States
) -> Prompt:
    """Read a text with one or more encoders: chunk by chunk, each alone, one after another; encoders side by side.

    The pooled state is that of the last encoder's first chunk.
    """
    parted = {name: chunked(model, digest, name, encoder.config, passage) for name, encoder in encoders.items()}
    count = max(len(one.chunks) for one in parted.values())
    embeddings, fillers, pooled = [], [], None
    for name, (chunks, empty, _) in parted.items():
        encoder = extended(encoders[name], tuple(passage.learned.get(name, {}).values()))
        encoded = [states(encoder, chunk) for chunk in chunks]
        parts = [_weighed(each, chunk.weights) for (each, _), chunk in zip(encoded, chunks, strict=True)]
        pooled = encoded[0][1]
        if count > 1:
            fillers.append(states(encoder, empty)[0])
            parts += fillers[-1:] * (count - len(parts))
        embeddings.append(torch.cat(parts, dim=1))
    lost = next(iter(parted.values())).lost
    return Prompt(torch.cat(embeddings, dim=-1), pooled, lost, filler=torch.cat(fillers, dim=-1) if fillers else None)


def hidden(encoder: Any, tokens: Tokens, clip_skip: int) -> torch.Tensor:
    """The encoder's states after all layers but the last `clip_skip`, normalised as after the last.

    Raises StepError for a clip_skip that leaves no layer.
    """
    ids = tokens.ids.to(encoder.device)
    mask = None if tokens.mask is None else tokens.mask.to(encoder.device)
    if not clip_skip:
        states: torch.Tensor = encoder(ids, attention_mask=mask)[0]
        return states
    layers = encoder.config.num_hidden_layers
    if clip_skip >= layers:
        raise StepError(f"clip_skip {clip_skip} leaves none of the text encoder's {layers} layers")
    every = encoder(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    # transformers 4 keeps the layers one level down.
    normalised: torch.Tensor = getattr(encoder, "text_model", encoder).final_layer_norm(every[-(clip_skip + 1)])
    return normalised


def penultimate(encoder: Any, tokens: Tokens, clip_skip: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The states one layer before the last, not normalised, and the pooled output.

    Raises StepError for a clip_skip that leaves no layer.
    """
    layers = encoder.config.num_hidden_layers
    if clip_skip + 1 >= layers:
        raise StepError(f"clip_skip {clip_skip} leaves none of the text encoder's {layers} layers")
    read = encoder(tokens.ids.to(encoder.device), output_hidden_states=True)
    return read.hidden_states[-(clip_skip + 2)], read[0]


def level(prompts: Sequence[Prompt]) -> list[torch.Tensor]:
    """The embeddings of several prompts, made as long as the longest by its filler.

    Raises StepError where no number of fillers does that: they are not of one text encoder.
    """
    longest = max(prompts, key=lambda prompt: prompt.embeddings.shape[1])
    return [_filled(prompt.embeddings, longest) for prompt in prompts]


def _filled(embeddings: torch.Tensor, longest: Prompt) -> torch.Tensor:
    short = longest.embeddings.shape[1] - embeddings.shape[1]
    if not short:
        return embeddings
    chunk = longest.filler.shape[1] if longest.filler is not None else 0
    if longest.filler is None or short % chunk:
        lengths = f"{longest.embeddings.shape[1]} and {embeddings.shape[1]}"
        raise StepError(
            f"the prompts have {lengths} tokens, and do not go together",
            hint="Encode both prompts with the same text encoder.",
        )
    return torch.cat([embeddings, *[longest.filler] * (short // chunk)], dim=1)


def _weighed(states: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Multiply each token's states by its weight, and keep the mean of the chunk.

    Source: stable-diffusion-webui, emphasis "Original".
    """
    if weights is None:
        return states
    before = states.float()
    after = before * weights.to(states.device)
    mean = after.mean()
    return after * (before.mean() / mean) if mean else after


def _mixed(mix: Sequence[tuple[Prompt, float]]) -> Prompt:
    """Several prompts in one, by their shares."""
    prompts = [prompt for prompt, _ in mix]
    if len(prompts) == 1:
        return prompts[0]
    shares = [share for _, share in mix]
    longest = max(prompts, key=lambda prompt: prompt.embeddings.shape[1])
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    return Prompt(_sum(level(prompts), shares), _sum(pooled, shares) if pooled else None, "", filler=longest.filler)


def _sum(tensors: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    total = torch.zeros_like(tensors[0], dtype=torch.float32)
    for tensor, share in zip(tensors, shares, strict=True):
        total = torch.add(total, tensor.float(), alpha=share)
    return total


def _conditioning(prompt: Prompt, family: str) -> Conditioning:
    if not bool(prompt.embeddings.isfinite().all()):
        raise StepError("the text encoder gave values that are no numbers", hint=FETCH_MODEL)
    pooled, filler = (None if part is None else freeze(part.float()) for part in (prompt.pooled, prompt.filler))
    return Conditioning(freeze(prompt.embeddings.float()), pooled, family, filler=filler)


def _refuse_halves(text: str) -> None:
    for at, letter in enumerate(text, 1):
        if "\ud800" <= letter <= "\udfff":
            raise StepError(
                f"character {at} of the prompt is half of one (U+{ord(letter):04X})",
                hint="Write the whole character, or leave it out.",
            )
