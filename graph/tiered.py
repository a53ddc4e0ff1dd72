"""A cache before another one that machines share: asked there for what is not here, told there what is new here.

Reading goes through: a key that is not known here is asked for there, and what is found is kept here, values when they
are needed. The keys of the workflow's last run, wherever that was, are asked for together with the first one that is
missing, so that a plan costs a few round trips and not one a node.

Writing goes behind: a thread hands on what this process computed, from a queue that is bounded, and holds no bytes. The
run waits for it at its end, for some seconds. A shared cache that fails costs one warning, and is then left alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from graph.cache import Cache, Warn
from graph.codec import Blob
from graph.errors import DarkroomError
from graph.letters import is_shared
from graph.remote import Remote
from graph.runs import NOW, Noted
from graph.store import Result
from graph.values import SavedFile

T = TypeVar("T")
Job = Callable[[], None]
_PATIENCE = 30.0
"""Seconds that an answer about results may take."""
_PATIENCE_FOR_VALUES = 600.0
_PATIENCE_AT_END = 10.0
"""Seconds that the end of a run waits for what is still to be handed on."""
_UNKNOWN_FOR = 30.0
"""Seconds for which a key that was not there is not asked for again."""
_MOST_JOBS = 10_000
_MOST_KNOWN = 20_000
"""Keys and digests that are remembered about what lies there."""


class Tiered:
    """A cache with a shared one behind it."""

    def __init__(self, local: Cache, remote: Remote, warn: Warn) -> None:
        self._local = local
        self._remote = remote
        self._warn = warn
        self._outbox = _Outbox(self._not_sent)
        self._away = False
        self._told = False
        self._closed = False
        self._owners: dict[str, Result] = {}
        """By digest: a result that has it as an output."""
        self._unknown: dict[str, float] = {}
        """By key: until when it counts as not there."""
        self._workflow = ""
        """The one at hand."""
        self._hinted = {""}
        """Workflows whose last keys were asked for."""
        self._is_new = False
        """Whether anything was computed."""

    def result(self, key: str) -> Result | None:
        found = self._local.result(key) or self._far([key]).get(key)
        self._own([found] if found else [])
        return found

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        wanted = list(keys)
        near = self._local.results(wanted)
        found = near | self._far([key for key in wanted if key not in near])
        self._own(found.values())
        return {key: found[key] for key in wanted if key in found}

    def _far(self, keys: list[str]) -> dict[str, Result]:
        """Ask there, and keep here what is found."""
        if not keys or self._away:
            return {}
        others = self._hints()
        near = self._local.results(others)
        now = time.monotonic()
        wanted = [key for key in {**dict.fromkeys(keys), **dict.fromkeys(others)} if key not in near]
        wanted = [key for key in wanted if self._unknown.get(key, now) <= now]
        found = (self._ask(lambda: self._remote.results(wanted)) or {}) if wanted else {}
        if len(self._unknown) > _MOST_KNOWN:
            self._unknown.clear()
        self._unknown |= {key: now + _UNKNOWN_FOR for key in wanted if key not in found}
        for result in found.values():
            self._local.remember(result, [])
        return found

    def _hints(self) -> list[str]:
        """Keys that will be asked for soon, the first time that anything is."""
        if self._workflow in self._hinted:
            return []
        self._hinted.add(self._workflow)
        return self._ask(lambda: self._remote.keys(self._workflow)) or []

    def _own(self, results: Iterable[Result]) -> None:
        if len(self._owners) > _MOST_KNOWN:
            self._owners.clear()
        self._owners |= {digest: result for result in results for digest in result.outputs}

    def blob(self, digest: str) -> bytes | None:
        found = self._local.blob(digest)
        if found is not None or self._away:
            return found
        found = self._ask(lambda: self._remote.blob(digest), _PATIENCE_FOR_VALUES)
        if found is not None and digest in self._owners:
            self._local.remember(self._owners[digest], [Blob(digest, found)])
        return found

    def holds(self, digest: str) -> bool:
        return self._local.holds(digest)

    def touch(self, digests: Iterable[str]) -> frozenset[str]:
        return self._local.touch(digests)

    def remember(self, result: Result, blobs: Sequence[Blob]) -> None:
        self._local.remember(result, blobs)
        self._own([result])
        self._is_new = True
        self._outbox.put(partial(self._send, result))

    def _send(self, result: Result) -> None:
        if not is_shared(result.recipe):
            return
        for digest in dict.fromkeys(result.outputs):
            data = self._local.blob(digest)
            if data is not None:
                self._remote.put_blob(Blob(digest, data))
        self._remote.put_result(result)

    def latest(self, workflow: str) -> dict[str, str]:
        self._workflow = workflow
        return self._local.latest(workflow)

    def note_latest(self, workflow: str, keys: Mapping[str, str]) -> None:
        self._local.note_latest(workflow, keys)
        if self._is_new:
            self._outbox.put(partial(self._remote.put_keys, workflow, [*keys.values()]))

    def saved(self, key: str) -> SavedFile | None:
        return self._local.saved(key)

    def note_saved(self, key: str, file: SavedFile) -> None:
        self._local.note_saved(key, file)

    def file_digest(self, stat_key: str) -> str | None:
        return self._local.file_digest(stat_key)

    def note_file_digest(self, stat_key: str, digest: str) -> None:
        self._local.note_file_digest(stat_key, digest)

    def claim(self, key: str) -> str:
        return self._local.claim(key)

    def release(self, key: str) -> None:
        self._local.release(key)

    def bookmarks(self, work: str) -> list[bytes]:
        return self._local.bookmarks(work)

    def leave_bookmark(self, work: str, key: str, data: bytes) -> None:
        self._local.leave_bookmark(work, key, data)

    def drop_bookmark(self, work: str, key: str) -> None:
        self._local.drop_bookmark(work, key)

    def note_run(self, run: Noted) -> None:
        self._local.note_run(run)

    def note_again(self, run: Noted) -> None:
        self._local.note_again(run)

    def runs(self, workflow: str = "", most: int = 1, below: int = NOW) -> tuple[Noted, ...]:
        return self._local.runs(workflow, most, below)

    def run(self, number: int) -> Noted | None:
        return self._local.run(number)

    def gives(self, outputs: Mapping[str, Sequence[str]]) -> bool:
        return self._local.gives(outputs)

    def noted(self, space: str, name: str) -> bytes | None:
        return self._local.noted(space, name)

    def note(self, space: str, name: str, value: bytes) -> None:
        self._local.note(space, name, value)

    def recent(self, most: int) -> list[Result]:
        return self._local.recent(most)

    def node_of(self, key: str) -> tuple[str, str] | None:
        return self._local.node_of(key)

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        return self._local.sizes(digests)

    def flush(self) -> None:
        """Return when everything remembered is in the index here."""
        self._local.flush()

    def close(self) -> None:
        """Hand on what is left, for some seconds; then let go of everything. May be called twice."""
        if not self._closed:
            self._closed = True
            left = self._outbox.close(_PATIENCE_AT_END)
            if left:
                self._tell(f"{left} of the results are not handed on to the remote cache: it takes too long")
            self._local.close()

    def _ask(self, question: Callable[[], T], patience: float = _PATIENCE) -> T | None:
        try:
            return None if self._away else _within(patience, question)
        except Exception as error:  # whatever the library of that file system raises
            self._away = True
            self._outbox.stop()
            self._tell(f"the remote cache is left alone for the rest of this run: {_words(error)}")
            return None

    def _not_sent(self, error: Exception) -> None:
        self._tell(f"nothing more is handed on to the remote cache in this run: {_words(error)}")

    def _tell(self, warning: str) -> None:
        if not self._told:
            self._told = True
            self._warn(warning)


class _Outbox:
    """Jobs that another thread does, one after the other, until one of them fails."""

    def __init__(self, fail: Callable[[Exception], None]) -> None:
        self._fail = fail
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ends = False
        self._lost = 0
        self._is_busy = False

    def put(self, job: Job) -> None:
        """Have something done later; not, if very much is waiting already."""
        with self._changed:
            if self._ends:
                return
            if len(self._jobs) >= _MOST_JOBS:
                self._lost += 1
                return
            self._jobs.append(job)
            self._changed.notify()
            if not self._thread:
                self._thread = threading.Thread(target=self._work, name="darkroom-remote", daemon=True)
                self._thread.start()

    def close(self, patience: float) -> int:
        """Wait for so many seconds at most; gives how many jobs were not done."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        if self._thread:
            self._thread.join(patience)
        with self._changed:
            left = self._lost + len(self._jobs) + self._is_busy
        self.stop()
        return left

    def stop(self) -> None:
        """Do nothing more."""
        with self._changed:
            self._ends = True
            self._jobs.clear()
            self._changed.notify()

    def _work(self) -> None:
        while job := self._next():
            try:
                job()
            except Exception as error:  # whatever the library of that file system raises
                self.stop()
                self._fail(error)

    def _next(self) -> Job | None:
        """The next job, when there is one; None when there will be none."""
        with self._changed:
            self._is_busy = False
            self._changed.wait_for(lambda: self._jobs or self._ends)
            if not self._jobs:
                return None
            self._is_busy = True
            return self._jobs.popleft()


def shared(local: Cache, url: str, warn: Warn) -> Cache:
    """Put a cache before the shared one of a URL.

    Raises UsageError for a URL that nobody understands, MissingError where a package for it is missing.
    """
    try:
        return Tiered(local, Remote(url), warn)
    except DarkroomError:
        local.close()
        raise


def answers(url: str) -> float:
    """Write something into a shared cache and read it; gives the seconds that took.

    Raises what `shared` raises, and what the file system raises where it does not do as it should.
    """
    start = time.perf_counter()
    _within(_PATIENCE, Remote(url).probe)
    return time.perf_counter() - start


def _within(seconds: float, question: Callable[[], T]) -> T:
    """Ask in another thread, which is left behind if it takes longer. Raises TimeoutError, and what it raises."""
    answer: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put((question(), None))
        except Exception as error:
            answer.put((None, error))

    threading.Thread(target=ask, name="darkroom-remote", daemon=True).start()
    try:
        found, error = answer.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
    if error:
        raise error
    return cast(T, found)


def _words(error: Exception) -> str:
    told = str(error).strip() or type(error).__name__
    return told.splitlines()[0][:200]
