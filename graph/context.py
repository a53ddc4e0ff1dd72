"""What a running node knows of the run: the `Context` of `graph.node`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from graph.cache import Cache
from graph.errors import MissingError, Stopped, UsageError
from graph.events import NodeProgress, Sink, Warned
from graph.fields import checked
from graph.filerefs import FileRef
from graph.files import digest_of
from graph.findings import Findings
from graph.metadata import Seal
from graph.node import Node, returned
from graph.provenance import write_with_origin
from graph.ready import Ready, World
from graph.resuming import Resuming, resuming
from graph.steps import Graph, Step
from graph.values import Picture, SavedFile, Value


@dataclass
class Stop:
    """A wish to stop, set by a signal handler or another thread."""

    signal: int = 0
    """2 (Ctrl-C) or 15 (terminate); 0 while there is no such wish."""

    def check(self) -> None:
        """Raise Stopped if the wish was made."""
        if self.signal:
            raise Stopped(self.signal)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn the first Ctrl-C, or a request to terminate, into a wish to stop; the second kills."""
    stop = Stop()

    def wish(number: int, frame: FrameType | None) -> None:
        if stop.signal:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.signal = number
        with suppress(OSError):  # not print: it may be in the middle of a line
            os.write(2, b"\nstopping after this step; once more stops at once\n")

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all steps of a run have in common."""

    graph: Graph
    cache: Cache
    sink: Sink
    world: World
    stop: Stop
    files: Mapping[str, Path]
    """Where the files and models lie that the steps so far name, by their digests."""
    found: Callable[[str], Findings]
    """What a step and those before it told, for the picture's file."""
    remarks: Mapping[str, Sequence[str]]
    """What nodes warned of so far."""


class Running:
    """The context of one step."""

    __slots__ = ("_anew", "_ready", "_run", "_step", "bookmark", "remarks")

    def __init__(self, step: Step, ready: Ready, run: Shared, *, anew: bool) -> None:
        """anew: the step is not to go on from what an earlier run left."""
        self.bookmark: Resuming | None = None
        """Begun when the node first asks for what was left, or says how far it is with a mark: most never do."""
        self.remarks: list[str] = []
        """What the node warned of."""
        self._step = step
        self._ready = ready
        self._run = run
        self._anew = anew

    @property
    def device(self) -> str:
        return self._ready.placed.device

    @property
    def precision(self) -> str:
        return self._ready.placed.precision

    @property
    def saving(self) -> str:
        return self._ready.placed.saving

    def progress(self, step: int, total: int, mark: Callable[[], Value] | None = None) -> None:
        self._run.sink.emit(NodeProgress(self._step.name, step, total))
        wished = self._run.stop.signal  # once: a wish that comes later finds the next step
        if mark is not None:
            self._begun().passed(step, total, mark, stops=bool(wished))
        if wished:
            raise Stopped(wished)

    def bookmarks(self) -> list[Value]:
        return self._begun().found()

    def resumed(self, steps: int) -> None:
        self._begun().steps += steps

    def _begun(self) -> Resuming:
        if self.bookmark is None:
            run = self._run
            self.bookmark = resuming(self._step, self._ready, run.cache, run.sink, is_fresh=self._anew)
        return self.bookmark

    def warn(self, message: str) -> None:
        text = str(message)  # a node may hand an error
        self.remarks.append(text)
        if text not in self._run.remarks.get(self._step.name, ()):  # told in this run, when its result was used
            self._run.sink.emit(Warned(text, self._step.name))

    def digest(self, file: FileRef) -> str:
        return digest_of(file, self._run.world.files)

    def locate(self, digest: str) -> Path:
        found = self._run.files.get(digest)
        if found is None:
            raise MissingError(
                f"no file of this workflow has the sha256 {digest[:12]}…", hint="Was it changed just now?"
            )
        return found

    def save(
        self, image: Picture, pattern: str, *, format: str = "", quality: int = 95, seal: Seal | None = None
    ) -> SavedFile:
        run, name = self._run, self._step.name
        told = (run.graph, name, image.digest, run.world.files, run.world.folder, pattern, run.found(name))
        return write_with_origin(image, *told, format=format, quality=quality, seal=seal)


@dataclass
class Alone:
    """The context of a node that is run outside any workflow, for a command of its own."""

    say: Callable[[str], None]
    device: str = "cpu"
    precision: str = "fp32"
    saving: str = ""

    def progress(self, step: int, total: int, mark: Callable[[], Value] | None = None) -> None:
        """Nobody watches."""

    def bookmarks(self) -> list[Value]:
        return []

    def resumed(self, steps: int) -> None:
        """Nobody asks."""

    def warn(self, message: str) -> None:
        self.say(f"warning: {message}")

    def digest(self, file: FileRef) -> str:
        raise LookupError("a node outside a workflow has no cache")

    def locate(self, digest: str) -> Path:
        raise LookupError("a node outside a workflow has no files")

    def save(
        self, image: Picture, pattern: str, *, format: str = "", quality: int = 95, seal: Seal | None = None
    ) -> SavedFile:
        raise LookupError("a node outside a workflow saves nothing")


def alone(
    node: type[Node], say: Callable[[str], None], parameters: Mapping[str, object], **inputs: Value
) -> tuple[Any, ...]:
    """Run one node outside any workflow. Raises UsageError for a parameter that it does not take."""
    instance: Any
    instance, complaints = checked(node, parameters)
    for complaint in complaints:
        raise UsageError(f"{complaint.name} {complaint.message}", hint=complaint.hint)
    return returned(node, instance.run(Alone(say), **inputs))
