"""Texts inside picture files: what made a picture, written into it and read back."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from graph.errors import MissingError, StepError
from graph.signatures import JPEG, PNG, is_webp

Seal = Callable[[bytes, str], bytes]
"""The bytes of a picture's file, and the texts in it as JSON -> the bytes to write: signed, say."""
MAX_TEXT = 16 << 20
"""Bytes of metadata, unpacked, that are read from one file."""
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_COMMENT, _PACKED = b"ASCII\0\0\0darkroom:", b"ASCII\0\0\0darkroom-zlib:"
_PLAIN_COMMENT = 60_000
"""Bytes; a JPEG segment takes 65,533."""


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts inside a PNG, JPEG or WEBP file; of a PNG all, of the others what Darkroom wrote.

    No pixel is decoded, and at most 16 MiB of text is unpacked. {} where there is none.

    Raises MissingError if the file cannot be read or is no such picture.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
            stream.seek(0)
            if head.startswith(PNG):
                return _png_texts(stream)
            if head.startswith(JPEG):
                return _exif_texts(_jpeg_exif(stream))
            if is_webp(head):
                return _exif_texts(_webp_exif(stream))
    except OSError as error:
        raise MissingError(f'"{path}" cannot be read: {error.strerror or error}') from error
    raise MissingError(f'"{path}" is not a PNG, JPEG or WEBP file', hint="Name a picture that Darkroom has written.")


def text_chunks(metadata: Mapping[str, str]) -> object:
    """The texts as chunks of a PNG, for Pillow."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for key, text in metadata.items():
        chunks.add_itxt(key, text.encode(errors="backslashreplace").decode())
    return chunks


def exif(metadata: Mapping[str, str], format: str) -> bytes:
    """Give EXIF with the texts in UserComment, packed where they are long. b"" without texts."""
    from PIL.Image import Exif

    if not metadata:
        return b""
    text = json.dumps(dict(metadata), separators=(",", ":")).encode()
    packed = _PACKED + base64.b64encode(zlib.compress(text, 9))
    comment = _COMMENT + text if len(text) <= _PLAIN_COMMENT else packed
    if format == "jpeg" and len(comment) > _PLAIN_COMMENT + 100:
        raise StepError(
            f"JPEG cannot hold the {len(text):,} bytes of this workflow", hint="Save the picture as PNG or WEBP."
        )
    exif = Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = comment
    return exif.tobytes()


def _exif_texts(block: bytes) -> dict[str, str]:
    from PIL.Image import Exif

    exif = Exif()
    try:
        exif.load(block)
        comment = bytes(exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b""))
    except Exception:  # Pillow's reader of EXIF raises what it likes; damaged texts are no texts
        return {}
    return _comment_texts(comment)


def _jpeg_exif(stream: BinaryIO) -> bytes:
    stream.seek(2)
    while len(head := stream.read(4)) == 4 and head[0] == 0xFF and head[1] != 0xDA:
        body = stream.read(int.from_bytes(head[2:]) - 2)
        if head[1] == 0xE1 and body.startswith(b"Exif\0\0"):
            return body
    return b""


def _webp_exif(stream: BinaryIO) -> bytes:
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            return stream.read(length) if length <= MAX_TEXT else b""
        stream.seek(length + length % 2, os.SEEK_CUR)
    return b""


def _comment_texts(comment: bytes) -> dict[str, str]:
    try:
        if comment.startswith(_PACKED):
            text = _unpacked(base64.b64decode(comment[len(_PACKED) :]))
        else:
            text = comment.removeprefix(_COMMENT) if comment.startswith(_COMMENT) else b"{}"
        texts = json.loads(text)
    except (ValueError, RecursionError, zlib.error):
        return {}
    return {str(key): value for key, value in texts.items() if isinstance(value, str)}


def _png_texts(stream: BinaryIO) -> dict[str, str]:
    """Source: the PNG specification (third edition), sections 5.3 and 11.3.3."""
    texts: dict[str, str] = {}
    left = MAX_TEXT
    stream.seek(len(PNG))
    while len(head := stream.read(8)) == 8:
        length, kind = int.from_bytes(head[:4]), head[4:]
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or length > left:
            stream.seek(length + 4, os.SEEK_CUR)
            continue
        body = stream.read(length + 4)[:length]
        key, _, rest = body.partition(b"\0")
        text = _chunk_text(kind, rest, left)
        left -= len(text)
        texts.setdefault(key.decode("latin-1"), text)
    return texts


def _chunk_text(kind: bytes, rest: bytes, limit: int) -> str:
    """The text of a chunk behind its key; "" where it is damaged or unpacks to more than `limit` bytes."""
    try:
        if kind == b"tEXt":
            return rest.decode("latin-1")
        if kind == b"zTXt":
            return _unpacked(rest[1:], limit).decode("latin-1")
        packed, (_, _, text) = rest[0], rest[2:].split(b"\0", 2)
        return (_unpacked(text, limit) if packed else text).decode()
    except (ValueError, IndexError, zlib.error):
        return ""


def _unpacked(data: bytes, limit: int = MAX_TEXT) -> bytes:
    """Decompress, and stop at a limit. Raises ValueError where there is more."""
    stream = zlib.decompressobj()
    text = stream.decompress(data, limit)
    if not stream.eof:
        raise ValueError("cut short, or too long")
    return text
