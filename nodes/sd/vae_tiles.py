"""A VAE in tiles: large pictures in bounded memory, blended where tiles overlap.

A VAE's group norms and its attention look at all that they are given. Tiles therefore never give just what the whole
picture gives: each has a slightly different brightness, which blending hides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graph.node import Context
from nodes.sd.tiles import windows

WHOLE, TILE = 1536 * 1024, 768
"""Unless the user says otherwise, pictures of more pixels are done in tiles of this side. The device is not asked: a
workflow gives the same bits everywhere, and at every size that models are trained at those of the whole picture."""
SMALL = 256
"""The side of the tiles at most where memory is not enough otherwise."""
SHARED = 4
"""Neighbours share a quarter of a tile's side, as in diffusers."""
Span = tuple[int, int]
"""From and to, along a side."""


def granted(ctx: Context, tile: int | None) -> int | None:
    """The tile that the user asks for, or a smaller one where memory must be saved."""
    return min(tile or SMALL, SMALL) if ctx.saving == "tiles" else tile


def tile_side(width: int, height: int, tile: int | None) -> int:
    """The side of the tiles, in pixels, for a picture of this size; `tile` is what the user says."""
    return tile or (TILE if width * height > WHOLE else max(width, height))


def tile_area(width: int, height: int, tile: int | None = None) -> int:
    """How many pixels of a picture are computed at one time."""
    side = tile_side(width, height, tile)
    return min(width, side) * min(height, side)


def spans(cells: int, tile: int) -> list[Span]:
    """The tiles along a side of so many latents; `tile` is their length."""
    return [(window.start, window.stop) for window in windows(cells, tile, tile // SHARED)]


def in_tiles(
    compute: Callable[[Tensor], Tensor], source: Tensor, rows: Sequence[Span], columns: Sequence[Span], takes: int,
    gives: int,
) -> Tensor:  # fmt: skip
    """Compute a picture from another tile by tile, and blend. What is one tile is given as it is computed.

    takes, gives: how many pixels of `source`, and of the result, along a side, are one of the latents. Both are
    (1, channels, height, width); a result of several tiles lies in main memory as float32.
    """
    if len(rows) == len(columns) == 1:
        return compute(source)
    down, across = _shares(rows, gives), _shares(columns, gives)
    result: Tensor | None = None
    for (top, bottom), high in zip(rows, down, strict=True):
        for (left, right), wide in zip(columns, across, strict=True):
            tile = source[..., top * takes : bottom * takes, left * takes : right * takes]
            made = compute(tile).float().cpu() * high[:, None] * wide
            if result is None:
                result = torch.zeros(1, made.shape[1], rows[-1][1] * gives, columns[-1][1] * gives)
            result[..., top * gives : bottom * gives, left * gives : right * gives] += made
    assert result is not None
    return result


def _shares(along: Sequence[Span], gives: int) -> list[Tensor]:
    """How much each tile counts for each pixel along a side: less where it overlaps another, 1 all together."""
    stop = along[-1][1]
    raw = []
    for first, last in along:
        at = (torch.arange((last - first) * gives) + 0.5) / ((last - first) // SHARED * gives)
        rise = at if first else torch.ones_like(at)
        raw.append(torch.minimum(rise, at.flip(0) if last < stop else torch.ones_like(at)).clamp(max=1))
    whole = torch.zeros(stop * gives)
    for (first, last), share in zip(along, raw, strict=True):
        whole[first * gives : last * gives] += share
    return [share / whole[first * gives : last * gives] for (first, last), share in zip(along, raw, strict=True)]
