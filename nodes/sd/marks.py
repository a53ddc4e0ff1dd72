"""The invisible watermark: a text written into the colours of a picture, and read again.

`carriers` says where the bits lie. `nearest` writes them fast, `lasting` so that JPEG leaves them; either way the
unmodified package invisible-watermark reads them, as what it writes is read here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from graph.errors import StepError
from graph.values import Picture
from nodes.sd.carriers import CARRIERS, Bools, Bytes, Floats, blocks, low_band, votes
from nodes.sd.lasting import lasting
from nodes.sd.nearest import written

LEAST_AREA = 65536
"""In pixels; the package refuses smaller pictures."""
LONGEST_SOUGHT = 64
"""Bytes of a mark whose length is not told."""
CHANCE = 1e-6
"""The chance from which on down an expected text is found."""
CLEAR = 6.0
"""The standing from which on a text is found that nobody expected."""

_LASTING = "_robust"
"""How the methods end that write for JPEG; they are read as the methods without it."""
_BAND = 32
"""Rows of blocks worked on at once, so that memory does not grow with the picture."""
_LASTING_BAND = 1 << 22
"""In pixels: a bit has its majority in each of these bands, so they are large."""
_BESIDE = (-3, -2, -1, 1, 2, 3)
"""How far the periods lie that no text has, and that one of a text is compared with."""


def signed(picture: Picture, text: str, method: str) -> Picture:
    """Write a text into a picture: RGB, or RGBA with the alpha as it was.

    method: "dwt_dct", "dwt_dct_svd", or one of these with "_robust". The last rows and columns beyond a multiple of 8
    pixels stay as they are.

    Raises StepError for a picture under 65,536 pixels and for a text that does not fit.
    """
    content = text.encode()
    _check(picture, len(content), f'the text "{text:.40}"')
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    pixels = _pixels(picture).copy()
    plain, lasts = method.removesuffix(_LASTING), method.endswith(_LASTING)
    for number, band in _bands(pixels, max(2, _LASTING_BAND // (8 * picture.width) // 2 * 2) if lasts else _BAND):
        wanted = bits[(number + np.arange(band.shape[0] * band.shape[1] // 64)) % len(bits)]
        band[:] = lasting(band, wanted, plain, len(bits)) if lasts else written(band, wanted, plain)
    return Picture.of_bytes("RGBA" if pixels.shape[2] == 4 else "RGB", picture.width, picture.height, pixels.tobytes())


def read(picture: Picture, count: int, method: str) -> bytes:
    """Read `count` bytes out of a picture, exactly as the package does: the majority of the blocks of each bit.

    Raises StepError for a picture under 65,536 pixels and for more bytes than it has blocks for.
    """
    _check(picture, count, "what is to be read")
    return _majority(_all_votes(picture, method), count)


def presence(picture: Picture, text: bytes, method: str) -> float:
    """Say how likely, at most, blocks agree as well with a text that has nothing to do with the picture.

    It is the text that is the matter of chance, not the picture: flat and striped pictures do not mislead it. A text
    of 4 bytes goes down to 1e-7, one of 17 to 1e-29.

    Raises StepError for a picture under 65,536 pixels and for more bytes than it has blocks for.
    Source: Hoeffding 1963, theorem 2, for a weighted sum of fair signs.
    """
    _check(picture, len(text), "what is looked for")
    cast = _all_votes(picture, method)
    signs = 2.0 * np.unpackbits(np.frombuffer(text, np.uint8)) - 1
    leaning = _folded(cast, len(signs)) - cast.mean()
    size = 2 * np.square(leaning).sum()
    return math.exp(-(max(float(signs @ leaning), 0.0) ** 2) / size) if size else 1.0


class Sighting(NamedTuple):
    """A mark whose text nobody told."""

    content: bytes
    standing: float
    """How far the blocks agree more on it than on lengths that no text has; under 3 without a mark, mostly."""


def find(picture: Picture, method: str, counts: Sequence[int] = range(1, LONGEST_SOUGHT + 1)) -> Sighting:
    """Read a mark of unknown length: the shortest text on which the blocks agree nearly as well as on any.

    counts: the lengths to try, in bytes, ascending. A text that repeats itself ("aa") comes back once. Pictures with
    stripes as long as a text agree on something, too: docs/watermarks.md says how often.

    Raises StepError for a picture under 65,536 pixels and for more bytes than it has blocks for.
    """
    _check(picture, counts[0], "what is to be read")
    cast = _all_votes(picture, method)
    tried = [count for count in counts if count * 8 <= len(cast)]
    clear = [_clarity(cast, count * 8) for count in tried]
    enough = max(clear) - 0.1 * abs(max(clear))  # it is negative where blocks agree less than by chance
    count = next(count for count, clarity in zip(tried, clear, strict=True) if clarity >= enough)
    return Sighting(_majority(cast, count), _standing(cast, count * 8))


def _folded(cast: Bools, period: int) -> Floats:
    """The mean vote of each bit, (period,)."""
    bit = np.arange(len(cast)) % period
    return np.bincount(bit, cast, period) / np.bincount(bit, minlength=period)


def _majority(cast: Bools, count: int) -> bytes:
    return np.packbits(_folded(cast, count * 8) * 255 > 127).tobytes()


def _clarity(cast: Bools, period: int) -> float:
    """How much blocks agree beyond fair votes, whose mean distance from a draw is taken away; at most 1."""
    chance = math.sqrt(2 * period / (math.pi * len(cast)))
    return float(np.abs(2 * _folded(cast, period) - 1).mean()) - chance


def _standing(cast: Bools, period: int) -> float:
    """Compare how well blocks agree at a period with the best of those beside it, in deviations of fair votes.

    Source: Wilson and Hilferty 1931: the cube root of a chi-squared sum is nearly normal.
    """
    beside = max(_agreement(cast, period + step) for step in _BESIDE)
    spread = math.sqrt(2 / (9 * (period - 1))) * beside
    return (_agreement(cast, period) - beside) / spread if spread else 0.0


def _agreement(cast: Bools, period: int) -> float:
    """About 1 for fair votes, 0 where all blocks say the same."""
    whole = cast[: len(cast) // period * period].reshape(-1, period)
    mean = cast.mean()
    off = np.square(whole.mean(axis=0) - mean).sum() * len(whole)
    return float(np.cbrt(off / (mean * (1 - mean) * (period - 1)))) if 0 < mean < 1 else 0.0


def _pixels(picture: Picture) -> Bytes:
    """(height, width, 3 or 4), read only."""
    data = picture.data if picture.mode != "L" else picture.pixels.convert("RGB").tobytes()
    return np.frombuffer(data, np.uint8).reshape(picture.height, picture.width, -1)


def _all_votes(picture: Picture, method: str) -> Bools:
    carrier = CARRIERS[method.removesuffix(_LASTING)]
    return np.concatenate([votes(carrier(blocks(low_band(band)))) for _, band in _bands(_pixels(picture), _BAND)])


def is_text(written: bytes) -> bool:
    """Whether bytes are printable UTF-8."""
    return "\\x" not in shown(written.replace(b"\\", b""))


def shown(written: bytes) -> str:
    r"""Show bytes as text; what is no UTF-8, and control characters besides line breaks and tabs, as \xff."""
    text = written.decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode())


def _check(picture: Picture, count: int, what: str) -> None:
    width, height = picture.width, picture.height
    if width * height < LEAST_AREA:
        factor = math.ceil(math.sqrt(LEAST_AREA / (width * height)) * 100) / 100
        raise StepError(
            f"a watermark needs {LEAST_AREA:,} pixels (256x256), and this picture is {width}x{height}",
            hint=f"Enlarge it by {factor:g} first, or leave the watermark out.",
        )
    room = (width // 8) * (height // 8) // 8
    if count > room:
        raise StepError(
            f"{what} has {count:,} bytes, and a picture of {width}x{height} holds {room:,}",
            hint="Ask for fewer bytes; for a longer mark the picture must be larger before it is signed.",
        )


def _bands(pixels: Bytes, height: int) -> Iterator[tuple[int, Bytes]]:
    """Cut into bands of whole blocks, `height` rows of them; each comes with the number of its first block."""
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    for row in range(0, rows, height):
        yield row * columns, pixels[row * 8 : min(row + height, rows) * 8, : columns * 8, :3]
