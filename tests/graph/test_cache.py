"""The cache: what comes back, what a fault of the disk costs, and how processes share it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import darkroom
from graph.cache import Cache, Disk, Memory, Result, default_folder, open_cache
from graph.codec import Blob, decode, encode
from graph.failpoints import arm, disarm
from graph.keys import key_of, recipe
from graph.store import Store
from graph.values import Conditioning, Denoiser, Latents, Picture, SavedFile, Tensor

ROOT = Path(__file__).parents[2]
PIXELS = Image.effect_noise((128, 128), 50).convert("RGB")
VALUES = [
    "text \udc80 ☂",
    7,
    7.5,
    True,
    None,
    ["a", "b"],
    Picture(PIXELS),
    Latents(Tensor("F32", (1, 2), b"12345678"), (b"state",), True),
    Conditioning(Tensor("F16", (1, 5000), bytes(10_000))),
    Denoiser("ab" * 32, "unet", "sd1"),
]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path, warnings: list[str]) -> Iterator[Cache]:
    opened: Cache = Memory() if request.param == "memory" else Disk(tmp_path / "c", warnings.append)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def result(number: int, *blobs: Blob, seconds: float = 0.001) -> Result:
    text = recipe("say", 1, {"number": number}, {})
    return Result(key_of(text), tuple(blob.digest for blob in blobs), text, seconds, 1.0)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_kind_of_value_comes_back(cache: Cache, value: object) -> None:
    blob = encode(value)
    cache.remember(result(1, blob), [blob])
    cache.flush()
    found = cache.result(result(1).key)

    assert found
    assert value == decode(cache.blob(found.outputs[0]) or b"")


def test_what_was_just_remembered_is_known_before_it_is_committed(cache: Cache) -> None:
    blob = encode("now")
    expected = result(1, blob)
    cache.remember(expected, [blob])

    assert {expected.key: expected} == cache.results([expected.key, "absent"])
    assert (blob.data, True, None, False) == (
        cache.blob(blob.digest),
        cache.holds(blob.digest),
        cache.blob("0" * 64),
        cache.holds("0" * 64),
    )
    assert {blob.digest} == cache.touch([blob.digest, "0" * 64])


def test_the_last_keys_of_a_workflow_are_kept_by_name(cache: Cache) -> None:
    cache.note_latest("one", {"a": "1", "b": "2"})
    cache.note_latest("one", {"b": "3"})
    cache.flush()

    assert [{"a": "1", "b": "3"}, {}] == [cache.latest("one"), cache.latest("two")]


def test_last_keys_that_two_processes_note_at_once_are_all_kept(folder: Path) -> None:
    with closing(Disk(folder, print)) as one, closing(Disk(folder, print)) as other:
        one.note_latest("flow", {"a": "1", "b": "1"})
        other.note_latest("flow", {"b": "2", "c": "2"})
        other.note_latest("another", {"a": "3"})
        one.flush()
        other.flush()
    with closing(Disk(folder, print)) as later:
        assert {"a": "1", "b": "2", "c": "2"} == later.latest("flow")
        assert {"a": "3"} == later.latest("another")


def test_last_keys_that_wait_are_known(folder: Path) -> None:
    with closing(Disk(folder, print)) as disk:
        disk.note_latest("flow", {"a": "1"})
        disk.note_latest("flow", {"b": "2"})
        before = disk.latest("flow")
        disk.flush()
        disk.note_latest("flow", {"a": "3"})

        assert {"a": "1", "b": "2"} == before
        assert {"a": "3", "b": "2"} == disk.latest("flow")


def test_saved_files_and_digests_of_files_are_noted(cache: Cache) -> None:
    file = SavedFile("/out/a.png", "ab", 3)
    cache.note_saved("key", file)
    cache.note_file_digest("stat", "cd")
    cache.flush()

    assert (file, None) == (cache.saved("key"), cache.saved("other"))
    assert ("cd", None) == (cache.file_digest("stat"), cache.file_digest("other"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=9000), st.booleans()), max_size=12))
def test_disk_and_memory_answer_alike(folder: Path, steps: list[tuple[int, bytes, bool]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    memory = Memory()
    for number, data, reopens in steps:
        with closing(Disk(folder, print)) as disk:
            blob = encode(data)
            for each in (memory, disk):
                each.remember(result(number, blob), [blob])
            found = memory.result(result(number).key)
            assert found == disk.result(result(number).key)
            if reopens:
                disk.flush()
            assert memory.blob(blob.digest) == disk.blob(blob.digest)
    with closing(Disk(folder, print)) as disk:
        keys = [result(number).key for number in range(6)]
        assert memory.results(keys) == disk.results(keys)


def test_memory_drops_what_was_used_longest_ago() -> None:
    blobs = [encode(letter * 100) for letter in "abc"]
    memory = Memory(most_bytes=300)
    for number, blob in enumerate(blobs):
        memory.blob(blobs[0].digest)
        memory.remember(result(number, blob), [blob])

    assert [True, False, True] == [memory.holds(blob.digest) for blob in blobs]


def test_what_was_remembered_last_comes_first(folder: Path) -> None:
    with closing(Disk(folder, print)) as disk:
        for number in range(20):
            disk.remember(result(number), [])

        assert [result(number).key for number in range(19, 9, -1)] == [found.key for found in disk.recent(10)]


def test_long_work_is_committed_at_once(folder: Path, warnings: list[str]) -> None:
    blob = encode("long")
    with closing(Disk(folder, warnings.append)) as one, closing(Disk(folder, warnings.append)) as other:
        one.remember(result(1, blob, seconds=2.0), [blob])

        assert other.result(result(1).key)


def test_trivial_work_is_committed_soon(folder: Path, warnings: list[str]) -> None:
    blob = encode("short")
    with closing(Disk(folder, warnings.append)) as one, closing(Disk(folder, warnings.append)) as other:
        one.remember(result(1, blob), [blob])

        assert until(lambda: other.result(result(1).key) is not None)


def until(happened: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return happened()


def test_noting_the_same_again_writes_nothing(folder: Path, warnings: list[str]) -> None:
    with closing(Disk(folder, warnings.append)) as disk:
        disk.note_latest("w", {"a": "1"})
        disk.note_file_digest("s", "d")
        disk.flush()
        before = (folder / "v2" / "index-wal").stat().st_size
        disk.note_latest("w", {"a": "1"})
        disk.note_file_digest("s", "d")
        disk.flush()

        assert before == (folder / "v2" / "index-wal").stat().st_size


def test_a_folder_that_cannot_be_made_gives_memory(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "file").touch()
    cache = open_cache(tmp_path / "file", warnings.append)
    cache.remember(result(1), [])

    assert cache.result(result(1).key)
    assert 1 == len(warnings)


def test_a_folder_that_vanishes_costs_one_warning(folder: Path, warnings: list[str]) -> None:
    blobs = [encode(letter * 20_000) for letter in "abc"] + [encode("small")]
    with closing(Disk(folder, warnings.append)) as disk:
        disk.remember(result(9, blobs[0]), [blobs[0]])
        disk.flush()
        shutil.rmtree(folder)
        for number, blob in enumerate(blobs[1:]):
            disk.remember(result(number, blob), [blob])
            disk.flush()

        assert [blob.data for blob in blobs[1:]] == [disk.blob(blob.digest) for blob in blobs[1:]]
    assert 1 == len(warnings)


FULL = """
import resource, sys, pathlib
from graph.cache import open_cache, Result
from graph.codec import encode
warnings = []
cache = open_cache(pathlib.Path(sys.argv[1]), warnings.append)
first = encode("first" * 3000)
cache.remember(Result("first", (first.digest,), "r", 1.0, 1.0), [first])
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
blobs = [encode(str(number) * 3000) for number in range(40)] + [encode("large" * 30_000)]
for number, blob in enumerate(blobs):
    cache.remember(Result(str(number), (blob.digest,), "r", 1.0, 1.0), [blob])
assert all(cache.blob(blob.digest) == blob.data for blob in [first, *blobs])
assert all(cache.result(str(number)) for number in range(41))
cache.close()
assert len(warnings) == 1, warnings
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_costs_one_warning(folder: Path, warnings: list[str]) -> None:
    process = python(FULL, folder)
    assert (0, "") == (process.wait(), process.communicate()[1])

    with closing(Disk(folder, warnings.append)) as disk:
        assert disk.result("first")
    assert [] == warnings


def test_an_index_that_breaks_in_mid_run_costs_one_warning(folder: Path, warnings: list[str]) -> None:
    blob = encode("x")
    with closing(Disk(folder, warnings.append)) as disk:
        with disk._store.transaction() as index:
            index.execute("DROP TABLE blobs")
        disk.remember(result(1, blob), [blob])
        disk.flush()
        assert blob.data == disk.blob(blob.digest)
    with closing(Disk(folder, warnings.append)) as disk:
        assert disk.result(result(1).key)
    assert 1 == len(warnings)


SHARE = """
import sys, pathlib
from graph.cache import Disk, Result
from graph.codec import encode
warnings = []
cache = Disk(pathlib.Path(sys.argv[1]), warnings.append)
for number in range(60):
    own, common = encode(f"{sys.argv[2]}-{number}" * 10), encode(f"{number}-" * 5000)
    for key, blob in ((f"{sys.argv[2]}-{number}", own), (str(number), common)):
        cache.remember(Result(key, (blob.digest,), key, (number % 3) / 10, 1.0), [blob])
        assert cache.blob(blob.digest) == blob.data
        assert cache.result(key).outputs == (blob.digest,)
cache.close()
assert not warnings, warnings
"""


def test_eight_processes_share_a_cache(folder: Path, warnings: list[str]) -> None:
    processes = [python(SHARE, folder, number) for number in range(8)]
    errors = [process.communicate(timeout=60)[1] for process in processes]

    assert [""] * 8 == errors
    with closing(Disk(folder, warnings.append)) as disk:
        for number in range(60):
            found = disk.result(str(number))
            assert found
            assert encode(f"{number}-" * 5000).data == disk.blob(found.outputs[0])
            assert all(disk.result(f"{process}-{number}") for process in range(8))
    assert [] == warnings


HOLD = """
import sys, pathlib
from graph.store import Store
store = Store(pathlib.Path(sys.argv[1]), print)
with store.transaction() as index:
    index.execute("INSERT INTO results (key) VALUES ('half')")
    print("locked", flush=True)
    sys.stdin.read() or __import__("signal").pause()
"""


def test_a_process_killed_while_it_writes_harms_nobody(folder: Path, warnings: list[str]) -> None:
    blob = encode("after")
    with closing(Disk(folder, warnings.append)) as disk:
        process = python(HOLD, folder)
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        threading.Timer(0.2, process.send_signal, [signal.SIGKILL]).start()
        disk.remember(result(1, blob, seconds=1.0), [blob])
        process.communicate()

    with closing(Disk(folder, warnings.append)) as disk:
        assert disk.result(result(1).key)
        assert disk.result("half") is None
    assert [] == warnings


def test_threads_share_a_cache(folder: Path, warnings: list[str]) -> None:
    def work(start: int) -> None:
        for number in range(start, start + 50):
            blob = encode(f"{number}" * (1 + number % 4 * 1000))
            disk.remember(result(number, blob), [blob])
            found.append(disk.blob(blob.digest) == blob.data)

    found: list[bool] = []
    with closing(Disk(folder, warnings.append)) as disk:
        threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 100, 25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [True] * 200 == found
    assert [] == warnings


def test_a_closed_cache_may_be_closed_again(folder: Path, warnings: list[str]) -> None:
    disk = Disk(folder, warnings.append)
    disk.close()
    disk.close()

    assert disk.result("key") is None
    assert [] == warnings


def test_the_default_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path))
    assert tmp_path == default_folder()


@pytest.mark.parametrize(
    ("platform", "folder"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_the_default_folder_is_where_the_platform_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, platform: str, folder: str
) -> None:
    for name in ("DARKROOM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)

    assert Path.home() / folder / "darkroom" == default_folder()


def test_an_index_that_is_full_costs_one_warning(folder: Path, warnings: list[str]) -> None:
    with closing(Disk(folder, warnings.append)) as disk:
        pages = disk._store.rows("PRAGMA page_count")[0][0]
        disk._store.rows(f"PRAGMA max_page_count = {pages + 10}")
        blobs = [encode(str(number) * 5000) for number in range(40)]
        for number, blob in enumerate(blobs):
            disk.remember(result(number, blob, seconds=1.0), [blob])

        assert [blob.data for blob in blobs] == [disk.blob(blob.digest) for blob in blobs]
    assert 1 == len(warnings)
    with closing(Disk(folder, warnings.append)) as disk:
        assert disk.result(result(0).key)
    assert 1 == len(warnings)


def test_after_short_work_nobody_waits_for_the_disk(folder: Path, warnings: list[str]) -> None:
    written, go_on = threading.Event(), threading.Event()

    def stand_still(point: str) -> None:
        if point == "blob.fsync":
            written.set()
            assert go_on.wait(60)

    blobs = [encode(letter * 20_000) for letter in "ab"]
    disk = Disk(folder, warnings.append)
    arm(stand_still)
    try:
        disk.remember(result(0, blobs[0]), [blobs[0]])
        assert written.wait(60)
        disk.remember(result(1, blobs[1]), [blobs[1]])

        assert [blob.data for blob in blobs] == [disk.blob(blob.digest) for blob in blobs]
        assert [result(0, blobs[0]), result(1, blobs[1])] == [disk.result(result(number).key) for number in (0, 1)]
        assert frozenset(blob.digest for blob in blobs) == disk.touch(blob.digest for blob in blobs)
    finally:
        go_on.set()
        disarm()
        disk.close()
    with closing(Disk(folder, warnings.append)) as disk:
        assert [blob.data for blob in blobs] == [disk.blob(blob.digest) for blob in blobs]
    assert [] == warnings


def test_what_could_not_be_written_waits_in_front_of_what_came_later(folder: Path, warnings: list[str]) -> None:
    first, second = encode("first"), encode("second")
    index = folder / "v2" / "index"
    with closing(Disk(folder, warnings.append)) as disk, closing(sqlite3.connect(index, isolation_level=None)) as other:
        disk._store.rows("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        disk.remember(result(1, first, seconds=1.0), [first])
        disk.remember(result(2, second, seconds=1.0), [second])
        assert [first.data, second.data] == [disk.blob(first.digest), disk.blob(second.digest)]
        other.execute("ROLLBACK")
    with closing(Disk(folder, warnings.append)) as disk:
        assert [result(1, first), result(2, second)] == [
            (disk.result(result(number).key) or result(0))._replace(seconds=0.001) for number in (1, 2)
        ]
    assert [] == warnings


def test_a_folder_that_may_only_be_read_costs_one_warning() -> None:
    """Root may write anywhere, so another user tries."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        Disk(folder / "cache", print).close()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        if not (child := os.fork()):
            code = 1
            try:
                os.setuid(os.getuid() or 65534)
                told: list[str] = []
                cache = open_cache(folder / "cache", told.append)
                blob = encode("kept")
                cache.remember(result(1, blob), [blob])
                cache.close()
                code = int((1, blob.data) != (len(told), cache.blob(blob.digest)))
            finally:
                os._exit(code)

        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_cache_that_is_closed_just_when_its_writer_begins_does_not_hang(tmp_path: Path) -> None:
    disk = Disk(tmp_path, print)
    closing, began = threading.Thread(target=disk.close, daemon=True), threading.Event()

    class Due(threading.Event):
        def clear(self) -> None:
            closing.start()
            began.set()
            disk._ending.wait()
            self.wait()
            super().clear()

    disk._due = Due()
    disk.note_file_digest("a", "1")
    began.wait(timeout=60)
    closing.join(timeout=10)

    assert not closing.is_alive()


def test_a_folder_below_the_home_is_found_as_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell puts the home into --cache=~/kept."""
    monkeypatch.setenv("HOME", str(tmp_path))
    open_cache(Path("~/kept"), print).close()

    assert (tmp_path / "kept" / "v2" / "index").exists()


def test_results_that_others_computed_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared cache may tell of a thousand at once; a kill that loses some costs one more question."""
    batches: list[int] = []
    write = Store.write

    def counted(store: Store, *batch: Any) -> None:
        batches.append(1)
        write(store, *batch)

    monkeypatch.setattr(Store, "write", counted)
    with closing(Disk(tmp_path, print)) as cache:
        for number in range(500):
            cache.remember(Result(f"{number:064}", ("0" * 64,), "{}", 9.0, 0.0), [])

    assert len(batches) < 50


def test_what_two_processes_note_of_one_workflow_is_kept(folder: Path) -> None:
    with closing(Disk(folder, print)) as one, closing(Disk(folder, print)) as other:
        assert {} == one.latest("w")
        other.note_latest("w", {"b": "2", "c": "3"})
        other.flush()
        one.note_latest("w", {"a": "1", "c": "4"})

    with closing(Disk(folder, print)) as disk:
        assert {"a": "1", "b": "2", "c": "4"} == disk.latest("w")


def test_the_workflow_that_had_a_key_last_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    for name in ("newer", "b", "later", "a"):
        now[0] += 1
        with closing(Disk(folder, print)) as disk:
            disk.note_latest(name, {"n": "0"} if name in ("a", "b") else {"m": "1", name: "2"})

    with closing(Disk(folder, print)) as disk:
        assert ("later", "m") == disk.node_of("1")
        assert ("a", "n") == disk.node_of("0")


def test_a_session_with_the_cache_none_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The word of --cache means the same in Python."""
    monkeypatch.chdir(tmp_path)

    session = darkroom.open_session(cache="none")
    session.cache.note("space", "name", b"value")
    session.cache.close()

    assert [] == list(tmp_path.iterdir())
