"""Write a mark that lasts: the picture is saved as JPEG while it is marked, and read as its reader will read it.

A bit is the majority of many blocks, and about half of them say the right thing by themselves. So nothing is written
where that is dear: each round paints, saves as JPEG, reads, and counts for every bit the blocks that are safe in all
that was seen. Bits with too few get the cheapest of their other blocks pulled towards their goal, in the low
frequencies that JPEG keeps.

    picture -> painted -> as it is, JPEG 75, JPEG of another quality -> numbers -> bits that lack votes
                  ^                                                                     |
                  +---------- change += what their cheapest blocks lack, smoothed <-----+
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.sd.carriers import (
    CARRIERS,
    STEP,
    Bools,
    Bytes,
    Carrier,
    Floats,
    blocks,
    joined,
    low_band,
    painted,
    top,
    votes,
)

Integers = NDArray[np.intp]

_WORST = (75, "4:2:0")
_OTHERS = ((90, "4:4:4"), (82, "4:2:0"), (95, "4:2:0"), (70, "4:2:0"))
"""JPEGs, by quality and how many samples of colour are kept: one is tried in every round, these take turns."""
_SPREAD = 1.8
"""By how many standard deviations of fair votes a majority must be safe."""
_INSIDE = 3.0
"""How far a safe number lies inside its bit; 9 is the middle."""
_BEYOND = 1.0
"""How much further a block is pulled than it must go."""
_LIFT = 4.0
"""How much more a lone sample is raised than it lacks: smoothing leaves about a quarter of it."""
_CUT = 3.0
"""The frequency, in half waves a JPEG block, above which changes are not worth making."""

_SHUFFLE = 1e-3
"""How far equal costs are set apart: in a grey picture all blocks cost the same, and not all are to be pulled."""


class _Style(NamedTuple):
    carrier: Carrier
    pull: Callable[[Floats, Floats], Floats]
    """(n, 4, 4), the numbers wanted (n,) -> the (n, 4, 4) to add."""
    rounds: int
    """As many again where a bit would still be lost."""
    haste: float
    """How much of what is lacking is added in a round. 1.0 settles most finely."""


def lasting(band: Bytes, bits: Bytes, method: str, period: int) -> Bytes:
    """Write one bit into each block of (8 r, 8 c, 3), so that the majorities of the bits survive JPEG 75.

    bits: of each block; they repeat after `period` of them.
    """
    style, rows = _STYLES[method], len(band) // 8
    bit = np.arange(len(bits)) % period
    change = np.zeros((rows * 4, band.shape[1] // 2))
    quota = _quota(np.bincount(bit, minlength=period))
    marked, goal = band, np.empty(0)
    for turn in range(2 * style.rounds):
        seen = [blocks(low_band(view)) for view in _views(marked, turn)]
        numbers = [style.carrier(parts) for parts in seen]
        if not turn:
            goal = _goal(seen, numbers, 0.25 + 0.5 * bits.astype(np.float64), style)
        safe = np.max([np.abs(number - goal) for number in numbers], axis=0) <= STEP / 4 - _INSIDE
        lacking = np.maximum(quota - np.bincount(bit, safe, period), 0).astype(int)
        if not lacking.any() or (turn >= style.rounds and _is_read(numbers, bits, period)):
            break
        reach = STEP / 4 - _INSIDE - _BEYOND
        wanted = (np.clip(number, goal - reach, goal + reach) for number in numbers)
        pull = sum(map(style.pull, seen, wanted)) / len(seen)
        chosen = _cheapest(np.where(safe, np.inf, np.square(pull).sum(axis=(1, 2))), lacking)
        change += style.haste * _smooth(joined(np.where(chosen[:, None, None], pull, 0), rows))
        marked = painted(band, change)
    return marked


def _views(marked: Bytes, turn: int) -> list[Bytes]:
    return [marked, _through_jpeg(marked, *_WORST), _through_jpeg(marked, *_OTHERS[turn % len(_OTHERS)])]


def _through_jpeg(pixels: Bytes, quality: int, sampling: str) -> Bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=sampling)
    return np.asarray(Image.open(stream))


def _quota(counts: Integers) -> Floats:
    """How many of a bit's blocks must be safe."""
    return np.minimum(np.ceil(counts / 2 + _SPREAD * np.sqrt(counts) / 2), counts)


def _is_read(numbers: list[Floats], bits: Bytes, period: int) -> bool:
    """Whether every bit has its majority in all that was seen, safe or not."""
    bit = np.arange(len(bits)) % period
    halves = np.bincount(bit, minlength=period) / 2
    return all((np.bincount(bit, votes(number) == bits, period) > halves)[bit].all() for number in numbers)


def _goal(seen: list[Floats], numbers: list[Floats], phases: Floats, style: _Style) -> Floats:
    """The middle of the step that each number is to reach: below or above, whichever changes the block less."""
    parts, number = np.mean(seen, axis=0), np.mean(numbers, axis=0)
    nearest = np.rint(number / STEP - phases)
    goals = [(nearest + steps + phases) * STEP for steps in (-1, 0, 1)]
    reach = STEP / 4 - _INSIDE
    pulls = [style.pull(parts, np.clip(number, goal - reach, goal + reach)) for goal in goals]
    costs = np.where(np.array(goals) > 0, np.square(pulls).sum(axis=(2, 3)), np.inf)
    return np.choose(costs.argmin(axis=0), goals)


def _cheapest(costs: Floats, lacking: Integers) -> Bools:
    """Choose for each bit as many blocks as it lacks, the cheapest; none of infinite cost."""
    period = len(lacking)
    table = np.full(math.ceil(len(costs) / period) * period, np.inf)
    table[: len(costs)] = costs
    table *= 1 + _SHUFFLE * (np.arange(len(table)) * 0.618034 % 1)
    costs = table[: len(costs)]
    ordered = np.sort(table.reshape(-1, period), axis=0)
    limit = np.where(lacking > 0, ordered[np.maximum(lacking, 1) - 1, np.arange(period)], -1)
    return (costs <= limit[np.arange(len(costs)) % period]) & np.isfinite(costs)


def _smooth(low: Floats) -> Floats:
    """Leave the low frequencies of each JPEG block of 8x8 colour samples."""
    rows, columns = low.shape
    whole = np.pad(low, ((0, -rows % 8), (0, -columns % 8)))
    parts = whole.reshape(whole.shape[0] // 8, 8, -1, 8).swapaxes(1, 2)
    kept = _DCT.T @ (_WEIGHTS * (_DCT @ parts @ _DCT.T)) @ _DCT
    return kept.swapaxes(1, 2).reshape(whole.shape)[:rows, :columns]


def _dct() -> Floats:
    """The orthonormal DCT-II of 8 samples, as a matrix."""
    frequency, sample = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * (2 * sample + 1) * frequency / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


_DCT = _dct()
_WEIGHTS = 1 / (1 + (np.hypot(*np.mgrid[:8, :8]) / _CUT) ** 4)


def _pull_largest(parts: Floats, wanted: Floats) -> Floats:
    """Push down all samples that are over it; raise the largest where none reaches it."""
    samples = parts.reshape(-1, 16)
    pull = np.minimum(wanted[:, None] - samples, 0)
    pull[:, 0] = 0
    up = np.maximum(wanted - samples[:, 1:].max(axis=1), 0)
    pull[np.arange(len(pull)), 1 + samples[:, 1:].argmax(axis=1)] += _LIFT * up
    return pull.reshape(-1, 4, 4)


def _pull_singular(parts: Floats, wanted: Floats) -> Floats:
    value, right = top(parts)
    left = parts @ right / value[:, None, None]
    return (wanted - value)[:, None, None] * (left @ right.swapaxes(1, 2))


_STYLES = {
    "dwt_dct": _Style(CARRIERS["dwt_dct"], _pull_largest, 24, 1.0),
    "dwt_dct_svd": _Style(CARRIERS["dwt_dct_svd"], _pull_singular, 12, 1.3),
}
