"""The store: what a reader may believe after damage, and what survives."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.codec import Blob
from graph.store import INLINE, MARGIN, Result, Store

SMALL, LARGE = b"small" * 10, bytes(range(256)) * 64


def blob(data: bytes) -> Blob:
    return Blob(hashlib.sha256(data).hexdigest(), data)


def result(of: Blob, recipe: str = '{"kind":"say"}') -> Result:
    key = hashlib.sha256(recipe.encode("utf-8", "surrogatepass")).hexdigest()
    return Result(key, (of.digest,), recipe, 0.5, 1.0)


class Opened:
    """A store, what it warned of, and ways to harm it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self.store = Store(folder, self.warnings.append)

    def put(self, data: bytes) -> Blob:
        kept = blob(data)
        self.store.write([result(kept)], [kept], [("space", "name", b"value")])
        return kept

    def again(self) -> Store:
        self.store.close()
        self.store = Store(self.folder, self.warnings.append)
        return self.store

    def sql(self, text: str, *values: object) -> None:
        with self.store.transaction() as index:
            index.execute(text, values)

    def replace(self, kept: Blob, data: bytes) -> None:
        """Put other bytes where those of a blob are."""
        if len(kept.data) > INLINE:
            self.store.path(kept.digest).write_bytes(data)
        else:
            self.sql("UPDATE blobs SET data = ? WHERE digest = ?", data, kept.digest)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    lab = Opened(tmp_path / "cache")
    yield lab
    lab.store.close()


@pytest.mark.parametrize("data", [b"", SMALL, b"x" * INLINE, b"x" * (INLINE + 1), LARGE])
def test_a_blob_comes_back_after_reopening(opened: Opened, data: bytes) -> None:
    kept = opened.put(data)

    assert data == opened.again().blob(kept.digest)
    assert [] == opened.warnings


def test_results_and_notes_come_back_after_reopening(opened: Opened) -> None:
    expected = result(opened.put(SMALL))

    assert expected == opened.again().result(expected.key)
    assert {"name": b"value"} == opened.store.notes("space")
    assert b"value" == opened.store.note("space", "name")


TEXT = st.text(st.characters(exclude_categories=()), min_size=1)  # lone surrogates too


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT, st.floats(0, 1e9), st.binary(max_size=20_000))
def test_anything_a_result_may_hold_survives(opened: Opened, recipe: str, seconds: float, data: bytes) -> None:
    kept = blob(data)
    expected = Result(result(kept, recipe).key, (kept.digest, kept.digest), recipe, seconds, 2.0)
    opened.store.write([expected], [kept], [("s", recipe, data)])

    assert expected == opened.store.result(expected.key)
    assert data == opened.store.blob(kept.digest)
    assert data == opened.store.note("s", recipe)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda data: data[:7] + bytes([data[7] ^ 1]) + data[8:],
    "truncated": lambda data: data[:-1],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "grown": lambda data: data + b"\0",
    "swapped": lambda data: b"another value's bytes",
}


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_blob_is_dropped_with_one_warning(opened: Opened, data: bytes, damage: str) -> None:
    kept = opened.put(data)
    opened.replace(kept, DAMAGE[damage](data))

    assert [None, None] == [opened.store.blob(kept.digest), opened.store.blob(kept.digest)]
    assert 1 == len(opened.warnings)
    assert {} == opened.store.held([kept.digest])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])
def test_a_damaged_blob_can_be_remembered_again(opened: Opened, data: bytes) -> None:
    kept = opened.put(data)
    opened.replace(kept, data[:-1])
    opened.put(data)

    assert data == opened.store.blob(kept.digest)
    assert [] == opened.warnings


def test_a_blob_that_became_another_type_is_dropped(opened: Opened) -> None:
    kept = opened.put(SMALL)
    opened.sql("UPDATE blobs SET data = 7")

    assert opened.store.blob(kept.digest) is None


CHANGES = ("outputs = x'00ff'", "outputs = 3", "recipe = x'ff'", "seconds = 'long'", "made = 0", "seal = x''")


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_result_was_never_remembered(opened: Opened, change: str) -> None:
    key = result(opened.put(SMALL)).key
    opened.sql(f"UPDATE results SET {change}")

    assert [None, None] == [opened.store.result(key), opened.store.result(key)]
    assert 1 == len(opened.warnings)


def test_results_that_swapped_their_outputs_are_not_believed(opened: Opened) -> None:
    one, two = blob(b"one"), blob(b"two")
    opened.store.write([result(one, "1"), result(two, "2")], [one, two], [])
    opened.sql("UPDATE results SET outputs = ? WHERE recipe = ?", two.digest.encode(), b"1")

    assert {result(two, "2").key} == opened.store.results([result(one, "1").key, result(two, "2").key]).keys()


def test_a_damaged_note_was_never_made(opened: Opened) -> None:
    opened.put(SMALL)
    opened.sql("UPDATE notes SET value = x'00'")

    assert {} == opened.store.notes("space")
    assert opened.store.note("space", "name") is None


def test_a_blob_file_that_is_gone_counts_as_evicted(opened: Opened) -> None:
    kept = opened.put(LARGE)
    opened.store.path(kept.digest).unlink()

    assert opened.store.blob(kept.digest) is None
    assert {} == opened.store.held([kept.digest])
    assert [] == opened.warnings


def test_a_blob_that_is_there_is_not_written_again(opened: Opened) -> None:
    kept = opened.put(LARGE)
    before = opened.store.path(kept.digest).stat().st_ino
    opened.put(LARGE)

    assert before == opened.store.path(kept.digest).stat().st_ino


def test_a_blob_evicted_between_its_file_and_its_row_is_written_again(opened: Opened) -> None:
    kept = blob(LARGE)
    opened.store.put(kept)
    opened.store.path(kept.digest).unlink()
    opened.put(LARGE)

    assert kept.data == opened.store.blob(kept.digest)


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as index:
        index.execute("PRAGMA user_version = 99")


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _without_tables(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as index:
        index.execute("CREATE TABLE other (a)")


@pytest.mark.parametrize("harm", [_garbage, _foreign, _half, _without_tables])
def test_an_index_that_cannot_be_read_is_moved_aside(opened: Opened, harm: Callable[[Path], None]) -> None:
    kept = opened.put(LARGE)
    opened.store.close()
    harm(opened.folder / "v2" / "index")
    opened.store = Store(opened.folder, opened.warnings.append)

    assert opened.store.result(result(kept).key) is None
    assert 1 == len(opened.warnings)
    assert (opened.folder / "v2" / "index.broken").exists()


def test_after_a_lost_index_the_files_are_found_again(opened: Opened) -> None:
    kept = opened.put(LARGE)
    opened.store.close()
    for path in (opened.folder / "v2").glob("index*"):
        path.unlink()
    opened.store = Store(opened.folder, opened.warnings.append)
    before = opened.store.path(kept.digest).stat().st_ino
    opened.put(LARGE)

    assert before == opened.store.path(kept.digest).stat().st_ino
    assert [] == opened.warnings


def test_a_leftover_log_does_not_fill_a_new_index(opened: Opened) -> None:
    key = result(opened.put(SMALL)).key
    log = (opened.folder / "v2" / "index-wal").read_bytes()
    opened.store.close()
    (opened.folder / "v2" / "index").unlink()
    (opened.folder / "v2" / "index-wal").write_bytes(log)
    opened.store = Store(opened.folder, opened.warnings.append)

    assert opened.store.result(key) is None
    opened.put(SMALL)
    assert opened.again().result(key) is not None


def test_litter_of_a_dead_process_is_removed_when_opening(opened: Opened) -> None:
    litter = opened.folder / "v2" / "writing" / "123-abcdef01-1-000000000000"
    litter.write_bytes(b"half")
    opened.again()

    assert not litter.exists()


def test_what_a_living_process_writes_is_not_litter(opened: Opened) -> None:
    part = opened.folder / "v2" / "writing" / f"{opened.store.name}-1-000000000000"
    part.write_bytes(b"half")
    with closing(Store(opened.folder, opened.warnings.append)):
        assert part.exists()


def test_the_living_are_known_by_their_lock(opened: Opened) -> None:
    (opened.folder / "v2" / "living" / f"{os.getpid()}-00000000").touch()

    assert {opened.store.name} == opened.store.living().keys()


def test_a_touch_writes_only_what_was_not_used_lately(opened: Opened) -> None:
    kept = opened.put(SMALL)
    used = opened.store.held([kept.digest])
    opened.store.touch([kept.digest])
    assert used == opened.store.held([kept.digest])

    opened.sql("UPDATE blobs SET used = ?", time.time() - 2 * MARGIN)
    assert {kept.digest} == opened.store.touch([kept.digest, "absent"])
    assert opened.store.held([kept.digest])[kept.digest] >= used[kept.digest]


def test_two_stores_see_each_other(opened: Opened) -> None:
    with closing(Store(opened.folder, opened.warnings.append)) as other:
        kept = opened.put(LARGE)

        assert LARGE == other.blob(kept.digest)
        assert 2 == len(other.living())
