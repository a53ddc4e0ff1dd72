"""How two pictures differ: the figures are those of the definition, and the picture shows every difference."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from graph.likeness import Figures, draw, measure, told
from graph.values import Picture

RED = Picture(Image.new("RGB", (8, 6), "red"))


def changed(*pixels: tuple[int, int, tuple[int, int, int]], size: tuple[int, int] = (8, 6)) -> Picture:
    """Red, but for these pixels."""
    image = Image.new("RGB", size, "red")
    for x, y, colour in pixels:
        image.putpixel((x, y), colour)
    return Picture(image)


def test_the_same_pixels_have_no_difference() -> None:
    assert Figures(8, 6, 0, 0, 0.0, None, None) == measure(RED, RED)
    assert ("the same pixels",) == told(measure(RED, RED))


def test_the_figures_are_those_of_the_definition() -> None:
    figures = measure(RED, changed((2, 1, (251, 0, 0)), (5, 3, (255, 2, 1))))

    assert figures
    assert (2, 4, (2, 1, 4, 3)) == (figures.differing, figures.largest, figures.box)
    assert (4 + 2 + 1) / (8 * 6 * 3) == pytest.approx(figures.mean)
    assert 10 * math.log10(255**2 / ((16 + 4 + 1) / (8 * 6 * 3))) == pytest.approx(figures.psnr)


def test_the_figures_in_words() -> None:
    assert (
        "1 of 48 pixels differ (2.08 %)",
        "within 1x1 pixels, from 2 to the right and 1 down",
        "at most 1 level of 255, 0.00694 on average, PSNR 69.7 dB",
    ) == told(measure(RED, changed((2, 1, (254, 0, 0)))))


@given(st.binary(min_size=48, max_size=48), st.binary(min_size=48, max_size=48))
@settings(max_examples=50, deadline=None)
def test_figures_do_not_depend_on_the_order(a: bytes, b: bytes) -> None:
    one, other = (Picture(Image.frombytes("RGB", (4, 4), data)) for data in (a, b))
    figures = measure(one, other)

    assert figures == measure(other, one)
    assert figures
    assert sum(a[at : at + 3] != b[at : at + 3] for at in range(0, 48, 3)) == figures.differing


def test_a_picture_without_alpha_is_opaque() -> None:
    clear = RED.pixels.convert("RGBA")
    clear.putpixel((1, 1), (255, 0, 0, 250))
    figures = measure(RED, Picture(clear))

    assert figures
    assert (1, 5) == (figures.differing, figures.largest)
    assert 0 == getattr(measure(RED, Picture(RED.pixels.convert("RGBA"))), "differing", None)


def test_grey_is_compared_as_colour() -> None:
    grey = Picture(Image.new("L", (8, 6), 7))

    assert 0 == getattr(measure(grey, Picture(grey.pixels.convert("RGB"))), "differing", None)


def test_of_two_sizes_of_one_shape_the_smaller_is_enlarged() -> None:
    figures = measure(RED, Picture(Image.new("RGB", (24, 18), "red")))

    assert figures
    assert (24, 18, 0) == (figures.width, figures.height, figures.differing)


def test_other_shapes_are_not_compared_and_shown_side_by_side() -> None:
    wide = Picture(Image.new("RGB", (9, 6), "red"))

    assert measure(RED, wide) is None
    assert ("their shapes differ, so the pixels are not compared",) == told(None)
    assert draw(RED, wide, ("a", "b"), None).width > 512


# The picture


def panels(a: Picture, b: Picture) -> tuple[Image.Image, Image.Image, Image.Image]:
    """The three panels of two pictures of 8x6, which are shown 32 times as large."""
    sheet = draw(a, b, ("a.png", "b.png"), measure(a, b)).pixels
    top = 35
    first, second, third = (
        sheet.crop((left, top, left + 256, top + 192)) for left in (12, 12 + 256 + 12, 12 + 2 * (256 + 12))
    )
    return first, second, third


def test_both_pictures_are_shown_enlarged_and_the_difference_beside_them() -> None:
    other = changed((2, 1, (0, 0, 255)))
    first, second, third = panels(RED, other)

    assert RED.pixels.resize((256, 192), 0).tobytes() == first.tobytes()
    assert other.pixels.resize((256, 192), 0).tobytes() == second.tobytes()
    assert (255, 251, 224) == third.getpixel((2 * 32 + 16, 1 * 32 + 16))
    assert (0, 0, 0) == third.getpixel((6 * 32 + 16, 4 * 32 + 16))


def test_one_level_can_be_seen_beside_the_largest() -> None:
    _, _, third = panels(RED, changed((2, 1, (0, 0, 0)), (5, 3, (254, 0, 0))))
    faint = third.getpixel((5 * 32 + 16, 3 * 32 + 16))

    assert isinstance(faint, tuple)
    assert faint[0] > 80


def test_one_pixel_of_a_large_picture_can_be_seen() -> None:
    a, b = changed(size=(2500, 2)), changed((1234, 1, (255, 0, 9)), size=(2500, 2))
    sheet = draw(a, b, ("a", "b"), measure(a, b)).pixels
    bright = sum(count for count, colour in sheet.getcolors(1 << 20) or () if colour == (255, 251, 224))

    assert sheet.width < 3 * 2048 + 100
    assert bright >= 1


def test_any_name_goes_on_the_picture() -> None:
    names = ("\x00\x1b[31m" + "x" * 1000, "漢字🎨\u202e")

    assert draw(RED, changed((1, 1, (0, 0, 0))), names, measure(RED, changed((1, 1, (0, 0, 0))))).width > 700
