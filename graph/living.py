"""Which processes have a folder open: each keeps a file locked there, and its end frees the lock."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from graph.failpoints import reached

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(file: int) -> bool:
        """Lock a file until it is closed, or the process ends; False if another has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def register(folder: Path) -> tuple[str, int]:
    """Make and lock this opening's own file among the living."""
    while True:
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        reached("living.open")
        file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if _try_lock(file) and (folder / name).exists():  # else another took it for a dead one's, just before
            return name, file
        os.close(file)


def living(folder: Path) -> Iterator[tuple[str, float]]:
    """Each living process with its beginning; the files of dead ones are removed."""
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            since = path.stat().st_mtime
            file = os.open(path, os.O_RDWR)
            try:
                if _try_lock(file):
                    reached("living.unlink")
                    path.unlink()
                else:
                    yield path.name, since
            finally:
                os.close(file)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process with this name still has the folder open."""
    try:
        file = os.open(folder / name, os.O_RDWR)
    except (FileNotFoundError, ValueError):  # ValueError: a damaged name
        return False
    try:
        return not _try_lock(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time make or mend the index."""
    reached("mending.open")
    lock = os.open(folder / "mending", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + 10
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another process keeps {folder / 'mending'} locked")
            time.sleep(0.01)
        yield
    finally:
        os.close(lock)
