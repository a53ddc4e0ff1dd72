"""A typed graph: steps in order, with every reference resolved. `graph.wiring` makes it; nothing changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from graph.conditions import Condition
from graph.entries import Input
from graph.errors import Mistake, Place
from graph.filerefs import Default
from graph.node import Node, outputs, ports
from graph.records import record
from graph.sources import Choice, From, Source
from graph.values import ModelHandle, Raster, SavedFile
from graph.workflow import Workflow


@record
class Step:
    """A node with its kind known, its parameters checked and its links resolved."""

    name: str
    kind: str
    node: type[Node]
    accelerated: bool
    """Whether it computes with weights: of a node that can do without a model, only where it is given one."""
    place: Place
    fixed: Mapping[str, object]
    """Parameters whose value is known from the file, without the node's own defaults."""
    linked: Mapping[str, Source]
    """Parameters whose value comes from other steps; checked when it is known."""
    inputs: Mapping[str, Source]
    """By port."""
    needs: tuple[str, ...]
    """The steps that must be settled before this one."""
    instance: Node | None
    """The node itself, where all its parameters are known."""
    when: Condition | None
    """What is left to be seen of its condition."""
    facts: Mapping[str, Source]
    """What the references of the condition stand for."""
    off: str
    """Why it is skipped, where the file alone says so."""
    device: str | None
    cache: bool
    fresh: str
    """How old a result from the cache may be; see `graph.ages`."""
    folder: Path
    """What a relative path starts from that another step gives: the workflow's folder."""
    own: Mapping[str, Input]
    """What the node itself says, by port or parameter."""
    defaults: Mapping[str, Input]
    """What the workflow's defaults say of its kind."""
    proposed: Mapping[str, Default]
    """What a model that it takes brings along, of what neither says."""

    def place_of(self, name: str) -> Place:
        """Where the value of a port or parameter stands; the node, if nowhere."""
        if name in self.proposed:
            return self.proposed[name].place
        given = self.own.get(name) or self.defaults.get(name)
        return given.value.place if given else self.place

    def set_by(self, name: str) -> Literal["node", "defaults", "model", ""]:
        """Who gives a port or parameter its value; "" where nobody does."""
        if name in self.proposed:
            return "model"
        return "node" if name in self.own else "defaults" if name in self.defaults else ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Something that a run is to give back."""

    name: str
    source: From | Choice
    type: Any


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow that is known to fit together."""

    workflow: Workflow
    steps: Mapping[str, Step]
    """What is needed for the outputs, in an order in which every step comes after those that it needs."""
    wanted: tuple[Wanted, ...]
    warnings: tuple[Mistake, ...] = ()
    only: str = ""
    """The node that a run is to go no further than; "" for all of the workflow."""


@cache
def model_ports(node: type[Node]) -> tuple[str, ...]:
    """The ports that take a model, one each."""
    return tuple(
        name
        for name, port in ports(node).items()
        if not port.many and isinstance(port.type, type) and issubclass(port.type, ModelHandle)
    )


@cache
def writes_files(node: type[Node]) -> bool:
    """Whether a node's result is a file that it leaves in the output folder."""
    return any(output.type is SavedFile for output in outputs(node).values())


def values_of(step: Step, digests: Sequence[str]) -> Sequence[str]:
    """Of all that a result holds, what its node declares; what it warned of may stand behind that."""
    return digests[: len(outputs(step.node))]


def is_picture(kind: Any) -> bool:
    """Whether a wanted value is to be saved as a picture."""
    return isinstance(kind, type) and issubclass(kind, Raster)
