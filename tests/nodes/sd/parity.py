"""Comparing with diffusers' pipelines, and keeping what was found for docs/parity.md.

`python -m benchmarks parity` runs the tests that compare, with PARITY naming a file, and writes the table from it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from PIL import Image

from graph.values import Latents, Picture
from nodes.sd.tensors import thaw

PARITY = "DARKROOM_PARITY"


def compare(
    family: str, task: str, method: str, whole: tuple[torch.Tensor, Image.Image | None], latents: Latents,
    image: Picture | None = None,
) -> None:  # fmt: skip
    """Hold a pipeline's last latents, and its picture, against ours: the same bits.

    family, task, method: the row and column of the table.
    """
    theirs, ours = whole[0].float(), thaw(latents.samples)
    _keep(family, task, method, float((theirs - ours).abs().max()) if theirs.shape == ours.shape else float("inf"))
    assert torch.equal(theirs, ours), f"{float((theirs - ours).abs().max())} apart"
    if whole[1] is not None and image is not None:
        assert Picture(whole[1]) == image


def _keep(family: str, task: str, method: str, difference: float) -> None:
    if place := os.environ.get(PARITY):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps([family, task, method, difference]) + "\n")
