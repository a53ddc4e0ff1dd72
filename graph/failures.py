"""A failed step in words."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from graph.errors import DarkroomError, StepError
from graph.ladder import told_anew
from graph.node import source
from graph.steps import Step


@dataclass(frozen=True, slots=True)
class Failure:
    """A node, or an output, that failed."""

    node: str
    error: BaseException


def told(error: BaseException, step: Step) -> str:
    """Say what went wrong: a user's mistake in its own words, a bug of a node with the line that raised."""
    if isinstance(error, DarkroomError):
        return str(error)
    if isinstance(error, MemoryError):
        return str(told_anew(error))
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source(step.node)]
    where = f" ({source(step.node)}:{lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}\n  This is a bug in the node {step.kind}; --debug shows all of it."


class Gone(StepError):
    """A value is lost, and the step that gave it failed when it was run again: told there, not here."""

    def __init__(self, step: str) -> None:
        super().__init__(f"{step} failed")
