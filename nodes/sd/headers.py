"""Reading the header of a safetensors file, trusting nothing in it. Light: no torch."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from graph.errors import MissingError

SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
"""Bytes an element, by the dtype's name in the format."""
MOST_SHOWN = 300
"""Characters that a message takes over from a header."""
FETCH_FILE, FETCH_MODEL = "Fetch the file again.", "Fetch the model again."
"""The way out of a file, or of a folder of them, that is damaged."""
LARGEST_HEADER = 100_000_000
"""In bytes; the limit of the format's own reader."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Of its bytes, from the beginning of the file."""
    size: int
    """In bytes."""
    order: tuple[int, ...] = ()
    """The axes as its bytes lie, from the slowest to the fastest, where that is not their own order."""

    def part(self, at: int, of: int) -> Entry:
        """One of several equal parts along the first axis. Raises ValueError where there are none."""
        if self.order or not self.shape or self.shape[0] % of:
            raise ValueError(f"{list(self.shape)} cannot be cut into {of}")
        size = self.size // of
        return replace(self, shape=(self.shape[0] // of, *self.shape[1:]), start=self.start + at * size, size=size)

    def turned(self) -> Entry:
        """A matrix with its axes exchanged. Raises ValueError for what is none."""
        if len(self.shape) != 2 or self.order:
            raise ValueError(f"{list(self.shape)} is no matrix")
        return replace(self, shape=self.shape[::-1], order=(1, 0))

    def shaped(self, shape: tuple[int, ...]) -> Entry:
        """The same numbers in another shape. Raises ValueError where it does not fit."""
        if self.order or math.prod(shape) != math.prod(self.shape):
            raise ValueError(f"{list(self.shape)} cannot become {list(shape)}")
        return replace(self, shape=shape)


class Weight(NamedTuple):
    """Where a weight lies."""

    path: Path
    entry: Entry


class Header(NamedTuple):
    """What a file says before its bytes."""

    entries: dict[str, Entry]
    notes: dict[str, str]
    """What its maker wrote down beside."""


def read_header(path: Path) -> Header:
    """Read what tensors a safetensors file holds, and check that its bytes are all there, each used once.

    Raises MissingError naming the file and what is wrong with it: too short, a header that is too large or no
    JSON, a name twice, an unknown dtype, a shape that does not fit its bytes, bytes out of range or used twice.
    Source: the safetensors format (8-byte little-endian length, JSON header, bytes).
    """
    try:
        with path.open("rb") as file:
            length = _length(file, path.stat().st_size)
            tree = json.loads(file.read(length), object_pairs_hook=_unique)
        entries = _entries(tree, 8 + length)
        _covers(entries, 8 + length, path.stat().st_size)
    except OSError as error:
        raise MissingError(f'cannot read weights "{_short(path)}": {error.strerror}') from error
    except (ValueError, RecursionError) as error:
        reason = "its header is nested too deep" if isinstance(error, RecursionError) else str(error)[:MOST_SHOWN]
        raise MissingError(f'"{_short(path)}" is not a good safetensors file: {reason}', hint=FETCH_FILE) from error
    return Header(entries, _notes(tree))


def _notes(tree: dict[str, Any]) -> dict[str, str]:
    notes = tree.get("__metadata__")
    return {key: value for key, value in notes.items() if isinstance(value, str)} if isinstance(notes, dict) else {}


def _length(file: BinaryIO, size: int) -> int:
    start = file.read(8)
    if len(start) < 8:
        raise ValueError("it is empty" if not start else "it ends in its first 8 bytes")
    if start.startswith(b"version "):
        raise ValueError("it is a git-lfs pointer, not the file itself")
    length = int.from_bytes(start, "little")
    if length > min(size - 8, LARGEST_HEADER):
        raise ValueError(f"it says that its header has {length} bytes, the whole file has {size}")
    return length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f'"{twice}" is there twice')
    return names


def _entries(tree: Any, body: int) -> dict[str, Entry]:
    if not isinstance(tree, dict):
        raise ValueError("its header is no JSON object")
    return {name: _entry(name, item, body) for name, item in tree.items() if name != "__metadata__"}


def _entry(name: str, item: Any, body: int) -> Entry:
    match item:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            raise ValueError(f'"{name}" does not say its dtype, shape and data_offsets')
    if dtype not in SIZES:
        raise ValueError(f'"{name}" has the unknown dtype "{dtype}"')
    if not all(type(side) is int and side >= 0 for side in shape) or not 0 <= start <= stop:
        raise ValueError(f'"{name}" has an impossible shape or place: {shape}, {start} to {stop}')
    if math.prod(shape) * SIZES[dtype] != stop - start:
        raise ValueError(f'"{name}" is {dtype} {list(shape)}, but has {stop - start} bytes')
    return Entry(dtype, tuple(shape), body + start, stop - start)


def _covers(entries: dict[str, Entry], body: int, size: int) -> None:
    at = body
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].size)):
        if entry.start != at:
            raise ValueError(f'the bytes of "{name}" {"overlap others" if entry.start < at else "follow a gap"}')
        at += entry.size
    if at != size:
        raise ValueError(f"it has {size} bytes and its header speaks of {at}")


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
