"""Make a CLIP tokenizer for the world's own words: byte-level BPE, every word one token.

The 256 bytes are tokens twice, inside a word and at its end ("</w>"). Without the second set a foreign
letter is unknown, and CLIP's unknown token is the end of the text: half the prompt would be lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

END_OF_WORD = "</w>"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
"""Tokens a prompt is padded and cut to."""

Pair = tuple[str, str]


def write_tokenizer(words: Sequence[str], folder: Path) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json, from which CLIPTokenizer loads."""
    merges = learn_merges(words)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(_tokens(merges))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, indent=0) + "\n", "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def learn_merges(words: Sequence[str]) -> list[Pair]:
    """Merge the commonest pair until every word is one token (ties: the first in the alphabet).

    Source: Sennrich et al. 2016 (arXiv:1508.07909), algorithm 1.
    """
    split = [(*word[:-1], word[-1] + END_OF_WORD) for word in sorted(set(words))]
    merges: list[Pair] = []
    while any(len(word) > 1 for word in split):
        pair = _commonest(split)
        merges.append(pair)
        split = [_merged(word, pair) for word in split]
    return merges


def byte_letters() -> Mapping[int, str]:
    """Give the printable letter that stands for each byte.

    Source: Radford et al. 2019 (GPT-2), bytes_to_unicode; CLIP uses the same table.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + place) for place, b in enumerate(others)}


def _tokens(merges: Iterable[Pair]) -> list[str]:
    letters = [byte_letters()[byte] for byte in range(256)]
    merged = dict.fromkeys(first + second for first, second in merges)
    return [*letters, *(letter + END_OF_WORD for letter in letters), *merged, BEGIN, END]


def _commonest(split: Iterable[Sequence[str]]) -> Pair:
    counts = Counter(pair for word in split for pair in pairwise(word))
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _merged(word: Sequence[str], pair: Pair) -> tuple[str, ...]:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return tuple(out)
