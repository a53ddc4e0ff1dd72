"""From text to a text encoder's hidden states."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import CLIPTokenizer

from graph.errors import MissingError, StepError
from graph.node import Context
from graph.values import Conditioning, TextEncoder
from nodes.sd import families
from nodes.sd.models import Model, opened
from nodes.sd.residency import weights
from nodes.sd.tensors import freeze

MOST_SHOWN = 300
"""Characters of the lost words that a warning shows."""


class Tokens(NamedTuple):
    ids: torch.Tensor
    """Int64, (1, longest), from the start mark to the end mark, padded."""
    mask: torch.Tensor | None
    """1 where there is a word, for encoders that want to know."""
    lost: str
    """The end of the text that did not fit in, as it was written."""


def encode_text(ctx: Context, handle: TextEncoder, text: str, clip_skip: int) -> Conditioning:
    """Encode a prompt; warn of the words that do not fit in. Raises StepError."""
    family, model = families.named(handle.family), opened(ctx.locate(handle.digest))
    with ExitStack() as borrowed, torch.inference_mode():
        encoders = {
            name: borrowed.enter_context(weights.use(replace(handle, component=name), ctx)) for name in family.encoders
        }
        prompt = family.encode(model, handle.digest, encoders, text, clip_skip)
        if not bool(prompt.embeddings.isfinite().all()):
            raise StepError("the text encoder gave values that are no numbers", hint="Fetch the model again.")
        pooled = None if prompt.pooled is None else freeze(prompt.pooled.float())
        result = Conditioning(freeze(prompt.embeddings.float()), pooled, family.conditioning)
    if prompt.lost:
        lost = prompt.lost if len(prompt.lost) <= MOST_SHOWN else prompt.lost[:MOST_SHOWN] + " ..."
        ctx.warn(f'the prompt is too long for the model, these words are lost: "{lost}"')
    return result


def tokenize(folder: Model, digest: str, config: Any, text: str, name: str = "tokenizer") -> Tokens:
    """Turn a text into the ids that a text encoder with this config takes.

    Raises StepError for half a character in the text, and for ids that the encoder does not know; MissingError
    for a tokenizer that cannot be read.
    """
    _refuse_halves(text)
    tokenizer = _tokenizer(folder.path, name, digest)
    longest = min(tokenizer.model_max_length, config.max_position_embeddings)
    cut = tokenizer(text, padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
    if int(cut.input_ids.max()) >= config.vocab_size:
        raise StepError(
            f"the tokenizer knows more words than the text encoder's {config.vocab_size}",
            hint="Tokenizer and text encoder are not of the same model.",
        )
    mask = cut.attention_mask if getattr(config, "use_attention_mask", None) else None
    return Tokens(cut.input_ids, mask, _lost(tokenizer, text, longest))


def penultimate(
    model: Model, digest: str, component: str, encoder: torch.nn.Module, text: str, clip_skip: int
) -> tuple[torch.Tensor, torch.Tensor, str]:
    """The states one layer before the last, not normalised; the pooled output; the words that did not fit in.

    Raises StepError for a clip_skip that leaves no layer.
    """
    words = tokenize(model, digest, encoder.config, text, families.tokenizer_of(component))
    layers = encoder.config.num_hidden_layers
    if clip_skip + 1 >= layers:
        raise StepError(f"clip_skip {clip_skip} leaves none of the text encoder's {layers} layers")
    read = encoder(words.ids.to(encoder.device), output_hidden_states=True)
    return read.hidden_states[-(clip_skip + 2)], read[0], words.lost


def hidden(encoder: torch.nn.Module, tokens: Tokens, clip_skip: int) -> torch.Tensor:
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


@lru_cache(maxsize=4)
def _tokenizer(folder: Path, name: str, digest: str) -> Any:
    """`digest` makes sure that another model in the same place is read anew."""
    try:
        return CLIPTokenizer.from_pretrained(str(folder / name), local_files_only=True)
    except Exception as error:  # the Rust tokenizers raise plain Exception for a damaged file
        raise MissingError(f'cannot read the tokenizer of model "{folder.name}": {error}') from error


def _lost(tokenizer: Any, text: str, longest: int) -> str:
    whole = tokenizer(text, return_offsets_mapping=True, verbose=False)
    if len(whole.input_ids) <= longest:
        return ""
    # The last that fits in is the end mark, so the token in its place is the first that is lost.
    start, _ = whole.offset_mapping[longest - 1]
    return text[start:].strip()


def _refuse_halves(text: str) -> None:
    for at, letter in enumerate(text, 1):
        if "\ud800" <= letter <= "\udfff":
            raise StepError(
                f"character {at} of the prompt is half of one (U+{ord(letter):04X})",
                hint="Write the whole character, or leave it out.",
            )
