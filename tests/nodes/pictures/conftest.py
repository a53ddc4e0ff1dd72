"""Pictures that test what they are used for, and the unmodified watermark package as the oracle."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from graph.values import Picture

Pixels = NDArray[np.uint8]


def scene(seed: int, width: int = 512, height: int = 512) -> Pixels:
    """Clouds of natural spectrum with flat patches, some of colours at the end of their range."""
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = 1 / np.maximum(np.hypot(rows, columns), 1 / max(width, height)) ** rng.uniform(0.9, 1.5)
    waves = [np.fft.irfft2(spectrum * np.exp(2j * np.pi * rng.random(spectrum.shape)), (height, width)) for _ in "rgb"]
    clouds = np.stack([(wave - wave.mean()) / wave.std() for wave in waves], -1)
    mixed = clouds @ (rng.uniform(-0.3, 0.3, (3, 3)) + np.eye(3) * 0.35 + 0.7)
    pixels = mixed * rng.uniform(20, 70) / 1.2 + rng.uniform(60, 200, 3)
    for _ in range(rng.integers(0, 6)):
        left, top = rng.integers(0, width), rng.integers(0, height)
        high, wide = rng.integers(20, 200, 2)
        pixels[top : top + high, left : left + wide] = rng.choice([0, 40, 128, 220, 255], 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def draw() -> Callable[..., Picture]:
    def drawn(seed: int, width: int = 512, height: int = 512, mode: str = "RGB") -> Picture:
        return Picture(Image.fromarray(scene(seed, width, height)).convert(mode))

    return drawn


class Package:
    """invisible-watermark as it is. Only its neural method, which imports torch, is left out."""

    names = {"dwt_dct": "dwtDct", "dwt_dct_svd": "dwtDctSvd"}

    def __init__(self) -> None:
        neural: Any = types.ModuleType("imwatermark.rivaGan")
        neural.RivaWatermark = None
        sys.modules.setdefault("imwatermark.rivaGan", neural)
        self.package: Any = pytest.importorskip("imwatermark")

    def write(self, picture: Picture, text: bytes, method: str) -> Picture:
        encoder = self.package.WatermarkEncoder()
        encoder.set_watermark("bytes", text)
        bgr = encoder.encode(_bgr(picture), self.names[method])
        return Picture(Image.fromarray(np.ascontiguousarray(bgr[..., ::-1])))

    def read(self, picture: Picture, count: int, method: str) -> bytes:
        found: bytes = self.package.WatermarkDecoder("bytes", count * 8).decode(_bgr(picture), self.names[method])
        return found


def _bgr(picture: Picture) -> Pixels:
    return np.ascontiguousarray(np.asarray(picture.pixels.convert("RGB"))[..., ::-1])


@pytest.fixture(scope="session")
def package() -> Package:
    return Package()
