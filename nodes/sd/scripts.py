"""Prompts that change while they are sampled: [from:to:when], [to:when], [from::when], and [one|other] by turns.

How many steps there are, only a sampler knows. So `scripted` gives every text that a prompt can be at some step of
some run, and a script; `variant_at` tells by the script which of them it is. Pure: no torch.

What a prompt is depends on three counts: how many of the shares of a run (when < 1) are over, how many of the steps
(when >= 1) are done, and the turn.
Source of the grammar: stable-diffusion-webui, as its documentation describes it ("Prompt editing").
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from math import lcm
from typing import Any, NamedTuple

from graph.errors import StepError

MOST_STEPS = 1001
"""That a sampler does; plms makes one more than it is asked for."""
MOST_VARIANTS = 100
"""That a prompt can be: each is encoded, and takes 0.2 to 0.6 MB for every 75 tokens."""

_SIGN = re.compile(r"\\.?|[()\[\]:|]|[^\\()\[\]:|]+", re.DOTALL)
_WHEN = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*")


class Swap(NamedTuple):
    """Something that takes another's place at a time."""

    before: Item
    after: Item
    when: float
    """Above 0; below 1 a share of the steps, else a whole number of them."""


class Turns(NamedTuple):
    """Things that come one a step, and again from the first."""

    options: tuple[Item, ...]


class Row(NamedTuple):
    """Things one after another."""

    items: Sequence[Item]


Item = str | Swap | Turns | Row


class State(NamedTuple):
    """What decides the text at a step."""

    shares: int
    """How many of `Times.shares` are over."""
    steps: int
    """How many of `Times.steps` are done."""
    turn: int


class Times(NamedTuple):
    """When a prompt can change."""

    shares: tuple[float, ...]
    """Of a run, 0 to 1, in order."""
    steps: tuple[int, ...]
    """In order."""
    period: int
    """After how many steps the turns begin anew."""

    def state(self, step: int, steps: int) -> State:
        """What counts at step `step` (from 0) of `steps`."""
        over = bisect_right([int(share * steps) for share in self.shares], step)
        return State(over, bisect_right(self.steps, step), step % self.period)

    def states(self) -> list[State]:
        """Every state that a step of a run of 1 to MOST_STEPS steps can have, in order."""
        met: list[set[int]] = [set() for _ in range(len(self.shares) + 1)]
        for steps in range(1, MOST_STEPS + 1):
            edges = [0, *(int(share * steps) for share in self.shares), steps]
            for over, (start, stop) in enumerate(pairwise(edges)):
                met[over].update(range(start, stop))
        return sorted(
            {
                State(over, bisect_right(self.steps, step), step % self.period)
                for over, at in enumerate(met)
                for step in at
            }
        )


def scripted(text: str) -> tuple[tuple[str, ...], str]:
    """The texts that a prompt becomes, the first as it begins, and the script: "" where it never changes.

    Raises StepError for a prompt that can become more than MOST_VARIANTS texts.
    """
    if "[" not in text or (":" not in text and "|" not in text):  # most prompts, and a wall of brackets
        return (text,), ""
    tree = parsed(text)
    times = _times(tree)
    if times == Times((), (), 1):
        return (_text(tree, times, State(0, 0, 0)),), ""
    if len(times.shares) + len(times.steps) + times.period > MOST_VARIANTS:
        raise _too_many()
    states = times.states()
    if len(states) > MOST_VARIANTS:  # before the texts: each is as long as the prompt
        raise _too_many()
    variants: dict[str, int] = {}
    which = [(*state, variants.setdefault(_text(tree, times, state), len(variants))) for state in states]
    script = {"period": times.period, "shares": times.shares, "steps": times.steps, "variants": which}
    return tuple(variants), json.dumps(script, separators=(",", ":"), sort_keys=True) if len(variants) > 1 else ""


def variant_at(script: str, step: int, steps: int) -> int:
    """Which variant a prompt with this script is at step `step` (from 0) of `steps` (MOST_STEPS at most)."""
    if not script:
        return 0
    times, which = _read(script)
    return which[times.state(step, steps)]


@lru_cache(maxsize=16)
def _read(script: str) -> tuple[Times, dict[State, int]]:
    tree: dict[str, Any] = json.loads(script)
    which = {State(*state): variant for *state, variant in tree["variants"]}
    return Times(tuple(tree["shares"]), tuple(tree["steps"]), tree["period"]), which


# From text to tree


@dataclass
class _Open:
    """A square bracket whose end is still to come, or the whole text. Round brackets only hide signs."""

    parts: list[list[Item]] = field(default_factory=lambda: [[]])
    signs: list[str] = field(default_factory=list)
    """What stands between the parts: ":" and "|"."""
    rounds: int = 0
    """How many round brackets are open in it."""

    def whole(self, first: str, last: str = "") -> Row:
        """What was written."""
        signs = [*self.signs, last]
        return Row([first, *(item for part, sign in zip(self.parts, signs, strict=True) for item in (*part, sign))])


def parsed(text: str) -> Row:
    """Read the changes of a prompt; everything else stays as it is written, backslashes too."""
    stack = [_Open()]
    for match in _SIGN.finditer(text):
        sign, here = match[0], stack[-1]
        if sign == "[":
            stack.append(_Open())
        elif sign == "]" and len(stack) > 1 and not here.rounds:
            stack.pop()
            stack[-1].parts[-1].append(_closed(here))
        elif sign in (":", "|") and len(stack) > 1 and not here.rounds:
            here.signs.append(sign)
            here.parts.append([])
        else:
            here.rounds = max(0, here.rounds + {"(": 1, ")": -1}.get(sign, 0))
            here.parts[-1].append(sign)
    while len(stack) > 1:
        unclosed = stack.pop()
        stack[-1].parts[-1].append(unclosed.whole("["))
    return Row(stack[0].parts[0])


def _closed(here: _Open) -> Item:
    parts = [Row(part) for part in here.parts]
    if here.signs and set(here.signs) == {"|"}:
        return Turns(tuple(parts))
    number = here.parts[-1][0] if len(here.parts[-1]) == 1 else ""
    if here.signs not in ([":"], [":", ":"]) or not isinstance(number, str) or not _WHEN.fullmatch(number):
        return here.whole("[", "]")
    *before, after, _ = parts
    when = min(float(number), MOST_STEPS)
    return after if when <= 0 else Swap(Row(before), after, when if when < 1 else int(when))


# From tree to texts


def _times(tree: Row) -> Times:
    whens: set[float] = set()
    lengths: list[int] = [1]
    pending: list[Item] = [tree]
    while pending:
        match pending.pop():
            case Swap(before, after, when):
                whens.add(when)
                pending += [before, after]
            case Turns(options):
                lengths.append(len(options))
                pending += options
            case Row(items):
                pending += items
    shares, steps = (sorted(when for when in whens if (when < 1) is is_share) for is_share in (True, False))
    return Times(tuple(shares), tuple(map(int, steps)), min(lcm(*lengths), MOST_STEPS))


def _text(tree: Row, times: Times, state: State) -> str:
    over = {*times.shares[: state.shares], *times.steps[: state.steps]}
    texts: list[str] = []
    pending: list[Item] = [tree]
    while pending:
        match pending.pop():
            case Swap(before, after, when):
                pending.append(after if when in over else before)
            case Turns(options):
                pending.append(options[state.turn % len(options)])
            case Row(items):
                pending += reversed(items)
            case str() as text:
                texts.append(text)
    return "".join(texts)


def _too_many() -> StepError:
    return StepError(
        f"the prompt changes in more than {MOST_VARIANTS} ways while it is sampled",
        hint="Use fewer [from:to:when], and turns [one|other] of fewer or equally many words.",
    )
