"""Processes that run workflows in one folder at a time, and what a test must see of them to let them go on."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from graph import leases, turns
from graph.cache import open_cache
from graph.context import Stop
from graph.errors import StepError, Stopped
from graph.events import Event, NodeFinished, NodeStarted, NodeWaiting
from graph.execute import execute
from graph.node import Context, Node
from graph.plan import plan
from graph.registry import Registry
from tests.graph.lab import NODES, Lab

LONG = 60.0
"""Seconds that a test may take to see what it waits for; only one that fails takes them."""


class Gated(Node, kind="gated", version=1):
    """Give a text, once the test lets it: when a file `open` is in the current folder. A file `fail` makes it fail."""

    text: str = ""

    def run(self, ctx: Context, a: str = "") -> str:
        time.sleep(turns.COSTLY)  # so that all that know of it think it costly
        step = 0
        while not Path("open").exists():
            step += 1
            ctx.progress(step, 10_000)
            if Path("fail").exists():
                Path("fail").unlink()
                raise StepError("was told to fail")
            time.sleep(0.005)
        return a + self.text


REGISTRY = Registry(MappingProxyType({node.kind: node for node in (*NODES, Gated)}))


def until(seen: Callable[[], bool], what: str = "") -> None:
    """Return when something can be seen."""
    deadline = time.monotonic() + LONG
    while not seen():
        assert time.monotonic() < deadline, f"never saw it: {what}"
        time.sleep(0.005)


@dataclass
class Told:
    """A sink that appends what happens to a file, which the test reads."""

    path: Path
    stop: Stop

    def emit(self, event: Event) -> None:
        if isinstance(event, (NodeStarted, NodeWaiting, NodeFinished)):
            action = event.action if isinstance(event, NodeFinished) else event.name
            with self.path.open("a") as file:
                file.write(f"{action} {event.node}\n")


@dataclass
class Process:
    """A forked process that runs a workflow in a folder; before it begins it does what `first` says."""

    folder: Path
    name: str
    workflow: str
    first: Callable[[], object] = lambda: None
    number: int = field(init=False)
    status: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.number = os.fork()
        if not self.number:
            code = 70
            try:
                code = self._run()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def _run(self) -> int:
        os.chdir(self.folder)
        stop = Stop()
        signal.signal(signal.SIGTERM, lambda number, frame: setattr(stop, "signal", number))
        lab = Lab(self.folder, REGISTRY)
        warnings: list[str] = []
        cache = open_cache(lab.cache_folder, warnings.append)
        self.first()
        try:
            decided = plan(lab.graph(self.workflow), cache, lab.world(cache))
            sink = Told(self.folder / f"{self.name}.told", stop)
            results = execute(decided, cache, sink, lab.world(cache), stop=stop, keep_values=True)
        except Stopped:
            return 143
        finally:
            cache.close()
        outputs = {name: str(value) for name, value in results.outputs.items()}
        (self.folder / f"{self.name}.gave").write_text(json.dumps([outputs, warnings]))
        return int(not results.ok)

    def told(self) -> list[str]:
        """What happened in it so far: "run a", "hit b", "node_waiting c"."""
        path = self.folder / f"{self.name}.told"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def tells(self, line: str) -> None:
        """Return when it told this."""
        until(lambda: line in self.told(), f"{line} of {self.name}: {self.told()}")

    def signal(self, number: int) -> None:
        os.kill(self.number, number)

    def ended(self) -> int:
        """Wait for its end, and give its exit status: negative, if a signal ended it."""
        if self.status is None:
            until(self._is_over, f"the end of {self.name}: {self.told()}")
        assert self.status is not None
        return self.status

    def end(self) -> None:
        """See to it that it does not outlive the test."""
        if self.status is None:
            self.signal(signal.SIGKILL)
            os.waitpid(self.number, 0)

    def _is_over(self) -> bool:
        number, status = os.waitpid(self.number, os.WNOHANG)
        if number:
            self.status = os.waitstatus_to_exitcode(status)
        return bool(number)

    def warnings(self) -> list[str]:
        """What it warned of, where it came to its end."""
        return list(json.loads((self.folder / f"{self.name}.gave").read_text())[1])

    def gave(self) -> Mapping[str, str]:
        """What it gave at the end, which it reached without a warning."""
        assert 0 == self.ended(), self.told()
        assert [] == self.warnings()
        return dict(json.loads((self.folder / f"{self.name}.gave").read_text())[0])


def impatient() -> None:
    """Let this process think soon that another hangs."""
    leases.PATIENCE = 0.3
