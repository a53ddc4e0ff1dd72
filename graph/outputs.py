"""Write pictures for the user: a name from a pattern, a file that is whole or not there, and what made it inside.

A name is taken in one step (a hard link from a file without a name), so that two processes never write over each
other, and a kill at any moment leaves no half picture and no litter.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from graph.errors import StepError, suggest
from graph.failpoints import reached
from graph.metadata import Seal, exif, text_chunks
from graph.standing import stands
from graph.values import Picture, SavedFile

LONGEST_TEXT = 100
"""Bytes of one filled-in text (a prompt in a file name); longer ones are cut."""
LONGEST_NAME = 240
"""Bytes of one file or folder name; file systems take 255."""

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_SIDES = {"png": 2**31 - 1, "jpeg": 65500, "webp": 16383}
_FIELD = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)(?::([^{}]*))?\}|[{}]")
_SPEC = re.compile(r"(.?[<>=^])?[-+ ]?#?0?\d{0,2}[,_]?(\.\d{1,2})?[bdeEfFgGosxX%]?")
_DATE_SPEC = re.compile(r"(%[a-zA-Z]|[^%]){0,40}")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\ud800-\udfff]')
_SLASH = re.compile(r"[/\\]")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_MOST = 1_000_000
_NOT_HERE = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EPERM, errno.EINVAL, errno.EXDEV}


def write_picture(
    picture: Picture,
    folder: Path,
    pattern: str,
    fields: Mapping[str, object],
    metadata: Mapping[str, str],
    *,
    format: str = "",
    quality: int = 95,
    seal: Seal | None = None,
) -> SavedFile:
    """Write a picture below a folder, under the first free name of a pattern, with texts inside the file.

    pattern: {field} and {field:spec} are filled in from `fields`; {n} counts from 1 to the first name that is free.
    Without {n}, a taken name gets -2, -3 ... A file that holds these very bytes is not written again. Slashes make
    folders. docs/pictures.md says what becomes of odd names.
    metadata: by a key of 1 to 79 Latin letters. `read_metadata` reads it back.
    format: png, jpeg or webp; "" takes the suffix of the pattern, or png.
    seal: changes the bytes of the file at last.

    Raises StepError if the pattern leaves the folder or has unknown fields, if the format cannot hold the picture,
    or if the file cannot be written; then nothing is left behind.
    """
    format, stem = _format(pattern, format)
    data = _encoded(picture, metadata, format, quality)
    data = seal(data, json.dumps(dict(metadata), sort_keys=True)) if seal else data
    root = folder.absolute()
    for name in _names(stem, pattern[len(stem) :] or _SUFFIXES[format], fields):
        target = root / name
        try:
            _check_inside(target, root, pattern)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (not os.path.lexists(target) and _place(data, target)) or _holds(target, data):
                return SavedFile(str(target), hashlib.sha256(data).hexdigest(), len(data))
        except (OSError, UnicodeEncodeError) as error:
            raise StepError(
                f'cannot write "{target}": {getattr(error, "strerror", None) or error}',
                hint="Use plain letters, or a locale with UTF-8."
                if isinstance(error, UnicodeEncodeError)
                else "Free space there or allow writing, or choose another folder with --out.",
            ) from error
    raise StepError(f'a million names of "{pattern}" are taken', hint="Choose another pattern or folder.")


def check_pattern(pattern: str, format: str = "") -> None:
    """Raise StepError for a pattern under which no picture can be written, whatever the picture is."""
    known = dict.fromkeys(("name", "node", "output"), "x") | {"seed": 1}
    _, stem = _format(pattern, format)
    next(_names(stem, ".png", known))


def still_there(file: SavedFile) -> bool:
    """Whether a written file is still there with its very bytes."""
    return stands(file.path, file.digest, file.size)


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is the very one that is to be written: by a run, say, that was killed before it noted it."""
    is_alike = not path.is_symlink() and path.is_file() and path.stat().st_size == len(data)
    return is_alike and path.read_bytes() == data


def _format(pattern: str, format: str) -> tuple[str, str]:
    """The format, and the pattern without its suffix."""
    stem, dot, suffix = pattern.rpartition(".")
    named = _FORMATS.get(f".{suffix.lower()}", "") if dot else ""
    if named and format and named != format:
        raise StepError(
            f'"{pattern}" names a {named.upper()} file, and format says {format}',
            hint="Leave one of them out, or let them agree.",
        )
    if not named and not format and re.fullmatch(r"[A-Za-z][A-Za-z0-9]{1,4}", suffix) and dot:
        raise StepError(
            f'"{pattern}" ends in ".{suffix}", which is no format for pictures here',
            hint=f"{suggest('.' + suffix.lower(), _FORMATS)} Or set format.",
        )
    return named or format or "png", stem if named else pattern


def _names(stem: str, suffix: str, fields: Mapping[str, object]) -> Iterator[Path]:
    """The names to try, in order; never longer than a million."""
    counts = any(match[1] == "n" for match in _FIELD.finditer(stem))
    for n in range(1, _MOST + 1):
        filled = _FIELD.sub(partial(_part, pattern=stem, fields={**fields, "n": n}), stem)
        if not _SLASH.split(filled)[-1].strip(". "):
            raise StepError(f'"{stem:.200}" names no file', hint="Write a name behind the folders, such as {name}-{n}.")
        yield _relative(filled + (f"-{n}" if n > 1 and not counts else "") + suffix, stem)


def _part(match: re.Match[str], pattern: str, fields: Mapping[str, object]) -> str:
    if match[0] in ("{{", "}}"):
        return match[0][0]
    if match[1] is None:
        raise StepError(
            f'"{pattern}" has a "{match[0]}" by itself', hint="Write {field} or {field:spec}; {{ is a brace."
        )
    if fields.get(match[1]) is None:
        raise StepError(
            f'"{pattern}" asks for {{{match[1]}}}, which this picture does not have',
            hint=suggest(match[1], {name for name, value in fields.items() if value is not None} | {"n"}),
        )
    return _clean(_formatted(fields[match[1]], match[2] or "", match[0]))


def _formatted(value: object, spec: str, written: str) -> str:
    known = isinstance(value, (str, int, float, datetime.date))
    allowed = _DATE_SPEC if isinstance(value, datetime.date) else _SPEC
    try:
        if allowed.fullmatch(spec):
            return format(value if known and not isinstance(value, bool) else str(value), spec)
        reason = "a format of at most two digits goes, such as {n:05}"
    except ValueError as error:
        reason = str(error)
    raise StepError(f"{written} in a path cannot be filled in with {value!r:.60}", hint=f"{reason}.")


def _clean(text: str) -> str:
    """Let a value be a part of one name: it makes no folder, does not hide the file, and is cut where long."""
    data = re.sub(r"^\.+", "_", _SLASH.sub("_", _FORBIDDEN.sub("_", text))).encode()
    return data.decode() if len(data) <= LONGEST_TEXT else data[:LONGEST_TEXT].decode(errors="ignore").rstrip()


def _relative(filled: str, pattern: str) -> Path:
    """Turn a filled pattern into a path that means the same on every system."""
    parts = _SLASH.split(filled)
    if "\0" in filled or parts[0] == "" or re.match(r"[A-Za-z]:", filled) or ".." in parts:
        raise StepError(
            f'"{pattern:.200}" leaves the output folder'.replace("\0", "\\0"),
            hint="Write a path relative to it, without .., or choose the folder with --out.",
        )
    names = [_portable(part) for part in parts if part not in ("", ".")]
    for name in names:
        if (size := len(name.encode())) > LONGEST_NAME:
            raise StepError(
                f'the name "{name:.40}..." has {size} bytes; at most {LONGEST_NAME} go', hint="Shorten the path."
            )
    return Path(*names)


def _portable(name: str) -> str:
    name = _FORBIDDEN.sub("_", name).rstrip(" .") or "_"
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def _check_inside(target: Path, root: Path, pattern: str) -> None:
    """Follow what symbolic links there are."""
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise StepError(
            f'"{pattern:.200}" leaves the output folder: "{target.parent}" is a link to elsewhere',
            hint="Remove the link, or choose the folder it points to with --out.",
        )


def _place(data: bytes, target: Path) -> bool:
    """Give bytes a name in one step; False where the name is taken."""
    if hasattr(os, "O_TMPFILE"):
        try:
            return _place_nameless(data, target)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
    return _place_beside(data, target)


def _place_nameless(data: bytes, target: Path) -> bool:
    """Linux: the file gets its only name when it is whole, so that a kill leaves nothing."""
    with os.fdopen(os.open(target.parent, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb") as stream:
        _write(stream, data)
        reached("picture.link")
        try:
            # Only with a dir_fd (not used: the path is absolute) does Python make link follow this link to the file.
            os.link(f"/proc/self/fd/{stream.fileno()}", target, src_dir_fd=stream.fileno())
        except FileExistsError:
            return False
    return True


def _place_beside(data: bytes, target: Path) -> bool:
    """Elsewhere: write under a name of its own, then link; where there are no links, reserve and replace."""
    beside = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        with beside.open("xb") as stream:
            _write(stream, data)
        reached("picture.link")
        try:
            os.link(beside, target)
        except FileExistsError:
            raise
        except OSError:
            target.open("xb").close()
            reached("picture.rename")
            os.replace(beside, target)
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def _write(stream: BinaryIO, data: bytes) -> None:
    reached("picture.write")
    stream.write(data)
    stream.flush()
    reached("picture.fsync")
    os.fsync(stream.fileno())


def _encoded(picture: Picture, metadata: Mapping[str, str], format: str, quality: int) -> bytes:
    """The bytes of the file: the same for the same picture, texts and settings."""
    if format not in _SUFFIXES:
        raise StepError(f'"{format}" is no format for pictures', hint=suggest(format, _SUFFIXES))
    _check_holds(picture, format)
    out = BytesIO()
    if format == "png":
        # Level 1 of zlib: docs/pictures.md has the times.
        picture.pixels.save(out, "PNG", compress_level=1, pnginfo=text_chunks(metadata))
    elif format == "jpeg":
        sampling = "4:4:4" if quality >= 90 else "4:2:0"  # the watermark is in the colours
        picture.pixels.save(out, "JPEG", quality=quality, subsampling=sampling, exif=exif(metadata, format))
    else:
        exact = {"lossless": quality == 100, "exact": True}  # exact: colours below clear pixels stay
        picture.pixels.save(out, "WEBP", quality=quality, exif=exif(metadata, format), **exact)
    return out.getvalue()


def _check_holds(picture: Picture, format: str) -> None:
    if format == "jpeg" and picture.mode == "RGBA":
        raise StepError("JPEG cannot hold the transparency of this picture", hint="Save it as PNG or WEBP.")
    if max(picture.width, picture.height) > _SIDES[format]:
        raise StepError(
            f"{format.upper()} holds {_SIDES[format]:,} pixels a side; this is {picture.width}x{picture.height}",
            hint="Save it as PNG.",
        )
