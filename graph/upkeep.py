"""Looking after a cache: list it, measure it, verify it, make room in it, empty it.

Everything is read in pages, so that a cache of any size is looked after in little memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from graph import bookmarks, runs
from graph.errors import MissingError, UsageError
from graph.eviction import MOST_BYTES, SIZE, blobs_held, evict, note_room
from graph.failpoints import reached
from graph.index import FORMAT
from graph.leases import drop_dead
from graph.living import living
from graph.rows import marks
from graph.store import USED, Result, Store

MOST_AGE = 90 * 86400.0
"""In seconds since the last use."""
_FORGOTTEN_AFTER = 365 * 86400.0
_PAGE = 1000

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
    pins: int = 0
    """Names under which something is pinned."""
    pinned_blobs: int = 0
    pinned_bytes: int = 0


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
    outdated_bytes: int = 0
    """Of caches in older formats, removed with all that was in them."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was there before."""

    results: int
    blobs: int
    bytes: int
    pins: int = 0


def ls(folder: Path, warn: Warn, most: int = 100) -> Listing:
    """List the results, newest first, `most` of them."""
    with opened(folder, warn) as store:
        newest = [row[0] for row in store.rows("SELECT key FROM results ORDER BY made DESC LIMIT ?", most)]
        found = store.results(newest)
        entries = tuple(_entry(store, found[key]) for key in newest if key in found)
        return Listing(folder, entries, _number(store, "SELECT count(*) FROM results"))


def size(folder: Path, warn: Warn) -> Size:
    """Measure the blobs and the index."""
    with opened(folder, warn) as store:
        index_bytes = sum(path.stat().st_size for path in store.folder.glob("index*"))
        results = _number(store, "SELECT count(*) FROM results")
        return Size(folder, results, *blobs_held(store), index_bytes, *_pinned(store))


def verify(folder: Path, warn: Warn) -> Verified:
    """Read every blob and every row; drop what is damaged, with a warning each for rows."""
    with opened(folder, warn) as store:
        for keys in _pages(store, "results", "key"):
            store.results(keys)
        read, damaged, dropped = [0, 0], 0, list[str]()
        for digest, sound, length in _read_all(store):
            read = [read[0] + 1, read[1] + length]
            if not sound and store.drop_if_damaged(digest):
                damaged += 1
                dropped += [digest][: _PAGE - len(dropped)]
        with store.transaction() as index:
            if lost := runs.drop_damaged(index):
                warn(f"entries of the history are damaged; {lost} are dropped")
        return Verified(read[0], read[1], tuple(dropped), damaged)


def gc(folder: Path, warn: Warn, most_bytes: int = MOST_BYTES, most_age: float = MOST_AGE) -> Evicted:
    """Evict blobs not used for `most_age` seconds; then those that are worth least until `most_bytes` are left.

    What is pinned or what a living process may hold stays: see graph/eviction.py and graph/store.py. Results stay, for
    plans are made from them. The folders of older formats go, if no process has them open.
    """
    with opened(folder, warn) as store:
        outdated = _remove_outdated(folder)
        floor = store.floor()
        drop_dead(store)
        litter = store.sweep() + _sweep_loose(store, floor)
        unused = time.time() - min(most_age, bookmarks.MOST_AGE)
        litter += bookmarks.sweep(store.folder, unused, min(most_bytes, bookmarks.MOST_BYTES), floor)
        _drop_vanished(store)
        blobs, freed = evict(store, most_bytes, time.time() - most_age)
        _forget(store, time.time() - _FORGOTTEN_AFTER)
        _shrink(store)
        kept_blobs, kept_bytes = blobs_held(store)
        note_room(store, kept_bytes)
        return Evicted(blobs, freed, litter, kept_blobs, kept_bytes, outdated)


def clear(folder: Path, warn: Warn, force: bool = False) -> Cleared:
    """Remove everything.

    Raises UsageError, naming the process, while another has the cache open; `force` takes its results too.
    """
    with opened(folder, warn) as store:
        others = sorted(name.partition("-")[0] for name in store.living() if name != store.name)
        if others and not force:
            hint = "Wait for it to end."
            raise UsageError(f"the cache is in use by process {', '.join(others)}", hint=hint)
        before = Cleared(_number(store, "SELECT count(*) FROM results"), *blobs_held(store), _pinned(store)[0])
        with store.transaction() as index:
            for table in ("results", "blobs", "notes", "pins", "leases"):
                index.execute(f"DELETE FROM {table}")
            runs.forget_all(index, store.folder)
            for path in _files(store):
                reached("clear.unlink")
                path.unlink(missing_ok=True)
        bookmarks.sweep(store.folder, most_bytes=0)
        _shrink(store)
        return before


@contextlib.contextmanager
def opened(folder: Path, warn: Warn) -> Iterator[Store]:
    """Open the store of a folder. Raises UsageError where there is none, MissingError where it cannot be used."""
    if not (folder / f"v{FORMAT}").is_dir():
        raise UsageError(f'there is no cache in "{folder}"', hint="The first run makes one.")
    try:
        with contextlib.closing(Store(folder, warn)) as store:
            yield store
    except (OSError, sqlite3.Error) as error:
        raise MissingError(f'the cache in "{folder}" cannot be used: {error}') from error


def _entry(store: Store, result: Result) -> Entry:
    question = f"SELECT {SIZE}, {USED} FROM blobs WHERE digest IN ({marks(result.outputs)})"
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


def _pinned(store: Store) -> tuple[int, int, int]:
    """How many pins there are, and how many blobs and bytes they keep."""
    names = _number(store, "SELECT count(DISTINCT name) FROM pins")
    which = "digest IN (SELECT digest FROM pins)"
    return names, *store.rows(f"SELECT count(*), coalesce(sum({SIZE}), 0) FROM blobs WHERE {which}")[0]


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
    for folder in sorted((store.folder / "blobs").iterdir()):
        if folder.is_dir():
            yield list(folder.iterdir())


def _sweep_loose(store: Store, floor: float) -> int:
    """Remove old blob files that no row names."""
    swept = 0
    for paths in _shards(store):
        with store.transaction():
            named = store.held(path.name for path in paths)
            for path in paths:
                if path.name not in named and path.stat().st_mtime < floor:
                    reached("gc.unlink")
                    path.unlink()
                    swept += 1
    return swept


def _remove_outdated(folder: Path) -> int:
    """Remove caches in older formats that no process has open; gives how many bytes they took."""
    removed = 0
    for old in folder.glob("v*"):
        if _is_outdated(old) and not [*living(old / "living")]:
            removed += sum(path.stat().st_size for path in old.rglob("*") if path.is_file())
            shutil.rmtree(old)
    return removed


def _is_outdated(folder: Path) -> bool:
    older = re.fullmatch(r"v\d{1,6}", folder.name) and int(folder.name[1:]) < FORMAT
    return bool(older) and (folder / "living").is_dir() and not folder.is_symlink()


def _drop_vanished(store: Store) -> None:
    """Remove rows whose file is gone."""
    for page in _pages(store, "blobs", "digest"):
        if gone := set(page) - store.held(page).keys():
            with store.transaction() as index:
                gone -= store.held(gone).keys()  # a process may just have made it again
                index.executemany("DELETE FROM blobs WHERE digest = ?", ((digest,) for digest in gone))


def _forget(store: Store, before: float) -> None:
    """Drop results and digests of files that nobody has any use for: a year old, and without a blob. Trails go sooner:
    they are large, and a run that finds none lays another."""
    main = "CAST(substr(outputs, 1, 64) AS TEXT)"
    without = f"NOT EXISTS (SELECT 1 FROM blobs WHERE digest = {main})"
    with store.transaction() as index:
        index.execute(f"DELETE FROM results WHERE made < ? AND {without}", (before,))
        index.execute("DELETE FROM notes WHERE space = ? AND made < ?", (b"file", before))
        index.execute("DELETE FROM notes WHERE space = ? AND made < ?", (b"trail", time.time() - MOST_AGE))
        index.execute("DELETE FROM notes WHERE space >= ? AND space < ?", (b"latest:", b"latest;"))  # of before 0083
        runs.forget(index, store.folder, before)


def _shrink(store: Store) -> None:
    """Give the room back to the file system, and remove what was moved aside."""
    reached("index.vacuum")
    store.rows("PRAGMA incremental_vacuum")
    reached("index.checkpoint")
    store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in store.folder.glob("index.broken*"):
        reached("broken.unlink")
        path.unlink(missing_ok=True)
