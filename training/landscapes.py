"""Draw a landscape: sky, clouds, land, and the things that stand in it.

Everything is painted back to front on a float canvas, (128, 128, 3) in 0..255. Edges are smooth because
each layer is laid on through a mask between 0 and 1; houses, trees and boats are drawn at twice the size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image

from training.scenes import Rgb, Scene
from training.things import paste_thing

SIZE = 128
Field = NDArray[np.float32]
"""One number a pixel, (128, 128), or one a column, (128,)."""

ROWS, COLUMNS = (axis.astype(np.float32) for axis in np.mgrid[0:SIZE, 0:SIZE])
_SIDE_X: Mapping[str, float] = {"left": 30, "middle": 64, "right": 98}


@dataclass(frozen=True)
class Light:
    """What an hour does to colours."""

    sky: tuple[Rgb, Rgb, Rgb]
    """Top, middle, horizon."""
    cloud: Rgb
    tint: tuple[float, float, float]
    """Multiplies whatever stands on the ground."""
    cover: float
    """Share of the sky under clouds."""


LIGHTS: Mapping[str, Light] = {
    "day": Light(((52, 120, 210), (112, 172, 232), (204, 230, 244)), (250, 250, 250), (1, 1, 1), 0.32),
    "sunset": Light(((74, 52, 124), (226, 104, 92), (255, 196, 104)), (246, 138, 124), (1, 0.7, 0.58), 0.34),
    "night": Light(((8, 10, 36), (20, 28, 72), (50, 60, 116)), (44, 50, 90), (0.28, 0.33, 0.56), 0.2),
    "cloudy": Light(((112, 122, 138), (152, 160, 170), (196, 202, 206)), (222, 224, 228), (0.74, 0.76, 0.78), 0.6),
}
_LAND_COLOURS: Mapping[str, tuple[Rgb, Rgb]] = {
    "grass": ((150, 190, 84), (48, 118, 46)),
    "desert": ((240, 206, 142), (206, 148, 82)),
    "snow": ((236, 242, 252), (198, 212, 234)),
    "sea": ((86, 158, 200), (18, 72, 132)),
}
"""Far and near."""


def draw_landscape(scene: Scene) -> NDArray[np.uint8]:
    """Draw a landscape scene as (128, 128, 3) RGB; the same scene always gives the same pixels."""
    rng = default_rng(scene.seed)
    words, light = scene.words, LIGHTS[scene.words["time"]]
    horizon = float(rng.uniform(62, 80))
    canvas = _sky(light, horizon, rng)
    if "stars" in words:
        _stars(canvas, horizon, rng)
    disc = next((_disc(name, words, horizon, rng) for name in ("sun", "moon") if name in words), None)
    _clouds(canvas, light, horizon, rng)
    if disc:
        _shine(canvas, *disc, words["time"])
    if "mountains" in words:
        _mountains(canvas, light, horizon, rng)
    if words["land"] == "sea":
        _sea(canvas, light, horizon, disc[0] if disc else None, rng)
    else:
        _hills(canvas, words["land"], light, horizon, rng)
    return _stand(canvas, words, light, horizon, rng)


def _blend(canvas: Field, colour: Rgb | Field, mask: Field) -> None:
    canvas += (np.asarray(colour, np.float32) - canvas) * mask[..., None]


def _ramp(stops: tuple[Rgb, ...], where: Field) -> Field:
    """Colour a field: 0 gives the first stop, 1 the last."""
    places = np.linspace(0, 1, len(stops))
    table = np.array(stops, np.float32)
    return np.stack([np.interp(where, places, table[:, c]) for c in range(3)], -1).astype(np.float32)


def _noise(rng: Generator, rows: int, columns: int) -> Field:
    """Draw smooth noise, about 0..1, with so many bumps down and across."""
    grid = Image.fromarray(rng.random((rows, columns), np.float32))
    return np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _step(low: float, high: float, field: Field) -> Field:
    share = np.clip((field - low) / (high - low), 0, 1)
    smooth: Field = share * share * (3 - 2 * share)
    return smooth


def _sky(light: Light, horizon: float, rng: Generator) -> Field:
    shift = rng.uniform(-8, 8, 3).astype(np.float32)
    return _ramp(light.sky, np.clip(ROWS / horizon, 0, 1)) + shift


def _stars(canvas: Field, horizon: float, rng: Generator) -> None:
    for x, y, size in zip(rng.uniform(2, 126, 34), rng.uniform(2, horizon - 6, 34), rng.random(34), strict=True):
        distance = (COLUMNS - x) ** 2 + (ROWS - y) ** 2
        _blend(canvas, (250, 248, 225), np.exp(-distance / (0.6 + 1.3 * size)))


def _disc(name: str, words: Mapping[str, str], horizon: float, rng: Generator) -> tuple[float, float, float]:
    """Place sun or moon: centre x, centre y, radius, in pixels."""
    x = _SIDE_X[words[name]] + rng.uniform(-8, 8)
    low = words["time"] == "sunset"
    y = horizon - rng.uniform(4, 22) if low else rng.uniform(16, 34)
    return float(x), float(y), float(rng.uniform(9, 13))


def _shine(canvas: Field, x: float, y: float, radius: float, time: str) -> None:
    distance = np.sqrt((COLUMNS - x) ** 2 + (ROWS - y) ** 2)
    halo, face = {
        "day": ((255, 250, 220), (255, 240, 150)),
        "sunset": ((255, 190, 90), (255, 226, 130)),
        "night": ((130, 140, 190), (240, 240, 222)),
    }[time]
    _blend(canvas, halo, 0.6 * np.exp(-distance / (2.0 * radius)))
    _blend(canvas, face, np.clip(radius - distance + 0.5, 0, 1))


def _clouds(canvas: Field, light: Light, horizon: float, rng: Generator) -> None:
    field = 0.55 * _noise(rng, 7, 4) + 0.3 * _noise(rng, 14, 8) + 0.15 * _noise(rng, 28, 16)
    edge = float(np.quantile(field[: int(horizon)], 1 - light.cover))
    mask = _step(edge, edge + 0.16, field) * np.clip((horizon - ROWS) / 26, 0, 1)
    shade = _step(edge, edge + 0.3, field)[..., None]
    cloud = np.array(light.cloud, np.float32)
    _blend(canvas, cloud * (0.86 + 0.14 * shade), 0.85 * mask)


def _ridge(rng: Generator, base: float, height: float, peaks: int) -> Field:
    """Draw a jagged skyline: for each column its row."""
    knots = np.sort(rng.uniform(0, SIZE, peaks * 2 - 1))
    tall = np.where(
        np.arange(peaks * 2 - 1) % 2, rng.uniform(0.55, 1, peaks * 2 - 1), rng.uniform(0, 0.3, peaks * 2 - 1)
    )
    line = np.interp(np.arange(SIZE), np.r_[0, knots, SIZE], np.r_[rng.random(), tall, rng.random()])
    rough = np.interp(np.arange(SIZE), np.arange(0, SIZE + 5, 5), rng.uniform(-0.06, 0.06, 27))
    return (base - height * (line + rough)).astype(np.float32)


def _mountains(canvas: Field, light: Light, horizon: float, rng: Generator) -> None:
    haze, tint = np.array(light.sky[2], np.float32), np.array(light.tint, np.float32)
    for depth, height in ((0.55, rng.uniform(34, 46)), (0.2, rng.uniform(22, 32))):
        ridge = _ridge(rng, horizon + 3, height, int(rng.integers(2, 4)))
        below = ROWS - ridge
        slope = np.gradient(ridge)
        lit = slope[np.clip(COLUMNS - 0.35 * below, 0, SIZE - 1).astype(int)] < 0
        rock = np.where(lit[..., None], (142, 134, 140), (84, 84, 106)).astype(np.float32)
        cap = _step(2, -2, below - height * (0.2 + 0.2 * _noise(rng, 3, 20)))[..., None]
        snow = np.where(lit[..., None], (250, 250, 252), (190, 200, 222)).astype(np.float32)
        face = (rock + (snow - rock) * cap) * tint
        _blend(canvas, face + (haze - face) * depth, np.clip(below + 0.5, 0, 1))


def _sea(canvas: Field, light: Light, horizon: float, sun_x: float | None, rng: Generator) -> None:
    depth = np.clip((ROWS - horizon) / (SIZE - horizon), 0, 1)
    far, near = (np.array(c, np.float32) * light.tint for c in _LAND_COLOURS["sea"])
    sky = np.array(light.sky[2], np.float32)
    water = (far * 0.45 + sky * 0.55) + (near - (far * 0.45 + sky * 0.55)) * np.sqrt(depth)[..., None]
    waves = _step(0.35, 0.75, _noise(rng, 26, 5) * 0.6 + _noise(rng, 40, 9) * 0.4)
    water += ((waves - 0.4) * (8 + 26 * depth))[..., None] * (0.5 + 0.5 * np.array(light.tint, np.float32))
    if sun_x is not None:
        column = np.exp(-(((COLUMNS - sun_x) / (7 + 16 * depth)) ** 2))
        glint = {"night": (200, 206, 224)}.get("night" if light.tint[0] < 0.5 else "", (255, 224, 150))
        _blend(water, glint, column * (0.25 + 0.6 * waves) * (1 - 0.45 * depth))
    _blend(canvas, water, np.clip(ROWS - horizon + 0.5, 0, 1))


def _hills(canvas: Field, land: str, light: Light, horizon: float, rng: Generator) -> None:
    far, near = (np.array(c, np.float32) for c in _LAND_COLOURS[land])
    tint, haze = np.array(light.tint, np.float32), np.array(light.sky[2], np.float32)
    across = np.arange(SIZE, dtype=np.float32) / SIZE
    for layer, base in enumerate((horizon, horizon + 14, horizon + 32)):
        wave = np.sin(2 * np.pi * (rng.uniform(0.5, 1.3) * across + rng.random()))
        ridge = base + (3 + 2.5 * layer) * wave
        below = ROWS - ridge
        body = far + (near - far) * (layer / 2)
        shade = 1.06 - 0.22 * _step(0, 30, below) + 0.1 * (_noise(rng, 24, 14) - 0.5)
        if land != "grass":
            # The side of a dune or drift that faces away from the light.
            away = _step(-0.015, 0.015, np.gradient(wave).astype(np.float32))
            shade -= 0.13 * away * _step(26, 4, below)
        face = body * shade[..., None] * tint
        _blend(canvas, face + (haze - face) * (0.3 - 0.14 * layer), np.clip(below + 0.5, 0, 1))


def _stand(canvas: Field, words: Mapping[str, str], light: Light, horizon: float, rng: Generator) -> NDArray[np.uint8]:
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    for name in ("house", "tree", "boat"):
        if name in words:
            x = _SIDE_X[words[name]] + rng.uniform(-6, 6)
            foot = (float(x), float(horizon + rng.uniform(16, 30)))
            kind = "pine" if name == "tree" and words["land"] == "snow" else name
            paste_thing(picture, kind, foot, float(rng.uniform(0.9, 1.2)), light.tint, rng)
    return np.asarray(picture)
