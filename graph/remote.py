"""A folder that machines share results by: on a network disk, in an object store, wherever fsspec finds one.

    <url>/v1/results/ab/<key>.json       a result; see graph/letters.py
    <url>/v1/blobs/cd/<digest>           a value
    <url>/v1/workflows/ef/<sha256>.json  the keys of a workflow's last run, by the sha256 of its name: what to ask for
    <url>/v1/writing/<random>            an object being written, where it can be renamed

Every object is named by what is in it, so two that write one write the same. Values come before the result that names
them. Nothing that is read is believed: an object that does not fit its name, because it was torn or forged, counts as
not there, and is written again by the next who computes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from graph.codec import Blob
from graph.errors import MissingError, UsageError
from graph.letters import MOST_LETTER, MOST_VALUE, has_digest, is_digest, opened, sealed
from graph.store import Result
from graph.tables import clean

FORMAT = 1
_MOST_KEYS = 10_000
"""Of a workflow's last run."""
_AT_ONCE = 64
"""Objects that are asked for in one go."""
_MOST_BYTES = 64 << 20
"""Of results that one question brings."""


class Remote:
    """Results and values in a shared folder. Safe to use from several threads.

    Every method raises whatever the file system raises, where it does not answer as it should.
    """

    def __init__(self, url: str) -> None:
        """Raises UsageError for a URL that nobody understands, MissingError where a package for it is missing."""
        self._files, root = _file_system(url)
        self._root = posixpath.join(root, f"v{FORMAT}")
        self._renames = _renames(self._files)
        self._unsound: set[str] = set()
        """Values that were found not to fit their names."""

    def results(self, keys: Sequence[str]) -> dict[str, Result]:
        """The sound results among these keys; the first ones, where they are very large."""
        found: dict[str, Result] = {}
        room = _MOST_BYTES
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            for key, data in zip(some, self._read([self._result(key) for key in some]), strict=True):
                room -= len(data or b"")
                if data is not None and room >= 0:
                    with contextlib.suppress(ValueError):
                        found[key] = opened(key, data)
        return found

    def blob(self, digest: str) -> bytes | None:
        """The bytes with this sha256."""
        path = self._blob(digest)
        try:
            if (self._files.info(path)["size"] or 0) > MOST_VALUE:
                return None
            data: bytes = self._files.cat_file(path)
        except FileNotFoundError:
            return None
        if has_digest(data, digest):
            return data
        self._unsound.add(path)
        return None

    def keys(self, workflow: str) -> list[str]:
        """The keys of a workflow's last run, on whatever machine that was: worth asking for, and nothing more."""
        try:
            told = json.loads(self._read([self._workflow(workflow)])[0] or b"[]")
        except (ValueError, RecursionError):
            return []
        return [key for key in told if is_digest(key)][:_MOST_KEYS] if isinstance(told, list) else []

    def put_blob(self, blob: Blob) -> None:
        """Write a value, unless one of its size is there."""
        path = self._blob(blob.digest)
        if len(blob.data) <= MOST_VALUE and (path in self._unsound or not self._has(path, len(blob.data))):
            self._write(path, blob.data)

    def put_result(self, result: Result) -> None:
        """Write a result, once its values are there."""
        data = sealed(result)
        if len(data) <= MOST_LETTER:
            self._write(self._result(result.key), data)

    def put_keys(self, workflow: str, keys: Iterable[str]) -> None:
        """Write which keys a workflow had when it ran last."""
        self._write(self._workflow(workflow), json.dumps(sorted(set(keys))[:_MOST_KEYS]).encode())

    def probe(self) -> None:
        """Write an object, read it, and remove it again."""
        path = posixpath.join(self._root, "writing", f"probe-{secrets.token_hex(8)}")
        self._write(path, b"probe")
        if self._read([path]) != [b"probe"]:
            raise OSError("what was written is not what is read")
        self._files.rm_file(path)

    def _result(self, key: str) -> str:
        return posixpath.join(self._root, "results", key[:2], f"{key}.json")

    def _blob(self, digest: str) -> str:
        return posixpath.join(self._root, "blobs", digest[:2], digest)

    def _workflow(self, name: str) -> str:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return posixpath.join(self._root, "workflows", digest[:2], f"{digest}.json")

    def _read(self, paths: list[str]) -> list[bytes | None]:
        """Small objects, all in one go where the file system can; None for one that is not there, or not small."""
        found: list[bytes | None] = []
        for data in self._files.cat_ranges(paths, 0, MOST_LETTER + 1, on_error="return"):
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise data
            found.append(data if isinstance(data, bytes) and len(data) <= MOST_LETTER else None)
        return found

    def _has(self, path: str, size: int) -> bool:
        try:
            return bool(self._files.info(path)["size"] == size)
        except FileNotFoundError:
            return False

    def _write(self, path: str, data: bytes) -> None:
        if not self._renames:
            self._files.pipe_file(path, data)  # an object store shows an object when it is whole
            return
        part = posixpath.join(self._root, "writing", secrets.token_hex(8))
        for folder in {posixpath.dirname(part), posixpath.dirname(path)}:
            self._files.makedirs(folder, exist_ok=True)
        try:
            self._files.pipe_file(part, data)
            self._files.mv(part, path)
        except BaseException:
            if self._files.exists(part):
                self._files.rm_file(part)
            raise


def shown(url: str) -> str:
    """A URL without the password in it."""
    return clean(re.sub(r"//[^/@]*@", "//", url))


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # only for those who name a remote
    except ImportError as error:
        raise MissingError("a remote cache needs the package fsspec", hint="pip install darkroom[remote]") from error
    hint = "For example file:///shared/folder or s3://bucket/folder."
    if not url.partition("://")[2]:  # fsspec would take the current folder
        raise UsageError(f'--remote takes a URL, not "{shown(url)}"', hint=hint)
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        raise MissingError(f'the remote "{shown(url)}" needs another package: {error}') from error
    except Exception as error:  # each file system has its own
        raise UsageError(f'--remote takes a URL, not "{shown(url)}": {error}', hint=hint) from error
    return files, root


def _renames(files: Any) -> bool:
    """Whether the file system moves a file in one step. What only copies shows nothing until it is whole."""
    from fsspec import AbstractFileSystem

    return not files.async_impl and type(files).mv is not AbstractFileSystem.mv
