"""Listing, measuring, verifying, making room, emptying: what goes and what stays."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from graph.codec import Blob
from graph.errors import MissingError, UsageError
from graph.store import MARGIN, Result, Store
from graph.upkeep import MOST_AGE, clear, gc, ls, size, verify

ROOT = Path(__file__).parents[2]
LONG_AGO = time.time() - 100 * MARGIN


def quiet(message: str) -> None:
    raise AssertionError(f"warned: {message}")


def blob(data: bytes) -> Blob:
    return Blob(hashlib.sha256(data).hexdigest(), data)


def fill(folder: Path, *blobs: Blob, used: float = LONG_AGO) -> None:
    """Remember values, all last used then, the first one longest ago."""
    with closing(Store(folder, quiet)) as store:
        for age, kept in enumerate(blobs):
            recipe = f'{{"kind":"say","n":{age}}}'
            key = hashlib.sha256(recipe.encode()).hexdigest()
            store.write([Result(key, (kept.digest,), recipe, 0.1, LONG_AGO + age)], [kept], [])
            with store.transaction() as index:
                index.execute("UPDATE blobs SET used = ? WHERE digest = ?", (used + age, kept.digest))


def there(folder: Path, *blobs: Blob) -> list[bool]:
    with closing(Store(folder, quiet)) as store:
        return [store.blob(kept.digest) is not None for kept in blobs]


@contextmanager
def living(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the cache open as `store`, did something, and waits."""
    start = "import sys; from pathlib import Path; from graph.store import Store"
    program = f"{start}\nstore = Store(Path(sys.argv[1]), print)\n{code}\n"
    program += "print('ready', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


SMALL, LARGE, OTHER = blob(b"small"), blob(b"large" * 9000), blob(b"other" * 8000)


def test_ls_shows_the_newest_first(tmp_path: Path) -> None:
    fill(tmp_path, SMALL, LARGE)
    listing = ls(tmp_path, quiet, most=1)

    assert (2, 1) == (listing.results, len(listing.entries))
    assert ("say", len(LARGE.data), True) == (
        listing.entries[0].kind,
        listing.entries[0].bytes,
        listing.entries[0].is_whole,
    )


def test_size_counts_blobs_results_and_index(tmp_path: Path) -> None:
    fill(tmp_path, SMALL, LARGE)
    measured = size(tmp_path, quiet)

    assert (2, 2) == (measured.results, measured.blobs)
    assert len(SMALL.data) + len(LARGE.data) == measured.blob_bytes
    assert measured.index_bytes > 0


def test_verify_finds_nothing_wrong_with_a_sound_cache(tmp_path: Path) -> None:
    fill(tmp_path, SMALL, LARGE)

    assert (2, ()) == (verify(tmp_path, quiet).blobs, verify(tmp_path, quiet).dropped)


def test_verify_drops_what_is_damaged_and_keeps_the_rest(tmp_path: Path) -> None:
    fill(tmp_path, SMALL, LARGE, OTHER)
    with closing(Store(tmp_path, quiet)) as store:
        store.path(LARGE.digest).write_bytes(bytes(len(LARGE.data)))
        with store.transaction() as index:
            index.execute("UPDATE blobs SET data = x'00' WHERE digest = ?", (SMALL.digest,))

    assert {SMALL.digest, LARGE.digest} == set(verify(tmp_path, quiet).dropped)
    assert [False, False, True] == there(tmp_path, SMALL, LARGE, OTHER)


def test_gc_evicts_what_was_used_longest_ago_until_the_rest_fits(tmp_path: Path) -> None:
    fill(tmp_path, LARGE, SMALL, OTHER)
    report = gc(tmp_path, quiet, most_bytes=len(OTHER.data) + len(SMALL.data))

    assert (1, len(LARGE.data), 2) == (report.blobs, report.bytes, report.kept_blobs)
    assert [False, True, True] == there(tmp_path, LARGE, SMALL, OTHER)


def test_gc_evicts_what_is_too_old(tmp_path: Path) -> None:
    fill(tmp_path, LARGE, SMALL)

    assert 2 == gc(tmp_path, quiet, most_age=50 * MARGIN).blobs


def test_gc_keeps_results_for_plans(tmp_path: Path) -> None:
    fill(tmp_path, LARGE)
    gc(tmp_path, quiet, most_bytes=0)

    assert (1, False) == (ls(tmp_path, quiet).results, ls(tmp_path, quiet).entries[0].is_whole)


def test_gc_keeps_what_was_used_lately(tmp_path: Path) -> None:
    fill(tmp_path, LARGE, used=time.time() - MARGIN / 2)

    assert 0 == gc(tmp_path, quiet, most_bytes=0).blobs


def test_gc_keeps_what_a_living_process_touched(tmp_path: Path) -> None:
    fill(tmp_path, LARGE, OTHER)
    with living(tmp_path, f"store.touch(['{LARGE.digest}'])"):
        os.utime(next((tmp_path / "v2" / "living").iterdir()), (LONG_AGO, LONG_AGO))  # it began long ago
        with closing(Store(tmp_path, quiet)) as store, store.transaction() as index:
            index.execute("UPDATE blobs SET used = ?", (LONG_AGO + MARGIN,))
        assert 0 == gc(tmp_path, quiet, most_bytes=0).blobs


def test_gc_takes_what_a_dead_process_held(tmp_path: Path) -> None:
    fill(tmp_path, LARGE)
    with living(tmp_path, "") as process:
        os.utime(next((tmp_path / "v2" / "living").iterdir()), (LONG_AGO - 1, LONG_AGO - 1))
        assert 0 == gc(tmp_path, quiet, most_bytes=0).blobs
        process.kill()
        process.wait()

        assert 1 == gc(tmp_path, quiet, most_bytes=0).blobs
    assert [] == list((tmp_path / "v2" / "living").iterdir())


def test_gc_removes_old_files_that_no_row_names(tmp_path: Path) -> None:
    fill(tmp_path, LARGE)
    with closing(Store(tmp_path, quiet)) as store:
        for loose, age in ((OTHER, LONG_AGO), (blob(b"new" * 9000), time.time())):
            store.put(loose)
            os.utime(store.path(loose.digest), (age, age))

    assert 1 == gc(tmp_path, quiet).litter
    assert [True, False] == there(tmp_path, LARGE, OTHER)


def test_gc_forgets_rows_whose_file_is_gone(tmp_path: Path) -> None:
    fill(tmp_path, LARGE, SMALL)
    with closing(Store(tmp_path, quiet)) as store:
        store.path(LARGE.digest).unlink()

    assert 1 == gc(tmp_path, quiet).kept_blobs


def test_gc_forgets_trails_of_long_ago(tmp_path: Path) -> None:
    with closing(Store(tmp_path, quiet)) as store:
        store.write([], [], [("trail", "old", b"1"), ("trail", "new", b"2"), ("saved", "old", b"3")])
        with store.transaction() as index:
            index.execute("UPDATE notes SET made = ? WHERE name = ?", (time.time() - MOST_AGE - 1, b"old"))
    gc(tmp_path, quiet)
    with closing(Store(tmp_path, quiet)) as store:
        left = store.rows("SELECT space, name FROM notes WHERE space IN (?, ?)", b"trail", b"saved")

    assert {(b"trail", b"new"), (b"saved", b"old")} == set(left)


def test_clear_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path, LARGE, SMALL)

    assert (2, 2) == (clear(tmp_path, quiet).results, 2)
    assert (0, 0) == (size(tmp_path, quiet).results, size(tmp_path, quiet).blobs)
    assert [] == [path for path in (tmp_path / "v2" / "blobs").rglob("*") if path.is_file()]


def test_clear_refuses_while_another_process_lives(tmp_path: Path) -> None:
    fill(tmp_path, LARGE)
    with living(tmp_path, "") as process:
        with pytest.raises(UsageError, match=str(process.pid)):
            clear(tmp_path, quiet)
        assert [True] == there(tmp_path, LARGE)

        assert 1 == clear(tmp_path, quiet, force=True).blobs


def test_a_folder_without_a_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no cache"):
        ls(tmp_path, quiet)


def test_a_cache_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "blobs").touch()
    with pytest.raises(MissingError, match="cannot be used"):
        size(tmp_path, quiet)
