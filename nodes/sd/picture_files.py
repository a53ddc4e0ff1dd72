"""Read picture files, and trust none of them.

A file is told by its first bytes; only PNG, JPEG and WEBP reach a decoder. It must be whole (its last chunk or
marker is looked for) and its size is checked before its pixels are decoded.
"""

from __future__ import annotations

import contextlib
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from graph.errors import MissingError
from graph.signatures import HEAD, JPEG, PNG, is_webp, what_else
from graph.values import Mask, Picture
from nodes.sd.masks import of_alpha
from nodes.sd.pixels import MAX_PIXELS

MAX_BYTES = 1 << 30
"""Of a picture file."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the orientation that EXIF gives (tag 0x0112): how to put the picture upright."""

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def read_picture(path: Path, written: str) -> tuple[Picture, Mask, list[str]]:
    """Read a picture, upright and in sRGB, its mask, and what the user should know of the conversion.

    written: what the user calls the file, for messages.

    Raises MissingError for whatever is not a whole PNG, JPEG or WEBP file of at most 100 million pixels.
    """
    name = f'picture "{written}"'
    data = _content(path, name)
    try:
        return _read(data, name)
    except MissingError:
        raise
    except Exception as error:  # the decoders raise what they like: OSError, SyntaxError, struct.error ...
        raise MissingError(f"{name} is damaged: {error}", hint="Make or fetch the file anew.") from error


def _content(path: Path, name: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MissingError(f"{name} has {size:,} bytes; at most {MAX_BYTES:,} are read")
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(f"{name} cannot be read: {error.strerror}", hint=f"Looked for {path}") from error
    if not data:
        raise MissingError(f"{name} is empty", hint="Make or fetch the file anew.")
    return data


def _read(data: bytes, name: str) -> tuple[Picture, Mask, list[str]]:
    if not _is_whole(data, name):
        raise MissingError(f"{name} is cut short", hint="Make or fetch the file anew.")
    with _opened(data, name) as image:
        _check_size(image.size, name)
        remarks = []
        if (frames := getattr(image, "n_frames", 1)) > 1:
            remarks.append(f"{name} is an animation of {frames:,} frames; its first is used")
        image.load()
        if data.startswith(PNG) and data[24] == 16:  # Pillow compares 16 bits of this key with 8 of the pixels
            image.info.pop("transparency", None)
        turn = _TURNS.get(_orientation(image))
        pixels = _converted(image, name, remarks)
    picture = Picture(pixels.transpose(turn) if turn is not None else pixels)
    return picture, of_alpha(picture), remarks


def _is_whole(data: bytes, name: str) -> bool:
    if data.startswith(PNG):
        return _png_is_whole(data, name)
    if data.startswith(JPEG):
        return _jpeg_is_whole(data)
    if is_webp(data):
        _check_size(_webp_size(data), name)
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    raise MissingError(f"{name} {what_else(data[:HEAD])}; PNG, JPEG and WEBP are read", hint="Save the picture as PNG.")


def _png_is_whole(data: bytes, name: str) -> bool:
    """Walk the chunks to the last; the checksums of those that hold the picture must be right."""
    place = 8
    while place + 12 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        body, place = place + 4, place + 12 + length
        if place > len(data):
            return False
        if kind.isupper() and zlib.crc32(data[body : place - 4]) != int.from_bytes(data[place - 4 : place]):
            raise MissingError(f"{name} is damaged: a wrong checksum", hint="Make or fetch the file anew.")
        if kind == b"IEND":
            return True
    return False


def _jpeg_is_whole(data: bytes) -> bool:
    """Walk the segments to the first scan; behind it, the marker of the end cannot be picture data."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == 0xFF:
            place += 1
            continue
        if data[place + 1] == 0xDA:
            return data.find(b"\xff\xd9", place) >= 0
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return False


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height; Pillow would allocate the whole canvas before it tells.

    Source: RFC 9649, sections 2.7, 3.4 and RFC 6386, section 9.1.
    """
    kind, head = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def _opened(data: bytes, name: str) -> ImageFile:
    """Read the header alone. Not Image.open: its limit warns at 89 million pixels, for the whole process."""
    if data.startswith(PNG):
        return PngImageFile(BytesIO(data))
    return JpegImageFile(BytesIO(data)) if data.startswith(b"\xff\xd8") else WebPImageFile(BytesIO(data))


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise MissingError(
            f"{name} is {width:,}x{height:,}, {width * height:,} pixels; at most {MAX_PIXELS:,} are read",
            hint="Make a smaller copy of it with a picture editor.",
        )


def _orientation(image: ImageFile) -> int:
    with contextlib.suppress(Exception):  # damaged EXIF is no reason to refuse a picture
        return int(image.getexif().get(0x0112, 1))
    return 1


def _converted(image: ImageFile, name: str, remarks: list[str]) -> Image.Image:
    """To RGB, or to RGBA where any pixel is not opaque."""
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    alpha = image.convert("RGBA").getchannel("A") if has_alpha else None
    profile = image.info.get("icc_profile")
    plain = _plain(image)
    coloured = _in_srgb(plain, profile, name, remarks) if profile else plain.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        coloured.putalpha(alpha)
    return coloured


def _plain(image: ImageFile) -> Image.Image:
    """To L, RGB or CMYK, without alpha. Of 16 bits the higher 8 stay, as Pillow does with colours."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")
    return image.convert({"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB"))


def _in_srgb(plain: Image.Image, profile: bytes, name: str, remarks: list[str]) -> Image.Image:
    """Through the colour profile of the file; a damaged one, or one for other colours, is left out."""
    try:
        source = ImageCms.getOpenProfile(BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if plain.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return plain
        if space == _SPACES[plain.mode]:
            target = ImageCms.createProfile("sRGB")
            done = ImageCms.profileToProfile(plain, source, target, outputMode="RGB")
            return done or plain.convert("RGB")
        reason = f"it is for {space}, and the picture is {_SPACES[plain.mode]}"
    except (ImageCms.PyCMSError, OSError) as error:
        reason = str(error)
    remarks.append(f"the colour profile of {name} is left out: {reason}")
    return plain.convert("RGB")
