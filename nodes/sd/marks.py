"""The invisible watermark: bits in the colour of 8x8 blocks.

Every block of 8x8 pixels carries one bit, block i the bit i modulo their number. The carrier is U, the blue
difference of OpenCV's 8-bit YUV; one level of the Haar transform leaves a 4x4 block of it, and one number of that
block is moved to a quarter (bit 0) or three quarters (bit 1) of a step of 36:

    dwt_dct      the largest of the block's 15 samples behind the first (the package's dwtDct does no DCT)
    dwt_dct_svd  the largest singular value (an orthonormal DCT leaves it as it is, so that none is computed)

Both are read by the unmodified package invisible-watermark. What differs from its writer is said in
docs/decisions/0020-watermark-writer.md: green and blue are moved directly, by the nearest step that is read back.

Source: invisible-watermark 0.2.0, maxDct.py and dwtDctSvd.py; Chen and Wornell 2001, quantization index modulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graph.errors import StepError
from graph.values import Picture

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

LEAST_AREA = 65536
"""In pixels; the package refuses smaller pictures."""

_STEP = 36.0
_HAAR = 0.7071067811865476
_BAND = 32
"""Rows of blocks worked on at once, so that memory does not grow with the picture."""

_FEW = 0.3
"""Of a band's blocks. So few that are not read back are outvoted, and are not worth a step further."""

_LEAD = 2.0
"""By how much the largest sample of a block must lead, so that rounding does not let another one overtake."""

_EFFORTS = ((0, 1, 9.0), (0, 3, 4.0), (-1, 3, 1.0), (1, 3, 1.0), (-1, 12, 1.0))
"""What is tried in turn: steps beyond the nearest, how often what is off the goal is painted again, and for which
blocks: those whose number lies less far inside its bit than this. 9 is the middle; rounding to bytes costs 1 or 2."""

# A change of U by 1 that leaves Y and V as they are. The numbers are those of OpenCV's fixed-point conversion.
_BLUE = 16384 / 8061
_GREEN = -_BLUE * 1868 / 9617


LONGEST_SOUGHT = 64
"""Bytes of a mark whose length is not told."""
CLEAR = 0.25
"""The clarity from which on there is a mark."""


class _Method(NamedTuple):
    carrier: Callable[[Floats], Floats]
    """(n, 4, 4) -> (n,): the number that holds the bit."""
    change: Callable[[Floats, Floats, int], Floats]
    """(n, 4, 4), the phases wanted (n,), steps to go beyond the nearest -> the (n, 4, 4) to add."""


def signed(picture: Picture, text: str, method: str) -> Picture:
    """Write a text into a picture: RGB, or RGBA with the alpha as it was.

    method: "dwt_dct" or "dwt_dct_svd". The last rows and columns beyond a multiple of 8 pixels stay as they are.

    Raises StepError for a picture under 65,536 pixels and for a text that does not fit.
    """
    content = text.encode()
    _check(picture, len(content), f'the text "{text:.40}"')
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    pixels = np.array(picture.pixels if picture.mode == "RGBA" else picture.pixels.convert("RGB"))
    for number, band in _bands(pixels):
        tiles = _tiles(band)
        wanted = bits[(number + np.arange(tiles.shape[1])) % len(bits)]
        _into(band, _written(tiles, wanted, _METHODS[method]))
    return Picture(Image.fromarray(pixels))


def read(picture: Picture, count: int, method: str) -> bytes:
    """Read `count` bytes out of a picture, exactly as the package does: the majority of the blocks of each bit.

    Raises StepError for a picture under 65,536 pixels and for more bytes than it has blocks for.
    """
    _check(picture, count, "what is to be read")
    return _counted(_all_votes(picture, method), count).content


class Sighting(NamedTuple):
    """A mark whose length nobody told."""

    content: bytes
    clarity: float
    """How much the blocks agree beyond chance: about 0 without a mark, 1 where all agree."""


def find(picture: Picture, method: str, longest: int = LONGEST_SOUGHT) -> Sighting:
    """Read a mark of unknown length: the shortest text on which the blocks agree nearly as well as on any.

    A text that repeats itself ("aa") comes back once. Over 12 unmarked noisy pictures of 512 x 512 the clarity stayed
    below 0.05; marked ones had 0.75 and more, 0.55 after JPEG 75 (dwt_dct_svd). Where large parts are one plain colour
    all blocks agree without a mark, on bytes that are no text.

    Raises StepError for a picture under 65,536 pixels.
    """
    _check(picture, 1, "a text")
    votes = _all_votes(picture, method)
    seen = [_counted(votes, count) for count in range(1, min(longest, len(votes) // 8) + 1)]
    best = max(sighting.clarity for sighting in seen)
    return next(sighting for sighting in seen if sighting.clarity >= 0.9 * best)


def _all_votes(picture: Picture, method: str) -> NDArray[np.bool_]:
    pixels = np.asarray(picture.pixels.convert("RGB"))
    return np.concatenate([_votes(_tiles(band), _METHODS[method]) for _, band in _bands(pixels)])


def _counted(votes: NDArray[np.bool_], count: int) -> Sighting:
    bits = count * 8
    bit = np.arange(len(votes)) % bits
    mean = np.bincount(bit, votes) / np.bincount(bit)
    chance = np.sqrt(2 * bits / (np.pi * len(votes)))  # of fair votes: the mean distance from a draw
    return Sighting(np.packbits(mean * 255 > 127).tobytes(), float(np.abs(2 * mean - 1).mean() - chance))


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


def _bands(pixels: Bytes) -> Iterator[tuple[int, Bytes]]:
    """Cut into bands of whole blocks; each comes with the number of its first block."""
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    for row in range(0, rows, _BAND):
        yield row * columns, pixels[row * 8 : min(row + _BAND, rows) * 8, : columns * 8, :3]


def _tiles(band: Bytes) -> Bytes:
    """(rows * 8, columns * 8, 3) -> (3, rows * columns, 8, 8), a copy."""
    rows, columns = band.shape[0] // 8, band.shape[1] // 8
    return band.reshape(rows, 8, columns, 8, 3).transpose(4, 0, 2, 1, 3).reshape(3, -1, 8, 8)


def _into(band: Bytes, tiles: Bytes) -> None:
    rows, columns = band.shape[0] // 8, band.shape[1] // 8
    band[:] = tiles.reshape(3, rows, columns, 8, 8).transpose(1, 3, 2, 4, 0).reshape(band.shape)


def _blocks(tiles: Bytes) -> Floats:
    """The low band of U: (3, n, 8, 8) -> (n, 4, 4), to the last bit as OpenCV and PyWavelets give it."""
    red, green, blue = tiles.astype(np.int32)
    luma = (4899 * red + 9617 * green + 1868 * blue + 8192) >> 14
    chroma = (8061 * (blue - luma) + (128 << 14) + 8192) >> 14
    halves = _HAAR * chroma[:, 1::2] + _HAAR * chroma[:, 0::2]
    low: Floats = _HAAR * halves[:, :, 1::2] + _HAAR * halves[:, :, 0::2]
    return low


def _votes(tiles: Bytes, method: _Method) -> NDArray[np.bool_]:
    return method.carrier(_blocks(tiles)) % _STEP > _STEP / 2


def _written(tiles: Bytes, bits: Bytes, method: _Method) -> Bytes:
    """Write one bit into each tile, by the nearest step; by more effort where that is not read back.

    It is not where green or blue are at the end of their range: white cannot become bluer.
    """
    phases = 0.25 + 0.5 * bits.astype(np.float64)
    blocks, best = _blocks(tiles), tiles.copy()
    room = np.full(len(bits), -math.inf)
    for beyond, rounds, enough in _EFFORTS:
        weak = np.flatnonzero(room < enough)
        if not weak.size or (beyond and weak.size < len(bits) * _FEW):
            continue
        change = method.change(blocks[weak], phases[weak], beyond)
        tried = _painted(tiles[:, weak], change)
        for _ in range(rounds - 1):
            tried = _painted(tried, blocks[weak] + change - _blocks(tried))
        got = _room(method.carrier(_blocks(tried)), phases[weak])
        better = got > room[weak]
        best[:, weak[better]], room[weak[better]] = tried[:, better], got[better]
    return best


def _room(carriers: Floats, phases: Floats) -> Floats:
    """How far the numbers lie inside their bits: 9 in the middle, negative where the other bit is read."""
    off: Floats = np.abs((carriers - phases * _STEP + _STEP / 2) % _STEP - _STEP / 2)
    return _STEP / 4 - off


def _painted(tiles: Bytes, change: Floats) -> Bytes:
    """Add to the low band of U, by green and blue alone; red, Y and V stay."""
    u = (change / 2).astype(np.float32).repeat(2, axis=1).repeat(2, axis=2)
    painted = tiles.copy()
    for channel, weight in ((1, _GREEN), (2, _BLUE)):
        painted[channel] = np.clip(np.rint(tiles[channel] + np.float32(weight) * u), 0, 255)
    return painted


def _nearest(carriers: Floats, phases: Floats) -> Floats:
    """The number of the step whose phase is nearest."""
    return np.rint(carriers / _STEP - phases)


def _largest(blocks: Floats) -> Floats:
    return blocks.reshape(-1, 16)[:, 1:].max(axis=1)


def _move_largest(blocks: Floats, phases: Floats, beyond: int) -> Floats:
    """Move the largest sample: upwards where it would no longer be the largest, or all that are over it down."""
    samples = blocks.reshape(-1, 16)[:, 1:]
    second, first = np.partition(samples, 13, axis=1)[:, 13:].T
    step = (
        _nearest(first, phases)
        if beyond < 0
        else np.maximum(_nearest(first, phases), np.ceil((second + _LEAD) / _STEP - phases))
    )
    goal = ((step + beyond + phases) * _STEP)[:, None]
    change = np.zeros((len(blocks), 16))
    change[:, 1:] = np.minimum(samples, goal - _LEAD) - samples
    change[np.arange(len(blocks)), 1 + samples.argmax(axis=1)] = goal[:, 0] - first
    return change.reshape(-1, 4, 4)


def _top(blocks: Floats) -> tuple[Floats, Floats]:
    """The largest singular value (n,) of each block and its right vector (n, 4, 1).

    By squaring the Gram matrix, which is five times faster than LAPACK on 4x4; where the second value is so near the
    first that this has not converged, by LAPACK.
    """
    power = blocks.swapaxes(1, 2) @ blocks
    for _ in range(5):
        power /= np.trace(power, axis1=1, axis2=2)[:, None, None]
        power = power @ power
    trace = np.trace(power, axis1=1, axis2=2)
    spread = 1 - np.einsum("nij,nij->n", power, power) / trace**2
    right = power[:, :, :1] / np.linalg.norm(power[:, :, :1], axis=1, keepdims=True)
    slow = np.flatnonzero(spread > 1e-12)
    if slow.size:
        right[slow] = np.linalg.svd(blocks[slow])[2][:, :1].swapaxes(1, 2)
    return np.linalg.norm(blocks @ right, axis=(1, 2)), right


def _singular(blocks: Floats) -> Floats:
    return _top(blocks)[0]


def _move_singular(blocks: Floats, phases: Floats, beyond: int) -> Floats:
    """Move the largest singular value, which changes the block by a matrix of rank one."""
    value, right = _top(blocks)
    goal = (_nearest(value, phases) + beyond + phases) * _STEP
    left = blocks @ right / value[:, None, None]
    return (goal - value)[:, None, None] * (left @ right.swapaxes(1, 2))


_METHODS = {"dwt_dct": _Method(_largest, _move_largest), "dwt_dct_svd": _Method(_singular, _move_singular)}
