"""Values of a recipe in words, and two texts told by where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LONG = 40
"""Letters of a text from which on it is told by where it differs."""
AROUND = 3
"""Words that are shown before and after a difference."""
MOST_WORDS = 200
"""Words that are compared one with another; in longer differences the whole middle is one."""
_LIKE = 0.3
"""The part of the words that two texts must share, or else both are shown."""


def words(value: Any, most: int = 60) -> str:
    """A recipe's value for people."""
    if isinstance(value, Mapping):
        if "content" in value:
            return f"the file with sha256 {value['content'][:12]}…"
        value = next(iter(value.values()))
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= most:
        return text
    return text[: most - 2] + '…"' if text.startswith('"') else text[: most - 1] + "…"


def contrast(before: Any, now: Any) -> str:
    """Tell two values: "was 1, is now 2"; of long texts that are alike, where they differ: "… a [red -> blue] boat"."""
    if isinstance(before, str) and isinstance(now, str) and max(len(before), len(now)) > LONG:
        if before.split() == now.split():
            return "differs in white space alone"
        if told := _marked(before.split(), now.split()):
            return f'is "{told}"'
    return f"was {words(before)}, is now {words(now)}"


def _marked(before: Sequence[str], now: Sequence[str]) -> str:
    """The second text, with what it replaced in brackets; "" where they have too little in common."""
    blocks = list(_blocks(before, now))
    same = sum(stop - start for tag, _, _, start, stop in blocks if tag == "equal")
    if same < _LIKE * max(len(before), len(now)):
        return ""
    last = len(blocks) - 1
    return " ".join(
        _kept(now[start:stop], at == 0, at == last) if tag == "equal" else _replaced(before[i:j], now[start:stop])
        for at, (tag, i, j, start, stop) in enumerate(blocks)
    )


def _blocks(before: Sequence[str], now: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """What difflib's opcodes say; it is quadratic, so it is asked only about what lies between equal ends."""
    import difflib  # where texts differ, and nowhere else

    shorter = min(len(before), len(now))
    head = next((at for at in range(shorter) if before[at] != now[at]), shorter)
    tail = next((at for at in range(shorter - head) if before[-1 - at] != now[-1 - at]), shorter - head)
    old, new = before[head : len(before) - tail], now[head : len(now) - tail]
    if head:
        yield "equal", 0, head, 0, head
    if len(old) > MOST_WORDS or len(new) > MOST_WORDS:
        yield "replace", head, head + len(old), head, head + len(new)
    else:
        for tag, i, j, start, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            yield tag, head + i, head + j, head + start, head + stop
    if tail:
        yield "equal", len(before) - tail, len(before), len(now) - tail, len(now)


def _kept(same: Sequence[str], is_first: bool, is_last: bool) -> str:
    most = AROUND if is_first or is_last else 2 * AROUND
    if len(same) <= most + 1:
        return " ".join(same)
    head = [] if is_first else same[:AROUND]
    tail = [] if is_last else same[-AROUND:]
    return " ".join([*head, "…", *tail])


def _replaced(old: Sequence[str], new: Sequence[str]) -> str:
    if old and new:
        return f"[{_short(old)} -> {_short(new)}]"
    return f"[+ {_short(new)}]" if new else f"[- {_short(old)}]"


def _short(some: Sequence[str]) -> str:
    most = 4 * AROUND
    return " ".join(some) if len(some) <= most else f"{' '.join(some[:most])} …"
