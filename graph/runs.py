"""The runs that are noted in the index: one row each, and a count of how often each was asked for again.

A run of nothing but hits, alike to the last one of its workflow, adds no row: a commit would cost it two fsyncs
when the index is closed. It adds one byte to a file in `again`, whose size is the count and whose time is
the last time (docs/decisions/0074).
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph.failpoints import reached

MOST = 10_000
"""Runs that are kept."""
NOW = 2**62
"""Beyond the number of every run."""
_AGAIN = "again"

Rows = Callable[..., list[tuple[Any, ...]]]
"""Asks the index: a question, and the values for it."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A run as it was noted."""

    workflow: str
    """Its name."""
    made: float
    """When the run ended, in seconds since 1970."""
    told: bytes
    """What graph/history.py tells of it."""
    number: int = 0
    """They count from 1, and none is given twice; 0 before the row is written."""
    times: int = 0
    """How often it was asked for again, and all of it was there."""
    last: float = 0.0
    """When it was asked for last."""


def write(index: sqlite3.Connection, runs: Iterable[Noted]) -> None:
    """Add runs; the oldest go beyond `MOST`. Inside a transaction."""
    for run in runs:
        reached("index.runs")
        number = 1 + index.execute("SELECT coalesce(max(number), 0) FROM runs").fetchone()[0]
        row = (number, run.workflow.encode("utf-8", "surrogatepass"), run.made, run.told)
        index.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", (*row, _seal(*row)))
        index.execute("DELETE FROM runs WHERE number <= ?", (number - MOST,))


def newest(rows: Rows, folder: Path, workflow: str, most: int, below: int) -> tuple[Noted, ...]:
    """The undamaged ones among the last runs before number `below`, of one workflow or of all (""), newest first."""
    which, values = ("AND workflow = ?", (workflow.encode("utf-8", "surrogatepass"),)) if workflow else ("", ())
    question = f"{_ROWS} WHERE number < ? {which} ORDER BY number DESC LIMIT ?"
    return tuple(_believed(rows(question, below, *values, most), folder))


def numbered(rows: Rows, folder: Path, number: int) -> Noted | None:
    """The run of this number, if it is noted and undamaged."""
    return next(_believed(rows(f"{_ROWS} WHERE number = ?", number), folder), None)


def drop_damaged(index: sqlite3.Connection) -> int:
    """Drop the rows that do not match their seal; gives how many. Inside a transaction."""
    every = [number for (number,) in index.execute("SELECT number FROM runs")]
    rows = (index.execute(f"{_ROWS} WHERE number = ?", (number,)).fetchone() for number in every)
    bad = [(row[0],) for row in rows if row[4] != _seal(*row[:4])]
    index.executemany("DELETE FROM runs WHERE number = ?", bad)
    return len(bad)


def repeat(folder: Path, run: Noted) -> None:
    """Count one repetition of a run. A disk that does not let it is no reason to stop anything."""
    with contextlib.suppress(OSError):
        reached("again.write")
        counted = _again(folder, run.number, run.told)
        counted.parent.mkdir(exist_ok=True)
        with counted.open("ab", buffering=0) as file:
            file.write(b".")


def forget(index: sqlite3.Connection, folder: Path, before: float) -> None:
    """Drop runs made before a time, but never the newest: its number is the next one's. Inside a transaction."""
    index.execute("DELETE FROM runs WHERE made < ? AND number < (SELECT max(number) FROM runs)", (before,))
    kept = {str(number) for (number,) in index.execute("SELECT number FROM runs")}
    for path in (folder / _AGAIN).glob("*"):
        if path.name.partition("-")[0] not in kept:
            path.unlink(missing_ok=True)


def forget_all(index: sqlite3.Connection, folder: Path) -> None:
    """Drop every run. Inside a transaction."""
    index.execute("DELETE FROM runs")
    for path in (folder / _AGAIN).glob("*"):
        path.unlink(missing_ok=True)


_ROWS = "SELECT number, workflow, made, told, seal FROM runs"


def _believed(rows: Iterable[tuple[Any, ...]], folder: Path) -> Iterator[Noted]:
    for number, workflow, made, told, seal in rows:
        if seal == _seal(number, workflow, made, told):
            times, last = _repeated(_again(folder, number, told))
            yield Noted(workflow.decode("utf-8", "surrogatepass"), made, told, number, times, max(made, last))


def _repeated(counted: Path) -> tuple[int, float]:
    try:
        stat = counted.stat()
    except OSError:
        return 0, 0.0
    return stat.st_size, min(stat.st_mtime, time.time())


def _again(folder: Path, number: int, told: bytes) -> Path:
    """Named by what is told, too: a new index counts from 1 again."""
    return folder / _AGAIN / f"{number}-{hashlib.sha256(told).hexdigest()[:12]}"


def _seal(number: object, workflow: object, made: object, told: object) -> bytes:
    head = f"{number!r} {made!r} {len(workflow) if isinstance(workflow, bytes) else workflow!r} ".encode()
    parts = (part if isinstance(part, bytes) else repr(part).encode() for part in (workflow, told))
    return hashlib.sha256(b"run " + head + b"".join(parts)).digest()[:16]
