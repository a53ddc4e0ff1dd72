"""Tables and texts for a terminal: aligned by what is seen, whatever letters a name has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["clean", "cut", "pad", "render", "seen_width"]

GAP = 2
"""Columns between two columns of a table."""
STATES: Mapping[str, str] = {
    "done": "32",
    "run": "32",
    "running": "36",
    "step": "36",
    "cached": "2",
    "hit": "2",
    "waiting": "2",
    "skipped": "33",
    "unknown": "33",
    "stopped": "33",
    "failed": "31",
}
"""The colour (an SGR code) of a state, by the first word of its cell."""
_STATE_COLUMNS = frozenset({"state", "action"})
_NUMBER = re.compile(r"[+-]?[\d.,]+( ?[A-Za-z%]{1,3})?")
_LEAST = 4
"""A column is not cut below this, unless nothing else fits."""
_JOINER = "\N{ZERO WIDTH JOINER}"
_EMOJI_STYLE = "\N{VARIATION SELECTOR-16}"


def render(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), width: int | None = None, colour: bool = False
) -> str:
    """Lay out a table, one line a row, no line break at the end.

    width: columns of the terminal; the right column is cut first. None cuts nothing.
    colour: with ANSI sequences: the header dim, the cells of a column "state" or "action" by their first word.
    Columns that hold nothing but numbers (with units) are aligned to the right. Rows may be shorter than the header.
    """
    count = max(len(header), *(len(row) for row in rows)) if rows else len(header)
    table = [
        [clean(cell) for cell in row] + [""] * (count - len(row)) for row in ([header] if header else []) + [*rows]
    ]
    columns = list(zip(*table, strict=True))
    widths = _fitted([max(map(seen_width, column)) for column in columns], width)
    right = [_is_number(column[bool(header) :]) for column in columns]
    lines = []
    for number, row in enumerate(table):
        cells = [pad(cut(cell, most), most, right=side) for cell, most, side in zip(row, widths, right, strict=True)]
        if colour:
            cells = _painted(cells, header, is_header=bool(header) and number == 0)
        shown = [cell for cell, most in zip(cells, widths, strict=True) if most]
        lines.append((" " * GAP).join(shown).rstrip())
    return "\n".join(lines)


def seen_width(text: str) -> int:
    """Count the columns of a terminal that a text takes: two for East Asian wide letters and emoji, none for marks."""
    return len(text) if text.isascii() else sum(width for _, width in _letters(text))


def cut(text: str, width: int) -> str:
    """Cut a text to at most `width` columns, its end then "…"; a wide letter is never halved."""
    if seen_width(text) <= width:
        return text
    kept, used = "", 1
    for letter, columns in _letters(text):
        used += columns
        if used > width:
            break
        kept += letter
    return kept + "…" if width > 0 else ""


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill a text with spaces to `width` columns; on its left with `right`."""
    space = " " * (width - seen_width(text))
    return space + text if right else text + space


def clean(text: str) -> str:
    """Give a text that a terminal can be shown: one line, control characters and the like as "·"."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == _JOINER else "·" for letter in text)


def _letters(text: str) -> Iterator[tuple[str, int]]:
    """Split a text into what a terminal shows as one letter, each with its columns.

    Source: Unicode Standard Annex 11 (East Asian width); joined emoji take the two columns of their first.
    """
    letter, width = "", 0
    for mark in text:
        joined = letter.endswith(_JOINER) or _is_mark(mark)
        if letter and not joined:
            yield letter, width
            letter, width = "", 0
        letter += mark
        if mark == _EMOJI_STYLE:
            width = 2
        elif not joined:
            width = 2 if unicodedata.east_asian_width(mark) in "WF" else 1
    if letter:
        yield letter, width


def _is_mark(letter: str) -> bool:
    return (
        unicodedata.combining(letter) > 0
        or unicodedata.category(letter) in ("Mn", "Me", "Cf")
        or "\U0001f3fb" <= letter <= "\U0001f3ff"  # skin tones
        or "\u1160" <= letter <= "\u11ff"  # vowels and finals of conjoining Hangul
    )


def _fitted(natural: list[int], width: int | None) -> list[int]:
    """Narrow the columns from the right until the table fits, first to a readable rest, then to nothing."""
    widths = list(natural)
    if width is None:
        return widths
    for least in (_LEAST, 0):
        for column in reversed(range(len(widths))):
            excess = sum(widths) + GAP * (sum(map(bool, widths)) - 1) - width
            widths[column] = max(min(widths[column], least), widths[column] - max(excess, 0))
    return widths


def _is_number(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _painted(cells: list[str], header: Sequence[str], *, is_header: bool) -> list[str]:
    if is_header:
        return [f"\x1b[2m{cell}\x1b[0m" for cell in cells]
    names = [*header, *[""] * (len(cells) - len(header))]
    return [_by_state(cell) if name in _STATE_COLUMNS else cell for name, cell in zip(names, cells, strict=True)]


def _by_state(cell: str) -> str:
    code = STATES.get(cell.partition(" ")[0])
    return f"\x1b[{code}m{cell}\x1b[0m" if code else cell
