"""Houses, trees, pines and boats: drawn at twice the size, lit by the hour, pasted on a landscape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from numpy.random import Generator
from PIL import Image, ImageDraw

from training.scenes import Rgb

Pen = ImageDraw.ImageDraw
_BOX = 64
"""Width and height of a thing's own canvas in pixels; its foot is at (32, 56)."""


def paste_thing(
    picture: Image.Image,
    kind: str,
    foot: tuple[float, float],
    scale: float,
    tint: tuple[float, float, float],
    rng: Generator,
) -> None:
    """Draw a thing into `picture` with its foot at this pixel, its colours multiplied by `tint`."""
    layer = Image.new("RGBA", (2 * _BOX, 2 * _BOX))
    _DRAW[kind](ImageDraw.Draw(layer), _Lit(tint), scale, rng)
    # Premultiplied reduction keeps the transparent black out of the edges.
    small = layer.convert("RGBa").reduce(2).convert("RGBA")
    picture.paste(small, (round(foot[0]) - 32, round(foot[1]) - 56), small)


class _Lit:
    """Turn a colour into what it looks like at this hour."""

    def __init__(self, tint: tuple[float, float, float]) -> None:
        self.tint = tint
        self.dark = tint[0] < 0.5

    def __call__(self, colour: Rgb) -> Rgb:
        red, green, blue = (int(c * t) for c, t in zip(colour, self.tint, strict=True))
        return red, green, blue


def _corners(scale: float, *points: tuple[float, float]) -> list[tuple[float, float]]:
    """Scale points around the foot (x right, y up, in pixels) into the doubled canvas."""
    return [(64 + 2 * scale * x, 112 - 2 * scale * y) for x, y in points]


def _house(pen: Pen, lit: _Lit, scale: float, rng: Generator) -> None:
    walls: tuple[Rgb, ...] = ((232, 220, 196), (214, 196, 170), (196, 92, 74), (226, 226, 226))
    wall, roof = walls[int(rng.integers(4))], ((150, 52, 40), (92, 62, 50))[int(rng.integers(2))]
    pen.rectangle(_corners(scale, (-13, 16), (13, 0)), fill=lit(wall))
    pen.rectangle(_corners(scale, (6, 16), (13, 0)), fill=lit((wall[0] - 34, wall[1] - 34, wall[2] - 30)))
    pen.rectangle(_corners(scale, (6, 31), (10, 20)), fill=lit((120, 84, 72)))
    pen.polygon(_corners(scale, (-17, 15), (0, 30), (17, 15)), fill=lit(roof))
    pane: Rgb = (255, 214, 110) if lit.dark else lit((110, 150, 180))
    pen.rectangle(_corners(scale, (-10, 12), (-5, 6)), fill=pane)
    pen.rectangle(_corners(scale, (-2, 10), (3, 0)), fill=lit((96, 62, 44)))


def _tree(pen: Pen, lit: _Lit, scale: float, rng: Generator) -> None:
    pen.polygon(_corners(scale, (-3, 0), (3, 0), (2, 18), (-2, 18)), fill=lit((104, 72, 46)))
    for green, shift in (((34, 92, 38), 0.0), ((58, 128, 50), -3.0)):
        for x, y, r in ((-9.0, 20.0, 9.0), (9.0, 21.0, 9.0), (0.0, 29.0, 11.0), (0.0, 19.0, 9.0)):
            x, y = x + shift + rng.uniform(-1, 1), y - shift + rng.uniform(-1, 1)
            r += 0.9 * shift
            pen.ellipse(_corners(scale, (x - r, y + r), (x + r, y - r)), fill=lit(green))


def _pine(pen: Pen, lit: _Lit, scale: float, rng: Generator) -> None:
    pen.rectangle(_corners(scale, (-2, 8), (2, 0)), fill=lit((92, 66, 48)))
    for base, width in ((5, 14), (15, 11), (25, 8)):
        pen.polygon(_corners(scale, (-width, base), (width, base), (0, base + 16)), fill=lit((30, 84, 62)))
        pen.polygon(
            _corners(scale, (-width * 0.45, base + 9), (width * 0.45, base + 9), (0, base + 16)),
            fill=lit((236, 242, 250)),
        )


def _boat(pen: Pen, lit: _Lit, scale: float, rng: Generator) -> None:
    hull = ((150, 58, 44), (112, 70, 44), (60, 66, 92))[int(rng.integers(3))]
    sail = ((250, 246, 236), (246, 236, 214), (232, 110, 84))[int(rng.integers(3))]
    dim = tuple(int(c * 0.86) for c in sail)
    pen.polygon(_corners(scale, (-17, 7), (17, 7), (11, -2), (-12, -2)), fill=lit(hull))
    pen.rectangle(_corners(scale, (-1, 38), (0.4, 7)), fill=lit((84, 60, 44)))
    pen.polygon(_corners(scale, (2, 37), (2, 10), (15, 10)), fill=lit(sail))
    pen.polygon(_corners(scale, (-2.5, 33), (-2.5, 10), (-13, 10)), fill=lit((dim[0], dim[1], dim[2])))


_DRAW: Mapping[str, Callable[[Pen, _Lit, float, Generator], None]] = {
    "house": _house,
    "tree": _tree,
    "pine": _pine,
    "boat": _boat,
}
