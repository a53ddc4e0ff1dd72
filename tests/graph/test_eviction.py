"""Which values go first, which never go, and what that costs when there are very many."""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graph import eviction
from graph.cache import Disk, open_cache
from graph.codec import Blob
from graph.errors import UsageError
from graph.eviction import blobs_held, evict, keep_within, limit
from graph.store import MARGIN, Result, Store
from graph.upkeep import gc

HOUR = 3600.0
FOREVER = 0.0
COSTS = st.floats(0.1, 1e4)
SIZES = st.integers(10_000, 10**9)
AGES = st.floats(MARGIN * 2, 1e7)

Row = tuple[float, int, float]
"""Cost in seconds, size in bytes, seconds since the last use."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path, pytest.fail)) as store:
        yield store


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the many examples of a property; each begins with an empty table."""
    with closing(Store(tmp_path_factory.mktemp("cache"), pytest.fail)) as store:
        yield store


def put(store: Store, *rows: Row) -> None:
    """Rows alone: what is evicted is decided by them."""
    now = time.time()
    with store.transaction() as index:
        index.execute("DELETE FROM blobs")
        index.executemany(
            "INSERT INTO blobs VALUES (?, ?, ?, ?, NULL)",
            ((f"{name:064x}", size, now - age, cost) for name, (cost, size, age) in enumerate(rows)),
        )


def left(store: Store) -> list[int]:
    return [int(row[0], 16) for row in store.rows("SELECT digest FROM blobs ORDER BY digest")]


def first_to_go(store: Store, *rows: Row) -> int:
    """Which of them is evicted where one must go."""
    put(store, *rows)
    evict(store, blobs_held(store)[1] - 1, FOREVER)
    return next(name for name in range(len(rows)) if name not in left(store))


# What goes first


@given(cheap=COSTS, factor=st.floats(1.1, 100), size=SIZES, age=AGES)
@settings(max_examples=50, deadline=None)
def test_of_two_values_equally_old_and_large_the_dearer_stays(
    shared: Store, cheap: float, factor: float, size: int, age: float
) -> None:
    assert 1 == first_to_go(shared, (cheap * factor, size, age), (cheap, size, age))


@given(cost=COSTS, small=SIZES, factor=st.integers(2, 100), age=AGES)
@settings(max_examples=50, deadline=None)
def test_of_two_values_equally_old_and_dear_the_larger_goes(
    shared: Store, cost: float, small: int, factor: int, age: float
) -> None:
    assert 1 == first_to_go(shared, (cost, small, age), (cost, small * factor, age))


@given(cost=COSTS, size=SIZES, age=AGES, factor=st.floats(1.1, 100))
@settings(max_examples=50, deadline=None)
def test_of_two_values_equally_dear_and_large_the_longer_unused_goes(
    shared: Store, cost: float, size: int, age: float, factor: float
) -> None:
    assert 1 == first_to_go(shared, (cost, size, age), (cost, size, age * factor))


@given(dear=COSTS, small=SIZES, cheap=COSTS, large=SIZES)
@settings(max_examples=50, deadline=None)
def test_whatever_is_used_outlives_in_the_end_what_is_not(
    shared: Store, dear: float, small: int, cheap: float, large: int
) -> None:
    assume(dear / small < 1e8 * cheap / large)  # the end comes after longer than a hundred million times an hour
    assert 0 == first_to_go(shared, (dear, small, 1e9 * HOUR), (cheap, large, HOUR))


def test_a_text_encoding_is_kept_longer_than_a_picture_that_a_decode_makes_again(store: Store) -> None:
    encoding, picture = (4.5, 77 * 768 * 4, 24 * HOUR), (1.0, 512 * 512 * 3, 3 * HOUR)

    assert 1 == first_to_go(store, encoding, picture)


def test_nothing_is_kept_for_ever_without_use(store: Store) -> None:
    put(store, (1e6, 1, 100 * 86400.0))

    assert 1 == evict(store, 10**12, time.time() - 90 * 86400)[0]


def test_no_more_goes_than_must(store: Store) -> None:
    put(store, *((1.0, 1000, HOUR + at) for at in range(100)))
    evict(store, 30_000, FOREVER)

    assert (30, 30_000) == blobs_held(store)


def test_damaged_rows_keep_nobody_from_evicting(store: Store) -> None:
    put(store, (1.0, 1000, HOUR), (1.0, 1000, HOUR))
    with store.transaction() as index:
        index.execute("UPDATE blobs SET cost = 'x', size = -5, used = NULL WHERE digest = ?", (f"{0:064x}",))
    evict(store, 0, FOREVER)

    assert [] == left(store)


# What stays


def test_what_was_used_since_the_oldest_process_began_stays(store: Store) -> None:
    put(store, (0.0, 10**9, MARGIN / 2))

    assert 0 == evict(store, 0, time.time() + HOUR)[0]


def test_what_is_pinned_stays(store: Store) -> None:
    put(store, (0.0, 10**9, 1e8), (0.0, 10, HOUR))
    with store.transaction() as index:
        index.execute("INSERT INTO pins VALUES (?, ?)", (b"print", f"{0:064x}"))
    evict(store, 0, time.time() + HOUR)

    assert [0] == left(store)


# Older formats


def old_format(folder: Path, name: str = "v1") -> Path:
    for part in ("blobs/ab", "living", "writing"):
        (folder / name / part).mkdir(parents=True)
    (folder / name / "blobs" / "ab" / "abcd").write_bytes(bytes(1000))
    return folder / name


def test_gc_removes_a_cache_in_an_older_format(tmp_path: Path) -> None:
    open_cache(tmp_path, pytest.fail).close()
    old = old_format(tmp_path)

    assert (1000, False) == (gc(tmp_path, pytest.fail).outdated_bytes, old.exists())


def test_gc_leaves_an_older_format_to_the_process_that_has_it_open(tmp_path: Path) -> None:
    from graph.living import register

    open_cache(tmp_path, pytest.fail).close()
    old = old_format(tmp_path)
    _, badge = register(old / "living")
    gc(tmp_path, pytest.fail)
    os.close(badge)

    assert old.exists()


@pytest.mark.parametrize("name", ["v3", "v", "vx", "v1.bak", "v-1"])
def test_gc_leaves_what_is_not_an_older_format(tmp_path: Path, name: str) -> None:
    open_cache(tmp_path, pytest.fail).close()
    other = old_format(tmp_path, name)
    gc(tmp_path, pytest.fail)

    assert other.exists()


# After a run


def large(name: int) -> tuple[Result, Blob]:
    data = name.to_bytes(4, "little") * 25_000
    blob = Blob(hashlib.sha256(data).hexdigest(), data)
    recipe = f'{{"kind":"paint","n":{name}}}'
    return Result(hashlib.sha256(recipe.encode()).hexdigest(), (blob.digest,), recipe, 1.0, time.time()), blob


def a_run(folder: Path, names: range, most_bytes: int | None) -> None:
    """A run that adds pictures of 100 kB, some hours before the next one."""
    cache = Disk(folder, pytest.fail, most_bytes)
    for name in names:
        result, blob = large(name)
        cache.remember(result, [blob])
    cache.close()
    with closing(Store(folder, pytest.fail)) as store, store.transaction() as index:
        index.execute("UPDATE blobs SET used = used - 3600")


def held(folder: Path) -> int:
    with closing(Store(folder, pytest.fail)) as store:
        return blobs_held(store)[1]


def test_a_run_that_grows_a_cache_over_its_limit_makes_room(tmp_path: Path) -> None:
    a_run(tmp_path, range(10), 1_050_000)
    a_run(tmp_path, range(10, 13), 1_050_000)

    assert 900_000 == held(tmp_path)


def test_a_run_that_adds_nothing_makes_no_room(tmp_path: Path) -> None:
    a_run(tmp_path, range(10), None)
    a_run(tmp_path, range(0), 100)

    assert 1_000_000 == held(tmp_path)


def test_a_run_takes_nothing_of_its_own(tmp_path: Path) -> None:
    a_run(tmp_path, range(10), 100)

    assert 1_000_000 == held(tmp_path)


def test_a_run_below_the_limit_does_not_measure_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path, range(3), 10**9)
    monkeypatch.setattr(eviction, "blobs_held", pytest.fail)
    a_run(tmp_path, range(3, 6), 10**9)

    assert 600_000 == held(tmp_path)


def test_where_nothing_can_go_nobody_looks_again_for_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, (1.0, 1000, 0.0))
    keep_within(store, 500, 1000)
    monkeypatch.setattr(eviction, "blobs_held", pytest.fail)

    keep_within(store, 500, 1000)


def test_a_note_that_is_no_number_is_measured_anew(store: Store) -> None:
    put(store, (1.0, 1000, HOUR))
    store.write([], [], [("room", "bytes", b"much")])
    keep_within(store, 500, 1)

    assert [] == left(store)


@pytest.mark.parametrize(("said", "bytes_"), [("", 20 << 30), ("0", None), ("none", None), ("5 GB", 5 * 10**9)])
def test_the_user_says_how_large_a_cache_may_be(monkeypatch: pytest.MonkeyPatch, said: str, bytes_: int | None) -> None:
    monkeypatch.setenv("DARKROOM_CACHE_SIZE", said)

    assert bytes_ == limit()


def test_a_limit_that_is_no_size_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_CACHE_SIZE", "plenty")
    with pytest.raises(UsageError, match='DARKROOM_CACHE_SIZE takes a size, not "plenty"'):
        open_cache(tmp_path, pytest.fail)


# Very many


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with 100,000 results and values, all small: rows are what is many."""
    folder = tmp_path_factory.mktemp("full")
    with closing(Store(folder, pytest.fail)) as store:
        for start in range(0, 100_000, 10_000):
            blobs = [Blob(hashlib.sha256(data).hexdigest(), data)
                     for data in (b"value %d" % name for name in range(start, start + 10_000))]  # fmt: skip
            store.write([Result(f"{blob.digest[::-1]}", (blob.digest,), "{}", 0.1, 0.0) for blob in blobs], blobs, [])
        with store.transaction() as index:
            index.execute("UPDATE blobs SET used = used - 86400")
    return folder


def test_gc_of_a_hundred_thousand_values_takes_little_memory_and_few_questions(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    rows = Store.rows

    def counted(store: Store, question: str, *values: object) -> list[tuple[Any, ...]]:
        asked.append(question)
        return rows(store, question, *values)

    monkeypatch.setattr(Store, "rows", counted)
    tracemalloc.start()
    try:
        report = gc(full, pytest.fail, most_bytes=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (100_000, 0) == (report.blobs, report.kept_blobs)
    assert peak < 16 << 20  # what Python holds: a lot of 20,000 names, never all of them
    assert len(asked) < 2_000  # a fiftieth of the values
