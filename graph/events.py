"""What happens during a run, as frozen values that flow to one sink. The console and `--json` are sinks.

`name` of an event and its fields are what `--json` prints; see docs/command-line.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol

from graph.records import record

Action = Literal["run", "hit", "skipped", "failed"]


class Event:
    """Base of all events: frozen dataclasses, and records where there is one a node or more."""

    __slots__ = ()
    __match_args__: tuple[str, ...]
    name: ClassVar[str] = "event"

    def as_json(self) -> dict[str, Any]:
        """The event as the object that `--json` prints."""
        return {"event": self.name} | {part: _plain(getattr(self, part)) for part in self.__match_args__}


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    name: ClassVar[str] = "run_started"
    workflow: str
    nodes: int
    cells: int = 1
    steps: tuple[tuple[str, str], ...] = ()
    """(node, kind) in the order of the plan."""

    def as_json(self) -> dict[str, Any]:
        return {"event": self.name, "workflow": self.workflow, "nodes": self.nodes, "cells": self.cells}


@record
class NodeStarted(Event):
    name: ClassVar[str] = "node_started"
    node: str
    kind: str
    device: str = ""
    """Empty where no accelerator is of use."""
    why: str = ""
    """Why it is not taken from the cache."""


@dataclass(frozen=True, slots=True)
class NodeWaiting(Event):
    """Another process computes what this node would; its result is waited for."""

    name: ClassVar[str] = "node_waiting"
    node: str
    kind: str
    process: str
    """Its number."""


@dataclass(frozen=True, slots=True)
class NodeProgress(Event):
    """Step `step` of `total` of a running node is done."""

    name: ClassVar[str] = "node_progress"
    node: str
    step: int
    total: int


@record
class NodeFinished(Event):
    name: ClassVar[str] = "node_finished"
    node: str
    kind: str
    action: Action
    seconds: float = 0.0
    """Wall time of the node's own work; of a hit, what the original work took."""
    device: str = ""
    key: str = ""
    why: str = ""
    """Reason of a run or a skip; the error of a failure."""
    cell: Mapping[str, object] = field(default_factory=dict)
    resumed: int = 0
    """How many steps were not done, because an earlier run had done them and was cut off, or ended early."""


@dataclass(frozen=True, slots=True)
class Warned(Event):
    name: ClassVar[str] = "warning"
    message: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class OutputFailed(Event):
    """An output that is there could not be saved."""

    name: ClassVar[str] = "output_failed"
    output: str
    why: str


@dataclass(frozen=True, slots=True)
class SavedOutput:
    """One picture, text or number that a run gives."""

    name: str
    path: str = ""
    """The file, for pictures; as the user would type it."""
    digest: str = ""
    """"sha256:..." of the decoded pixels."""
    value: str | int | float | bool | None = None
    """For texts, numbers and booleans."""
    action: Literal["saved", "kept"] = "saved"
    """kept: the file of an earlier run is still there, with these very bytes."""
    cell: Mapping[str, object] = field(default_factory=dict)
    file: str = ""
    """"sha256:..." of the file's bytes."""


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    name: ClassVar[str] = "run_finished"
    ok: bool
    ran: int
    hits: int
    seconds: float
    outputs: tuple[SavedOutput, ...] = ()
    failed: int = 0
    skipped: int = 0


class Sink(Protocol):
    """Takes events as they happen, in order, from one thread."""

    def emit(self, event: Event) -> None: ...


class Silent:
    """A sink that drops everything."""

    def emit(self, event: Event) -> None:
        """Do nothing."""


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, SavedOutput):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    return round(value, 6) if isinstance(value, float) else value
