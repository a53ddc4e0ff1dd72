"""What every kind of file becomes, and what is refused before a decoder sees it."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from graph.errors import MissingError
from graph.filerefs import PictureFile
from nodes.load_image import Loaded, LoadImage
from nodes.sd import picture_files

RGB = Image.fromarray(np.arange(5 * 4 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4)
ALPHA = Image.fromarray(np.array([[0, 128, 255, 255, 7]] * 4, np.uint8))
RGBA = Image.merge("RGBA", (*RGB.split(), ALPHA))


def _bytes(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _load(ctx: Any, data: bytes, name: str = "in.png") -> Loaded:
    path = ctx.folder / name
    path.write_bytes(data)
    return LoadImage(path=PictureFile(name, path)).run(ctx)


def _refused(ctx: Any, data: bytes) -> str:
    with pytest.raises(MissingError) as caught:
        _load(ctx, data)
    assert 3 == caught.value.exit_code
    return str(caught.value)


def test_colours_and_alpha_stay_straight_and_the_mask_is_what_is_clear(ctx: Any) -> None:
    loaded = _load(ctx, _bytes(RGBA))

    assert ("RGBA", RGBA.tobytes()) == (loaded.image.mode, loaded.image.data)
    assert bytes([255, 127, 0, 0, 248] * 4) == loaded.mask.data


@pytest.mark.parametrize("image", [RGB, Image.merge("RGBA", (*RGB.split(), Image.new("L", RGB.size, 255)))])
def test_an_opaque_picture_is_rgb_and_its_mask_keeps_everything(ctx: Any, image: Image.Image) -> None:
    loaded = _load(ctx, _bytes(image))

    assert ("RGB", RGB.tobytes()) == (loaded.image.mode, loaded.image.data)
    assert bytes(20) == loaded.mask.data


@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 90}), ("WEBP", {}), ("WEBP", {"lossless": True})])
def test_other_formats_decode_as_pillow_does(ctx: Any, format: str, options: dict[str, Any]) -> None:
    data = _bytes(RGB, format, **options)

    assert Image.open(io.BytesIO(data)).convert("RGB").tobytes() == _load(ctx, data).image.data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_a_turned_picture_is_put_upright(ctx: Any, orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _bytes(RGBA, format, exif=exif, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    loaded = _load(ctx, data)

    assert (upright.size, upright.tobytes()) == ((loaded.image.width, loaded.image.height), loaded.image.data)
    assert bytes(255 - alpha for alpha in upright.getchannel("A").tobytes()) == loaded.mask.data


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_other_modes_become_rgb(ctx: Any, mode: str) -> None:
    image = RGB.convert(mode)

    assert image.convert("RGB").tobytes() == _load(ctx, _bytes(image)).image.data


def test_grey_with_alpha(ctx: Any) -> None:
    grey = Image.merge("LA", (RGB.convert("L"), ALPHA))

    assert grey.convert("RGBA").tobytes() == _load(ctx, _bytes(grey)).image.data


def test_a_palette_with_alpha(ctx: Any) -> None:
    palette = (_chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60])), _chunk(b"tRNS", bytes([0, 200])))
    loaded = _load(ctx, _png(2, 1, 8, 3, b"\0\0\1", *palette))

    assert ("RGBA", bytes([10, 20, 30, 0, 40, 50, 60, 200])) == (loaded.image.mode, loaded.image.data)
    assert bytes([255, 55]) == loaded.mask.data


def test_of_16_bits_the_higher_8_stay(ctx: Any) -> None:
    grey = _png(3, 1, 16, 0, b"\0" + struct.pack(">3H", 0, 0x80FF, 0xFFFF))
    colour = _png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0x01FF, 0x8000, 0xFFFF))

    assert bytes([0] * 3 + [128] * 3 + [255] * 3) == _load(ctx, grey).image.data
    assert bytes([1, 128, 255]) == _load(ctx, colour).image.data


def test_cmyk_becomes_rgb(ctx: Any) -> None:
    data = _bytes(RGB.convert("CMYK"), "JPEG", quality=95)

    assert Image.open(io.BytesIO(data)).convert("RGB").tobytes() == _load(ctx, data).image.data


def test_a_colour_profile_is_followed(ctx: Any) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

    assert RGB.tobytes() == _load(ctx, _bytes(RGB, icc_profile=srgb.tobytes())).image.data
    assert RGB.tobytes() == _load(ctx, _bytes(RGB, icc_profile=lab.tobytes())).image.data
    assert RGB.tobytes() == _load(ctx, _bytes(RGB, icc_profile=b"rubbish")).image.data
    assert 2 == sum("colour profile" in warning for warning in ctx.warnings)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_used(ctx: Any, format: str) -> None:
    frames = {"save_all": True, "append_images": [ImageOps.invert(RGB)], "lossless": True}
    loaded = _load(ctx, _bytes(RGB, format, **frames))

    assert RGB.tobytes() == loaded.image.data
    assert ['picture "in.png" is an animation of 2 frames; its first is used'] == ctx.warnings


@pytest.mark.parametrize("size", [(12_000, 12_000), (30_000, 30_000), (10_001, 10_000)])
def test_a_bomb_is_refused_before_it_is_decoded(ctx: Any, size: tuple[int, int], monkeypatch: Any) -> None:
    monkeypatch.setattr("PIL.Image.core.zip_decoder", None)
    width, height = size
    said = _refused(ctx, _png(width, height, 1, 0, (b"\0" * (1 + width // 8)) * 2000))

    assert f"{width:,}x{height:,}, {width * height:,} pixels; at most 100,000,000 are read" in said


def test_a_webp_bomb_is_refused_before_its_canvas_is_made(ctx: Any) -> None:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + struct.pack("<I", 16382)[:3] * 2

    assert "16,383x16,383" in _refused(ctx, b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.parametrize(
    ("format", "named"), [("GIF", "a GIF"), ("TIFF", "a TIFF"), ("BMP", "a BMP"), ("EPS", "an EPS")]
)
def test_other_formats_are_refused_by_name(ctx: Any, format: str, named: str) -> None:
    assert f"is {named} file; PNG, JPEG and WEBP are read" in _refused(ctx, _bytes(RGB, format))


@pytest.mark.parametrize("magic", [b"8BPS", b"SIMPLE  =", b"\xff\xfe\0\x05", b"hello", b"\0" * 64, b"PK\3\4"])
def test_their_decoders_are_never_reached(ctx: Any, magic: bytes, monkeypatch: Any) -> None:
    monkeypatch.setattr(picture_files, "_opened", None)

    assert "PNG, JPEG and WEBP are read" in _refused(ctx, magic + bytes(100))


def test_the_content_tells_the_format_and_not_the_name(ctx: Any) -> None:
    assert RGB.tobytes() == _load(ctx, _bytes(RGB), "really.jpg").image.data


def test_an_empty_or_missing_file_is_named(ctx: Any) -> None:
    assert 'picture "in.png" is empty' in _refused(ctx, b"")
    with pytest.raises(MissingError, match=r'"gone\.png" cannot be read: No such file'):
        LoadImage(path=PictureFile("gone.png", Path(ctx.folder / "gone.png"))).run(ctx)


FILES = {
    "png": _bytes(RGBA.resize((40, 30))),
    "jpeg": _bytes(RGB.resize((40, 30)), "JPEG", exif=Image.Exif()),
    "progressive": _bytes(RGB.resize((40, 30)), "JPEG", progressive=True),
    "webp": _bytes(RGB.resize((40, 30)), "WEBP"),
    "lossless": _bytes(RGBA.resize((40, 30)), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_is_refused(ctx: Any, kind: str) -> None:
    data = FILES[kind]
    assert _load(ctx, data)
    for end in {*range(0, len(data), 7), *range(len(data) - 24, len(data))}:
        assert "in.png" in _refused(ctx, data[:end])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(FILES)), place=st.floats(0, 1), bits=st.integers(1, 255))
def test_a_flipped_byte_is_a_picture_or_a_named_error(ctx: Any, kind: str, place: float, bits: int) -> None:
    data = bytearray(FILES[kind])
    data[int(place * (len(data) - 1))] ^= bits
    with contextlib.suppress(MissingError):
        assert _load(ctx, bytes(data)).image.data


def test_a_flipped_bit_in_a_png_s_pixels_is_found(ctx: Any) -> None:
    data = bytearray(FILES["png"])
    data[data.index(b"IDAT") + 30] ^= 1

    assert "is damaged: a wrong checksum" in _refused(ctx, bytes(data))
