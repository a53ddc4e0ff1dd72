"""What files hold, as one digest each, hashed once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from stat import S_ISREG
from typing import Protocol

from graph.errors import MissingError
from graph.filerefs import FileRef
from graph.witness import SETTLED


class Memo(Protocol):
    """Remembers what files hold by what `stat` says of them. A Cache is one."""

    def file_digest(self, stat_key: str) -> str | None: ...

    def note_file_digest(self, stat_key: str, digest: str) -> None: ...


def digest_of(ref: FileRef, cache: Memo) -> str:
    """Give the sha256 of what a file parameter names.

    One file: the sha256 of its bytes, as model sites publish it. Several: the sha256 of their sorted lines
    `[name, sha256]`.

    Raises MissingError, naming the file and the reason, where one cannot be read.
    """
    return _of_all([(name, _file_digest(path, ref, cache)) for name, path in ref.members()])


def known_digest(ref: FileRef, cache: Memo) -> str:
    """The digest of `digest_of` where every file of it is remembered; else nothing, and nothing is hashed."""
    found = [(name, _remembered(path, cache)) for name, path in ref.members()]
    known = [(name, digest) for name, digest in found if digest]
    return _of_all(known) if len(known) == len(found) else ""


def _of_all(digests: list[tuple[str, str]]) -> str:
    if [name for name, _ in digests] == [""]:
        return digests[0][1]
    lines = sorted(json.dumps(entry) + "\n" for entry in digests)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_digest(path: Path, ref: FileRef, cache: Memo) -> str:
    try:
        return _remembered(path, cache) or _hashed(path, cache)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        message = f'{ref.what} "{ref.written}" cannot be read: {reason}'
        raise MissingError(message, hint=f"Tried {path}") from error


def _remembered(path: Path, cache: Memo) -> str | None:
    stat = path.stat()
    if not S_ISREG(stat.st_mode):
        raise ValueError("it is not a file")  # reading a pipe could last for ever
    return cache.file_digest(_stat_key(path, stat))


def _hashed(path: Path, cache: Memo) -> str:
    """Hash a file, and remember it if it stood still before and while it was read."""
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    stat_key = _stat_key(path, before)
    if stat_key == _stat_key(path, after) and is_settled(before):
        cache.note_file_digest(stat_key, digest)
    return digest


def is_settled(stat: os.stat_result) -> bool:
    """Whether a file is so old that a change of it could not go unseen."""
    return time.time() - max(stat.st_mtime, stat.st_ctime) >= SETTLED * 1e-9


def looks(stat: os.stat_result) -> list[int]:
    """What tells one state of a file from another, without reading it."""
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _stat_key(path: Path, stat: os.stat_result) -> str:
    return json.dumps([str(path), *looks(stat)])
