"""How much two pictures differ, in figures, and where, as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from graph.tables import clean
from graph.values import Picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

_SMALLEST, _LARGEST = 256, 2048
"""Pixels of the longer side of a panel: smaller pictures are shown enlarged, larger ones reduced."""
_FAINTEST = 72
"""How bright the smallest difference is shown, of 255."""
_GAP = 12
"""Pixels between panels."""
_PAPER, _INK, _FRAME = "#1b1b1f", "#f2f2f2", "#4aa8ff"


@dataclass(frozen=True, slots=True)
class Figures:
    """How much two pictures of one size differ. Levels go from 0 to 255."""

    width: int
    height: int
    """Of what was compared, in pixels."""
    differing: int
    """Pixels that differ in a channel."""
    largest: int
    """The largest difference of a channel, in levels."""
    mean: float
    """The mean difference over all channels, in levels."""
    psnr: float | None
    """Peak signal-to-noise ratio in decibels; None where nothing differs."""
    box: tuple[int, int, int, int] | None
    """Where the differing pixels lie: left, top, width, height."""

    @property
    def pixels(self) -> int:
        return self.width * self.height


def measure(a: Picture, b: Picture) -> Figures | None:
    """Compare two pictures pixel by pixel; None where their shapes do not go together.

    A picture without alpha is opaque. Of two sizes of one shape, the smaller picture is enlarged (Lanczos).
    """
    from PIL import ImageStat

    pair = _aligned(a, b)
    if pair is None:
        return None
    difference, strongest = _difference(*pair)
    told = ImageStat.Stat(difference)
    count = sum(told.count)
    error = sum(told.sum2) / count
    box = strongest.getbbox()
    return Figures(
        *strongest.size,
        differing=strongest.width * strongest.height - strongest.histogram()[0],
        largest=int(strongest.getextrema()[1]),  # type: ignore[arg-type]  # of one channel, a number
        mean=sum(told.sum) / count,
        psnr=10 * math.log10(255**2 / error) if error else None,
        box=(box[0], box[1], box[2] - box[0], box[3] - box[1]) if box else None,
    )


def draw(a: Picture, b: Picture, names: tuple[str, str], figures: Figures | None) -> Picture:
    """Show two pictures side by side and, where they can be compared, how much each pixel differs.

    The difference is amplified: black is none, the brightest is the largest that there is, and even one level of 255
    can be seen. A thin frame holds all of it. A picture with alpha is shown on grey.
    """
    from PIL import Image, ImageFont
    from PIL.ImageDraw import Draw

    pair = _aligned(a, b) or (a.pixels, b.pixels)
    panels = [_shown(image) for image in pair]
    heads = [f"{name}  {one.width}x{one.height}" for name, one in zip(names, (a, b), strict=True)]
    if figures:
        panels.append(_framed(_heat(_reduced(_difference(*pair)[1]), figures.largest), figures))
        heads.append(f"difference, times {255 / max(figures.largest, 1):.3g}")
    font = ImageFont.load_default(max(14, panels[0].width // 48))
    line = math.ceil(font.getbbox("Ág")[3]) + 6
    left = [_GAP + sum(panel.width + _GAP for panel in panels[:at]) for at in range(len(panels) + 1)]
    below = _GAP + line + max(panel.height for panel in panels) + _GAP
    sheet = Image.new("RGB", (left[-1], below + 3 * line + _GAP), _PAPER)
    pen = Draw(sheet)
    for panel, head, at in zip(panels, heads, left, strict=False):
        _write(pen, head, (at, _GAP), panel.width, font)
        sheet.paste(panel, (at, _GAP + line))
    if figures:
        wide = panels[2].width
        ramp = Image.linear_gradient("L").rotate(90).resize((wide, line - 6))
        sheet.paste(_heat(ramp.point(lambda level: level * figures.largest // 255), figures.largest), (left[2], below))
        _write(pen, f"0 to {_levels(figures.largest)} of 255", (left[2], below + line), wide, font)
    for at, text in enumerate(told(figures)):
        _write(pen, text, (_GAP, below + at * line), left[2] - 2 * _GAP, font)
    return Picture(sheet)


def told(figures: Figures | None) -> tuple[str, ...]:
    """The figures in words, at most three lines."""
    if figures is None:
        return ("their shapes differ, so the pixels are not compared",)
    if not figures.box:
        return ("the same pixels",)
    left, top, width, height = figures.box
    share = 100 * figures.differing / figures.pixels
    percent = f"{share:.3g}" if share >= 0.01 else "under 0.01"
    return (
        f"{figures.differing:,} of {figures.pixels:,} pixels differ ({percent} %)",
        f"within {width}x{height} pixels, from {left} to the right and {top} down",
        f"at most {_levels(figures.largest)} of 255, {figures.mean:.3g} on average, PSNR {figures.psnr:.1f} dB",
    )


def _levels(count: int) -> str:
    return f"{count} level{'s' * (count != 1)}"


def _aligned(a: Picture, b: Picture) -> tuple[Image, Image] | None:
    if a.width * b.height != b.width * a.height:
        return None
    from PIL import Image

    mode = "RGBA" if "RGBA" in (a.mode, b.mode) else "RGB"
    size = max((a.width, a.height), (b.width, b.height))
    first, second = (
        image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
        for image in (picture.pixels.convert(mode) for picture in (a, b))
    )
    return first, second


def _difference(a: Image, b: Image) -> tuple[Image, Image]:
    """The difference of every channel, and that of the channel which differs most."""
    from PIL import ImageChops

    difference = ImageChops.difference(a, b)
    return difference, reduce(ImageChops.lighter, difference.split())


def _heat(levels: Image, largest: int) -> Image:
    """Colour differences from 0 to `largest`: black, red, yellow, white."""
    from PIL import ImageOps

    span = (255 - _FAINTEST) / max(largest, 1)
    bright = levels.point([0] + [min(255, round(_FAINTEST + level * span)) for level in range(1, 256)])
    return ImageOps.colorize(bright, "black", "#fffbe0", "#e8400c", midpoint=150)


def _shown(image: Image) -> Image:
    from PIL import Image as Images

    if image.mode == "RGBA":
        grey = Images.new("RGBA", image.size, "#808080")
        image = Images.alpha_composite(grey, image)
    image = image.convert("RGB")
    if max(image.size) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST))
    return _enlarged(image)


def _reduced(levels: Image) -> Image:
    """A map of differences as large as a panel. Where it is reduced the largest stay: one pixel is not lost."""
    from PIL import Image, ImageFilter

    size = levels.size
    step = -(-max(size) // _LARGEST)
    if step > 1:
        levels = levels.filter(ImageFilter.MaxFilter(step // 2 * 2 + 1))
        levels.thumbnail((_LARGEST, _LARGEST), Image.Resampling.NEAREST)
    return _enlarged(levels)


def _enlarged(image: Image) -> Image:
    factor = max(1, -(-_SMALLEST // max(image.size)))
    return image.resize((image.width * factor, image.height * factor), 0) if factor > 1 else image


def _framed(heat: Image, figures: Figures) -> Image:
    """Draw a frame around all that differs."""
    from PIL.ImageDraw import Draw

    left, top, width, height = figures.box or (0, 0, 0, 0)
    scale = heat.width / figures.width
    corners = (left * scale - 3, top * scale - 3, (left + width) * scale + 2, (top + height) * scale + 2)
    Draw(heat).rectangle(corners, outline=_FRAME, width=max(1, heat.width // 600))
    return heat


def _write(pen: ImageDraw, text: str, at: tuple[int, int], width: int, font: Font) -> None:
    """Write one line, cut where it is wider than `width` pixels."""
    shown = clean(text)[:300]
    while shown and pen.textlength(shown, font) > width:
        shown = shown.rstrip("…")[:-1] + "…" if len(shown.rstrip("…")) > 1 else ""
    pen.text(at, shown, fill=_INK, font=font)
