"""Rows of the index: what stands in their columns, and the seal that tells a damaged one."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # see graph/store.py
    from graph.codec import Blob

INLINE = 8192
"""Blobs up to so many bytes live in the index: a file each would cost an fsync (docs/decisions/0001)."""
AT_ONCE = 500
"""Placeholders in one statement; SQLite allows at least 999."""

Note = tuple[str, str, bytes]
"""(space, name, value)"""


class Result(NamedTuple):
    """What a key gave."""

    key: str
    outputs: tuple[str, ...]
    """Digests of the outputs' blobs, main output first. Behind them that of what the node warned of, if it did."""
    recipe: str
    """The canonical JSON whose sha256 is the key."""
    seconds: float
    """Wall time of the original work."""
    made: float
    """When, in seconds since 1970."""
    memory: int = 0
    """Bytes that the work needed at its peak, beyond what the process had before it; 0 where it was not measured."""


def mark_used(index: sqlite3.Connection, digests: Iterable[str], now: float) -> None:
    """Say that blobs were used."""
    index.executemany("UPDATE blobs SET used = ? WHERE digest = ?", ((now, digest) for digest in digests))


def put_rows(index: sqlite3.Connection, into: str, rows: Iterable[tuple[object, ...]], else_: str = "") -> None:
    """Write rows of one table, many in one statement.

    SQLite's caller gives up the interpreter's lock once a statement, and has to wait for it while a run computes:
    row by row a batch took as long as the run.
    """
    every = list(rows)
    if every:
        width = len(every[0])
        one = f"({marks(every[0])})"
        for start in range(0, len(every), AT_ONCE // width):
            some = every[start : start + AT_ONCE // width]
            index.execute(f"{into} VALUES {','.join([one] * len(some))} {else_}", list(chain.from_iterable(some)))


def result_row(result: Result) -> tuple[object, ...]:
    """The row of a result, sealed."""
    key, outputs, recipe, seconds, made, memory = result
    row = (key, " ".join(outputs).encode(), as_bytes(recipe), float(seconds), float(made), memory)
    return (*row, seal_of(*row))


def blob_row(blob: Blob, now: float, cost: float) -> tuple[object, ...]:
    """The row of a blob, with its bytes where they are few."""
    return blob.digest, len(blob.data), now, cost, blob.data if len(blob.data) <= INLINE else None


def note_row(note: Note, now: float) -> tuple[object, ...]:
    """The row of a note, sealed."""
    row = (as_bytes(note[0]), as_bytes(note[1]), note[2], now)
    return (*row, seal_of(*row))


def seal_of(*columns: object) -> bytes:
    """What a row with these columns is sealed by."""
    parts = [
        column if type(column) is bytes else as_bytes(column if type(column) is str else repr(column))
        for column in columns
    ]
    return hashlib.sha256(b"\n".join(parts)).digest()[:16]


def has_digest(data: object, digest: str) -> bool:
    """Whether these are bytes with this sha256."""
    return isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == digest


def as_bytes(text: str) -> bytes:
    """A text as it stands in the index, whatever letters it has."""
    return text.encode("utf-8", "surrogatepass")


def as_text(data: bytes) -> str:
    """The text that `as_bytes` made these of."""
    return data.decode("utf-8", "surrogatepass")


def marks(values: Collection[object]) -> str:
    """As many placeholders."""
    return ",".join("?" * len(values))


def chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """As many values at a time as one statement takes."""
    every = list(values)
    return (every[start : start + AT_ONCE] for start in range(0, len(every), AT_ONCE))
