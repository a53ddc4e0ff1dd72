"""Machines that share results by a folder: what travels, what stays, and what a remote that misbehaves can do."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from graph import tiered
from graph.cache import Cache, Memory, open_cache
from graph.codec import Blob, encode
from graph.errors import MissingError, UsageError
from graph.keys import key_of
from graph.remote import Remote, shown
from graph.store import Result, Store
from graph.tiered import Tiered, answers
from tests.graph.lab import Lab

WORKFLOW = """
nodes:
  words: {use: open, path: words.txt}
  said:  {use: say, text: hello, times: 3}
  all:   {use: join, a: $words, b: $said}
  b:     {use: paint, size: 64}
  c:     {use: frame, image: $b}
outputs: {told: $all, painted: $c}
"""
NODES = {"words", "said", "all", "b", "c"}


@dataclass
class Machine(Lab):
    """A machine with a cache of its own, before a shared one."""

    url: str = ""

    def open(self) -> Cache:
        return Tiered(open_cache(self.cache_folder, self.warnings.append), Remote(self.url), self.warnings.append)


class Spied(MemoryFileSystem):
    """A file system in memory that counts what it is asked for, and that can be broken."""

    protocol = "spied"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    asked: list[str] = []
    broken: set[str] = set()
    holding = threading.Event()

    def cat_ranges(self, paths: list[str], *args: Any, **options: Any) -> Any:
        self._ask("read")
        return super().cat_ranges(paths, *args, **options)

    def cat_file(self, path: str, *args: Any, **options: Any) -> Any:
        if "/blobs/" in path:
            self._ask("blob")
        return super().cat_file(path, *args, **options)

    def pipe_file(self, path: str, *args: Any, **options: Any) -> Any:
        self._ask("write")
        return super().pipe_file(path, *args, **options)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.broken:
            raise PermissionError(f"no {what} for you")
        if f"slow {what}" in self.broken:
            self.holding.wait(60)


@pytest.fixture
def spied() -> Iterator[str]:
    """The URL of a file system that is watched."""
    fsspec.register_implementation("spied", Spied, clobber=True)
    Spied.holding.clear()
    yield f"spied://{uuid.uuid4()}"
    Spied.holding.set()
    Spied.broken.clear()
    Spied.asked.clear()
    Spied.store.clear()


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/share [x]*" if request.param == "folder" else f"memory://{uuid.uuid4()}"


def machine(tmp_path: Path, name: str, url: str, words: str = "some words") -> Machine:
    (tmp_path / name).mkdir()
    (tmp_path / name / "words.txt").write_text(words)
    return Machine(tmp_path / name, url=url)


def objects(url: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(url)
    return sorted(path.removeprefix(files._strip_protocol(root)) for path in files.find(root))


# What travels


def test_what_one_machine_computed_another_finds(tmp_path: Path, url: str) -> None:
    one, two = machine(tmp_path, "one", url), machine(tmp_path, "two", url)
    first = one.run(WORKFLOW)
    second = two.run(WORKFLOW)

    assert dict.fromkeys(NODES, "run") == first.actions
    assert dict.fromkeys(NODES, "hit") == second.actions
    assert first.outputs == second.outputs
    assert [] == one.warnings + two.warnings


def test_what_was_found_there_is_kept_here(tmp_path: Path, url: str) -> None:
    machine(tmp_path, "one", url).run(WORKFLOW)
    two = machine(tmp_path, "two", url)
    two.run(WORKFLOW)
    alone = Lab(two.folder)

    assert dict.fromkeys(NODES, "hit") == alone.run(WORKFLOW).actions


def test_a_machine_runs_what_is_not_there(tmp_path: Path, url: str) -> None:
    machine(tmp_path, "one", url).run(WORKFLOW)
    two = machine(tmp_path, "two", url, words="other words")

    assert dict.fromkeys(NODES, "hit") | {"words": "run", "all": "run"} == two.run(WORKFLOW).actions


def test_the_layout_is_the_documented_one(tmp_path: Path, url: str) -> None:
    one = machine(tmp_path, "one", url)
    one.run(WORKFLOW)
    keys = {part.key for part in one.plan(WORKFLOW).steps}
    found = objects(url)

    assert {f"/v1/results/{key[:2]}/{key}.json" for key in keys} == {path for path in found if "/results/" in path}
    assert {f"/v1/blobs/{name[:2]}/{name}" for name in (Path(path).name for path in found if "/blobs/" in path)} == {
        path for path in found if "/blobs/" in path
    }
    assert ["results", "blobs", "workflows"] == [
        part for part in ("results", "blobs", "workflows", "writing") if any(f"/{part}/" in path for path in found)
    ]


def test_values_are_fetched_when_they_are_needed(tmp_path: Path, spied: str) -> None:
    machine(tmp_path, "one", spied).run(WORKFLOW)
    Spied.asked.clear()
    two = machine(tmp_path, "two", spied)
    two.plan(WORKFLOW)

    assert 0 == Spied.asked.count("blob")
    two.run(WORKFLOW)
    assert 2 == Spied.asked.count("blob")  # the two outputs


def test_a_plan_of_fifty_nodes_makes_three_round_trips(tmp_path: Path, spied: str) -> None:
    chain = [f"  n{at}: {{use: join, a: $n{at - 1}, b: x}}" for at in range(1, 50)]
    text = "\n".join(["nodes:", "  n0: {use: say, text: hello}", *chain, "outputs: {last: $n49}"])
    machine(tmp_path, "one", spied).run(text)
    Spied.asked.clear()
    plan = machine(tmp_path, "two", spied).plan(text)

    assert {"hit"} == {part.action for part in plan.steps}
    assert Spied.asked.count("read") <= 3


def test_a_run_that_finds_everything_here_asks_nothing_there(tmp_path: Path, spied: str) -> None:
    one = machine(tmp_path, "one", spied)
    one.run(WORKFLOW)
    Spied.asked.clear()
    one.run(WORKFLOW)

    assert [] == Spied.asked


def test_a_value_that_was_evicted_here_is_fetched_and_not_computed(tmp_path: Path, url: str) -> None:
    one = machine(tmp_path, "one", url)
    one.run(WORKFLOW)
    with closing(Store(one.cache_folder, pytest.fail)) as store, store.transaction() as index:
        index.execute("DELETE FROM blobs")

    assert dict.fromkeys(NODES, "hit") == one.run(WORKFLOW).actions


def test_a_cache_in_memory_can_have_a_shared_one_behind_it(url: str) -> None:
    value, text = encode("hello"), '{"kind":"say"}'
    result = Result(key_of(text), (value.digest,), text, 1.0, 1.0)
    one, two = (Tiered(Memory(), Remote(url), pytest.fail) for _ in range(2))
    one.remember(result, [value])
    one.close()

    assert (result, value.data) == (two.result(result.key), two.blob(value.digest))


# What stays at home


def test_files_that_were_written_and_read_stay_at_home(tmp_path: Path, url: str) -> None:
    one, two = machine(tmp_path, "one", url), machine(tmp_path, "two", url)
    text = "nodes:\n  b: {use: paint}\n  w: {use: write, image: $b}\noutputs: {file: $w}"
    one.run(text)

    assert {"b": "hit", "w": "run"} == two.run(text).actions
    files, root = fsspec.core.url_to_fs(url)
    assert not [path for path in files.find(root) if str(tmp_path / "one").encode() in files.cat_file(path)]


# What misbehaves


def spoil(url: str, part: str, data: bytes) -> int:
    """Overwrite every object of a kind."""
    files, root = fsspec.core.url_to_fs(url)
    found = [path for path in files.find(root) if f"/{part}/" in path]
    for path in found:
        files.pipe_file(path, data)
    return len(found)


@pytest.mark.parametrize("data", [b"", b"torn", b"[" * 100_000, b"{}", b"null", bytes(2 << 20)])
@pytest.mark.parametrize("part", ["results", "blobs", "workflows"])
def test_an_object_that_does_not_fit_its_name_is_as_if_it_were_not_there(
    tmp_path: Path, url: str, part: str, data: bytes
) -> None:
    first = machine(tmp_path, "one", url).run(WORKFLOW)
    assert spoil(url, part, data)
    two = machine(tmp_path, "two", url)

    assert first.outputs == two.run(WORKFLOW).outputs
    assert [] == two.warnings


def test_a_damaged_value_is_put_right_by_who_computes_it_again(tmp_path: Path, url: str) -> None:
    machine(tmp_path, "one", url).run(WORKFLOW)
    files, root = fsspec.core.url_to_fs(url)
    for path in [path for path in files.find(root) if "/blobs/" in path]:
        files.pipe_file(path, bytes(files.info(path)["size"]))
    machine(tmp_path, "two", url).run(WORKFLOW)
    three = machine(tmp_path, "three", url)

    assert dict.fromkeys(NODES, "hit") == three.run(WORKFLOW).actions


def test_a_result_under_another_key_is_not_believed(tmp_path: Path, url: str) -> None:
    one = machine(tmp_path, "one", url)
    one.run(WORKFLOW)
    files, root = fsspec.core.url_to_fs(url)
    results = [path for path in files.find(root) if "/results/" in path]
    for path, data in [(path, files.cat_file(other)) for path, other in pairwise(results)]:
        files.pipe_file(path, data)

    assert first_outputs(one) == machine(tmp_path, "two", url).run(WORKFLOW).outputs


@pytest.mark.parametrize("data", [b'{"darkroom":1,"value":' + b"[" * 100_000, b"neither JSON nor tensors", b""])
def test_a_value_that_is_none_is_computed(tmp_path: Path, url: str, data: bytes) -> None:
    ready = next(part.ready for part in machine(tmp_path, "one", url).plan(WORKFLOW).steps if part.step.name == "b")
    assert ready
    forged = Blob(hashlib.sha256(data).hexdigest(), data)
    Remote(url).put_blob(forged)
    Remote(url).put_result(Result(ready.key, (forged.digest,), ready.recipe, 1.0, 1.0))
    two = machine(tmp_path, "two", url)

    assert first_outputs(machine(tmp_path, "three", "memory://empty")) == two.run(WORKFLOW).outputs


def first_outputs(lab: Lab) -> Any:
    return Lab(lab.folder).run(WORKFLOW).outputs


def test_a_remote_that_cannot_be_reached_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = machine(tmp_path, "one", f"file://{tmp_path}/file/below")

    assert one.run(WORKFLOW).ok
    assert 1 == len(one.warnings)
    assert "the remote cache is left alone for the rest of this run: " in one.warnings[0]


def test_a_remote_that_cannot_be_written_is_read_all_the_same(tmp_path: Path, spied: str) -> None:
    machine(tmp_path, "one", spied).run(WORKFLOW)
    Spied.broken.add("write")
    two = machine(tmp_path, "two", spied, words="other words")
    actions = two.run(WORKFLOW).actions

    assert dict.fromkeys(NODES, "hit") | {"words": "run", "all": "run"} == actions
    assert ["nothing more is handed on to the remote cache in this run: no write for you"] == two.warnings


def test_a_remote_that_is_slow_to_answer_is_left_alone(
    tmp_path: Path, spied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = tiered._within
    monkeypatch.setattr(tiered, "_within", lambda seconds, ask: within(0.1, ask))
    Spied.broken.add("slow read")
    one = machine(tmp_path, "one", spied)

    assert one.run(WORKFLOW).ok
    assert ["the remote cache is left alone for the rest of this run: no answer in 0 s"] == one.warnings


def test_a_remote_that_is_slow_to_take_results_does_not_hold_up_the_end(
    tmp_path: Path, spied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiered, "_PATIENCE_AT_END", 0.1)
    Spied.broken.add("slow write")
    one = machine(tmp_path, "one", spied)

    assert one.run(WORKFLOW).ok
    assert ["6 of the results are not handed on to the remote cache: it takes too long"] == one.warnings


def test_what_waits_to_be_handed_on_is_bounded_and_holds_no_values(spied: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiered, "_MOST_JOBS", 10)
    monkeypatch.setattr(tiered, "_PATIENCE_AT_END", 0.1)
    Spied.broken.add("slow write")
    warnings: list[str] = []
    cache = Tiered(Memory(most_bytes=0), Remote(spied), warnings.append)
    for number in range(50):
        text, value = f'{{"kind":"say","n":{number}}}', encode(f"{number}" * 100)
        cache.remember(Result(key_of(text), (value.digest,), text, 1.0, 1.0), [value])
    waiting = len(cache._outbox._jobs)
    cache.close()

    assert waiting <= 10
    assert 1 == len(warnings)


def test_many_machines_may_write_at_once(tmp_path: Path, url: str) -> None:
    machines = [machine(tmp_path, f"m{number}", url) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        runs = [*pool.map(lambda lab: lab.run(WORKFLOW).outputs, machines)]

    assert [runs[0]] * 6 == runs
    assert [] == [warning for lab in machines for warning in lab.warnings]
    assert not [path for path in objects(url) if "/writing/" in path]
    assert dict.fromkeys(NODES, "hit") == machine(tmp_path, "late", url).run(WORKFLOW).actions


# How it is named


@pytest.mark.parametrize("url", ["nosuch://x", "spied2://", "file://", "ftp://", "some/folder"])
def test_a_url_that_nobody_understands_is_a_mistake(url: str) -> None:
    with pytest.raises(UsageError, match="--remote takes a URL"):
        Remote(url)


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(MissingError, match="s3fs"):
        Remote("s3://bucket/folder")


def test_a_password_is_not_shown() -> None:
    assert "ftp://host/folder" == shown("ftp://me:secret@host/folder")


def test_a_remote_that_answers_is_clean_afterwards(url: str) -> None:
    assert answers(url) >= 0
    assert [] == objects(url)
