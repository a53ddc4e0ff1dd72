"""What the cycle collector is kept from, and what it is not."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator

import pytest

from graph.pace import builds, over_many_objects, spin_briefly

MANY = 20_000


class Ring:
    """An object that only the collector can free."""

    alive = 0

    def __init__(self) -> None:
        self.itself = self
        Ring.alive += 1

    def __del__(self) -> None:
        Ring.alive -= 1


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def looked() -> Iterator[list[str]]:
    """When the collector began to look."""
    found: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        found.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def test_what_a_phase_built_is_not_looked_through_at_once(looked: list[str]) -> None:
    made = builds(lambda: [[number] for number in range(MANY)])()
    made += [[number] for number in range(100)]

    assert [] == looked


def test_what_goes_round_is_freed_in_a_process_that_runs_again_and_again() -> None:
    Ring.alive = 0
    for _ in range(50):
        builds(lambda: [Ring() for _ in range(100)])()
        over_many_objects(lambda: [Ring() for _ in range(3000)])()

    assert Ring.alive < 50_000  # of 155,000


@pytest.mark.parametrize("pace", [builds, over_many_objects])
def test_what_goes_round_in_a_phase_is_freed_in_the_end(pace: Callable[..., Callable[[], weakref.ref[Ring]]]) -> None:
    left = pace(lambda: weakref.ref(Ring()))()

    gc.collect()
    assert left() is None


@pytest.mark.parametrize("pace", [builds, over_many_objects])
def test_what_somebody_else_froze_stays_frozen(pace: Callable[..., Callable[[], None]]) -> None:
    gc.freeze()
    before = gc.get_freeze_count()

    pace(lambda: None)()
    assert before <= gc.get_freeze_count() + 50  # what went away since
    assert gc.isenabled()


def test_threads_spin_briefly_unless_the_user_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for own, expected in ((None, "10000"), ("7", "7")):
        monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
        if own:
            monkeypatch.setenv("GOMP_SPINCOUNT", own)
        spin_briefly()
        assert expected == os.environ["GOMP_SPINCOUNT"]

    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    spin_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ
