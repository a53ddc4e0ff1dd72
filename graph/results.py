"""What a run gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graph.events import Action, NodeFinished, RunFinished, SavedOutput
from graph.failures import Failure
from graph.history import Asked


@dataclass(frozen=True, slots=True)
class Results:
    """What a run gave."""

    ok: bool
    actions: Mapping[str, Action]
    """How each node ended."""
    saved: tuple[SavedOutput, ...]
    """What was saved, as events tell it."""
    outputs: Mapping[str, Any]
    """By the names of the outputs: the values themselves, where they were asked for."""
    asked: Asked
    """What the run was asked for, as the history keeps it."""
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    finished: Mapping[str, NodeFinished] = field(default_factory=dict)
    """What was told of each node last."""
    digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the outputs of each node that has some."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """By digest: the files and models that parameters named."""
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By node: what it warned of, now or when it made what is known."""


def finished(results: Results) -> RunFinished:
    """Sum a run up."""
    count = list(results.actions.values()).count
    failed = len(results.failures)
    return RunFinished(results.ok, count("run"), count("hit"), results.seconds, results.saved, failed, count("skipped"))
