"""The training pictures: drawn once into one file, each known by its number."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from training.drawing import SIZE, draw
from training.scenes import Scene, draw_scene

COUNT = 40_000
_CHUNK = 1_000


def scene_of(number: int) -> Scene:
    """Give the scene of training picture `number`; always the same one."""
    return draw_scene(Random(number))


def pictures(folder: Path, workers: int) -> NDArray[np.uint8]:
    """Open the training pictures, (COUNT, 128, 128, 3) RGB mapped from disk; draw them if need be (2 GB)."""
    path = folder / "pictures.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        shape = (COUNT, SIZE, SIZE, 3)
        file = np.lib.format.open_memmap(beside, "w+", np.uint8, shape)
        with ProcessPoolExecutor(workers) as pool:
            for first, chunk in zip(
                range(0, COUNT, _CHUNK), pool.map(_draw_chunk, range(0, COUNT, _CHUNK)), strict=True
            ):
                file[first : first + _CHUNK] = chunk
        file.flush()
        beside.rename(path)
    opened: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return opened


def _draw_chunk(first: int) -> NDArray[np.uint8]:
    return np.stack([draw(scene_of(number)) for number in range(first, first + _CHUNK)])
