"""What is evicted first, where a cache must become smaller.

The policy is hyperbolic caching with costs and sizes. What a blob is worth is what keeping it saves, for the room that
it takes and the time that it lay unused:

    worth = seconds to make it again / (bytes x seconds since its last use)

and the least worth go first. So of two values that are equally old and large the dearer stays, of two that are equally
dear the larger goes, and as every worth falls towards nothing with time, whatever is used outlives in the end what is
not. A worth follows from a row alone: using a value writes nothing but the time, which `Store` writes anyway.
(docs/decisions/0070)

To the seconds that making took `_BOTHER` is added, for running a step again costs something even where the node costs
nothing, and to the bytes `_OVERHEAD`, for a row and a file take room of their own.

Source: Blankstein, Sen and Freedman, "Hyperbolic Caching: Flexible Caching for Web Applications", USENIX ATC 2017,
section 3, with one use counted: the last.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

from graph.failpoints import reached
from graph.quantities import parse_size
from graph.rows import marks
from graph.store import USED, Store

MOST_BYTES = 20 << 30
"""What a cache may take, unless the user says otherwise."""
SIZE = "coalesce(CAST(size AS INTEGER), 0)"
"""Of a blob, a number even if the row is damaged."""
_BOTHER = 0.05
_OVERHEAD = 4096
_COST = "max(coalesce(CAST(cost AS REAL), 0), 0)"
_WORTH = f"({_COST} + {_BOTHER}) / ((max({SIZE}, 0) + {_OVERHEAD}) * max(?3 - {USED}, 1))"
_FREE = "digest NOT IN (SELECT digest FROM pins)"
_LOT = 20_000
"""Blobs that are chosen at once: some megabytes of their names."""
_AT_A_TIME = 200
"""Blobs that are evicted in one transaction, for as long as which no other process can write."""
_SLACK = 0.9
"""Of its limit, what is left of a cache that grew over it: else every run would evict again."""
_PATIENCE = 0.1
"""Seconds that a run may spend on evicting, at its end."""
_REST = 60.0
"""Seconds for which nobody looks again, where what is over the limit cannot go: it is pinned, or was used lately."""
_NOTE = ("room", "bytes")


class Victim(NamedTuple):
    """A blob that may go."""

    digest: str
    bytes: int
    used: float
    is_file: bool


def limit() -> int | None:
    """Give what a cache may take, in bytes: DARKROOM_CACHE_SIZE, else 20 GiB; None if that is 0 or "none".

    Raises UsageError for what is no size.
    """
    said = os.environ.get("DARKROOM_CACHE_SIZE", "").strip()
    if not said:
        return MOST_BYTES
    return None if said.lower() == "none" else parse_size(said, "DARKROOM_CACHE_SIZE") or None


def blobs_held(store: Store) -> tuple[int, int]:
    """How many blobs there are, and their bytes."""
    count, total = store.rows(f"SELECT count(*), coalesce(sum({SIZE}), 0) FROM blobs")[0]
    return count, total


def evict(store: Store, most_bytes: int, oldest: float, patience: float = float("inf")) -> tuple[int, int]:
    """Evict what was not used since `oldest`, then what is worth least until `most_bytes` are left.

    Never what is pinned, or what a living process may hold. Ends, wherever it is, after `patience` seconds of evicting.
    Gives how many blobs and bytes went.
    """
    floor, surplus = store.floor(), blobs_held(store)[1] - most_bytes
    blobs = freed = 0
    while victims := _victims(store, floor, oldest, surplus - freed):
        deadline = time.monotonic() + patience
        before = blobs
        for start in range(0, len(victims), _AT_A_TIME):
            gone = _remove(store, victims[start : start + _AT_A_TIME])
            blobs, freed = blobs + len(gone), freed + sum(victim.bytes for victim in gone)
            if time.monotonic() > deadline:
                return blobs, freed
        if blobs == before:
            break
    return blobs, freed


def _victims(store: Store, floor: float, oldest: float, surplus: int) -> list[Victim]:
    order = f"{USED} < ?2 DESC, {_WORTH}"
    columns, which = f"digest, {SIZE}, {USED}, data IS NULL", f"{USED} < ?1 AND {_FREE}"
    question = f"SELECT {columns} FROM blobs WHERE {which} ORDER BY {order} LIMIT {_LOT}"
    victims = []
    for victim in map(Victim._make, store.rows(question, floor, oldest, time.time())):
        if surplus <= 0 and victim.used >= oldest:
            break
        victims.append(victim)
        surplus -= victim.bytes
    return victims


def _remove(store: Store, victims: list[Victim]) -> list[Victim]:
    """Evict these, but for those that were used or pinned since; gives those that went."""
    free = f"SELECT digest FROM blobs WHERE digest IN ({marks(victims)}) AND {_FREE}"
    taken = f"DELETE FROM blobs WHERE digest = ? AND {USED} = ?"
    gone = []
    with store.transaction() as index:
        unpinned = {row[0] for row in store.rows(free, *(victim.digest for victim in victims))}
        for victim in (victim for victim in victims if victim.digest in unpinned):
            reached("gc.unlink")
            if index.execute(taken, (victim.digest, victim.used)).rowcount:
                if victim.is_file:
                    store.path(victim.digest).unlink(missing_ok=True)
                gone.append(victim)
    return gone


# After a run


def keep_within(store: Store, most_bytes: int, added: int) -> None:
    """Make a little room, if a cache to which so many bytes were just added has grown over its limit.

    Costs next to nothing where it has not: what it holds at most is a note, and it is measured only where that is more
    than the limit. For use at the end of a run, just before the store is closed.
    """
    store.rows("PRAGMA busy_timeout = 100")
    known, rest_until = _room(store)
    known += added
    if known > most_bytes and not time.time() < rest_until <= time.time() + _REST:
        known, rest_until = blobs_held(store)[1], 0.0
        if known > most_bytes:
            freed = evict(store, round(most_bytes * _SLACK), 0.0, _PATIENCE)[1]
            known, rest_until = known - freed, 0.0 if freed else time.time() + _REST
    note_room(store, known, rest_until)


def note_room(store: Store, held: int, rest_until: float = 0.0) -> None:
    """Note how many bytes of blobs there are at most, and until when it is no use to look for more to evict."""
    store.write([], [], [(*_NOTE, f"{held} {rest_until}".encode())])


def _room(store: Store) -> tuple[int, float]:
    """What was noted; if nothing was, more than any limit."""
    try:
        held, rest_until = (store.note(*_NOTE) or b"").split()
        return int(held), float(rest_until)
    except ValueError:
        return sys.maxsize, 0.0
