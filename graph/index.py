"""The SQLite index of the store: opened, made where there is none, moved aside where it is broken."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from graph.failpoints import reached
from graph.living import alone

FORMAT = 2
"""Of the folder and of the index in it."""

_PAGES_KIB = 32 << 10
"""Memory for pages of the index, used only as it grows: keys are random, so each insert touches another page."""

_SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE results (key TEXT PRIMARY KEY, outputs BLOB, recipe BLOB, seconds REAL, made REAL, memory INTEGER,
    seal BLOB);
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER, used REAL, cost REAL, data BLOB);
CREATE TABLE notes (space BLOB, name BLOB, value BLOB, made REAL, seal BLOB,
    PRIMARY KEY (space, name)) WITHOUT ROWID;
CREATE TABLE pins (name BLOB, digest TEXT, PRIMARY KEY (name, digest)) WITHOUT ROWID;
CREATE TABLE leases (key TEXT PRIMARY KEY, holder TEXT, beat INTEGER) WITHOUT ROWID;
CREATE TABLE runs (number INTEGER PRIMARY KEY, workflow BLOB, made REAL, told BLOB, seal BLOB);
PRAGMA user_version = {FORMAT};
COMMIT;
"""


def is_broken(error: Exception) -> bool:
    """Whether SQLite says that the index, and not the disk, is at fault."""
    codes = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.Error) and _code(error) in codes


def is_busy(error: Exception) -> bool:
    """Whether another process kept the right to write for too long."""
    return isinstance(error, sqlite3.Error) and _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", -1) & 0xFF


def open_index(folder: Path, warn: Callable[[str], None]) -> sqlite3.Connection:
    """Open the index of a folder, made where there is none, moved aside where it cannot be read."""
    index = _connect(folder)
    with contextlib.suppress(sqlite3.DatabaseError):
        if _format(index) == FORMAT:
            return index
    index.close()
    with alone(folder):
        return _made(folder) or begin_anew(folder, warn)


def begin_anew(folder: Path, warn: Callable[[str], None]) -> sqlite3.Connection:
    """Move the index aside and make a new one. Only while `alone`."""
    kept = folder / "index.broken"
    warn(f"the index of the cache cannot be read; a new one is begun, and {kept} is the old one")
    for ending in ("-shm", "-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            reached("index.aside")
            (folder / f"index{ending}").replace(folder / f"index.broken{ending}")
    index = _made(folder)
    if index is None:
        raise OSError("a new index cannot be read either")
    return index


def _made(folder: Path) -> sqlite3.Connection | None:
    """The index, with its tables; None if what lies there is not one of this format."""
    index = _connect(folder)
    try:
        reached("index.make")
        if _format(index) == 0 and not index.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            index.executescript(_SCHEMA)
            reached("index.made")
        if _format(index) == FORMAT:
            return index
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            index.close()
            raise
    index.close()
    return None


def _connect(folder: Path) -> sqlite3.Connection:
    index = sqlite3.connect(folder / "index", timeout=10, isolation_level=None, check_same_thread=False)
    index.text_factory = _lenient
    return index


def _format(index: sqlite3.Connection) -> int:
    index.execute("PRAGMA synchronous = NORMAL")
    index.execute(f"PRAGMA cache_size = -{_PAGES_KIB}")
    index.execute("PRAGMA wal_autocheckpoint = 8000")  # pages: each checkpoint waits for the disk
    return int(index.execute("PRAGMA user_version").fetchone()[0])


def _lenient(text: bytes) -> str:
    return text.decode("utf-8", "replace")  # damaged text must reach the seal, not raise
