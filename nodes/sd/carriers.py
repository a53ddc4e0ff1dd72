"""Where the invisible watermark lies: bits in the colour of 8x8 blocks, as the package invisible-watermark reads them.

Every block of 8x8 pixels carries one bit, block i the bit i modulo their number. The carrier is U, the blue
difference of OpenCV's 8-bit YUV; one level of the Haar transform leaves a 4x4 block of it, and one number of that
block tells the bit: 0 in the lower half of a step of 36, 1 in the upper half:

    dwt_dct      the largest of the block's 15 samples behind the first (the package's dwtDct does no DCT)
    dwt_dct_svd  the largest singular value (an orthonormal DCT leaves it as it is, so that none is computed)

Source: invisible-watermark 0.2.0, maxDct.py and dwtDctSvd.py; Chen and Wornell 2001, quantization index modulation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Carrier = Callable[[Floats], Floats]
"""(n, 4, 4) -> (n,): the number that holds the bit."""

STEP = 36.0
_HAAR = 0.7071067811865476

# A change of U by 1 that leaves Y and V as they are. The numbers are those of OpenCV's fixed-point conversion.
_BLUE = 16384 / 8061
_GREEN = -_BLUE * 1868 / 9617


def low_band(pixels: Bytes) -> Floats:
    """The low band of U: (..., 2 r, 2 c, 3) RGB -> (..., r, c), to the last bit as OpenCV and PyWavelets give it."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    luma = (4899 * red + 9617 * green + 1868 * blue + 8192) >> 14
    chroma = (8061 * (blue - luma) + (128 << 14) + 8192) >> 14
    halves = _HAAR * chroma[..., 1::2, :] + _HAAR * chroma[..., 0::2, :]
    low: Floats = _HAAR * halves[..., 1::2] + _HAAR * halves[..., 0::2]
    return low


def painted(pixels: Bytes, change: Floats) -> Bytes:
    """Add (..., r, c) to the low band of U, by green and blue alone; red, Y and V stay."""
    u = (change / 2).astype(np.float32).repeat(2, axis=-2).repeat(2, axis=-1)
    changed = pixels.copy()
    for channel, weight in ((1, _GREEN), (2, _BLUE)):
        moved = np.float32(weight) * u
        moved += pixels[..., channel]
        changed[..., channel] = np.clip(np.rint(moved, out=moved), 0, 255, out=moved)
    return changed


def blocks(low: Floats) -> Floats:
    """(4 r, 4 c) -> (r * c, 4, 4)"""
    rows, columns = low.shape
    return low.reshape(rows // 4, 4, columns // 4, 4).transpose(0, 2, 1, 3).reshape(-1, 4, 4)


def joined(parts: Floats, rows: int) -> Floats:
    """Put blocks together again: (r * c, 4, 4) -> (4 r, 4 c), where `rows` is r."""
    return parts.reshape(rows, -1, 4, 4).transpose(0, 2, 1, 3).reshape(rows * 4, -1)


def votes(numbers: Floats) -> Bools:
    """The bit that each number tells."""
    return numbers % STEP > STEP / 2


def largest(parts: Floats) -> Floats:
    """The carrier of dwt_dct."""
    return parts.reshape(-1, 16)[:, 1:].max(axis=1)


def singular(parts: Floats) -> Floats:
    """The carrier of dwt_dct_svd."""
    return top(parts)[0]


def top(parts: Floats) -> tuple[Floats, Floats]:
    """The largest singular value (n,) of each block and its right vector (n, 4, 1).

    By squaring the Gram matrix, which is five times faster than LAPACK on 4x4; where the second value is so near the
    first that this has not converged, by LAPACK.
    """
    power = parts.swapaxes(1, 2) @ parts
    for _ in range(5):
        power /= np.trace(power, axis1=1, axis2=2)[:, None, None]
        power = power @ power
    trace = np.trace(power, axis1=1, axis2=2)
    spread = 1 - np.einsum("nij,nij->n", power, power) / trace**2
    right = power[:, :, :1] / np.linalg.norm(power[:, :, :1], axis=1, keepdims=True)
    slow = np.flatnonzero(spread > 1e-12)
    if slow.size:
        right[slow] = np.linalg.svd(parts[slow])[2][:, :1].swapaxes(1, 2)
    return np.linalg.norm(parts @ right, axis=(1, 2)), right


CARRIERS: dict[str, Carrier] = {"dwt_dct": largest, "dwt_dct_svd": singular}
