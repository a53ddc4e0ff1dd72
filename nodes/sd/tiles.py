"""Doing a large picture in parts. Light: no torch."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Window(NamedTuple):
    """A stretch of one side of a picture: what is computed together, and what of that is kept."""

    start: int
    stop: int
    keep: slice
    """Within the whole side; the windows' keeps follow each other without a gap."""


def windows(length: int, tile: int, overlap: int) -> tuple[Window, ...]:
    """Cover a side by windows of `tile`, each sharing at least `overlap` with the next; one window if it fits.

    Neighbours meet in the middle of what they share. Where `length`, `tile` and `overlap` are multiples of a number,
    so is every start. overlap: less than `tile`, unless one window is enough.
    """
    if tile >= length:
        return (Window(0, length, slice(0, length)),)
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    meet = [0, *((after + before + tile) // 2 for before, after in pairwise(starts)), length]
    return tuple(Window(start, start + tile, slice(*kept)) for start, kept in zip(starts, pairwise(meet), strict=True))
