"""Keys that are known to be absent: fewer questions, and no wrong answer that costs anything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from graph.absent import LASTS, Absent
from graph.codec import encode
from graph.disk import Disk
from graph.store import Result, Store


def key(number: int) -> str:
    return f"{number:064x}"


def result(number: int) -> Result:
    return Result(key(number), (), "{}", 0.001, 1.0)


class Asked(Store):
    """A store that counts the questions it is asked."""

    questions = 0

    def rows(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        self.questions += 1
        return super().rows(question, *values)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Asked]:
    with closing(Asked(tmp_path, print)) as store:
        yield store


def ask(absent: Absent, store: Store, number: int) -> bool:
    """Whether there is such a result, as a cache asks."""
    if absent.rules_out(key(number)):
        return False
    found = store.result(key(number)) is not None
    if not found:
        absent.missed()
    return found


def test_of_thousands_of_new_keys_few_are_asked_for(store: Asked) -> None:
    absent, before = Absent(store), store.questions

    assert not any(ask(absent, store, number) for number in range(5000))
    assert store.questions - before < 50


def test_every_key_that_was_there_is_found(store: Asked) -> None:
    store.write(map(result, range(0, 1000, 3)), [], [])
    absent = Absent(store)

    assert [number % 3 == 0 for number in range(1000)] == [ask(absent, store, number) for number in range(1000)]


def test_few_misses_do_not_read_a_large_index(store: Asked) -> None:
    store.write(map(result, range(10_000)), [], [])
    absent, before = Absent(store), store.questions

    assert not any(ask(absent, store, -number) for number in range(1, 41))
    assert 42 == store.questions - before  # two looked how many there are


def test_what_others_add_is_found_soon(store: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Absent(store)
    for number in range(100):
        ask(absent, store, number)
    with closing(Store(tmp_path, print)) as other:
        other.write([result(5)], [], [])
    now = time.monotonic()

    monkeypatch.setattr(time, "monotonic", lambda: now + LASTS + 0.01)
    assert ask(absent, store, 5)


def test_what_others_add_between_two_writes_is_found(store: Asked, tmp_path: Path) -> None:
    absent = Absent(store)
    for number in range(100):
        ask(absent, store, number)
    store.write([result(1)], [], [])
    with closing(Store(tmp_path, print)) as other:
        other.write([result(5)], [], [])
    absent.wrote([key(1)])

    assert ask(absent, store, 5)


def test_what_is_written_here_is_no_reason_to_read_again(store: Asked) -> None:
    absent = Absent(store)
    for number in range(100):
        ask(absent, store, number)
    store.write([result(1)], [], [])
    absent.wrote([key(1)])

    assert absent.rules_out(key(5))
    assert not absent.rules_out(key(1))


def test_rows_that_take_the_numbers_of_removed_ones_are_found(
    store: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(map(result, range(100)), [], [])
    absent = Absent(store)
    for number in range(1000, 1100):
        ask(absent, store, number)
    with closing(Store(tmp_path, print)) as other:
        with other.transaction() as index:
            index.execute("DELETE FROM results WHERE rowid > 10")
        other.write(map(result, range(2000, 2090)), [], [])
    now = time.monotonic()

    monkeypatch.setattr(time, "monotonic", lambda: now + LASTS + 0.01)
    for number in range(9000, 9100):
        ask(absent, store, number)
    assert all(ask(absent, store, number) for number in range(2000, 2090))


def test_what_is_claimed_is_asked_for_again(tmp_path: Path) -> None:
    """Another process finished a costly step a moment ago: no step is done that it has done."""
    with closing(Disk(tmp_path, print)) as one, closing(Disk(tmp_path, print)) as other:
        assert not any(one.result(key(number)) for number in range(100))
        other.remember(result(5), [encode(1)])
        other.flush()

        assert "" == one.claim(key(5))
        assert one.result(key(5))


def test_what_was_written_by_itself_is_found_at_once(tmp_path: Path) -> None:
    with closing(Disk(tmp_path, print)) as disk:
        for number in range(200):
            assert disk.result(key(number)) is None
            disk.remember(result(number), [encode(1)])
            if number % 7 == 0:
                disk.flush()
            assert disk.result(key(number))
        disk.flush()
        assert all(disk.result(key(number)) for number in range(200))
