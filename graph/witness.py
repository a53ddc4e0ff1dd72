"""What was looked at: every path that was asked for, listed or opened while somebody watched, every variable read.

What a workflow comes to depends on more paths than its parameters name: a sidecar that is not there, the folders in
which a model's name was looked for, the tokenizer beside a checkpoint. Whoever adds such a look cannot forget to
tell of it, since nobody has to tell: the calls themselves are watched.

Python's own looks for modules do not pass here; code counts by other means.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from stat import S_ISDIR
from typing import Any

_CALLS = ((os, "stat"), (os, "lstat"), (os, "scandir"), (os, "listdir"), (io, "open"), (builtins, "open"))
"""All that os.path, pathlib and open come down to."""
_LISTING = ("scandir", "listdir")
_VARIABLES = (type(os.environ), "__getitem__")
"""What os.environ, os.getenv and os.path.expandvars come down to."""
_stat = os.stat
SETTLED = 2_000_000_000
"""Nanoseconds after which a second change of a file is sure to have another time stamp, on every file system."""

SIZE = 3
"""Where the size of a file stands in its stamp."""
Stamp = list[int]
"""What tells a state of a path from every other. Empty where nothing is there; of a folder whose entries nobody asked
for, no more than that it is one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Paths that were looked at, absolute."""

    asked: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    """Folders whose entries were asked for."""
    first: dict[str, Stamp] = field(default_factory=dict)
    """The state of each path before it was first looked at, folders with their entries."""
    variables: set[str] = field(default_factory=set)
    """Names in the environment that were asked for."""

    def changed(self) -> set[str]:
        """The paths that are not any more as they were when they were first looked at."""
        return {path for path, then in self.first.items() if self._told(path, then) != stamp(path, path in self.listed)}

    def _told(self, path: str, then: Stamp) -> Stamp:
        return then[:1] if then and S_ISDIR(then[0]) and path not in self.listed else then

    def stamps(self) -> dict[str, Stamp]:
        """The state of each path now."""
        return {path: stamp(path, path in self.listed) for path in sorted(self.asked | self.listed)}


@contextmanager
def watching(seen: Seen) -> Iterator[None]:
    """Add the paths that this process looks at while the body runs. Not for two threads at once."""
    before = [(owner, name, getattr(owner, name)) for owner, name in (*_CALLS, _VARIABLES)]
    try:
        for module, name, call in before[:-1]:
            setattr(module, name, _noting(call, seen.listed if name in _LISTING else seen.asked, seen.first))
        setattr(*_VARIABLES, _reading(before[-1][2], seen.variables))
        yield
    finally:
        for owner, name, call in before:
            setattr(owner, name, call)


def _noting(call: Callable[..., Any], seen: set[str], first: dict[str, Stamp]) -> Callable[..., Any]:
    @functools.wraps(call)
    def noting(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        if isinstance(path, (str, os.PathLike)):
            seen.add(full := os.path.abspath(os.fspath(path)))
            if full not in first:
                first[full] = stamp(full, True)
        return call(path, *arguments, **options)

    return noting


def _reading(read: Callable[..., str], seen: set[str]) -> Callable[..., str]:
    @functools.wraps(read)
    def reading(environment: object, name: str) -> str:
        seen.add(name)
        return read(environment, name)

    return reading


def stamp(path: str, with_entries: bool) -> Stamp:
    """The state of a path; links are followed. with_entries: of a folder, that of its entries too."""
    try:
        found = _stat(path)
    except (OSError, ValueError):
        return []
    if S_ISDIR(found.st_mode) and not with_entries:
        return [found.st_mode]
    return [found.st_mode, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def environment(names: Sequence[str]) -> str:
    """The state of some variables; what they hold may be a secret."""
    values = [os.environ.get(name) for name in names]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def are_settled(states: Iterable[Stamp], now: int) -> bool:
    """Whether a change after these would show. now: nanoseconds since 1970."""
    return all(now - max(state[4:]) > SETTLED for state in states if state[4:])
