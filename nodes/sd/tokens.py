"""From words to the numbers that a text encoder reads, in chunks of as many as it can."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import CLIPTokenizer

from graph.errors import MissingError, StepError
from nodes.sd.families import Passage, tokenizer_of
from nodes.sd.headers import FETCH_MODEL, MOST_SHOWN
from nodes.sd.models import Model
from nodes.sd.prompts import Paragraphs, Piece
from nodes.sd.tokenizers import OPEN_CLIP

CLIP_WORDS = 49408
"""Of the vocabulary that all of Stable Diffusion's text encoders read by."""
LARGEST_WORDS = 16 << 20
"""In bytes; OpenCLIP's file unpacks to 3.2 MB."""
MARKS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""What stands at the beginning, at the end, and behind it."""
SHORTEST = 3
"""Tokens that a text encoder must take: a word between two marks."""
COMMA = ",</w>"
COMMA_REACH = 20
"""A chunk that is full ends behind its last comma, if so many tokens or fewer follow it, the comma counted."""


class Tokens(NamedTuple):
    """One chunk."""

    ids: torch.Tensor
    """Int64, (1, longest), from the start mark to the end mark, padded."""
    mask: torch.Tensor | None
    """1 where there is a word, for encoders that want to know."""
    weights: torch.Tensor | None
    """F32, (1, longest, 1); None where all are 1."""


class Chunks(NamedTuple):
    """A text as one encoder reads it."""

    chunks: tuple[Tokens, ...]
    """One or more."""
    empty: Tokens
    """A chunk without words."""
    lost: str
    """The end of the text that did not fit in, as it was written."""


class _Unit(NamedTuple):
    """What stays together in a chunk."""

    ids: tuple[int, ...]
    weight: float
    place: tuple[int, int, int]
    """Of its paragraph, of the piece in it, of the letter in that."""


def chunked(model: Model, digest: str, component: str, config: Any, passage: Passage) -> Chunks:
    """Part a text into the chunks that a text encoder with this config takes.

    Raises StepError for ids that the encoder does not know, MissingError for a tokenizer that cannot be read.
    """
    source = model.tokenizer(tokenizer_of(component))
    tokenizer = _tokenizer(source.place, tuple(source.says.items()), model.path.name, digest)
    longest = min(tokenizer.model_max_length, config.max_position_embeddings)
    if longest < SHORTEST:
        raise MissingError(
            f'"{component}" of model "{model.path.name}" takes {longest} tokens, too few for a word between its marks',
            hint=FETCH_MODEL,
        )
    _refuse_unknown([getattr(tokenizer, name) for name in MARKS], config.vocab_size)
    reach = COMMA_REACH if passage.chunks > 1 else 0
    comma = tokenizer.convert_tokens_to_ids(COMMA)
    names = _Names(passage.learned.get(component, {}), config.vocab_size)
    packs: list[list[_Unit]] = []
    room, beyond = longest - 2, (passage.chunks + 1) * (longest - 2)
    for number, pieces in enumerate(passage.paragraphs):
        units = chain.from_iterable(_units(tokenizer, names, piece, (number, at)) for at, piece in enumerate(pieces))
        packs += _packed(islice(units, beyond), room, comma, reach)
        if len(packs) > passage.chunks and packs[-1]:  # the rest is lost, however long it is
            break
    if len(packs) > 1 and not packs[-1]:
        packs.pop()
    whole = [_tokens(tokenizer, config, pack, longest) for pack in (*packs[: passage.chunks], [])]
    lost = next((unit.place for pack in packs[passage.chunks :] for unit in pack), None)
    return Chunks(tuple(whole[:-1]), whole[-1], _text_from(passage.paragraphs, lost) if lost else "")


class _Names:
    """Words with vectors of their own: their ids follow those of an encoder's `known` words, in order."""

    def __init__(self, learned: Mapping[str, torch.Tensor], known: int) -> None:
        counts = [len(vectors) for vectors in learned.values()]
        ends = list(accumulate(counts, initial=known))
        self.known = known
        # The longest first: one name may begin with another.
        self.ids = sorted(zip(learned, map(range, ends, ends[1:]), strict=True), key=lambda named: -len(named[0]))
        self._pattern = re.compile("|".join(_FORMS.format(re.escape(word)) for word, _ in self.ids), re.IGNORECASE)

    def parted(self, text: str) -> Iterator[tuple[str, int, Sequence[int]]]:
        """What stands between names and where it begins, and the ids of the name behind it."""
        end = 0
        for match in self._pattern.finditer(text) if self.ids else ():
            _, ids = self.ids[(match.lastindex or 0) - 1]
            yield text[end : match.start()], end, ()
            yield "", match.start(), ids
            end = match.end()
        yield text[end:], end, ()


_FORMS = r"(<{0}>|(?<!\w)(?:embedding:)?{0}(?:\.(?:pt|bin|safetensors))?(?!\w))"
"""How prompts name an embedding."""


def _units(tokenizer: Any, names: _Names, piece: Piece, place: tuple[int, int]) -> Iterator[_Unit]:
    for text, begin, ids in names.parted(piece.text):
        if ids:
            yield _Unit(tuple(ids), piece.weight, (*place, begin))
        read = _read(tokenizer, text)
        _refuse_unknown(read.input_ids, names.known)
        for number, (start, _) in zip(read.input_ids, read.offset_mapping, strict=True):
            yield _Unit((number,), piece.weight, (*place, begin + start))


def _read(tokenizer: Any, text: str) -> Any:
    """Raises MissingError for a tokenizer whose parts do not go together."""
    try:
        return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    except Exception as error:  # as above, of the Rust tokenizers
        raise MissingError(f"the tokenizer cannot be used: {error!s:.{MOST_SHOWN}}", hint=FETCH_MODEL) from error


def _refuse_unknown(ids: Sequence[int], known: int) -> None:
    if max(ids, default=0) >= known:
        raise StepError(
            f"the tokenizer knows more words than the text encoder's {known}",
            hint="Tokenizer and text encoder are not of the same model.",
        )


def _packed(units: Iterable[_Unit], room: int, comma: int, reach: int) -> list[list[_Unit]]:
    """Fill chunks one after another.

    Source: stable-diffusion-webui, the setting "Prompt word wrap length limit" (20 unless changed).
    """
    packs: list[list[_Unit]] = []
    here: list[_Unit] = []
    size = clause = 0  # of `here` in tokens; how many of its units stand up to its last comma
    for unit in units:
        is_comma = unit.ids == (comma,)
        if size + len(unit.ids) > room:
            wraps = clause and not is_comma and size == room and _size(here[clause:]) < reach
            end = clause if wraps else len(here)
            packs.append(here[:end])
            here, clause = here[end:], 0
            size = _size(here)
        here.append(unit)
        size += len(unit.ids)
        if is_comma:
            clause = len(here)
    return [*packs, here]


def _size(units: Sequence[_Unit]) -> int:
    return sum(len(unit.ids) for unit in units)


def _tokens(tokenizer: Any, config: Any, units: Sequence[_Unit], longest: int) -> Tokens:
    ids = [tokenizer.bos_token_id, *(number for unit in units for number in unit.ids), tokenizer.eos_token_id]
    weights = [1.0, *(unit.weight for unit in units for _ in unit.ids)]
    pad = longest - len(ids)
    masked = getattr(config, "use_attention_mask", None)
    return Tokens(
        torch.tensor([ids + [tokenizer.pad_token_id] * pad]),
        torch.tensor([[1] * len(ids) + [0] * pad]) if masked else None,
        torch.tensor(weights + [1.0] * (longest - len(weights))).reshape(1, -1, 1) if set(weights) != {1.0} else None,
    )


def _text_from(paragraphs: Paragraphs, place: tuple[int, int, int]) -> str:
    number, at, letter = place
    first, *rest = paragraphs[number][at:]
    texts = [first.text[letter:] + "".join(piece.text for piece in rest)]
    texts += ["".join(piece.text for piece in pieces) for pieces in paragraphs[number + 1 :]]
    return " ".join(texts).strip()


@lru_cache(maxsize=4)
def _tokenizer(place: Path, says: tuple[tuple[str, Any], ...], model: str, digest: str) -> Any:
    """`digest` makes sure that another model in the same place is read anew."""
    try:
        if place.name == OPEN_CLIP:
            tokenizer = CLIPTokenizer(**open_clip_words(place), **dict(says))
        else:
            tokenizer = CLIPTokenizer.from_pretrained(str(place), local_files_only=True, **dict(says))
        for name in ("model_max_length", *MARKS):
            if type(getattr(tokenizer, name)) is not int:
                raise ValueError(f"its {name} is {getattr(tokenizer, name)!r:.60}, not a number")
        return tokenizer
    except Exception as error:  # the Rust tokenizers raise plain Exception for a damaged file
        raise MissingError(
            f'cannot read the tokenizer of model "{model}": {error!s:.{MOST_SHOWN}}', hint=FETCH_MODEL
        ) from error


def open_clip_words(file: Path) -> dict[str, Any]:
    """The vocabulary and the merges of OpenCLIP's one file.

    Source: open_clip's tokenizer.py: bytes, bytes at a word's end, merges, marks; GPT-2's letters for bytes.
    """
    with gzip.open(file) as stream:
        lines = stream.read(LARGEST_WORDS).decode("utf-8").split("\n")
    merges = lines[1 : CLIP_WORDS - 256 - 256 - 2 + 1]
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in plain] + [chr(256 + n) for n in range(256 - len(plain))]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {"vocab": {word: at for at, word in enumerate(words)}, "merges": [tuple(merge.split()) for merge in merges]}
