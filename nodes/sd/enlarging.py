"""Enlarging pictures with a super-resolution net, in tiles of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from graph.errors import StepError
from graph.node import Context
from graph.values import Picture, SuperResolution
from nodes.sd.checkpoints import compute_dtype
from nodes.sd.pixels import check_area, enlarged_size, filtered
from nodes.sd.residency import weights
from nodes.sd.room import check_room
from nodes.sd.super_resolution import Net, described
from nodes.sd.tiles import Window, windows

Pixels = NDArray[np.uint8]
"""(rows, columns, 3), RGB."""
FRAME = 8
"""Pixels around a picture that repeat its outermost ones: a net sees black beyond them, and darkens the edge."""
FOLD = 4
"""Sides are brought to multiples of it: some nets fold as many pixels into one."""
WHOLE, TILE = 512 * 512, 512
"""Unless the user says otherwise, pictures of more pixels are done in tiles of this side. The device is not asked: a
workflow gives the same bits everywhere. ESRGAN takes some 4 GB for such a tile in fp32."""
MARGIN = 40
"""How far a tile looks beyond what is kept of it, at most: enough for every compact net to give just what it gives on
the whole picture. ESRGAN's 23 blocks reach 349 pixels, at 5 times the work; what is that far away hardly counts."""
Tile = tuple[Window, Window]
"""Rows and columns, of a picture in its frame."""


def enlarged_by(
    ctx: Context, handle: SuperResolution, picture: Picture, factor: float, method: str, tile: int | None
) -> Picture:
    """Enlarge as the node `upscale` says where it is given a net.

    Raises StepError for a result, or one on the way to it, over 100 million pixels, and where the net gives values
    that are no numbers; OutOfMemory, before the weights are loaded, for a tile that can never fit.
    """
    net, size = described(ctx.locate(handle.digest)).net, enlarged_size(picture, factor)
    passes = list(_passes(net, picture, factor, tile))
    _refuse_room(ctx, net, passes)
    done, total = 0, sum(map(len, passes))
    pixels = np.asarray(picture.pixels.convert("RGB"))
    with weights.use(handle, ctx) as module, torch.inference_mode():
        for tiles in passes:
            framed = _framed(pixels)
            large = np.empty((framed.shape[0] * net.scale, framed.shape[1] * net.scale, 3), np.uint8)
            for one in tiles:
                _put(large, one, enlarged_pixels(module, framed[_seen(one)]), net.scale)
                done += 1
                ctx.progress(done, total)
            pixels = _unframed(large, pixels.shape, net.scale)
    colours = filtered(Picture(Image.fromarray(pixels)), size, method)
    return _with_alpha(colours, picture, method)


def enlarged_pixels(module: Any, small: Pixels) -> Pixels:
    """Send pixels through a net, in its place and precision. Raises StepError for values that are no numbers."""
    like = next(module.parameters())
    signal = torch.from_numpy(small.transpose(2, 0, 1)[None].copy()).to(like.device, like.dtype) / 255
    large = module(signal)[0].float()
    if not bool(large.isfinite().all()):
        raise StepError("the upscaler gave values that are no numbers", hint="Try precision: fp32 in load_upscaler.")
    made: Pixels = (large.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return made


def _passes(net: Net, picture: Picture, factor: float, tile: int | None) -> Iterator[list[Tile]]:
    """The tiles of each use of the net: once, and then until the picture is at least as large as is wanted."""
    times = 1
    while times == 1 or times < factor:
        wide, high = picture.width * times, picture.height * times
        hint = "Choose a smaller factor, or a net that enlarges less."
        check_area(wide * net.scale, high * net.scale, "what the net makes of the picture", hint)
        yield _tiles(net, wide, high, tile or (TILE if wide * high > WHOLE else max(wide, high)))
        if net.scale == 1:
            return
        times *= net.scale


def _tiles(net: Net, wide: int, high: int, side: int) -> list[Tile]:
    margin = _up(min(net.reach, MARGIN, side // 4))
    rows, columns = (windows(_up(length) + 2 * FRAME, _up(side) + 2 * FRAME, 2 * margin) for length in (high, wide))
    return list(product(rows, columns))


def _up(length: int) -> int:
    return -(-length // FOLD) * FOLD


def _framed(pixels: Pixels) -> Pixels:
    rows, columns, _ = pixels.shape
    beyond = [(FRAME, FRAME + _up(length) - length) for length in (rows, columns)]
    return np.pad(pixels, (*beyond, (0, 0)), "edge")


def _unframed(large: Pixels, small: tuple[int, ...], scale: int) -> Pixels:
    start = FRAME * scale
    return large[start : start + small[0] * scale, start : start + small[1] * scale]


def _seen(tile: Tile) -> tuple[slice, slice]:
    rows, columns = tile
    return slice(rows.start, rows.stop), slice(columns.start, columns.stop)


def _put(large: Pixels, tile: Tile, made: Pixels, scale: int) -> None:
    """Put what is kept of a tile in its place."""
    to = tuple(slice(side.keep.start * scale, side.keep.stop * scale) for side in tile)
    kept = tuple(slice((side.keep.start - side.start) * scale, (side.keep.stop - side.start) * scale) for side in tile)
    large[to] = made[kept]


def _with_alpha(colours: Picture, picture: Picture, method: str) -> Picture:
    """Alpha does not go through the net, but through the filter."""
    if picture.mode != "RGBA":
        return colours
    alpha = filtered(Picture(picture.pixels.getchannel("A")), (colours.width, colours.height), method)
    whole = colours.pixels
    whole.putalpha(alpha.pixels)
    return Picture(whole)


def _refuse_room(ctx: Context, net: Net, passes: list[list[Tile]]) -> None:
    rows, columns = max((one for tiles in passes for one in tiles), key=lambda one: _area(*one))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    numbers = net.floor * size[0] * size[1]
    check_room("a tile", numbers * compute_dtype("upscaler", ctx.precision).itemsize, ctx.device, size, 8)


def _area(rows: Window, columns: Window) -> int:
    return (rows.stop - rows.start) * (columns.stop - columns.start)
