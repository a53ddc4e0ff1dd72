"""Time the watermark against the package invisible-watermark, in one run, in CPU seconds; the best of three.

python benchmarks/watermark.py [SIDE]
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from graph.values import Picture
from nodes.sd.marks import read, signed

TEXT = "StableDiffusionV1"


def main(side: int) -> None:
    """Print one line for each method and direction."""
    waves = np.random.default_rng(0).normal(size=(side // 8, side // 8, 3)) * 40 + 128
    small = Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8))
    picture = Picture(small.resize((side, side), Image.Resampling.BICUBIC))
    bgr = np.ascontiguousarray(np.asarray(picture.pixels)[..., ::-1])
    marks = package()
    encoder = marks.WatermarkEncoder()
    encoder.set_watermark("bytes", TEXT.encode())
    decoder = marks.WatermarkDecoder("bytes", len(TEXT) * 8)
    print("| size | method | | package, CPU s | here, CPU s | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for method, name in (("dwt_dct", "dwtDct"), ("dwt_dct_svd", "dwtDctSvd")):
        for what, theirs, ours in (
            ("write", lambda name=name: encoder.encode(bgr, name), lambda m=method: signed(picture, TEXT, m)),
            ("read", lambda name=name: decoder.decode(bgr, name), lambda m=method: read(picture, len(TEXT), m)),
        ):
            before, after = _seconds(theirs), _seconds(ours)
            print(f"| {side}x{side} | {method} | {what} | {before:.3f} | {after:.3f} | {before / after:.1f} |")


def _seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def package() -> Any:
    """The package without its neural method, which imports torch."""
    neural: Any = types.ModuleType("imwatermark.rivaGan")
    neural.RivaWatermark = None
    sys.modules["imwatermark.rivaGan"] = neural
    import imwatermark

    return imwatermark


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048)
