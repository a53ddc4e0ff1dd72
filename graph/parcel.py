"""The results of a workflow in one file, for another machine.

A parcel is a tar (POSIX ustar, read by any tar) whose members stand in one order alone:

    darkroom.json               {"format": 1, "results": how many, "workflow": its name}
    results/<key>.json          a result, keys ascending; see graph/letters.py
    blobs/<digest>              right after the first result that has it, the values of its outputs, digests ascending
    results/<key>.json          ...

so that it can be read in little memory, one value at a time, and equal content has equal bytes: no member has a time,
an owner, or a place on this machine.

When it is read nothing is believed. A header must be, byte for byte, the one that is written here for that name and
size: so there are no links, no folders, no names that lead elsewhere, and no extension of the format whose length
somebody could lie about. A recipe must have the sha256 that is its key, a value the one that is its digest. What was
right before the first thing that is not stays in the cache: each of its parts is sound without the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from graph.codec import Blob
from graph.errors import MissingError, UsageError
from graph.eviction import keep_within, limit
from graph.gathered import Gathered
from graph.letters import MOST_LETTER, MOST_VALUE, has_digest, is_digest, opened, sealed
from graph.store import Result, Store
from graph.tables import clean
from graph.upkeep import Warn
from graph.upkeep import opened as opened_store

FORMAT = 1
_FIRST = "darkroom.json"
_BLOCK = 512
_RECORD = 20 * _BLOCK
_AT_ONCE = 16 << 20
"""Bytes of values after which what was read is committed."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was put into a file."""

    path: Path
    results: int
    blobs: int
    bytes: int
    """Of the whole file."""
    evicted: int
    """Values that are not in it, for they are no longer in the cache."""
    missing: tuple[str, ...]
    """Nodes whose results are not in it, for they are not computed yet."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read from a file."""

    workflow: str
    results: int
    blobs: int
    bytes: int
    """Of values."""
    kept: int
    """Results that were known here with other outputs: ours stay."""


# Writing


def export(folder: Path, warn: Warn, gathered: Gathered, out: Path) -> Exported:
    """Put the results of a workflow, and those of its values that are in the cache, into a new file.

    Raises UsageError where there is such a file already, and where it cannot be written.
    """
    with opened_store(folder, warn) as store:
        store.touch(gathered.digests)
        with _new_file(out) as stream:
            blobs = _write(store, gathered, stream)
            size = stream.tell()
    evicted = len(gathered.digests) - blobs
    return Exported(out, len(gathered.results), blobs, size, evicted, gathered.missing)


@contextlib.contextmanager
def _new_file(out: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name when it is whole. Raises UsageError where it cannot."""
    beside = out.parent / f".{secrets.token_hex(8)}.part"
    try:
        with beside.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _place(beside, out)
    except FileExistsError as error:
        raise UsageError(f'there is a file "{out}" already', hint="Name another; none is ever overwritten.") from error
    except OSError as error:
        raise UsageError(f'"{out}" cannot be written: {error.strerror or error}') from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _write(store: Store, gathered: Gathered, stream: BinaryIO) -> int:
    first = {"format": FORMAT, "results": len(gathered.results), "workflow": gathered.name}
    _add(stream, _FIRST, json.dumps(first, sort_keys=True).encode())
    done: set[str] = set()
    written = 0
    for result in gathered.results:
        _add(stream, f"results/{result.key}.json", sealed(result))
        for digest in sorted(set(result.outputs) - done):
            data = store.blob(digest)
            if data is not None and len(data) <= MOST_VALUE:
                _add(stream, f"blobs/{digest}", data)
                written += 1
        done.update(result.outputs)
    stream.write(bytes(2 * _BLOCK))
    stream.write(bytes(-stream.tell() % _RECORD))
    return written


def _add(stream: BinaryIO, name: str, data: bytes) -> None:
    stream.write(_header(name, len(data)))
    stream.write(data)
    stream.write(bytes(-len(data) % _BLOCK))


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)  # its times and owners are all 0
    entry.size = size
    return entry.tobuf(tarfile.USTAR_FORMAT)


def _place(beside: Path, out: Path) -> None:
    """Give a whole file its name. Raises FileExistsError where it is taken."""
    try:
        os.link(beside, out)
    except FileExistsError:
        raise
    except OSError:  # there are file systems without links: reserve the name, then replace
        out.open("xb").close()
        os.replace(beside, out)


# Reading


class _Member(NamedTuple):
    name: str
    data: bytes


class _Wrong(Exception):
    """What a parcel may not hold."""


@dataclass
class _Unpacking:
    """How much was read, and what of it is not committed yet."""

    store: Store
    results: int = 0
    blobs: int = 0
    bytes: int = 0
    kept: int = 0
    batch: list[tuple[Result, Blob | None]] = field(default_factory=list)

    def add(self, result: Result, blob: Blob | None = None) -> None:
        """Take a result, or a value with the result that it is of."""
        self.batch.append((result, blob))
        self.blobs += blob is not None
        self.bytes += len(blob.data) if blob else 0
        if len(self.batch) >= 256 or sum(len(blob.data) for _, blob in self.batch if blob) >= _AT_ONCE:
            self.commit()

    def commit(self) -> None:
        """Put into the cache what was read."""
        self.store.write([result for result, _ in self.batch], [blob for _, blob in self.batch if blob], [])
        self.batch.clear()


def import_(folder: Path, warn: Warn, path: Path) -> Imported:
    """Take the results and values in a file into the cache of a folder, made if there is none.

    Raises MissingError, naming the member, at the first thing that is not as `export` writes it; what was before it is
    kept.
    """
    most_bytes = limit()
    try:
        with _opened(path) as stream, contextlib.closing(Store(folder, warn)) as store:
            read = _Unpacking(store)
            try:
                workflow = _unpack(stream, read)
            except _Wrong as wrong:
                hint = f"What was sound before it is kept: results: {read.results}."
                raise MissingError(f'"{path}" cannot be imported: {wrong}', hint=hint) from wrong
            finally:
                read.commit()
                if most_bytes is not None:
                    keep_within(store, most_bytes, read.bytes)
    except (OSError, sqlite3.Error) as error:
        raise MissingError(f'"{path}" cannot be imported: {error}') from error
    return Imported(workflow, read.results, read.blobs, read.bytes, read.kept)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with open(path, "rb", opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError("it is not a file")
        yield stream


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would wait for ever


def _unpack(stream: BinaryIO, read: _Unpacking) -> str:
    """Read a parcel to its end; gives the name of its workflow. Raises _Wrong."""
    members = _members(stream)
    workflow, promised = _manifest(next(members, None))
    result, last, expected = None, "", list[str]()
    for name, data in members:
        kind, _, digest = name.partition("/")
        if kind == "results":
            found = _result(name, data)
            if found.key <= last:
                raise _Wrong(f'"{name}" is not in its place, or there twice')
            last, expected, result = found.key, sorted(set(found.outputs)), _wanted(read, found)
            read.results += 1
            if result:
                read.add(result)
        else:
            expected = _after(expected, digest, name)
            if not has_digest(data, digest):
                raise _Wrong(f'"{name}" is damaged: its sha256 is another')
            if result:
                read.add(result, Blob(digest, data))
    if read.results != promised:
        raise _Wrong(f"it is cut short: results: {read.results} of {promised!r:.20}")
    return workflow


def _after(expected: list[str], digest: str, name: str) -> list[str]:
    """The values that may follow this one; those before it were evicted where the parcel was made."""
    if digest not in expected:
        raise _Wrong(f'"{name}" is not in its place, there twice, or of no result')
    return expected[expected.index(digest) + 1 :]


def _wanted(read: _Unpacking, found: Result) -> Result | None:
    """The result, unless it is known here with other outputs: what this machine computed itself is believed more."""
    ours = read.store.result(found.key)
    if ours is None or _agree(ours.outputs, found.outputs):
        return ours or found
    read.kept += 1
    return None


def _agree(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Whether two results have the same values. One of them may have remarks behind them, that the other lacks."""
    shorter, longer = sorted((ours, theirs), key=len)
    return longer[: len(shorter)] == shorter and len(longer) - len(shorter) <= 1


def _manifest(first: _Member | None) -> tuple[str, int]:
    try:
        if first is None or first.name != _FIRST:
            raise ValueError
        told = json.loads(first.data)
        if told["format"] != FORMAT:
            raise _Wrong(f"its format is {told['format']!r:.20}, and this Darkroom reads {FORMAT}")
        return clean(str(told["workflow"]))[:200], told["results"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Wrong("it is not a file that `darkroom cache export` wrote") from error


def _result(name: str, data: bytes) -> Result:
    try:
        return opened(name[len("results/") : -len(".json")], data)
    except ValueError as error:
        raise _Wrong(f'"{name}": {error}') from error


def _members(stream: BinaryIO) -> Iterator[_Member]:
    """Every member up to the end of the tar, each wholly read and none larger than what is left of the file."""
    left = os.fstat(stream.fileno()).st_size
    while (header := stream.read(_BLOCK)) != bytes(_BLOCK):
        name, size = _named(header)
        left -= _BLOCK + size
        data = stream.read(size) if left >= 0 else b""
        if len(data) < size:
            raise _Wrong(f'it is cut short in "{name}"')
        left -= len(stream.read(-size % _BLOCK))
        yield _Member(name, data)


def _named(header: bytes) -> tuple[str, int]:
    """Name and size, if this is a header as `export` writes them."""
    if len(header) < _BLOCK:
        raise _Wrong("it is cut short")
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    octal = header[124:136].rstrip(b"\0 ")
    size = int(octal, 8) if octal.isdigit() and not set(octal) & set(b"89") else -1
    if not _is_ours(name) or size < 0 or header != _header(name, size):
        raise _Wrong(f'"{clean(name)}" is nothing that `darkroom cache export` writes')
    if size > (MOST_VALUE if name.startswith("blobs/") else MOST_LETTER):
        raise _Wrong(f'"{name}" is said to have {size:,} bytes')
    return name, size


def _is_ours(name: str) -> bool:
    kind, _, rest = name.partition("/")
    is_result = kind == "results" and rest.endswith(".json") and is_digest(rest[:-5])
    return name == _FIRST or is_result or (kind == "blobs" and is_digest(rest))
