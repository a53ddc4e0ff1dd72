"""Pins: values that no gc takes, by a name of the user's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from graph.errors import UsageError, suggest
from graph.eviction import SIZE
from graph.gathered import Gathered
from graph.store import Store
from graph.upkeep import Warn, opened

LEAST = 6
"""Digits of a key that name it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Values that were pinned together."""

    name: str
    blobs: int
    bytes: int
    """Of those that are there."""
    evicted: int
    """How many are not there: they went before they were pinned. Made again, they stay."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What was just pinned."""

    pin: Pin
    missing: tuple[str, ...] = ()
    """Nodes whose results are not pinned, for they are not computed yet."""


@dataclass(frozen=True, slots=True)
class Pins:
    """All pins."""

    pins: tuple[Pin, ...]


@dataclass(frozen=True, slots=True)
class Unpinned:
    """What was let go."""

    pin: Pin


def is_key(text: str) -> bool:
    """Whether this looks like the beginning of a key."""
    return re.fullmatch(rf"[0-9a-f]{{{LEAST},64}}", text) is not None


def pin_workflow(folder: Path, warn: Warn, gathered: Gathered, name: str = "") -> Pinned:
    """Pin all that is known of a workflow; what was pinned under this name, the workflow's own if none, is let go."""
    with opened(folder, warn) as store:
        return Pinned(_pin(store, name or gathered.name, gathered.digests), gathered.missing)


def pin_result(folder: Path, warn: Warn, start: str, name: str = "") -> Pinned:
    """Pin the result whose key begins so, under the first digits of its key if no name is given.

    Raises UsageError where none or several begin so.
    """
    with opened(folder, warn) as store:
        rows = store.rows("SELECT key FROM results WHERE key >= ? AND key < ? LIMIT 2", start, start + "g")
        if len(rows) > 1:
            raise UsageError(f'several results have a key that begins with "{start}"', hint="Give more of its digits.")
        result = store.result(rows[0][0]) if rows else None
        if result is None:
            hint = "`darkroom cache ls` lists them; a workflow is named by its file."
            raise UsageError(f'no result has a key that begins with "{start}"', hint=hint)
        return Pinned(_pin(store, name or result.key[:12], result.outputs))


def unpin(folder: Path, warn: Warn, name: str) -> Unpinned:
    """Let go of what is pinned under a name. Raises UsageError where nothing is."""
    with opened(folder, warn) as store:
        there = {_bytes(pin.name): pin for pin in _pins(store)}
        if _bytes(name) not in there:
            hint = suggest(name, [pin.name for pin in there.values()])
            raise UsageError(f'nothing is pinned as "{name}"', hint=hint)
        with store.transaction() as index:
            index.execute("DELETE FROM pins WHERE name = ?", (_bytes(name),))
        return Unpinned(there[_bytes(name)])


def pins(folder: Path, warn: Warn) -> Pins:
    """List what is pinned."""
    with opened(folder, warn) as store:
        return Pins(tuple(_pins(store)))


def _pin(store: Store, name: str, digests: Iterable[str]) -> Pin:
    with store.transaction() as index:
        index.execute("DELETE FROM pins WHERE name = ?", (_bytes(name),))
        index.executemany("REPLACE INTO pins VALUES (?, ?)", ((_bytes(name), digest) for digest in digests))
    return next(pin for pin in _pins(store) if _bytes(pin.name) == _bytes(name))


def _pins(store: Store) -> list[Pin]:
    counts = f"count(blobs.digest), sum({SIZE}), sum(blobs.digest IS NULL)"
    rows = store.rows(f"SELECT name, {counts} FROM pins LEFT JOIN blobs USING (digest) GROUP BY name ORDER BY name")
    return [Pin(name.decode("utf-8", "replace"), blobs, total, evicted) for name, blobs, total, evicted in rows]


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "replace")  # the shell may hand on bytes that are no text
