"""Where the members of a zip file lie, for archives that only store. Light.

Source: PKWARE's APPNOTE.TXT, 4.3 and 4.5.3 (zip64).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MOST_MEMBERS = 100_000
LARGEST_DIRECTORY = 32 << 20
"""In bytes."""
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LARGE = 0xFFFFFFFF
_ENCRYPTED = 1


class Member(NamedTuple):
    start: int
    """Of its bytes, from the beginning of the file."""
    size: int
    """In bytes."""


def members(file: BinaryIO) -> dict[str, Member]:
    """List a zip file. Names are names: no path is ever made of them.

    Raises ValueError for an archive that is damaged, encrypted or compressed, and for a name that is there twice.
    """
    total = file.seek(0, os.SEEK_END)
    count, size, start = _directory(file, total)
    if count > MOST_MEMBERS or size > LARGEST_DIRECTORY or start + size > total:
        raise ValueError(f"its zip directory, {count} members in {size} bytes, is damaged")
    file.seek(start)
    found: dict[str, Member] = {}
    for name, offset, length in list(_listed(file.read(size), count)):
        if name in found:
            raise ValueError(f'"{name[:80]}" is in the zip twice')
        found[name] = Member(_body(file, name, offset), length)
        if found[name].start + length > start:
            raise ValueError(f'"{name[:80]}" in the zip is cut short')
    return found


def _directory(file: BinaryIO, total: int) -> tuple[int, int, int]:
    """How many members the directory lists, its size, and where it starts."""
    tail = _at(file, max(0, total - _END.size - 0xFFFF), _END.size + 0xFFFF)
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) - end < _END.size:
        raise ValueError("its zip has no end: it is cut short")
    _, _, _, _, count, size, start, _ = _END.unpack_from(tail, end)
    if end >= _LOCATOR.size and tail[end - _LOCATOR.size :][:4] == b"PK\6\7":
        _, _, where, _ = _LOCATOR.unpack_from(tail, end - _LOCATOR.size)
        record = _at(file, min(where, total), _END_64.size)
        if record[:4] != b"PK\6\6" or len(record) < _END_64.size:
            raise ValueError("its zip64 directory is damaged")
        *_, count, size, start = _END_64.unpack(record)
    return count, size, start


def _listed(directory: bytes, count: int) -> Iterator[tuple[str, int, int]]:
    """Of each member its name, where its local header is, and its size."""
    at = 0
    for _ in range(count):
        if directory[at : at + 4] != b"PK\1\2" or len(directory) - at < _ENTRY.size:
            raise ValueError("its zip directory is damaged")
        _, _, _, flags, method, _, _, _, _, size, name_size, extra_size, note_size, _, _, _, offset = (
            _ENTRY.unpack_from(directory, at)
        )
        at += _ENTRY.size
        name = directory[at : at + name_size].decode("utf-8", "replace")
        if method or flags & _ENCRYPTED:
            raise ValueError(f'"{name[:80]}" in the zip is compressed or encrypted; torch never writes it so')
        extra = directory[at + name_size : at + name_size + extra_size]
        size, offset = _wide(extra, size, offset)
        yield name, offset, size
        at += name_size + extra_size + note_size


def _wide(extra: bytes, size: int, offset: int) -> tuple[int, int]:
    """Size and offset, from the zip64 field where they have no room: size, packed size, offset, as far as needed."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            here = extra[at + 4 : at + 4 + min(length, 24)]
            numbers = [number for (number,) in struct.iter_unpack("<Q", here[: len(here) // 8 * 8])]
            if size == _LARGE and numbers:
                size = numbers[0]
            if offset == _LARGE and numbers:
                offset = numbers[-1]
            break
        at += 4 + length
    return size, offset


def _body(file: BinaryIO, name: str, offset: int) -> int:
    """Where a member's bytes start: behind its local header, which has a name and fields of its own."""
    header = _at(file, offset, _LOCAL.size)
    if header[:4] != b"PK\3\4" or len(header) < _LOCAL.size:
        raise ValueError(f'"{name[:80]}" in the zip is not where it should be')
    *_, name_size, extra_size = _LOCAL.unpack(header)
    return offset + _LOCAL.size + int(name_size) + int(extra_size)


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
