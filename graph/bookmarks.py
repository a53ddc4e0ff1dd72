"""Bookmarks on disk: where work stands that was cut off, for the next run to go on from there.

    bookmarks/<work>-<key>    work: what is done, wherever it is to end; key: the step that left it

A bookmark is written beside and renamed, so a kill leaves the one before. It is not fsynced: what a power cut tears
does not fit its seal, a digest of its name and its bytes, and counts as never left. So does what is damaged, cut
short, renamed or of another format. Of two processes with the same work the last one that leaves a bookmark wins;
both are right. Nothing here raises, and nothing is worth failing a step for: the worst is to begin again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from graph.failpoints import reached

FOLDER = "bookmarks"
MOST_AGE = 30 * 86400.0
"""Seconds after which a bookmark that nobody used is removed."""
MOST_BYTES = 1 << 30
_MAGIC = b"darkroom bookmark 1\n"
_SEAL = 32


class Bookmarks:
    """The bookmarks in the folder of a store, which one process writes by a name of its own."""

    def __init__(self, folder: Path, writer: str, warn: Callable[[str], None]) -> None:
        self._folder, self._writer, self._warn = folder, writer, warn
        self._told = False

    def left(self, work: str) -> list[bytes]:
        """The bookmarks of a work, the newest first. Those that are damaged are removed, with one warning."""
        found = []
        for path in reversed([*_newest_first(self._folder, f"{work}-")]):  # oldest first, so that they stay in order
            with contextlib.suppress(OSError):
                head, data = _parted(path.read_bytes())
                if head == _sealed(path.name, data):
                    os.utime(path)
                    found.append(data)
                else:
                    path.unlink()
                    self._tell("a bookmark is damaged and was dropped; its step begins anew")
        return found[::-1]

    def leave(self, work: str, key: str, data: bytes) -> None:
        """Put a bookmark in the place of this key's last one."""
        path = self._folder / FOLDER / f"{work}-{key}"
        part = self._folder / "writing" / f"{self._writer}-{path.name}"
        try:
            path.parent.mkdir(exist_ok=True)
            reached("bookmark.open")
            with part.open("wb", buffering=0) as file:
                reached("bookmark.write")
                _write_all(file.fileno(), (_sealed(path.name, data), data))
            is_first = not path.exists()
            reached("bookmark.rename")
            part.replace(path)
            reached("bookmark.renamed")
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            self._tell(f"a step that is cut off will begin anew: its bookmark cannot be written ({error})")
            return
        if is_first:
            sweep(self._folder)

    def drop(self, work: str, key: str) -> None:
        """Remove a bookmark."""
        with contextlib.suppress(OSError):
            reached("bookmark.unlink")
            (self._folder / FOLDER / f"{work}-{key}").unlink(missing_ok=True)

    def _tell(self, what: str) -> None:
        if not self._told:
            self._warn(what)
        self._told = True


def sweep(folder: Path, oldest: float = 0.0, most_bytes: int = MOST_BYTES, floor: float = float("inf")) -> int:
    """Remove what was not used since `oldest`, then the longest unused until `most_bytes` are left; gives how many.

    floor: what was used since then stays.
    """
    room, swept = most_bytes, 0
    for path in _newest_first(folder):
        with contextlib.suppress(OSError):
            stat = path.stat()
            room -= stat.st_size
            if (stat.st_mtime < oldest or room < 0) and stat.st_mtime < floor:
                path.unlink()
                swept += 1
    return swept


def _newest_first(folder: Path, beginning: str = "") -> Iterator[Path]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder / FOLDER):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.startswith(beginning):
                    found.append((entry.stat().st_mtime_ns, entry.path))
    return (Path(path) for _, path in sorted(found, reverse=True))


def _sealed(name: str, data: bytes) -> bytes:
    """What stands before the data in a file of this name."""
    seal = hashlib.sha256(_MAGIC + name.encode() + b"\n")
    seal.update(data)
    return _MAGIC + seal.digest()


def _parted(content: bytes) -> tuple[bytes, bytes]:
    start = len(_MAGIC) + _SEAL
    return content[:start], content[start:]


def _write_all(file: int, parts: tuple[bytes, ...]) -> None:
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(file, rest) :]
