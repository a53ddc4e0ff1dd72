"""Score pictures against the words they were asked with; no learning in it, only colours and outlines.

True renderings must score 100 %; `judge` checks that before it judges the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.drawing import draw, outline_of
from training.scenes import COLOURS, LANDS, SHAPES, TIMES, Scene

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_RING = 4
"""Width in pixels of the frame whose colours count as ground."""
_NEAR = 42.0
"""Distance in RGB (0..441) below which a pixel belongs to the ground."""
_GRID = 32


def ground_colour(picture: Pixels) -> str:
    """Name the colour of the ground: the one whose line of tones, dark to light, fits the frame best."""
    ring = _ring(picture)
    return min(COLOURS, key=lambda name: float(_distance_to_line(ring, *_tones(name)).mean()))


def figure_mask(picture: Pixels) -> Mask:
    """Find what is not ground, (128, 128); specks are removed."""
    ring = _ring(picture)
    name = ground_colour(picture)
    dark, light = _tones(name)
    along = np.clip((ring - dark) @ (light - dark) / np.square(light - dark).sum(), 0, 1)
    low, high = np.quantile(along, (0.05, 0.95))
    # The tones found, shifted by what the frame differs from them, e.g. by a tint.
    shift = np.median(ring - (dark + along[:, None] * (light - dark)), axis=0)
    ends = (dark + end * (light - dark) + shift for end in (low, high))
    far = _distance_to_line(picture.reshape(-1, 3).astype(np.float64), *ends) > _NEAR
    speckled = Image.fromarray((far.reshape(picture.shape[:2]) * 255).astype(np.uint8))
    return np.asarray(speckled.filter(ImageFilter.MedianFilter(5))) > 127


def figure_colour(picture: Pixels, mask: Mask) -> str:
    """Name the colour of a figure by the median of its pixels; "none" if there is no figure."""
    if mask.sum() < 60:
        return "none"
    inner = np.asarray(Image.fromarray(mask).filter(ImageFilter.MinFilter(3)))
    middle = np.median(picture[inner if inner.sum() > 30 else mask].astype(np.float64), axis=0)
    return min(COLOURS, key=lambda name: float(np.linalg.norm(middle - COLOURS[name])))


def figure_shape(mask: Mask) -> str:
    """Name a figure's shape: the template that overlaps its box best; "none" below an overlap of 0.6."""
    if mask.sum() < 60:
        return "none"
    shape, overlap = max(
        ((name, _overlap(_boxed(mask), one)) for name, one in _templates()), key=lambda found: found[1]
    )
    return shape if overlap >= 0.6 else "none"


def halves(mask: Mask, relation: str) -> tuple[Mask, Mask]:
    """Part a mask into its left and right half, or for "above" into its upper and lower half."""
    first = np.zeros_like(mask)
    if relation == "left":
        first[:, : mask.shape[1] // 2] = True
    else:
        first[: mask.shape[0] // 2] = True
    return mask & first, mask & ~first


def judge_figures(picture: Pixels, words: Mapping[str, str]) -> dict[str, bool]:
    """Tell what of a scene with one or two shapes is as asked: ground, colour1, shape1 and so on."""
    mask = figure_mask(picture)
    masks = [mask] if words["kind"] == "single" else halves(mask, words["relation"])
    right = {"ground": ground_colour(picture) == words["ground"]}
    for number, part in enumerate(masks, 1):
        right[f"colour{number}"] = figure_colour(picture, part) == words[f"colour{number}"]
        right[f"shape{number}"] = figure_shape(part) == words[f"shape{number}"]
    return right


def judge_landscape(picture: Pixels, words: Mapping[str, str]) -> dict[str, bool]:
    """Tell whether time and land of a landscape are as asked."""
    time, land = landscape_of(picture)
    return {"time": time == words["time"], "land": land == words["land"]}


def landscape_of(picture: Pixels) -> tuple[str, str]:
    """Name the time and land whose true renderings are nearest in the colours of seven bands."""
    kinds, means, deviation = _landscape_means()
    distances = np.square((_bands(picture) - means) / deviation).sum(1)
    return kinds[int(distances.argmin())]


def overlap(first: Mask, second: Mask) -> float:
    """Measure intersection over union, 0 to 1."""
    return _overlap(first, second)


def _overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def _ring(picture: Pixels) -> Floats:
    inside = np.zeros(picture.shape[:2], bool)
    inside[_RING:-_RING, _RING:-_RING] = True
    return picture[~inside].astype(np.float64)


def _tones(name: str) -> tuple[Floats, Floats]:
    dark = np.array(COLOURS[name], np.float64)
    return dark, dark + 0.42 * (255 - dark) if dark.mean() < 200 else dark * 0.78


def _distance_to_line(points: Floats, start: Floats, end: Floats) -> Floats:
    way = end - start
    along = np.clip((points - start) @ way / max(1e-9, float(way @ way)), 0, 1)
    distances: Floats = np.linalg.norm(points - start - along[:, None] * way, axis=1)
    return distances


def _boxed(mask: Mask) -> Mask:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    whole = Image.fromarray((mask * 255).astype(np.uint8))
    return np.asarray(whole.resize((_GRID, _GRID), Image.Resampling.BOX, box)) > 127


@cache
def _templates() -> tuple[tuple[str, Mask], ...]:
    return tuple((name, _template(name, turn)) for name in SHAPES for turn in (-0.07, 0.0, 0.07))


def _template(name: str, turn: float) -> Mask:
    image = Image.new("L", (128, 128))
    corners = [(64 + x, 64 + y) for x, y in outline_of(name, 44, turn)]
    ImageDraw.Draw(image).polygon(corners, fill=255)
    return _boxed(np.asarray(image) > 127)


def _bands(picture: Pixels) -> Floats:
    rows = picture.astype(np.float64).mean(1)
    edges = (0, 16, 36, 56, 76, 92, 110, 128)
    return np.concatenate([rows[a:b].mean(0) for a, b in pairwise(edges)])


@cache
def _landscape_means() -> tuple[list[tuple[str, str]], Floats, Floats]:
    """Learn the bands of each time and land from 24 true renderings; one common deviation a band."""
    rng = Random(77)
    kinds = [(time, land) for time in TIMES for land in LANDS]
    drawn = np.stack(
        [
            [_bands(draw(Scene({"kind": "landscape", "time": t, "land": g}, rng.getrandbits(32)))) for _ in range(24)]
            for t, g in kinds
        ]
    )
    return kinds, drawn.mean(1), np.sqrt(drawn.var(1).mean(0)) + 4
