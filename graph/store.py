"""Results and blobs on disk: what is written when, and what is believed when it is read.

    folder/v2/                     a format that is changed gets its own folder; nobody migrates a cache
      index                        SQLite (WAL): results, small blobs, notes, leases; one transaction a batch
      blobs/ab/abcd...             large blobs, one file each, named by the sha256 of their bytes
      writing/<process>-<digest>   a file being written
      living/<process>             locked by a process for as long as it has the store open

How one batch becomes durable, and where a kill, a power cut or another process's gc may strike:

    large blob ─> writing/p-d ─fsync─> rename ─> blobs/ab/d ─┐
                                                             ├─> BEGIN ─> rows ─> every file there? ─> COMMIT
    results, small blobs, notes ─────────────────────────────┘                     no: written again

    before the rename    litter in writing/; its owner is dead, so the next open removes it
    before the commit    a file without a row; gc removes it, or the same value, made again, finds it
    after the commit     everything is there. A power cut may lose the last commits (synchronous NORMAL) or,
                         as the folder is not fsynced, a rename: a lost file looks like an evicted one

A row never names bytes that are not durable. After short work all of this happens in a thread of its own, and a run
does not wait for it (docs/decisions/0064). Rows and files are only ever removed inside a transaction too,
and SQLite gives one process at a time the right to write, so the question "is every file there?" settles
the race between a process that finds an old blob in place and a gc that is about to evict it.

Nothing that is read is believed. A blob must have the sha256 it is named by; a row of results or notes
carries a seal, a digest of its columns, for SQLite itself would not notice a flipped bit. What does not fit
is removed, with one warning, and counts as never remembered. An index that SQLite cannot read is moved
aside to `index.broken`, and a new one begun: the blob files stay, and are found again as their values are
made again.

The states of a blob, by what is on disk:

    absent ──put──> loose (file, no row) ──commit──> kept (row) ──touch──> kept, used now
       ^               │                               │
       └──gc, clear────┴───────gc, clear, damage───────┘

gc takes no blob that was written or used since ten minutes before the oldest living process opened the
store. That the lock on living/<process> is free tells a dead process, whatever has happened to its number
since. `used` is written only where it is older than those ten minutes, so a run of nothing but hits mostly
writes nothing.

Time is the machine's clock. A clock set back makes gc keep more; set forward, it can evict too much;
neither can make a wrong answer.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.failpoints import reached
from graph.index import FORMAT, begin_anew, open_index
from graph.living import alone, living, register
from graph.rows import (
    INLINE,
    Note,
    Result,
    as_bytes,
    as_text,
    blob_row,
    chunks,
    has_digest,
    mark_used,
    marks,
    note_row,
    put_rows,
    result_row,
    seal_of,
)  # fmt: skip
from graph.runs import Noted
from graph.runs import write as write_runs

if TYPE_CHECKING:  # declaring all the types of values takes longer than a run that finds everything
    from graph.codec import Blob

__all__ = ["INLINE", "MARGIN", "USED", "Note", "Result", "Store"]

MARGIN = 600.0
"""Seconds before a process began in which what was used counts as used by it."""

USED = "coalesce(CAST(used AS REAL), 0)"
"""When a blob was used, a number even if the row is damaged."""
_RESULT = "key, outputs, recipe, seconds, made, memory, seal"
_AGAIN = """ON CONFLICT (digest) DO UPDATE SET
size = excluded.size, used = excluded.used, cost = excluded.cost, data = excluded.data"""
_AT_A_TIME = 16 << 20
"""Bytes that one call writes."""


class Store:
    """A folder of results and blobs, open in this process. Safe to use from several threads.

    Raises OSError or sqlite3.Error, here and in every method, where the disk does not do as it should.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.folder = folder / f"v{FORMAT}"
        self.stale: set[str] = set()
        """Blobs that were read, and whose `used` is to be written with the next batch."""
        self._warn = warn
        self._told = False
        self._lock = threading.RLock()
        self._count = 0
        for part in ("blobs", "writing", "living"):
            reached("store.mkdir")
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.name, self._badge = register(self.folder / "living")
        with contextlib.ExitStack() as undo:
            undo.callback(self._leave)
            self._index = undo.enter_context(contextlib.closing(open_index(self.folder, warn)))
            self._inode = (self.folder / "index").stat().st_ino
            self.sweep()
            undo.pop_all()

    def close(self) -> None:
        """Let go of the index and of what was kept from gc."""
        with self._lock:
            self._index.close()
            self._leave()

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            reached("living.leave")
            (self.folder / "living" / self.name).unlink(missing_ok=True)
        os.close(self._badge)

    def mend(self) -> None:
        """Begin a new index, if SQLite found this one broken."""
        with self._lock:
            self._index.close()
            with alone(self.folder):
                self._index = begin_anew(self.folder, self._warn)
            self._inode = (self.folder / "index").stat().st_ino

    # Reading

    def rows(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the index."""
        with self._lock:
            return self._index.execute(question, values).fetchall()

    def result(self, key: str) -> Result | None:
        """The result of a key, if there is an undamaged one."""
        for row in self.rows(f"SELECT {_RESULT} FROM results WHERE key = ?", key):
            return self._believed(row)
        return None

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        """The undamaged results among these keys."""
        found: dict[str, Result] = {}
        for some in chunks(keys):
            for row in self.rows(f"SELECT {_RESULT} FROM results WHERE key IN ({marks(some)})", *some):
                if result := self._believed(row):
                    found[result.key] = result
        return found

    def outputs(self, keys: Iterable[str]) -> dict[str, str]:
        """What the rows of these keys say of their outputs. The rows are not checked: compare, do not believe."""
        found: dict[str, str] = {}
        for some in chunks(keys):
            rows = self.rows(f"SELECT key, CAST(outputs AS TEXT) FROM results WHERE key IN ({marks(some)})", *some)
            found |= rows
        return found

    def _believed(self, row: tuple[Any, ...]) -> Result | None:
        key, outputs, recipe, seconds, made, memory, seal = row
        if seal_of(key, outputs, recipe, seconds, made, memory) != seal:
            self._forget("results", "key = ?", (key,))
            return None
        return Result(key, tuple(outputs.decode().split()), as_text(recipe), seconds, made, memory)

    def notes(self, space: str) -> dict[str, bytes]:
        """The undamaged notes of a space, newest first."""
        question = "SELECT name, value, made, seal FROM notes WHERE space = ? ORDER BY made DESC"
        rows = self.rows(question, as_bytes(space))
        return {as_text(row[0]): row[1] for row in rows if self._is_note(as_bytes(space), *row)}

    def note(self, space: str, name: str) -> bytes | None:
        """One note."""
        where = (as_bytes(space), as_bytes(name))
        rows = self.rows("SELECT name, value, made, seal FROM notes WHERE space = ? AND name = ?", *where)
        return rows[0][1] if rows and self._is_note(where[0], *rows[0]) else None

    def standing(self, space: str, name: str) -> bytes | None:
        """One note, as it stands in the transaction that is open; a damaged one is left for who writes it anew."""
        where = (as_bytes(space), as_bytes(name))
        rows = self.rows("SELECT value, made, seal FROM notes WHERE space = ? AND name = ?", *where)
        return rows[0][0] if rows and seal_of(*where, *rows[0][:2]) == rows[0][2] else None

    def _is_note(self, space: bytes, name: bytes, value: bytes, made: float, seal: bytes) -> bool:
        if seal_of(space, name, value, made) == seal:
            return True
        self._forget("notes", "space = ? AND name = ?", (space, name))
        return False

    def _forget(self, table: str, which: str, values: tuple[object, ...]) -> None:
        if not self._told:  # of a thousand such entries, one warning is enough
            self._warn("entries of the cache are damaged; they are dropped, and what they told is found out again")
        self._told = True
        with contextlib.suppress(sqlite3.Error, OSError), self.transaction() as index:
            index.execute(f"DELETE FROM {table} WHERE {which}", values)

    def blob(self, digest: str) -> bytes | None:
        """The bytes with this sha256. Damaged ones are dropped, with a warning."""
        rows = self.rows("SELECT data, used < ? FROM blobs WHERE digest = ?", time.time() - MARGIN, digest)
        if rows and rows[0][1]:
            self.stale.add(digest)
        try:
            data = rows[0][0] if rows and rows[0][0] is not None else self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            data = None
        if has_digest(data, digest):
            return data
        self._warn(f"dropped a damaged value of the cache ({digest[:12]}); it is computed again")
        with contextlib.suppress(sqlite3.Error, OSError):
            self.drop_if_damaged(digest)
        return None

    def drop_if_damaged(self, digest: str) -> bool:
        """Remove a blob unless its bytes are, or were meanwhile put, right. Says whether it was removed."""
        with self.transaction() as index:
            rows = self.rows("SELECT data FROM blobs WHERE digest = ? AND data IS NOT NULL", digest)
            with contextlib.suppress(OSError):
                data = rows[0][0] if rows else self.path(digest).read_bytes()
                if has_digest(data, digest):
                    return False
            index.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
            reached("blob.unlink")
            self.path(digest).unlink(missing_ok=True)
        return True

    def held(self, digests: Iterable[str]) -> dict[str, float]:
        """When each of these blobs was last used, of those that are there. Their bytes are not read."""
        found: dict[str, float] = {}
        for some in chunks(digests):
            question = f"SELECT digest, {USED}, data IS NULL FROM blobs WHERE digest IN ({marks(some)})"
            rows = self.rows(question, *some)
            found |= {row[0]: row[1] for row in rows if not row[2] or self.path(row[0]).exists()}
        return found

    def touch(self, digests: Collection[str]) -> frozenset[str]:
        """Keep blobs from gc while this process lives; gives those that are there, now safe."""
        found, now = self.held(digests), time.time()
        old = [digest for digest, used in found.items() if used < now - MARGIN]
        if old:
            with self.transaction() as index:
                mark_used(index, old, now)
            found = self.held(digests)  # gc may have been faster
        return frozenset(found)

    # Writing

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Be the only writer. Commits at the end; rolls back if the body raises."""
        with self._lock:
            if (self.folder / "index").stat().st_ino != self._inode:
                raise OSError("the index was replaced")
            reached("index.begin")
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield self._index
                reached("index.commit")
                self._index.execute("COMMIT")
                reached("index.committed")
            finally:
                if self._index.in_transaction:
                    self._index.execute("ROLLBACK")

    def write(
        self,
        results: Iterable[Result],
        blobs: Collection[Blob],
        notes: Iterable[Note],
        runs: Iterable[Noted] = (),
        released: Iterable[str] = (),
    ) -> None:
        """Keep a batch: all of it, or nothing that a reader would see.

        released: keys whose leases end with it; see graph/leases.py.
        """
        large = [blob for blob in blobs if len(blob.data) > INLINE]
        results = list(results)
        costs = {digest: result.seconds for result in results for digest in result.outputs}
        for blob in large:
            self.put(blob)
        with self._lock, self.transaction() as index:
            now = time.time()
            read, self.stale = self.stale, set()
            mark_used(index, read, now)
            reached("index.results")
            put_rows(index, "REPLACE INTO results", map(result_row, results))
            reached("index.blobs")
            kept = (blob_row(blob, now, costs.get(blob.digest, 0.0)) for blob in sorted(blobs))  # page after page
            put_rows(index, "INSERT INTO blobs", kept, _AGAIN)
            reached("index.notes")
            put_rows(index, "REPLACE INTO notes", (note_row(note, now) for note in notes))
            write_runs(index, runs)
            reached("index.released")
            ended = ((key, self.name) for key in released)
            index.executemany("DELETE FROM leases WHERE key = ? AND holder = ?", ended)
            for blob in large:
                self.put(blob)  # again only if a gc took it since

    def put(self, blob: Blob) -> None:
        """Make a blob's file durable, unless one of this size is there."""
        path = self.path(blob.digest)
        try:
            if path.stat().st_size == len(blob.data):
                return
        except FileNotFoundError:
            reached("blob.mkdir")
            path.parent.mkdir(exist_ok=True)
        self._write_beside(path, blob.data)

    def _write_beside(self, path: Path, data: bytes) -> None:
        self._count += 1
        part = self.folder / "writing" / f"{self.name}-{self._count}-{path.name[:12]}"
        try:
            reached("blob.open")
            with part.open("xb", buffering=0) as file:
                rest = memoryview(data)
                while rest:
                    reached("blob.write")
                    rest = rest[file.write(rest[:_AT_A_TIME]) :]
                reached("blob.fsync")
                os.fsync(file.fileno())
            reached("blob.rename")
            part.replace(path)
            reached("blob.renamed")
        except BaseException:
            reached("blob.undo")
            part.unlink(missing_ok=True)
            raise

    def path(self, digest: str) -> Path:
        """Where the file of a large blob is, or would be."""
        return self.folder / "blobs" / digest[:2] / digest

    # Who lives

    def living(self) -> dict[str, float]:
        """When each process that has the store open began, by name; this one's own name is among them."""
        return dict(living(self.folder / "living"))

    def floor(self) -> float:
        """What was written or used since then may be in use."""
        return min([time.time(), *self.living().values()]) - MARGIN

    def sweep(self) -> int:
        """Remove what dead processes left half written; gives how many files."""
        living, swept = self.living(), 0
        for part in (self.folder / "writing").iterdir():
            owner = "-".join(part.name.split("-")[:2])
            if owner not in living and not (self.folder / "living" / owner).exists():
                with contextlib.suppress(FileNotFoundError):
                    reached("sweep.unlink")
                    part.unlink()
                    swept += 1
        return swept
