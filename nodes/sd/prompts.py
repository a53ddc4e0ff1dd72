"""What the syntax in a prompt means: weights, breaks, weighted subprompts. Pure: no torch, no tokenizer. What a prompt
becomes step by step is in scripts.py.

The grammar of weights is that of the web UI most prompts are written for: (more), (much more:1.5), [less], BREAK,
and a backslash before a sign that is meant as itself. It knows no wrong texts: what is no syntax is read as words,
and `troubles` names what looks like a slip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple

from graph.errors import StepError
from nodes.sd.scripts import scripted

Syntax = Literal["a1111", "plain", "subprompts"]

MORE, LESS = 1.1, 1 / 1.1
"""What a pair of round, and of square, brackets multiplies a weight by."""
LARGEST_WEIGHT = 100.0
"""Weights beyond it, either way, are taken as it: more would leave what half precision holds."""
DEEPEST = 50
"""Brackets inside so many others count no more: 1.1 ** 50 is beyond the largest weight."""
MOST_SUBPROMPTS = 100
PAIRS = {")": "(", "]": "["}

_WEIGHT = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"  # of one reading: others are tried in all their partings
_TOKEN = re.compile(
    rf"\\(?P<escaped>.?)|(?P<open>[(\[])|(?P<close>[)\]])|:\s*(?P<weight>{_WEIGHT})\s*\)|[^\\()\[\]:]+|:", re.DOTALL
)
_BREAK = re.compile(r"\bBREAK\b")
_ALMOST_A_WEIGHT = re.compile(r":\s*([+-]?(?:nan|inf|infinity|\.?\d[\w.,+-]*))\s*\)", re.IGNORECASE)
_TAG = re.compile(r"<\s*(lora|lyco|hypernet)\s*:[^<>]*>", re.IGNORECASE)
_SUBPROMPT = re.compile(r"([^:]*):(\S*)\s?")
_NUMBER = re.compile(rf"{_WEIGHT}(?:[eE][+-]?\d+)?")


class Piece(NamedTuple):
    """Words of one weight."""

    text: str
    weight: float


Paragraphs = tuple[tuple[Piece, ...], ...]
"""What stands between breaks."""


class Meaning(NamedTuple):
    """What a prompt asks for."""

    variants: tuple[tuple[tuple[Paragraphs, float], ...], ...]
    """What it is at some step or other, the first as it begins: texts that are mixed, with their shares, 1 in all."""
    script: str = ""
    """When it is which; see scripts.py."""
    troubles: tuple[str, ...] = ()
    """What looks like a slip."""


def meaning(text: str, syntax: Syntax) -> Meaning:
    """Read a prompt by one of the syntaxes.

    Raises StepError for one that changes in too many ways, and for subprompts that are too many or weigh nothing.
    """
    if syntax == "plain":
        return Meaning((((((Piece(text, 1.0),),), 1.0),),))
    if syntax == "subprompts":
        return _mix(subprompts(text))
    texts, script = scripted(text)
    scan = _scanned(text)  # once for its words and its slips, where the prompt never changes
    variants = tuple(((_paragraphs(scan if each == text else _scanned(each)), 1.0),) for each in texts)
    return Meaning(variants, script, tuple(_told(text, scan)))


def weighted(text: str) -> Paragraphs:
    """Read weights and breaks. Words of one weight that follow each other are one piece.

    Source: stable-diffusion-webui, as its documentation describes it ("Attention/emphasis").
    """
    return _paragraphs(_scanned(text))


def _paragraphs(scan: _Scan) -> Paragraphs:
    pieces = [Piece(part, _bounded(weight)) for part, weight in zip(scan.texts, scan.weights, strict=True)]
    edges = zip([0, *scan.breaks], [*scan.breaks, len(pieces)], strict=True)
    return tuple(_merged(pieces[start:stop]) for start, stop in edges)


def troubles(text: str) -> Iterator[str]:
    """Name what looks like a slip in a prompt with weights, each kind once with its first place."""
    return _told(text, _scanned(text))


def _told(text: str, scan: _Scan) -> Iterator[str]:
    for match in _ALMOST_A_WEIGHT.finditer(text):
        if not re.fullmatch(_WEIGHT, match[1]):
            scan.trouble(f'"{match[1]:.20}" is no weight and is read as words', match.start(1) + 1)
    for match in _TAG.finditer(text):
        scan.trouble(_A_TAG, match.start() + 1)
    for place, weight in zip(scan.places, scan.weights, strict=True):
        if abs(weight) > LARGEST_WEIGHT:
            scan.trouble(_TOO_LARGE, place)
    for what, places in scan.troubles.items():
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        yield f"character {min(places)}{more} of the prompt: {what}"


class Subprompt(NamedTuple):
    """One of several prompts that are mixed."""

    text: str
    weight: float
    trouble: str = ""


def subprompts(text: str) -> tuple[Subprompt, ...]:
    """Part "tabby cat:0.25 white duck:0.75 hybrid" into its prompts, each with its weight, 1 where none is written.

    Source: optimizedSD, the fork of stable-diffusion that needs less memory.
    """
    found, end = [], 0
    while match := _SUBPROMPT.match(text, end):  # not finditer: behind the last colon it would try from every letter
        words, number = match.groups()
        known, end = _NUMBER.fullmatch(number), match.end()
        trouble = f'character {match.start(2) + 1} of the prompt: "{number:.20}" is no weight, 1 is taken'
        found.append(Subprompt(words, _bounded(float(number)) if known else 1.0, "" if known else trouble))
    rest = [Subprompt(text[end:], 1.0)] if text[end:] or not found else []
    return (*found, *rest)


def _mix(prompts: Sequence[Subprompt]) -> Meaning:
    total = sum(prompt.weight for prompt in prompts)
    if not total:
        raise StepError("the weights of the subprompts are 0 in all", hint="Give one of them more weight.")
    if len(prompts) > MOST_SUBPROMPTS:
        raise StepError(f"the prompt has {len(prompts)} subprompts, at most {MOST_SUBPROMPTS} are mixed")
    mix = tuple((((Piece(prompt.text, 1.0),),), prompt.weight / total) for prompt in prompts)
    return Meaning((mix,), troubles=tuple(prompt.trouble for prompt in prompts if prompt.trouble))


@dataclass
class _Scan:
    """A prompt, read from left to right."""

    texts: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Where each text stands, from 1."""
    weights: list[float] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    """How many texts come before each break."""
    opened: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"(": [], "[": []})
    """By bracket, those that are still open: their place, and how many texts come before."""
    troubles: dict[str, list[int]] = field(default_factory=dict)
    """By what is wrong, where."""

    def words(self, text: str, place: int) -> None:
        self.texts.append(text)
        self.places.append(place)
        self.weights.append(1.0)

    def close(self, bracket: str, factor: float) -> None:
        """Weigh everything since the bracket was opened."""
        depth = sum(map(len, self.opened.values()))
        place, start = self.opened[bracket].pop()
        if depth > DEEPEST:
            self.trouble(f"brackets inside {DEEPEST} others do not count", place)
            return
        self.weights[start:] = [weight * factor for weight in self.weights[start:]]

    def trouble(self, what: str, place: int) -> None:
        self.troubles.setdefault(what, []).append(place)


_A_TAG = "a tag such as <lora:name:1> is read as words; a lora node behind load_model does what it says"
_TOO_LARGE = f"a weight beyond {LARGEST_WEIGHT:g} is taken as that"


def _scanned(text: str) -> _Scan:
    scan = _Scan()
    for match in _TOKEN.finditer(text):
        place = match.start() + 1
        if match["escaped"] is not None:
            scan.words(match["escaped"], place)
        elif match["open"]:
            scan.opened[match["open"]].append((place, len(scan.texts)))
        elif match["weight"] and scan.opened["("]:
            _close_with(scan, float(match["weight"]), place)
        elif match["close"] and scan.opened[PAIRS[match["close"]]]:
            scan.close(PAIRS[match["close"]], MORE if match["close"] == ")" else LESS)
        else:
            _read_words(scan, match[0], place)
    for bracket, factor in (("(", MORE), ("[", LESS)):
        for place, _ in scan.opened[bracket]:
            scan.trouble(f'"{bracket}" is never closed and counts up to the end', place)
        while scan.opened[bracket]:
            scan.close(bracket, factor)
    return scan


def _close_with(scan: _Scan, weight: float, place: int) -> None:
    if abs(weight) > LARGEST_WEIGHT:
        scan.trouble(_TOO_LARGE, place + 1)
    if weight < 0:
        scan.trouble("a weight below 0 gives no opposites; what is unwanted goes into a negative prompt", place + 1)
    scan.close("(", _bounded(weight))


def _read_words(scan: _Scan, words: str, place: int) -> None:
    if words[-1] in PAIRS:
        scan.trouble(f'"{words[-1]}" closes nothing and is read as a letter', place + len(words) - 1)
    first, *others = _BREAK.split(words)
    scan.words(first, place)
    for part in others:
        scan.breaks.append(len(scan.texts))
        scan.words(part, place)


def _bounded(weight: float) -> float:
    return max(-LARGEST_WEIGHT, min(LARGEST_WEIGHT, weight))


def _merged(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    same = groupby((piece for piece in pieces if piece.text), key=lambda piece: piece.weight)
    return tuple(Piece("".join(piece.text for piece in run), weight) for weight, run in same)
