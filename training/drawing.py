"""Draw a scene: the pixels of grounds and shapes; landscapes have their own file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.landscapes import draw_landscape
from training.scenes import COLOURS, PLACES, Rgb, Scene

SIZE = 128
"""Width and height of a picture in pixels."""

_RADII: Mapping[str, tuple[float, float]] = {"small": (20, 24), "medium": (28, 34), "large": (40, 48)}
Point = tuple[float, float]
Field = NDArray[np.float32]


def draw(scene: Scene) -> NDArray[np.uint8]:
    """Draw a scene as (128, 128, 3) RGB; the same scene always gives the same pixels."""
    return draw_landscape(scene) if scene.words["kind"] == "landscape" else draw_figures(scene, 1)


def draw_figures(scene: Scene, zoom: int) -> NDArray[np.uint8]:
    """Draw a scene that is no landscape as (128 * zoom, 128 * zoom, 3) RGB."""
    rng, scale = Random(scene.seed), 2 * zoom
    canvas = _ground(scene.words, rng).resize((scale * SIZE, scale * SIZE), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    for shape, colour, (x, y), radius in _figures(scene.words, rng):
        outline = outline_of(shape, radius, math.radians(rng.uniform(-5, 5)))
        pen.polygon([(scale * (x + dx), scale * (y + dy)) for dx, dy in outline], fill=tint(COLOURS[colour], rng))
    return np.asarray(canvas.reduce(2))


def outline_of(shape: str, radius: float, turn: float = 0.0) -> list[Point]:
    """Give the corners of a shape around (0, 0) in pixels, y downwards, turned by `turn` radians."""
    corners = {
        "circle": _wheel(48, [radius]),
        "square": _wheel(4, [radius * 1.22], math.pi / 4),
        "triangle": [(x, y + 0.2 * radius) for x, y in _wheel(3, [1.28 * radius])],
        "star": _wheel(10, [1.22 * radius, 0.5 * radius]),
        "cross": _cross(1.05 * radius, 0.33 * radius),
    }[shape]
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]


def tint(colour: Rgb, rng: Random, spread: int = 10) -> Rgb:
    """Shift a colour by up to `spread` of 255 in each channel."""
    red, green, blue = (min(255, max(0, c + rng.randint(-spread, spread))) for c in colour)
    return red, green, blue


def _wheel(count: int, radii: list[float], start: float = 0.0) -> list[Point]:
    angles = [start + 2 * math.pi * i / count for i in range(count)]
    return [(radii[i % len(radii)] * math.sin(a), -radii[i % len(radii)] * math.cos(a)) for i, a in enumerate(angles)]


def _cross(reach: float, half: float) -> list[Point]:
    quarter = [(-half, -reach), (half, -reach), (half, -half)]
    corners: list[Point] = []
    for _ in range(4):
        corners += quarter
        quarter = [(-y, x) for x, y in quarter]
    return corners


def _figures(words: Mapping[str, str], rng: Random) -> list[tuple[str, str, Point, float]]:
    if words["kind"] == "single":
        radius = rng.uniform(*_RADII[words["size"]])
        return [(words["shape1"], words["colour1"], _place(words["place"], radius, rng), radius)]
    spots = [(33.0, 64.0), (95.0, 64.0)]
    if words["relation"] == "above":
        spots = [(y, x) for x, y in spots]
    return [
        (words[f"shape{i}"], words[f"colour{i}"], (_near(x, 4, rng), _near(y, 4, rng)), rng.uniform(20, 26))
        for i, (x, y) in enumerate(spots, 1)
    ]


def _place(place: str, radius: float, rng: Random) -> Point:
    row, column = divmod(PLACES.index(place), 3)
    low, high = 1.15 * radius + 2, SIZE - 1.15 * radius - 2
    x, y = (_near(64 + 30 * (step - 1), 3, rng) for step in (column, row))
    return min(high, max(low, x)), min(high, max(low, y))


def _near(value: float, spread: float, rng: Random) -> float:
    return value + rng.uniform(-spread, spread)


def _ground(words: Mapping[str, str], rng: Random) -> Image.Image:
    dark = np.array(tint(COLOURS[words["ground"]], rng), np.float32)
    # The second tone keeps its colour's name: lighter, or darker where there is no lighter.
    light = dark + 0.42 * (255 - dark) if dark.mean() < 200 else dark * 0.78
    weight = _pattern(words["pattern"], rng)[..., None]
    return Image.fromarray((dark + (light - dark) * weight).astype(np.uint8))


def _pattern(pattern: str, rng: Random) -> Field:
    """Draw the share of the second tone at each pixel, 0 to 1."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    if pattern == "plain":
        return np.zeros((SIZE, SIZE), np.float32)
    if pattern == "gradient":
        share: Field = rows / SIZE if rng.random() < 0.5 else 1 - rows / SIZE
        return share
    width = rng.choice((12, 16, 20))
    stripes = rows // width if rng.random() < 0.5 else columns // width
    cells = stripes if pattern == "striped" else rows // width + columns // width
    second: Field = (cells % 2).astype(np.float32)
    return second
