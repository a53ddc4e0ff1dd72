"""vae_encode and vae_decode: what becomes of pictures of every mode and size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graph.errors import StepError
from graph.values import Picture
from nodes.load_model import LoadModel, Parts
from nodes.noise import Noise
from nodes.sd.autoencoder import to_picture, to_tensor
from nodes.sd.files import ModelFile
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode


@pytest.fixture
def parts(whole: Any, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx)


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_a_picture_comes_back_exactly_from_a_tensor() -> None:
    picture = Picture(noise(8, 16, 3))

    assert picture == to_picture(to_tensor(picture))


def test_values_outside_of_the_range_are_clipped() -> None:
    decoded = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0]).expand(1, 3, 1, 5)

    assert [0, 0, 128, 255, 255] == list(to_picture(decoded).data[::3])


def test_grey_is_spread_and_alpha_dropped(parts: Parts, ctx: Any) -> None:
    grey, clear = noise(64, 64), noise(64, 64, 4)

    assert VaeEncode().run(ctx, parts.vae, Picture(grey)) == VaeEncode().run(
        ctx, parts.vae, Picture(Image.merge("RGB", [grey] * 3))
    )
    assert VaeEncode().run(ctx, parts.vae, Picture(clear)) == VaeEncode().run(
        ctx, parts.vae, Picture(Image.merge("RGB", clear.split()[:3]))
    )


@pytest.mark.parametrize(
    ("size", "near"),
    [((70, 64), "64 x 64 or 72 x 64"), ((33, 25), "32 x 24 or 40 x 32"), ((5, 8), "8 x 8.")],
)
def test_a_size_that_does_not_fit_names_the_nearest(size: tuple[int, int], near: str, parts: Parts, ctx: Any) -> None:
    with pytest.raises(StepError, match=f"the picture is {size[0]} x {size[1]} pixels") as caught:
        VaeEncode().run(ctx, parts.vae, Picture(Image.new("RGB", size)))

    assert "Put a resize node with multiple_of: 8 before it." in caught.value.hint
    assert near in caught.value.hint


def test_every_sample_is_decoded_and_the_first_comes_first(parts: Parts, ctx: Any) -> None:
    latents = Noise(seed=1, width=64, height=72, count=3).run(ctx, parts.model)

    decoded = VaeDecode().run(ctx, parts.vae, latents)

    assert 3 == len(decoded.images) == len({picture.data for picture in decoded.images})
    assert decoded.image == decoded.images[0]
    assert ("RGB", 64, 72) == (decoded.image.mode, decoded.image.width, decoded.image.height)


def test_latents_of_another_kind_of_model_are_refused(parts: Parts, ctx: Any) -> None:
    from graph.values import Latents
    from nodes.sd.tensors import freeze

    with pytest.raises(StepError, match="latents have 16 channels, but this VAE takes 4"):
        VaeDecode().run(ctx, parts.vae, Latents(freeze(torch.zeros(1, 16, 8, 8)), (b"",)))
