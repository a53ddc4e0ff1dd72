"""Points at which the disk may fail or the process may die: what writes to disk says that it has come to one.

Nothing happens there, unless a test armed them. A point stands before the call that it is named after, so that with
the points one after another every order of "done" and "not done" on disk is met.
"""

from __future__ import annotations

from collections.abc import Callable

_armed: list[Callable[[str], None]] = []


def reached(point: str) -> None:
    """Say that `point` ("store.fsync", ...) comes next."""
    for act in _armed:
        act(point)


def arm(act: Callable[[str], None]) -> None:
    """From now on call `act` at every point; it may raise OSError, or end the process."""
    _armed.append(act)


def disarm() -> None:
    """From now on nothing happens."""
    _armed.clear()
