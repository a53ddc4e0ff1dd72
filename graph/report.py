"""What a run looks like in words: rows of a table, lines of a summary, explanations. Pure functions of events."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from graph.events import Action, NodeFinished, NodeStarted, NodeWaiting, RunFinished, SavedOutput
from graph.tables import clean, cut, pad, render, seen_width

__all__ = [
    "HEADER",
    "Row",
    "closing",
    "duration",
    "explained",
    "final_table",
    "frame",
    "label",
    "lines",
    "widths",
]

HEADER = ("node", "kind", "state", "seconds", "device")
WORDS: Mapping[Action, str] = {"failed": "failed", "run": "done", "hit": "cached", "skipped": "skipped"}
"""How an action is called in the terminal, what matters most first."""


@dataclass(frozen=True, slots=True)
class Row:
    """A node in the live table, over all cells of a sweep."""

    node: str
    kind: str
    times: int = 1
    """How often the node is in the plan."""
    device: str = ""
    actions: Mapping[Action, int] = field(default_factory=Counter)
    seconds: float = 0.0
    """Spent on it so far, finished cells only."""
    saved: float = 0.0
    resumed: int = 0
    """Steps that an earlier run had done."""
    since: float | None = None
    """When it was started, while it is running; by time.monotonic."""
    step: int = 0
    total: int = 0
    is_stopped: bool = False
    """The run ended while the node was running."""
    waits: str = ""
    """What for, where another process computes the node's result."""

    def started(self, event: NodeStarted) -> Row:
        """The row of a node that runs."""
        return replace(self, device=event.device, since=time.monotonic(), step=0, total=0, waits="")

    def waiting(self, event: NodeWaiting) -> Row:
        """The row of a node that another process computes."""
        return replace(self, waits=f"waits for process {event.process}")

    def finished(self, event: NodeFinished) -> Row:
        """The row of a node that is finished, in one more cell."""
        actions = Counter(self.actions)
        actions[event.action] += 1
        hit = event.action == "hit"
        return replace(
            self,
            times=max(self.times, actions.total()),
            device=event.device if event.action in ("run", "failed") else self.device,
            actions=actions,
            seconds=self.seconds + (0 if hit else event.seconds),
            saved=self.saved + (event.seconds if hit else 0),
            resumed=self.resumed + event.resumed,
            since=None,
            waits="",
        )

    def stopped(self) -> Row:
        """The row when nothing runs any more."""
        waits_or_runs = self.waits or self.since is not None
        return replace(self, since=None, waits="", is_stopped=True) if waits_or_runs else self

    def word(self) -> str:
        """The state in one word."""
        if self.is_stopped:
            return "stopped"
        if self.since is not None:
            return "running"
        return next((word for action, word in WORDS.items() if self.actions.get(action)), "waiting")

    def state(self) -> str:
        """The state in words: "waiting", "step 12 of 50" with a bar, "cached (saved 1.9 s)", "done 2, cached 4",
        "done (resumed after 12 steps)"."""
        if self.waits:
            return self.waits
        if self.since is not None and self.total:
            return f"step {self.step} of {self.total} {_bar(self.step, self.total)}"
        if self.since is not None or self.is_stopped or not self.actions:
            return self.word()
        parts = [
            f"{word} {self.actions[action]}" if self.times > 1 else word
            for action, word in WORDS.items()
            if self.actions.get(action)
        ]
        saved = f" (saved {duration(self.saved)})" if self.saved >= 0.05 else ""
        return ", ".join(parts) + saved + (f" (resumed after {self.resumed} steps)" if self.resumed else "")

    def cells(self) -> tuple[str, str, str, str, str]:
        """The row's cells, under HEADER."""
        spent = self.seconds + (time.monotonic() - self.since if self.since is not None else 0)
        return self.node, self.kind, self.state(), _number(spent) if spent else "", self.device


def frame(rows: Sequence[Row], size: os.terminal_size, colour: bool) -> str:
    """Draw a running graph, never higher than the terminal: a window around what runs, and counts."""
    counts = Counter(row.word() for row in rows)
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    most = widths([(row.node, row.kind) for row in rows])  # or the columns jump when the window moves
    shown = []
    for row in _window(rows, max(1, size.lines - 3)):
        node, kind, *rest = row.cells()
        shown.append((pad(clean(node), most[0]), pad(clean(kind), most[1]), *rest))
    return render(shown, HEADER, size.columns - 1, colour) + "\n" + cut(told, size.columns - 1)


def final_table(rows: Sequence[Row], size: os.terminal_size, colour: bool) -> str:
    """Draw a finished graph; where it is higher than the terminal, cached nodes are only counted."""
    shown = [row for row in rows if row.word() != "cached"] if len(rows) > size.lines - 3 else list(rows)
    hidden = len(rows) - len(shown)
    if not shown:
        return f"{hidden} nodes, all cached"
    table = render([row.cells() for row in shown], HEADER, size.columns, colour)
    return table + (f"\nand {hidden} more, cached" if hidden else "")


def _window(rows: Sequence[Row], size: int) -> Sequence[Row]:
    words = [row.word() for row in rows]
    centre = next((words.index(word) for word in ("running", "waiting") if word in words), len(rows))
    start = max(0, min(centre - size // 2, len(rows) - size))
    return rows[start : start + size]


def closing(event: RunFinished) -> str:
    """Sum up a run: how many nodes did what, then a line for every output."""
    counts = [("ran", event.ran), ("cached", event.hits)]
    counts += [(word, count) for word, count in (("skipped", event.skipped), ("failed", event.failed)) if count]
    told = ", ".join(f"{word} {count}" for word, count in counts)
    outputs = render([_output(output) for output in event.outputs])
    return f"{told}, {duration(event.seconds)}" + (f"\n{outputs}" if outputs else "")


def _output(output: SavedOutput) -> tuple[str, str]:
    name = output.name + label(output.cell)
    return (name, f"{output.path}  ({output.action})" if output.path else json.dumps(output.value, ensure_ascii=False))


def explained(unfinished: Sequence[NodeFinished]) -> list[str]:
    """Tell what failed, each with its message and hint, and what was skipped then, by reason."""
    failed = [event for event in unfinished if event.action == "failed"]
    told = [lines(f"{event.node}{label(event.cell)} ({event.kind}) failed: {event.why}") for event in failed]
    skipped: dict[str, list[str]] = {}
    for event in unfinished if failed else ():
        if event.action == "skipped":
            skipped.setdefault(event.why, []).append(clean(event.node + label(event.cell)))
    return told + [f"skipped{f' ({clean(why)})' if why else ''}: {', '.join(names)}" for why, names in skipped.items()]


def lines(text: str) -> str:
    """Give a text of several lines that a terminal can be shown."""
    return "\n".join(clean(line) for line in text.split("\n"))


def label(cell: Mapping[str, object]) -> str:
    """Tell a cell of a sweep: " [seed=42, strength=0.3]"; nothing where there is no sweep."""
    return clean(" [" + ", ".join(f"{name}={value}" for name, value in cell.items()) + "]") if cell else ""


def widths(steps: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Measure the widest node and the widest kind, in columns of a terminal."""
    return (
        max((seen_width(clean(node)) for node, _ in steps), default=0),
        max((seen_width(clean(kind)) for _, kind in steps), default=0),
    )


def _bar(step: int, total: int, width: int = 8) -> str:
    filled = min(width, step * width // total)
    return "█" * filled + "░" * (width - filled)


def _number(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 0.1 else f"{seconds:.2f}"


def duration(seconds: float) -> str:
    """Tell a time: "0.03 s", "1.9 s", "3 min 12 s", "2 h 05 min"."""
    if seconds < 59.95:
        return f"{_number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
