"""Decode one large picture with a VAE, whole or in tiles: `python -m benchmarks.tiled_decode NAME SIDE TILE`.

NAME: tiny (the built-in model's) or sd (Stable Diffusion's geometry, 84 million random weights). TILE 0 is whole.
With COMPARE as a fourth word, prints how far Darkroom's tiles and diffusers' are from the whole picture, in levels of
255: mean and maximum where tiles overlap, mean and maximum elsewhere.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from nodes.sd.vae_tiles import in_tiles, spans

TINY = Path(__file__).parents[1] / "nodes" / "sd" / "tiny" / "vae"
FACTOR = 8


def main(name: str, side: int, tile: int, compare: bool) -> None:
    """Decode, and print what was asked for."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(TINY, local_files_only=True) if name == "tiny" else stable_diffusion()
    vae.eval()
    cells = side // FACTOR
    with torch.inference_mode():
        latents = painted(vae, side) if name == "tiny" else smooth(cells)
        if compare:
            print(" ".join(f"{number:.2f}" for number in differences(vae, latents, tile // FACTOR)))
        else:
            decoded(vae, latents, tile // FACTOR or cells)


def stable_diffusion() -> Any:
    """Stable Diffusion's autoencoder, untrained."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


def painted(vae: Any, side: int) -> torch.Tensor:
    """The latents of the shipped sketch."""
    sketch = Image.open(TINY.parents[3] / "workflows" / "pictures" / "sketch.png").convert("RGB").resize((side, side))
    pixels = torch.from_numpy(np.array(sketch)).permute(2, 0, 1)[None] / 127.5 - 1
    part = spans(side // FACTOR, 32)
    return in_tiles(lambda tile: vae.encode(tile).latent_dist.mean, pixels, part, part, FACTOR, 1)


def smooth(cells: int) -> torch.Tensor:
    """Latents that change slowly, as those of pictures do."""
    return torch.nn.functional.interpolate(torch.randn(1, 4, 8, 8), (cells, cells), mode="bicubic")


def decoded(vae: Any, latents: torch.Tensor, cells: int) -> torch.Tensor:
    """Decode in tiles of so many latents a side."""
    along = spans(latents.shape[-1], cells)
    return in_tiles(lambda part: vae.decode(part).sample, latents, along, along, 1, FACTOR)


def differences(vae: Any, latents: torch.Tensor, cells: int) -> list[float]:
    """Eight numbers: of Darkroom's tiles, then of diffusers'."""
    whole = levels(vae.decode(latents).sample)
    ours = levels(decoded(vae, latents, cells))
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = cells * FACTOR, cells
    theirs = levels(vae.decode(latents).sample)
    shared = torch.zeros(whole.shape[-2:], dtype=torch.bool)
    along = spans(latents.shape[-1], cells)
    for (_, stop), (start, _) in pairwise(along):
        shared[start * FACTOR : stop * FACTOR] = shared[:, start * FACTOR : stop * FACTOR] = True
    gaps = [(made - whole).abs() for made in (ours, theirs)]
    return [
        float(what)
        for gap in gaps
        for part in (gap[..., shared], gap[..., ~shared])
        for what in (part.mean(), part.max())
    ]


def levels(decoded: torch.Tensor) -> torch.Tensor:
    """As levels of 255, not yet rounded."""
    return (decoded * 0.5 + 0.5).clamp(0, 1) * 255


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), len(sys.argv) > 4)
