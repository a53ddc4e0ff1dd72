"""Sizes, ages and counts, as people write and read them."""

from __future__ import annotations

import re

from graph import ages
from graph.errors import UsageError

_UNITS = {"": 1} | {f"{letter}{end}": base**power for power, letter in enumerate("KMGT", 1)
                    for end, base in (("", 1000), ("B", 1000), ("IB", 1024))} | {"B": 1}  # fmt: skip


def parse_size(text: str, asking: str = "--max-size") -> int:
    """Read a size as people write it ("10GB", "1.5 GiB", "500M", "1000") as bytes.

    asking: the option or variable that the size is of. Raises UsageError.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    if not found or found[2].upper() not in _UNITS:
        raise UsageError(f'{asking} takes a size, not "{text}"', hint="For example 10GB, 1.5GiB or 500M.")
    return round(float(found[1]) * _UNITS[found[2].upper()])


def parse_age(text: str) -> float:
    """Read an age as people write it ("30d", "12h", "2 w", "45min") as seconds. Raises UsageError."""
    try:
        return ages.seconds(text)
    except ValueError:
        hint = "For example 30d, 12h, 2w or 45min."
        raise UsageError(f'--older-than takes an age, not "{text}"', hint=hint) from None


def size_words(count: int) -> str:
    """Tell a number of bytes: "1.2 GB", "312 B"."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power * 0.9995:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} B"


def age_words(seconds: float) -> str:
    """Tell how long ago something was: "3 h ago", "12 days ago"."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit != "days" and seconds >= length):
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def counted(count: int, noun: str) -> str:
    """Tell how many: "1 result", "2,000 results"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
