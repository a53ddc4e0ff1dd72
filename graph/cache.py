"""What was computed before: asked by key, kept on disk, shared by processes.

Two things are remembered apart. A `Result` says which values a key gave; it is tiny and kept long. The values
themselves are blobs, found by the sha256 of their bytes; they are large and may be evicted at any time, so a
caller that knows a result must still be ready for `blob` to give None.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from graph.disk import LED, Disk, Warn
from graph.eviction import limit
from graph.memory import Memory
from graph.mounts import network
from graph.runs import NOW, Noted
from graph.store import Result

if TYPE_CHECKING:  # see graph/store.py
    from graph.codec import Blob
    from graph.values import SavedFile

__all__ = ["LED", "Cache", "Disk", "Memory", "Result", "Warn", "default_folder", "open_cache", "warn_of_network"]


class Cache(Protocol):
    """What plans and runs ask of a cache.

    Every method may be called from any thread; none raises for a fault of the disk: what cannot be read is
    None, and what cannot be written is remembered in memory.
    """

    def result(self, key: str) -> Result | None:
        """What this key gave. Says nothing about its blobs."""

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        """The results that are known among these keys, read in bulk."""

    def blob(self, digest: str) -> bytes | None:
        """The bytes with this sha256, verified; None if they were evicted or are damaged."""

    def holds(self, digest: str) -> bool:
        """Whether a blob is there. Cheap: neither read nor kept from eviction."""

    def touch(self, digests: Iterable[str]) -> frozenset[str]:
        """Keep blobs from eviction while this cache is open; gives those that are there."""

    def remember(self, result: Result, blobs: Sequence[Blob]) -> None:
        """Keep a result with the blobs of its outputs. The lease of its key is given up with that."""

    def claim(self, key: str) -> str:
        """Take the lease of a key; or give the number of the process that has it, and computes the key just now."""

    def release(self, key: str) -> None:
        """Give up the lease of a key, if this process has it: nothing was computed."""

    def latest(self, workflow: str) -> dict[str, str]:
        """Key of every node when it last ran, or was taken from the cache, under this workflow's name."""

    def note_latest(self, workflow: str, keys: Mapping[str, str]) -> None:
        """Set the last keys of these nodes; others of the workflow stay."""

    def saved(self, key: str) -> SavedFile | None:
        """The file that was last written for this key."""

    def note_saved(self, key: str, file: SavedFile) -> None:
        """Set the file that was last written for this key."""

    def file_digest(self, stat_key: str) -> str | None:
        """The sha256 of a file that looked just like this."""

    def note_file_digest(self, stat_key: str, digest: str) -> None:
        """Set the sha256 of a file that looks like this."""

    def gives(self, outputs: Mapping[str, Sequence[str]]) -> bool:
        """Whether each of these keys is known to have given just these digests."""

    def note_run(self, run: Noted) -> None:
        """Add a run to the history, with the next commit."""

    def note_again(self, run: Noted) -> None:
        """Count one more time that a run was asked for, and all of it was there."""

    def runs(self, workflow: str = "", most: int = 1, below: int = NOW) -> tuple[Noted, ...]:
        """The last runs before that of number `below`, of a workflow or of all (""), newest first."""

    def run(self, number: int) -> Noted | None:
        """The run of this number."""

    def bookmarks(self, work: str) -> list[bytes]:
        """Where steps of this work stood that were cut off, or ended early; verified, the newest first."""

    def leave_bookmark(self, work: str, key: str, data: bytes) -> None:
        """Keep where the step of this key stands, in place of its last bookmark."""

    def drop_bookmark(self, work: str, key: str) -> None:
        """Forget where the step of this key stood."""

    def noted(self, space: str, name: str) -> bytes | None:
        """What was noted under a name."""

    def note(self, space: str, name: str, value: bytes) -> None:
        """Keep a few bytes under a name, in place of what was noted there."""

    def recent(self, most: int) -> list[Result]:
        """The results that were remembered last, newest first."""

    def node_of(self, key: str) -> tuple[str, str] | None:
        """A workflow, and a node of it, that a key was last seen under."""

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """The bytes of each of these blobs, of those that are there. Cheap: not read, and not kept from eviction."""

    def flush(self) -> None:
        """Return when everything remembered is in the index."""

    def close(self) -> None:
        """Flush and let go of everything. May be called twice."""


def open_cache(folder: Path | None, warn: Warn) -> Cache:
    """Open the cache in a folder, by default the user's; in memory, with one warning, if that fails.

    Raises UsageError where DARKROOM_CACHE_SIZE is no size.
    """
    most_bytes = limit()
    try:
        folder = folder.expanduser() if folder else default_folder()
        disk = Disk(folder, warn, most_bytes)
        warn_of_network(folder, warn)
        return disk
    except (OSError, sqlite3.Error, RuntimeError) as error:
        warn(f"results are not kept: the cache cannot be opened ({error})")
        return Memory()


def warn_of_network(folder: Path, warn: Warn) -> None:
    """Warn where the folder of a cache is on a network."""
    if kind := network(folder):
        warn(f"the cache in {folder} is on a network ({kind}), where its index can break: name another with --cache")


def default_folder() -> Path:
    """DARKROOM_CACHE, else `darkroom` in the folder that the platform has for such files.

    Raises RuntimeError where the user has no home.
    """
    if named := os.environ.get("DARKROOM_CACHE"):
        return Path(named).expanduser().absolute()
    return _user_caches() / "darkroom"


def _user_caches() -> Path:
    """Source: XDG Base Directory Specification 0.8; Apple's File System Programming Guide; KNOWNFOLDERID."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if named.startswith("/") else Path.home() / ".cache"
