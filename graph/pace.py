"""What a process spends on itself: Python's cycle collector, and threads that wait for each other."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
RARELY = 10_000
"""Objects made since the last time, more than were let go of: Python looks for cycles after 700."""


def builds(phase: Callable[P, T]) -> Callable[P, T]:
    """Switch the cycle collector off while a function runs.

    Reading, wiring and planning make many small frozen objects and no garbage in cycles; the collector, which is
    called by the number of allocations, looks through all of them again and again: a third of the time for a graph
    of 1,000 nodes, and more than linear in its size.
    """

    @functools.wraps(phase)
    def undisturbed(*args: P.args, **options: P.kwargs) -> T:
        if not gc.isenabled():
            return phase(*args, **options)
        gc.disable()
        try:
            return phase(*args, **options)
        finally:
            if gc.get_count()[0] > RARELY:
                _count_as_old()
            gc.enable()

    return undisturbed


def _count_as_old() -> None:
    """Have the collector take all that is there for old, which it looks through once in a long while.

    As young it would be looked through at the next allocation: a second after the wiring of 100,000 nodes. Only where
    there is so much that is sure to be no garbage: what goes in circles among it is found late.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


def over_many_objects(phase: Callable[P, T]) -> Callable[P, T]:
    """Keep the cycle collector from looking through what stays while a function runs.

    A run makes garbage, and must be collected; the graph and the plan it goes along are none, however large, nor are
    the half a million objects of the libraries that nodes import.
    """

    @functools.wraps(phase)
    def undisturbed(*args: P.args, **options: P.kwargs) -> T:
        if gc.get_freeze_count():
            return phase(*args, **options)
        youngest, *older = gc.get_threshold()
        gc.freeze()
        gc.set_threshold(max(youngest, RARELY) if youngest else 0, *older)
        try:
            return phase(*args, **options)
        finally:
            gc.set_threshold(youngest, *older)
            gc.unfreeze()

    return undisturbed


def spin_briefly() -> None:
    """Have the threads that torch computes with sleep soon while they wait for each other, not spin for milliseconds.

    Before torch is imported. Where the cores are busy with another program, a thread that spins keeps the one it waits
    for from its core: beside one such program a small picture took up to 17 times as long, now 3 times
    (docs/decisions/0084). What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
