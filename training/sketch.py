"""Draw the crude sketch that the shipped workflow turns into a painting: `python -m training.sketch FILE`.

Flat blobs with wobbly edges, as if filled with a thick felt pen: evening sky, sun, sea, a boat.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from training.scenes import Rgb

SIZE = 256
Point = tuple[float, float]


def sketch() -> Image.Image:
    """Draw the sketch, 256x256 RGB; always the same."""
    rng = Random(3)
    canvas = Image.new("RGB", (2 * SIZE, 2 * SIZE), (244, 150, 96))
    pen = ImageDraw.Draw(canvas)

    def blob(colour: Rgb, *corners: Point) -> None:
        pen.polygon([(2 * x, 2 * y) for x, y in wobbly(corners, rng)], fill=colour)

    blob((150, 74, 116), (-20, -20), (276, -20), (276, 52), (120, 60), (-20, 44))
    blob((252, 214, 96), *_ring(176, 120, 25))
    blob((44, 88, 146), (-20, 142), (276, 146), (276, 276), (-20, 276))
    blob((250, 196, 110), (164, 160), (192, 158), (196, 208), (160, 214))
    blob((118, 62, 44), (40, 174), (118, 172), (102, 198), (56, 198))
    blob((248, 240, 224), (82, 96), (84, 166), (116, 164))
    blob((248, 240, 224), (74, 104), (74, 166), (50, 166))
    return canvas.reduce(2)


def wobbly(corners: tuple[Point, ...], rng: Random) -> list[Point]:
    """Replace each straight side by short steps that stray by about two pixels."""
    out: list[Point] = []
    for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
        steps = max(1, round(math.dist((x0, y0), (x1, y1)) / 14))
        for step in range(steps):
            share = step / steps
            x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
            out.append((x + rng.uniform(-2.2, 2.2), y + rng.uniform(-2.2, 2.2)))
    return out


def _ring(x: float, y: float, radius: float) -> list[Point]:
    angles = [2 * math.pi * i / 14 for i in range(14)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


if __name__ == "__main__":
    sketch().save(Path(sys.argv[1]), optimize=True)
