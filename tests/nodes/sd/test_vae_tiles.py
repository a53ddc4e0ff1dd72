"""A VAE in tiles: near to the whole picture, no farther from it than diffusers' tiles, without a step at the seams."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graph.errors import OutOfMemory
from graph.values import Latents, Picture
from nodes.load_model import LoadModel, Parts
from nodes.sampler import Sampler
from nodes.sd import room
from nodes.sd.files import TINY, ModelFile
from nodes.sd.tensors import freeze, thaw
from nodes.sd.vae_tiles import in_tiles, spans, tile_side
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode


@pytest.fixture
def tiny(ctx: Any, tmp_path: Any) -> Parts:
    return LoadModel(path=ModelFile.find(TINY, tmp_path)).run(ctx)


def scene(width: int, height: int) -> Picture:
    """Soft blobs of colour and a hard edge."""
    soft = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    picture = soft.resize((width, height), Image.Resampling.BICUBIC)
    picture.paste((220, 40, 30), (width // 3, height // 3, width // 2, height // 2))
    return Picture(picture)


@pytest.mark.parametrize(("takes", "gives"), [(1, 8), (8, 1), (1, 1)])
def test_blended_tiles_of_what_looks_at_one_cell_alone_are_the_whole(takes: int, gives: int) -> None:
    source = torch.rand(1, 3, 37 * takes, 50 * takes)

    def compute(part: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(part, takes)
        return torch.nn.functional.interpolate(small, scale_factor=gives)

    tiled = in_tiles(compute, source, spans(37, 16), spans(50, 16), takes, gives)

    torch.testing.assert_close(compute(source), tiled)


def test_one_tile_is_the_whole_picture_bit_for_bit(tiny: Parts, ctx: Any) -> None:
    picture = scene(256, 192)
    latents = VaeEncode().run(ctx, tiny.vae, picture)

    assert latents == VaeEncode(tile=256).run(ctx, tiny.vae, picture)
    assert VaeDecode().run(ctx, tiny.vae, latents) == VaeDecode(tile=256).run(ctx, tiny.vae, latents)


def test_tiles_are_no_farther_from_the_whole_than_those_of_diffusers(tiny: Parts, ctx: Any, fresh: Any) -> None:
    latents = VaeEncode().run(ctx, tiny.vae, scene(512, 384))
    whole = _levels(VaeDecode().run(ctx, tiny.vae, latents).image)
    ours = _levels(VaeDecode(tile=256).run(ctx, tiny.vae, latents).image)
    with fresh.use(tiny.vae, ctx) as vae, torch.inference_mode():
        vae.enable_tiling()
        vae.tile_sample_min_size, vae.tile_latent_min_size = 256, 32
        made = vae.decode(thaw(latents.samples) / vae.config.scaling_factor).sample[0]
    theirs = ((made / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()

    off, off_there = np.abs(ours - whole), np.abs(theirs - whole)
    assert 0 < off.mean() <= 1.05 * off_there.mean()
    assert off.max() <= 1.05 * off_there.max()


def _levels(picture: Picture) -> Any:
    return np.asarray(picture.pixels).astype(float)


def test_encoding_in_tiles_draws_the_same_numbers(tiny: Parts, ctx: Any) -> None:
    picture = scene(384, 256)

    whole = VaeEncode(seed=3).run(ctx, tiny.vae, picture)
    tiled = VaeEncode(seed=3, tile=128).run(ctx, tiny.vae, picture)

    assert whole.generators == tiled.generators
    off = (thaw(whole.samples) - thaw(tiled.samples)).abs()
    assert 0 < float(off.mean()) < 0.1  # latents have a deviation of 1


def test_only_large_pictures_are_tiled_by_themselves_and_every_tile_is_told(tiny: Parts, ctx: Any) -> None:
    assert [1536, 1024] == [tile_side(1536, 1024, None), tile_side(1024, 1024, None)]
    assert [768, 768, 512] == [tile_side(1536, 1088, None), tile_side(16384, 128, None), tile_side(64, 64, 512)]

    VaeDecode(tile=128).run(ctx, tiny.vae, Latents(freeze(torch.zeros(2, 4, 16, 32)), (b"", b"")))

    assert [(done, 6) for done in range(1, 7)] == ctx.steps


def test_a_picture_that_fits_in_tiles_is_not_refused(
    tiny: Parts, ctx: Any, fresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = Latents(freeze(torch.zeros(1, 4, 32, 64)), (b"",))
    monkeypatch.setattr(room, "total_bytes", lambda device: 8 << 20)

    with pytest.raises(OutOfMemory, match="decoding of 512 x 256 pixels"):
        VaeDecode().run(ctx, tiny.vae, latents)
    with pytest.raises(OutOfMemory, match="decoding a tile of 256 x 256 pixels"):
        VaeDecode(tile=256).run(ctx, tiny.vae, latents)
    assert 0 == fresh.loads
    assert 512 == VaeDecode(tile=128).run(ctx, tiny.vae, latents).image.width
    assert 64 == VaeEncode(tile=128).run(ctx, tiny.vae, scene(512, 256)).samples.shape[-1]


def test_a_picture_that_is_decoded_in_tiles_brings_no_warning_when_it_is_sampled(
    tiny: Parts, ctx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = TextEncode(text="").run(ctx, tiny.text_encoder)
    large = Latents(freeze(torch.zeros(1, 4, 160, 160)), (b"\0" * 5056,))
    monkeypatch.setattr("nodes.sd.sampling.starts", lambda *_: [])
    monkeypatch.setattr("nodes.sd.sampling._joined", lambda *_: large)
    monkeypatch.setattr(room, "total_bytes", lambda device: 400 << 20)

    Sampler(steps=1, strength=1.0).run(ctx, tiny.model, prompt, prompt, replace(large, is_noise=True))

    assert [] == ctx.warnings
