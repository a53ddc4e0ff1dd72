"""resize, upscale, grid and save_image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from graph.errors import StepError
from graph.values import Picture
from nodes.grid import Grid
from nodes.resize import Resize
from nodes.save_image import SaveImage
from nodes.upscale import Upscale


def _size(picture: Picture) -> tuple[int, int]:
    return picture.width, picture.height


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"width": 50, "height": 40}, (50, 40)),
        ({"width": 50}, (50, 38)),
        ({"height": 30}, (40, 30)),
        ({}, (100, 75)),
        ({"fit": "floor"}, (96, 72)),
        ({"fit": "floor", "multiple_of": 64}, (64, 64)),
        ({"width": 50, "height": 50, "fit": "contain"}, (50, 38)),
        ({"width": 500, "height": 90, "fit": "contain"}, (120, 90)),
        ({"width": 50, "height": 50, "fit": "cover"}, (50, 50)),
        ({"width": 50, "height": 50, "multiple_of": 8}, (48, 48)),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_picture_gets_the_size_asked_for(
    ctx: Any, draw: Any, mode: str, settings: Any, size: tuple[int, int]
) -> None:
    result = Resize(**settings).run(ctx, draw(0, 100, 75, mode))

    assert (size, mode) == (_size(result), result.mode)


def test_stretch_is_pillow_s_lanczos_and_cover_keeps_the_middle(ctx: Any, draw: Any) -> None:
    before, lanczos = draw(1, 100, 80), Image.Resampling.LANCZOS
    middle = before.pixels.crop((10, 0, 90, 80)).resize((40, 40), lanczos)

    assert before.pixels.resize((30, 90), lanczos).tobytes() == Resize(width=30, height=90).run(ctx, before).data
    cover = np.frombuffer(Resize(width=40, height=40, fit="cover").run(ctx, before).data, np.uint8).reshape(40, 40, 3)
    assert (np.asarray(middle)[4:-4, 4:-4] == cover[4:-4, 4:-4]).all()  # at the rim the filter sees what is cut off


def test_hidden_colours_do_not_bleed(ctx: Any) -> None:
    pixels = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    pixels.paste((0, 0, 255, 255), (0, 0, 4, 8))
    result = np.asarray(Resize(width=4, height=4).run(ctx, Picture(pixels)).pixels)

    assert 0 == result[..., 0].max()


def test_a_size_over_the_cap_is_refused_before_it_is_made(ctx: Any, draw: Any) -> None:
    with pytest.raises(StepError, match="16,384x16,384, 268,435,456 pixels; at most 100,000,000"):
        Resize(width=16384, height=16384).run(ctx, draw(0, 64, 64))
    with pytest.raises(StepError, match=r"The largest factor that fits is 4\.88"):
        Upscale(factor=16).run(ctx, Picture(Image.new("L", (2048, 2048))))
    with pytest.raises(StepError, match="at most 100,000,000"):
        Grid(padding=1024, columns=1).run(ctx, [Picture(Image.new("L", (9000, 2000)))] * 4)


@pytest.mark.parametrize("method", ["lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"])
@pytest.mark.parametrize("factor", [1, 1.5, 4.0])
def test_upscale_is_pillow_s_filter(ctx: Any, draw: Any, method: Any, factor: float) -> None:
    before = draw(2, 33, 20)
    size = round(33 * factor), round(20 * factor)

    after = Upscale(factor=factor, method=method).run(ctx, before)

    assert before.pixels.resize(size, Image.Resampling[method.upper()]).tobytes() == after.data


def test_a_grid_is_rows_with_padding(ctx: Any, draw: Any) -> None:
    tiles = [np.asarray(draw(seed, 20, 10).pixels) for seed in range(5)]
    page = np.zeros((2 + 2 * 12, 2 + 3 * 22, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = 2 + number // 3 * 12, 2 + number % 3 * 22
        page[top : top + 10, left : left + 20] = tile

    pictures = [Picture(Image.fromarray(tile)) for tile in tiles]
    assert page.tobytes() == Grid().run(ctx, pictures).data
    assert page.tobytes() == Grid(columns=3).run(ctx, pictures).data


def test_smaller_pictures_stand_in_the_middle_and_alpha_stays(ctx: Any) -> None:
    pictures = [Picture(Image.new("L", (4, 4), 9)), Picture(Image.new("RGBA", (2, 2), (1, 2, 3, 4)))]
    page = np.asarray(Grid(padding=0, columns=2).run(ctx, pictures).pixels)

    assert (4, 8, 4) == page.shape
    assert [(9, 9, 9, 255), (1, 2, 3, 4), (0, 0, 0, 0)] == [
        tuple(map(int, page[y, x])) for y, x in ((0, 0), (1, 5), (0, 4))
    ]


def test_labels_stand_below_their_pictures(ctx: Any, draw: Any) -> None:
    pictures = [draw(seed, 64, 32) for seed in range(3)]
    by_bar = Grid(labels="one | | three 🎨 " + "long " * 50, columns=3).run(ctx, pictures)
    by_line = Grid(labels="one\n\nthree 🎨 " + "long " * 50, columns=3).run(ctx, pictures)
    strip = np.asarray(by_bar.pixels)[34:-2]

    assert by_bar.data == by_line.data
    assert [True, False, True] == [bool(strip[:, 2 + 66 * n : 66 + 66 * n].any()) for n in range(3)]
    with pytest.raises(StepError, match="2 labels for 3 pictures"):
        Grid(labels="a|b").run(ctx, pictures)
    with pytest.raises(StepError, match="no picture"):
        Grid().run(ctx, [])


def test_save_image_hands_its_settings_on(ctx: Any, draw: Any, monkeypatch: Any) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(type(ctx), "save", lambda _, image, pattern, **options: seen.append((pattern, options)))
    SaveImage(path="a/{n}.webp", quality=80).run(ctx, draw(0, 8, 8))
    SaveImage(format="jpeg").run(ctx, draw(0, 8, 8))

    assert ("a/{n}.webp", {"format": "", "quality": 80, "seal": None}) == seen[0]
    assert "jpeg" == seen[1][1]["format"]
