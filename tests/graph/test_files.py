"""Digests of files: what they are of, and when a remembered one counts."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph import files
from graph.cache import Memory
from graph.errors import MissingError
from graph.filerefs import FileRef
from graph.files import digest_of


@dataclass(frozen=True)
class Folder(FileRef):
    """A file parameter with several files."""

    names: tuple[str, ...] = ()

    def members(self) -> tuple[tuple[str, Path], ...]:
        return tuple((name, self.path / name) for name in self.names)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed."""
    read: list[Path] = []
    hashed = files._hashed

    def hashed_and_counted(path: Path, cache: files.Memo) -> str:
        read.append(path)
        return hashed(path, cache)

    monkeypatch.setattr(files, "_hashed", hashed_and_counted)
    return read


def file(folder: Path, data: bytes) -> FileRef:
    path = folder / "model.bin"
    path.write_bytes(data)
    return FileRef("model.bin", path)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time()
    monkeypatch.setattr("graph.files.time.time", lambda: now + seconds)


def test_one_file_has_its_own_sha256(tmp_path: Path) -> None:
    assert hashlib.sha256(b"weights").hexdigest() == digest_of(file(tmp_path, b"weights"), Memory())


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_several_files_does_not_matter(names: list[str]) -> None:
    folder = Path(__file__).parent
    members = {"a": folder / "test_files.py", "b": folder / "test_store.py", "c": folder / "test_cache.py"}

    class Any(FileRef):
        def members(self) -> tuple[tuple[str, Path], ...]:
            return tuple((name, members[name]) for name in names)

    class Sorted(FileRef):
        def members(self) -> tuple[tuple[str, Path], ...]:
            return tuple(sorted(members.items()))

    assert digest_of(Sorted("x", folder), Memory()) == digest_of(Any("x", folder), Memory())


def test_the_names_of_several_files_matter(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    before = digest_of(Folder("x", tmp_path, ("a", "b")), Memory())
    (tmp_path / "b").rename(tmp_path / "c")

    assert before != digest_of(Folder("x", tmp_path, ("a", "c")), Memory())


def test_a_settled_file_is_hashed_once(tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ref, cache = file(tmp_path, b"weights"), Memory()
    later(monkeypatch, 3)

    assert digest_of(ref, cache) == digest_of(ref, cache)
    assert [ref.path] == reads


def test_a_young_file_is_hashed_every_time(tmp_path: Path, reads: list[Path]) -> None:
    ref, cache = file(tmp_path, b"weights"), Memory()
    digest_of(ref, cache)
    digest_of(ref, cache)

    assert [ref.path, ref.path] == reads


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref, cache = file(tmp_path, b"weights"), Memory()
    stat = ref.path.stat()
    later(monkeypatch, 3)
    before = digest_of(ref, cache)
    ref.path.write_bytes(b"WEIGHTS")
    os.utime(ref.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert ref.path.stat().st_mtime_ns == stat.st_mtime_ns
    assert before != digest_of(ref, cache)


UNREADABLE = [(Path.mkdir, "not a file"), (lambda path: None, "No such file")]


@pytest.mark.parametrize(("make", "reason"), UNREADABLE)
def test_what_cannot_be_read_is_named(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    path = tmp_path / "model.bin"
    make(path)
    with pytest.raises(MissingError, match=f'"model.bin" cannot be read: .*{reason}'):
        digest_of(FileRef("model.bin", path), Memory())


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MissingError, match="not a file"):
        digest_of(FileRef("pipe", tmp_path / "pipe"), Memory())
