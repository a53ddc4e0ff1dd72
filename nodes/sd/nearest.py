"""Write a mark by the nearest step: every block alone, checked, and moved further where its bit is not read back.

What differs from the package's writer is said in docs/decisions/0020-watermark-writer.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nodes.sd.carriers import CARRIERS, STEP, Bytes, Floats, blocks, joined, low_band, painted, top

_FEW = 0.3
"""Of a band's blocks. So few that are not read back are outvoted, and are not worth a step further."""

_LEAD = 2.0
"""By how much the largest sample of a block must lead, so that rounding does not let another one overtake."""

_EFFORTS = ((0, 3, 4.0), (-1, 3, 1.0), (1, 3, 1.0), (-1, 12, 1.0))
"""What is tried in turn after the nearest step: steps beyond it, how often what is off the goal is painted again, and
for which blocks: those whose number lies less far inside its bit than this. 9 is the middle; rounding costs 1 or 2."""
_MIDDLE = 9.0

Change = Callable[[Floats, Floats, int], Floats]
"""(n, 4, 4), the phases wanted (n,), steps to go beyond the nearest -> the (n, 4, 4) to add."""


def written(band: Bytes, bits: Bytes, method: str) -> Bytes:
    """Write one bit into each block of (8 r, 8 c, 3), by the nearest step; by more effort where it is not read back.

    It is not where green or blue are at the end of their range: white cannot become bluer.
    """
    carrier, change, rows = CARRIERS[method], _CHANGES[method], len(band) // 8
    phases = 0.25 + 0.5 * bits.astype(np.float64)
    before = blocks(low_band(band))
    best = painted(band, joined(change(before, phases, 0), rows))
    room = _room(carrier(blocks(low_band(best))), phases)
    for beyond, rounds, enough in _EFFORTS:
        weak = np.flatnonzero(room < enough)
        if not weak.size or (beyond and weak.size < len(bits) * _FEW):
            continue
        tiles = _tiles(band)[np.divmod(weak, band.shape[1] // 8)]
        goal = before[weak] + change(before[weak], phases[weak], beyond)
        tried = tiles
        for _ in range(rounds):
            tried = painted(tried, goal - low_band(tried))
        got = _room(carrier(low_band(tried)), phases[weak])
        better = weak[got > room[weak]]
        _tiles(best)[np.divmod(better, band.shape[1] // 8)] = tried[got > room[weak]]
        room[better] = got[got > room[weak]]
    return best


def _tiles(band: Bytes) -> Bytes:
    """(8 r, 8 c, 3) -> (r, c, 8, 8, 3), a view."""
    rows, columns = band.shape[0] // 8, band.shape[1] // 8
    return band.reshape(rows, 8, columns, 8, 3).swapaxes(1, 2)


def _room(numbers: Floats, phases: Floats) -> Floats:
    """How far the numbers lie inside their bits: 9 in the middle, negative where the other bit is read."""
    off: Floats = np.abs((numbers - phases * STEP + STEP / 2) % STEP - STEP / 2)
    return _MIDDLE - off


def _nearest(numbers: Floats, phases: Floats) -> Floats:
    """The number of the step whose phase is nearest."""
    return np.rint(numbers / STEP - phases)


def _move_largest(parts: Floats, phases: Floats, beyond: int) -> Floats:
    """Move the largest sample: upwards where it would no longer be the largest, or all that are over it down."""
    samples = parts.reshape(-1, 16)[:, 1:]
    second, first = np.partition(samples, 13, axis=1)[:, 13:].T
    step = (
        _nearest(first, phases)
        if beyond < 0
        else np.maximum(_nearest(first, phases), np.ceil((second + _LEAD) / STEP - phases))
    )
    goal = ((step + beyond + phases) * STEP)[:, None]
    change = np.zeros((len(parts), 16))
    change[:, 1:] = np.minimum(samples, goal - _LEAD) - samples
    change[np.arange(len(parts)), 1 + samples.argmax(axis=1)] = goal[:, 0] - first
    return change.reshape(-1, 4, 4)


def _move_singular(parts: Floats, phases: Floats, beyond: int) -> Floats:
    """Move the largest singular value, which changes the block by a matrix of rank one."""
    value, right = top(parts)
    goal = (_nearest(value, phases) + beyond + phases) * STEP
    left = parts @ right / value[:, None, None]
    return (goal - value)[:, None, None] * (left @ right.swapaxes(1, 2))


_CHANGES: dict[str, Change] = {"dwt_dct": _move_largest, "dwt_dct_svd": _move_singular}
