"""Reading a workflow: from a file to its params, nodes and outputs, every one with its place.

Here is what can be said of a file alone, without the kinds of nodes: see `graph.wiring` for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graph.conditions import Condition
from graph.errors import Mistake, Place
from graph.params import Param
from graph.references import Expression, First, Link, Literal, Many, Template

__all__ = [
    "Condition",
    "Entry",
    "Expression",
    "First",
    "Input",
    "Link",
    "Literal",
    "Many",
    "Output",
    "Param",
    "Template",
    "Workflow",
    "load",
    "parse",
    "set_params",
    "set_values",
]


@dataclass(frozen=True, slots=True)
class Input:
    """One `port_or_param: value` of a node, or of the defaults of a kind."""

    name: str
    place: Place
    """The place of the key."""
    value: Expression


@dataclass(frozen=True, slots=True)
class Entry:
    """One node as the file has it, its kind not yet looked up."""

    name: str
    place: Place
    kind: str
    kind_place: Place
    inputs: Mapping[str, Input]
    """In the order of the file."""
    when: Condition | None
    doc: str
    device: str | None
    cache: bool
    after: tuple[Link, ...]
    unreadable: frozenset[str] = frozenset()
    """Keys left out because of a mistake that is already told: not to be told again as missing."""


@dataclass(frozen=True, slots=True)
class Output:
    """What is saved and returned under a name."""

    name: str
    place: Place
    value: Link | First


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow document, syntactically read."""

    file: str
    """As the user named it; "<stdin>" for "-"."""
    folder: Path
    text: str
    name: str
    doc: str
    params: Mapping[str, Param]
    defaults: Mapping[str, Mapping[str, Input]]
    """By kind."""
    default_places: Mapping[str, Place]
    """By kind: the place of its name under `defaults`."""
    nodes: Mapping[str, Entry]
    outputs: tuple[Output, ...] | None
    """None where there is no such section."""
    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]
    unreadable: frozenset[str] = frozenset()
    """Params and nodes left out because of a mistake that is already told: not to be told as unknown."""


def parse(data: bytes, file: str, folder: Path) -> Workflow:
    """Read a workflow from the bytes of its file; its mistakes are in `mistakes`.

    Raises WorkflowError only where there is no document at all.
    """
    raise NotImplementedError


def load(path: str | Path) -> Workflow:
    """Read a workflow file, or standard input for "-".

    Raises MissingError where there is no such file, WorkflowError as `parse` does.
    """
    raise NotImplementedError


def set_params(workflow: Workflow, settings: Mapping[str, str], folder: Path) -> Workflow:
    """Give params the values of `--set`, each text typed as its param is; paths are relative to `folder`.

    Raises WorkflowError with every mistake of every setting.
    """
    raise NotImplementedError


def set_values(workflow: Workflow, values: Mapping[str, object]) -> Workflow:
    """Give params values from Python; paths are relative to the current folder.

    Raises WorkflowError with every mistake of every value.
    """
    raise NotImplementedError
