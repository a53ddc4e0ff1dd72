"""Looking after a cache: list it, measure it, verify it, make room in it, empty it.

Everything is read in pages, so that a cache of any size is looked after in little memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from graph import bookmarks
from graph.errors import MissingError, UsageError
from graph.failpoints import reached
from graph.index import FORMAT
from graph.store import USED, Result, Store

MOST_BYTES = 20 << 30
MOST_AGE = 90 * 86400.0
"""In seconds since the last use."""
_FORGOTTEN_AFTER = 365 * 86400.0
_PAGE = 1000
_SIZE = "coalesce(CAST(size AS INTEGER), 0)"

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A remembered result."""

    key: str
    kind: str
    """The node's kind; empty if the recipe does not tell."""
    bytes: int
    """Of the outputs that are still there."""
    made: float
    """In seconds since 1970, as all times here."""
    used: float
    is_whole: bool
    """No output was evicted."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest results."""

    folder: Path
    entries: tuple[Entry, ...]
    results: int
    """How many there are in all."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a cache takes up."""

    folder: Path
    results: int
    blobs: int
    blob_bytes: int
    index_bytes: int
    """Small blobs are counted in here as well."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What reading everything showed."""

    blobs: int
    bytes: int
    dropped: tuple[str, ...]
    """Digests of the blobs that were damaged; at most a thousand are named."""
    damaged: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """What gc took, and what it left."""

    blobs: int
    bytes: int
    litter: int
    """Files of interrupted writes, blob files that no row names, and bookmarks of steps that were cut off."""
    kept_blobs: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was there before."""

    results: int
    blobs: int
    bytes: int


def ls(folder: Path, warn: Warn, most: int = 100) -> Listing:
    """List the results, newest first, `most` of them."""
    with _opened(folder, warn) as store:
        newest = [row[0] for row in store.rows("SELECT key FROM results ORDER BY made DESC LIMIT ?", most)]
        found = store.results(newest)
        entries = tuple(_entry(store, found[key]) for key in newest if key in found)
        return Listing(folder, entries, _number(store, "SELECT count(*) FROM results"))


def size(folder: Path, warn: Warn) -> Size:
    """Measure the blobs and the index."""
    with _opened(folder, warn) as store:
        index_bytes = sum(path.stat().st_size for path in store.folder.glob("index*"))
        return Size(folder, _number(store, "SELECT count(*) FROM results"), *_blobs(store), index_bytes)


def verify(folder: Path, warn: Warn) -> Verified:
    """Read every blob and every row; drop what is damaged, with a warning each for rows."""
    with _opened(folder, warn) as store:
        for keys in _pages(store, "results", "key"):
            store.results(keys)
        read, damaged, dropped = [0, 0], 0, list[str]()
        for digest, sound, length in _read_all(store):
            read = [read[0] + 1, read[1] + length]
            if not sound and store.drop_if_damaged(digest):
                damaged += 1
                dropped += [digest][: _PAGE - len(dropped)]
        return Verified(read[0], read[1], tuple(dropped), damaged)


def gc(folder: Path, warn: Warn, most_bytes: int = MOST_BYTES, most_age: float = MOST_AGE) -> Evicted:
    """Evict blobs not used for `most_age` seconds; then the longest unused until `most_bytes` are left.

    What a living process may hold stays: see graph/store.py. Results stay, for plans are made from them.
    """
    with _opened(folder, warn) as store:
        floor = store.floor()
        litter = store.sweep() + _sweep_loose(store, floor)
        unused = time.time() - min(most_age, bookmarks.MOST_AGE)
        litter += bookmarks.sweep(store.folder, unused, min(most_bytes, bookmarks.MOST_BYTES), floor)
        _drop_vanished(store)
        blobs, freed = _evict(store, floor, most_bytes, time.time() - most_age)
        _forget(store, time.time() - _FORGOTTEN_AFTER)
        _shrink(store)
        return Evicted(blobs, freed, litter, *_blobs(store))


def clear(folder: Path, warn: Warn, force: bool = False) -> Cleared:
    """Remove everything.

    Raises UsageError, naming the process, while another has the cache open; `force` takes its results too.
    """
    with _opened(folder, warn) as store:
        others = sorted(name.partition("-")[0] for name in store.living() if name != store.name)
        if others and not force:
            hint = "Wait for it to end."
            raise UsageError(f"the cache is in use by process {', '.join(others)}", hint=hint)
        before = Cleared(_number(store, "SELECT count(*) FROM results"), *_blobs(store))
        with store.transaction() as index:
            for table in ("results", "blobs", "notes"):
                index.execute(f"DELETE FROM {table}")
            for path in _files(store):
                path.unlink(missing_ok=True)
        bookmarks.sweep(store.folder, most_bytes=0)
        _shrink(store)
        return before


@contextlib.contextmanager
def _opened(folder: Path, warn: Warn) -> Iterator[Store]:
    if not (folder / f"v{FORMAT}").is_dir():
        raise UsageError(f'there is no cache in "{folder}"', hint="The first run makes one.")
    try:
        with contextlib.closing(Store(folder, warn)) as store:
            yield store
    except (OSError, sqlite3.Error) as error:
        raise MissingError(f'the cache in "{folder}" cannot be used: {error}') from error


def _entry(store: Store, result: Result) -> Entry:
    marks = ",".join("?" * len(result.outputs))
    question = f"SELECT {_SIZE}, {USED} FROM blobs WHERE digest IN ({marks})"
    rows = store.rows(question, *result.outputs)
    used = max([result.made, *(row[1] for row in rows)])
    is_whole = len(rows) == len(set(result.outputs))
    return Entry(result.key, _kind(result.recipe), sum(row[0] for row in rows), result.made, used, is_whole)


def _kind(recipe: str) -> str:
    try:
        kind = json.loads(recipe)["kind"]
    except (ValueError, KeyError, TypeError):
        return ""
    return kind if isinstance(kind, str) else ""


def _number(store: Store, question: str) -> int:
    return int(store.rows(question)[0][0])


def _blobs(store: Store) -> tuple[int, int]:
    count, total = store.rows(f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM blobs")[0]
    return count, total


def _pages(store: Store, table: str, column: str) -> Iterator[list[str]]:
    """The values of a key column, in order."""
    last = ""
    question = f"SELECT {column} FROM {table} WHERE {column} > ? ORDER BY {column} LIMIT {_PAGE}"
    while page := [row[0] for row in store.rows(question, last)]:
        yield page
        last = page[-1]


def _read_all(store: Store) -> Iterator[tuple[str, bool, int]]:
    """Every blob: digest, whether its bytes are right, and how many they are."""
    for page in _pages(store, "blobs", "digest"):
        for digest in page:
            rows = store.rows("SELECT data FROM blobs WHERE digest = ? AND data IS NOT NULL", digest)
            if rows:
                data = rows[0][0] if isinstance(rows[0][0], bytes) else b""
                yield digest, hashlib.sha256(data).hexdigest() == digest, len(data)
            elif not store.path(digest).exists():
                yield digest, False, 0
    for path in _files(store):
        with contextlib.suppress(FileNotFoundError):
            yield path.name, *_check_file(path)


def _check_file(path: Path) -> tuple[bool, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == path.name, os.fstat(file.fileno()).st_size


def _files(store: Store) -> Iterator[Path]:
    for shard in _shards(store):
        yield from shard


def _shards(store: Store) -> Iterator[list[Path]]:
    """The files of large blobs, a folder at a time."""
    for folder in os.scandir(store.folder / "blobs"):
        if folder.is_dir():
            yield [Path(entry.path) for entry in os.scandir(folder.path)]


def _sweep_loose(store: Store, floor: float) -> int:
    """Remove old blob files that no row names."""
    swept = 0
    for paths in _shards(store):
        with store.transaction():
            named = store.held(path.name for path in paths)
            for path in paths:
                if path.name not in named and path.stat().st_mtime < floor:
                    path.unlink()
                    swept += 1
    return swept


def _drop_vanished(store: Store) -> None:
    """Remove rows whose file is gone."""
    for page in _pages(store, "blobs", "digest"):
        if gone := set(page) - store.held(page).keys():
            with store.transaction() as index:
                gone -= store.held(gone).keys()  # a process may just have made it again
                index.executemany("DELETE FROM blobs WHERE digest = ?", ((digest,) for digest in gone))


def _evict(store: Store, floor: float, most_bytes: int, oldest: float) -> tuple[int, int]:
    """Evict page by page, so that no other process waits long to write; gives how many blobs and bytes."""
    blobs = freed = 0
    while True:
        with store.transaction() as index:
            surplus = _blobs(store)[1] - most_bytes
            page = _victims(store, floor, surplus, oldest)
            for digest, _ in page:
                reached("gc.unlink")
                index.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
                store.path(digest).unlink(missing_ok=True)
        if not page:
            return blobs, freed
        blobs, freed = blobs + len(page), freed + sum(length for _, length in page)


def _victims(store: Store, floor: float, surplus: int, oldest: float) -> list[tuple[str, int]]:
    question = f"SELECT digest, {_SIZE}, {USED} FROM blobs WHERE used < ? ORDER BY used LIMIT {_PAGE}"
    victims = []
    for digest, length, used in store.rows(question, floor):
        if surplus <= 0 and used >= oldest:
            break
        victims.append((digest, length))
        surplus -= length
    return victims


def _forget(store: Store, before: float) -> None:
    """Drop results and digests of files that nobody has any use for: a year old, and without a blob."""
    main = "CAST(substr(outputs, 1, 64) AS TEXT)"
    without = f"NOT EXISTS (SELECT 1 FROM blobs WHERE digest = {main})"
    with store.transaction() as index:
        index.execute(f"DELETE FROM results WHERE made < ? AND {without}", (before,))
        index.execute("DELETE FROM notes WHERE space = ? AND made < ?", (b"file", before))


def _shrink(store: Store) -> None:
    """Give the room back to the file system, and remove what was moved aside."""
    store.rows("PRAGMA incremental_vacuum")
    store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in store.folder.glob("index.broken*"):
        path.unlink(missing_ok=True)
