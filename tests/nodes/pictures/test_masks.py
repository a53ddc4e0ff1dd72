"""Masks, borders, and laying back what was painted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from pydantic import ValidationError

from graph.errors import StepError
from graph.values import Mask, Picture
from nodes.crop_to_mask import CropToMask
from nodes.mask import MaskOfPicture
from nodes.mask_edit import MaskEdit
from nodes.mask_shape import MaskShape
from nodes.pad import Pad
from nodes.paste import Paste
from nodes.sd.pasting import Box


def noise(seed: int, mode: str = "RGB", size: tuple[int, int] = (40, 24)) -> Any:
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode=None)


def levels(image: Picture | Mask) -> Any:
    return np.asarray(image.pixels)


def dot(x: int, y: int, size: tuple[int, int] = (40, 24)) -> Mask:
    pixels = Image.new("L", size)
    pixels.putpixel((x, y), 255)
    return Mask(pixels)


def soft() -> Mask:
    """Black on the left, white on the right, every grey between them."""
    return Mask(Image.fromarray(np.tile(np.r_[[0] * 8, np.linspace(0, 255, 24), [255] * 8].astype(np.uint8), (24, 1))))


# Masks


def test_white_is_painted_and_black_is_kept(ctx: Any) -> None:
    picture = Picture(Image.merge("RGB", [soft().pixels] * 3))

    assert soft() == MaskOfPicture().run(ctx, picture)


def test_what_is_clear_is_painted(ctx: Any) -> None:
    pixels = noise(1)
    pixels.putalpha(soft().pixels)

    assert np.array_equal(255 - levels(soft()), levels(MaskOfPicture(by="alpha").run(ctx, Picture(pixels))))
    assert not levels(MaskOfPicture(by="alpha").run(ctx, Picture(noise(1)))).any()


def test_a_rectangle_is_as_large_as_asked_and_is_cut_at_the_border(ctx: Any) -> None:
    drawn = levels(MaskShape(x=36, y=-2, width=10, height=5).run(ctx, Picture(noise(1))))

    assert 255 * 4 * 3 == drawn.sum(dtype=int) == drawn[:3, 36:].sum(dtype=int)


def test_an_ellipse_fills_three_quarters_of_its_rectangle_and_touches_its_sides(ctx: Any) -> None:
    drawn = Image.fromarray(
        levels(MaskShape(shape="ellipse", x=4, y=2, width=30, height=20).run(ctx, Picture(noise(1))))
    )

    assert (4, 2, 34, 22) == drawn.getbbox()
    assert 0.785 == pytest.approx(float(np.asarray(drawn).mean()) * 40 * 24 / 255 / (30 * 20), abs=0.02)


def test_a_shape_outside_the_picture_is_refused(ctx: Any) -> None:
    with pytest.raises(StepError, match="rectangle from 40,0 to 50,10 lies outside the picture, which is 40 x 24"):
        MaskShape(x=40, width=10, height=10).run(ctx, Picture(noise(1)))


@pytest.mark.parametrize("by", [1, 3])
def test_a_mask_grows_in_each_direction_and_shrinks_back(by: int, ctx: Any) -> None:
    grown = MaskEdit(grow=by).run(ctx, dot(20, 12))

    assert (20 - by, 12 - by, 21 + by, 13 + by) == grown.pixels.getbbox()
    assert dot(20, 12) == MaskEdit(grow=-by).run(ctx, grown)


def test_a_mask_of_everything_does_not_shrink_at_the_borders(ctx: Any) -> None:
    full = Mask(Image.new("L", (40, 24), 255))

    assert full == MaskEdit(grow=-5).run(ctx, full)
    assert not levels(MaskEdit(grow=5, feather=4, invert=True).run(ctx, full)).any()


def test_a_feathered_edge_rises_through_the_middle_where_the_edge_was(ctx: Any) -> None:
    half = Mask(Image.fromarray(np.repeat([[0, 255]], 24, axis=0).astype(np.uint8).repeat(20, axis=1)))
    row = levels(MaskEdit(feather=6).run(ctx, half))[12].astype(int)

    assert (np.diff(row) >= 0).all()
    assert row[19] < 128 <= row[20]
    assert (0, 255) == (row[19 - 6 - 2], row[20 + 6 + 2])


# Borders


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("fill", ["edge", "mirror", "grey"])
def test_borders_are_painted_and_the_picture_stays(fill: Any, mode: str, ctx: Any) -> None:
    picture = Picture(noise(2, mode))
    image, mask = Pad(left=3, top=5, right=50, bottom=1, fill=fill).run(ctx, picture)

    assert picture == Picture(image.pixels.crop((3, 5, 43, 29)))
    assert (93, 30, mode) == (image.width, image.height, image.mode)
    assert not levels(mask)[5:29, 3:43].any()
    assert 255 * (93 * 30 - 40 * 24) == levels(mask).sum(dtype=int)


def test_borders_begin_as_the_outermost_pixels_or_their_mirror_image(ctx: Any) -> None:
    pixels = noise(2)
    drawn, mirrored = (
        levels(Pad(left=2, fill=fill).run(ctx, Picture(pixels)).image) for fill in ("edge", "mirror")
    )  # fmt: skip

    assert np.array_equal(drawn[:, 0], np.asarray(pixels)[:, 0])
    assert np.array_equal(mirrored[:, 0], np.asarray(pixels)[:, 1])


def test_borders_of_too_large_a_picture_are_refused(ctx: Any) -> None:
    with pytest.raises(StepError, match="the padded picture would be"):
        Pad(right=16384, bottom=16384).run(ctx, Picture(noise(2)))


# Pasting


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_what_is_kept_is_exactly_the_picture_and_what_is_painted_the_other(mode: str, ctx: Any) -> None:
    picture, painted = noise(3, mode), noise(4)
    pasted = levels(Paste().run(ctx, Picture(picture), Picture(painted), soft()))

    below = np.asarray(picture if mode == "RGBA" else picture.convert("RGB"))
    assert np.array_equal(below[:, :9], pasted[:, :9])
    assert np.array_equal(np.asarray(painted)[:, -9:], pasted[:, -9:, :3])


def test_a_soft_edge_is_blended(ctx: Any) -> None:
    black, white = (Picture(Image.new("RGB", (40, 24), (level,) * 3)) for level in (0, 255))

    assert np.array_equal(levels(soft()), levels(Paste().run(ctx, black, white, soft()))[..., 0])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_mask_that_keeps_everything_gives_the_picture_back(mode: str, ctx: Any) -> None:
    picture = Picture(noise(3, mode))

    assert picture == Paste().run(ctx, picture, Picture(noise(4)), Mask(Image.new("L", (40, 24))))


def test_a_hole_that_was_erased_is_filled_and_no_longer_clear(ctx: Any) -> None:
    pixels, whole = noise(3), noise(3)
    pixels.putalpha(Image.fromarray(255 - levels(soft())))
    picture = Picture(pixels)

    assert Picture(whole) == Paste().run(ctx, picture, Picture(whole), MaskOfPicture(by="alpha").run(ctx, picture))


def test_sizes_that_differ_are_named(ctx: Any) -> None:
    small, picture = Picture(noise(4, size=(20, 12))), Picture(noise(3))

    with pytest.raises(StepError, match="painted picture is 20 x 12 pixels, but the one below it 40 x 24"):
        Paste().run(ctx, picture, small, soft())
    with pytest.raises(StepError, match="mask is 40 x 24 pixels, but the picture 20 x 12"):
        Paste().run(ctx, small, small, soft())
    with pytest.raises(StepError, match="box 30,0,50,10 is no part of the picture"):
        Paste(box="30,0,50,10").run(ctx, picture, small, soft())


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "1,2,3,4,5", "-1,0,5,5", "1 2 3 4"])
def test_a_box_that_is_none_is_refused(box: str) -> None:
    with pytest.raises(ValidationError):
        Paste(box=box)


# Cropping


@pytest.mark.parametrize("seed", range(12))
def test_the_part_that_is_cut_out_is_the_one_of_diffusers(seed: int, ctx: Any) -> None:
    random = np.random.default_rng(seed)
    size = (int(random.integers(40, 200)), int(random.integers(40, 200)))
    marks = np.zeros(size[::-1], np.uint8)
    for _ in range(int(random.integers(1, 4))):
        marks[random.integers(size[1]), random.integers(size[0])] = 1
    width, height, padding = (int(number) for number in (*random.integers(8, 20, 2) * 8, random.integers(0, 40)))
    mask = Image.fromarray(marks)

    cut = CropToMask(width=width, height=height, padding=padding).run(ctx, Picture(noise(1, size=size)), Mask(mask))

    assert VaeImageProcessor.get_crop_region(mask, width, height, pad=padding) == tuple(Box.read(cut.box))
    assert (width, height) == (cut.image.width, cut.image.height) == (cut.mask.width, cut.mask.height)


def test_what_was_cut_out_is_pasted_back_in_its_place(ctx: Any) -> None:
    picture, mask = Picture(noise(5, size=(300, 200))), dot(150, 90, (300, 200))
    mask = MaskEdit(grow=10).run(ctx, mask)
    cut = CropToMask(width=128, height=128, padding=11).run(ctx, picture, mask)

    blue = Picture(Image.new("RGB", (128, 128), (0, 0, 255)))
    pasted = levels(Paste(box=cut.box).run(ctx, picture, blue, mask))

    assert np.array_equal(levels(picture)[levels(mask) == 0], pasted[levels(mask) == 0])
    assert {(0, 0, 255)} == {tuple(pixel) for pixel in pasted[levels(mask) == 255].tolist()}


def test_nothing_can_be_cut_out_where_nothing_is_painted(ctx: Any) -> None:
    with pytest.raises(StepError, match="there is nothing to crop to"):
        CropToMask().run(ctx, Picture(noise(1)), Mask(Image.new("L", (40, 24))))
