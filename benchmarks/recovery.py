"""What survives of a watermark: method by attack, over pictures that no method was tuned on; and false alarms.

The photographs are those in the wheel of scikit-image; crops of them, enlarged where they are smaller than 512 pixels.
The robust methods were tuned on other ones (astronaut, coffee, hubble_deep_field, brick, coins, moon, cell).
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.report import Bound, Report, Table
from benchmarks.watermark import TEXT, package
from graph.values import Picture
from nodes.sd.marks import CHANCE, CLEAR, find, is_text, presence, signed

SIDE = 512
CROPS = (
    *(("chelsea.png", *place) for place in ((1, 0, 0), (1, 1, 0), (1.3, 0.5, 0.5), (1.5, 0.8, 0.2))),
    *(("rocket.jpg", *place) for place in ((1, 0, 0), (1, 1, 0), (1.3, 0.5, 1), (1.3, 0.5, 0))),
    *(("motorcycle_left.png", *place) for place in ((1, 0, 0), (1, 1, 0), (1.4, 0.5, 0.5))),
    *(("motorcycle_right.png", *place) for place in ((1, 0.5, 0), (1.4, 0, 1), (1.4, 1, 0))),
    *(("retina.jpg", *place) for place in ((1, 0.5, 0.5), (2.5, 0.3, 0.5), (2.5, 0.7, 0.5), (1.6, 0.4, 0.6))),
    *(("ihc.png", *place) for place in ((1, 0, 0), (1.5, 0.7, 0.7))),
    *((name, 1, 0.5, 0.5) for name in ("camera.png", "grass.png", "gravel.png", "clock_motion.png")),
)
"""A file, how much larger than just fitting it is taken, and where the crop lies."""
SYNTHETIC = 6
UNMARKED = tuple(dict.fromkeys(
    [crop[0] for crop in CROPS]
    + ["astronaut.png", "coffee.png", "hubble_deep_field.jpg", "brick.png", "coins.png", "moon.png", "cell.png"]
))  # fmt: skip
WRITERS = {
    "package dwtDct": ("dwt_dct", "dwtDct"),
    "dwt_dct": ("dwt_dct", "dwtDct"),
    "dwt_dct_robust": ("dwt_dct_robust", "dwtDct"),
    "package dwtDctSvd": ("dwt_dct_svd", "dwtDctSvd"),
    "dwt_dct_svd": ("dwt_dct_svd", "dwtDctSvd"),
    "dwt_dct_svd_robust": ("dwt_dct_svd_robust", "dwtDctSvd"),
}
"""Our name and the package's for who wrote a mark."""


def full() -> Report:
    """All 30 pictures, and false alarms over 1,000."""
    return measure(len(CROPS), SYNTHETIC, 1000)


def quick() -> Report:
    """See that it works."""
    return measure(1, 1, 5)


def measure(photographs: int, synthetic: int, unmarked: int) -> Report:
    """Mark the pictures in every way, attack them, and read; look for marks where there are none."""
    pictures = [photograph(*crop) for crop in CROPS[:photographs]] + [clouds(seed) for seed in range(synthetic)]
    rows = [_row(writer, pictures) for writer in WRITERS]
    jpeg = 3 + list(_ATTACKS).index("JPEG 75")
    read = {row[0]: int(row[jpeg].partition(" ")[0]) for row in rows}
    least = math.ceil(len(pictures) * 25 / 30)
    bounds = [
        Bound(name, f"at least {least} of {len(pictures)} read after JPEG 75", str(read[name]), read[name] >= least)
        for name in ("dwt_dct_robust", "dwt_dct_svd_robust")
    ]
    return Report(
        "recovery",
        f"Of {len(pictures)} pictures of 512x512 ({photographs} crops of photographs, {synthetic} synthetic), in how "
        f'many is "{TEXT}" (136 bits) read by the unmodified package invisible-watermark after an attack?',
        (
            Table(
                "Read, and found",
                ("writer", "PSNR, dB: mean", "least", *_ATTACKS),
                tuple(rows),
                "The first number: read exactly by the package. In brackets: found by `read_watermark` with `expect` "
                f"(chance at most {CHANCE:g}). JPEG is Pillow's, 4:2:0.",
            ),
            _alarms(unmarked),
        ),
        tuple(bounds),
    )


def photograph(name: str, zoom: float, across: float, down: float) -> Picture:
    """A crop of 512x512 of a photograph."""
    with Image.open(_folder() / name) as file:
        whole = file.convert("RGB")
    scale = max(SIDE / min(whole.size) * zoom, SIDE / min(whole.size)) if zoom > 1 else SIDE / min(whole.size)
    size = (max(round(whole.width * scale), SIDE), max(round(whole.height * scale), SIDE))
    whole = whole.resize(size, Image.Resampling.LANCZOS)
    left, top = round((size[0] - SIDE) * across), round((size[1] - SIDE) * down)
    return Picture(whole.crop((left, top, left + SIDE, top + SIDE)))


def clouds(seed: int) -> Picture:
    """Noise of a natural spectrum, with a patch of one plain colour."""
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    spectrum = 1 / np.maximum(np.hypot(rows, columns), 1 / SIDE) ** rng.uniform(0.9, 1.5)
    waves = [np.fft.irfft2(spectrum * np.exp(2j * np.pi * rng.random(spectrum.shape)), (SIDE, SIDE)) for _ in "rgb"]
    pixels = np.stack([wave / wave.std() for wave in waves], -1) * rng.uniform(15, 50) + rng.uniform(60, 200, 3)
    left, top = rng.integers(0, SIDE - 100, 2)
    pixels[top : top + 100, left : left + 100] = rng.choice([0, 128, 255], 3)
    return Picture(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def _folder() -> Path:
    found = importlib.util.find_spec("skimage")
    if found is None or not found.origin:
        raise SystemExit("the photographs are in the wheel of scikit-image: pip install scikit-image")
    return Path(found.origin).parent / "data"


def _row(writer: str, pictures: list[Picture]) -> tuple[str, ...]:
    ours, theirs = WRITERS[writer]
    marked = [_by_package(one, theirs) if "package" in writer else signed(one, TEXT, ours) for one in pictures]
    noise = [_psnr(*pair) for pair in zip(pictures, marked, strict=True)]
    cells = [_cell([attack(one.pixels) for one in marked], ours, theirs) for attack in _ATTACKS.values()]
    return (writer, f"{sum(noise) / len(noise):.1f}", f"{min(noise):.1f}", *cells)


def _cell(attacked: list[Image.Image], ours: str, theirs: str) -> str:
    decoder = package().WatermarkDecoder("bytes", len(TEXT) * 8)
    read = sum(decoder.decode(_bgr(one), theirs) == TEXT.encode() for one in attacked)
    found = sum(presence(Picture(one), TEXT.encode(), ours) <= CHANCE for one in attacked)
    return f"{read} ({found})"


def _by_package(picture: Picture, method: str) -> Picture:
    encoder: Any = package().WatermarkEncoder()
    encoder.set_watermark("bytes", TEXT.encode())
    return Picture(Image.fromarray(np.ascontiguousarray(encoder.encode(_bgr(picture.pixels), method)[..., ::-1])))


def _bgr(pixels: Image.Image) -> Any:
    return np.ascontiguousarray(np.asarray(pixels)[..., ::-1])


def _psnr(one: Picture, other: Picture) -> float:
    off = np.asarray(one.pixels, float) - np.asarray(other.pixels, float)
    return 10 * math.log10(255**2 / float(np.mean(off**2)))


def _saved(format: str, quality: int) -> Callable[[Image.Image], Image.Image]:
    def attack(pixels: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        pixels.save(stream, format, quality=quality, **({"subsampling": "4:2:0"} if format == "JPEG" else {}))
        return Image.open(stream).convert("RGB")

    return attack


def _noisy(pixels: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 2, (pixels.height, pixels.width, 3))
    return Image.fromarray(np.clip(np.rint(np.asarray(pixels) + noise), 0, 255).astype(np.uint8))


def _halved(pixels: Image.Image) -> Image.Image:
    half = pixels.resize((pixels.width // 2, pixels.height // 2), Image.Resampling.LANCZOS)
    return half.resize(pixels.size, Image.Resampling.LANCZOS)


_ATTACKS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda pixels: pixels,
    "JPEG 95": _saved("JPEG", 95),
    "JPEG 90": _saved("JPEG", 90),
    "JPEG 80": _saved("JPEG", 80),
    "JPEG 75": _saved("JPEG", 75),
    "JPEG 50": _saved("JPEG", 50),
    "WEBP 80": _saved("WEBP", 80),
    "noise, 2 levels": _noisy,
    "blur, 0.5 pixels": lambda pixels: pixels.filter(ImageFilter.GaussianBlur(0.5)),
    "8 rows cut off below": lambda pixels: pixels.crop((0, 0, pixels.width, pixels.height - 8)),
    "8 columns cut off right": lambda pixels: pixels.crop((0, 0, pixels.width - 8, pixels.height)),
    "halved and enlarged": _halved,
}


def _alarms(count: int) -> Table:
    """Look for marks in pictures without any: crops of all sizes, some of them saved as JPEG."""
    pictures = list(_unmarked(count))
    rows = []
    for method in ("dwt_dct", "dwt_dct_svd"):
        sightings = [find(one, method) for one in pictures]
        chances = [presence(one, TEXT.encode(), method) for one in pictures]
        clear = [sighting for sighting in sightings if sighting.standing >= CLEAR]
        alarms = sum(is_text(sighting.content) for sighting in clear)
        wrong = sum(chance <= CHANCE for chance in chances)
        rows.append((method, f"{len(clear)}", f"{alarms}", f"{wrong}", f"{min(chances):.1e}"))
    columns = ("method", f"clear (standing {CLEAR:g})", "clear and text: found", "found by expect", "least chance")
    note = "None of 1,000 means a rate below 0.3 percent, at 95 percent confidence. Chance is a bound: most are larger."
    return Table(f"False alarms in {count:,} pictures without a mark", columns, tuple(rows), note)


def _unmarked(count: int) -> Iterator[Picture]:
    rng = np.random.default_rng(1)
    for number in range(count):
        with Image.open(_folder() / UNMARKED[number % len(UNMARKED)]) as file:
            whole = file.convert("RGB")
        scale = max(rng.uniform(0.6, 1.6), 256 / min(whole.size))
        whole = whole.resize((math.ceil(whole.width * scale), math.ceil(whole.height * scale)))
        wide, high = (int(rng.integers(256, min(side, 640) + 1)) for side in whole.size)
        left, top = int(rng.integers(0, whole.width - wide + 1)), int(rng.integers(0, whole.height - high + 1))
        crop = whole.crop((left, top, left + wide, top + high))
        yield Picture(_saved("JPEG", 80)(crop) if number % 3 == 0 else crop)
