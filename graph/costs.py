"""What steps cost: measured as they run, the last few of each kind kept for the forecasts of later plans.

A measurement says on what it was made (device, precision, weights, the words among the parameters) and how much there
was to do: an extent, that memory and outputs go with, and how many rounds over it, that time goes with too. Reading
weights, and importing what computes with them, are kept apart: they are paid once a process, whatever there is to do.

Steps of a kind are alike and may be many and short: of one run, the first few of each kind are kept, and all that
took long. One note a kind is written at the end of the run.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from graph.cache import Cache
from graph.codec import Blob
from graph.gauge import Spent
from graph.node import Effort, Node, parameters
from graph.ready import Outcomes, Read, Ready, takes
from graph.sources import origins
from graph.steps import Graph, Step, model_ports

KEPT = 32
"""Measurements that are kept of a kind."""
START = ""
"""The kind under which the beginning of a process is kept: importing what computes with weights."""
_SPACE = "cost"
_FORMAT = 1
_FEW = 8
"""Short steps of a kind that are measured in one run."""
_LONG = 0.02
"""Seconds from which on a step is measured however many of its kind were."""
_MANY = 100
"""Modules; a step that imports more, and was not watched, says nothing of its own work."""
_WORD = 24
"""Letters up to which a text counts as a word that chooses something."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one step cost."""

    device: str
    precision: str
    weights: str
    """sha256 of the file that its weights come from; "" without any."""
    words: Mapping[str, str]
    """Parameters that choose how something is done."""
    extent: float
    rounds: float
    seconds: float
    """Of the work alone."""
    loading: float
    """Seconds it took to read weights; 0 where they were in memory."""
    memory: int
    """Bytes beyond what was in use before, at the peak; 0 where that could not be measured."""
    stays: int
    """Bytes of these that are still in use after the step: weights."""
    sizes: Sequence[int]
    """Bytes of each output."""


class Meter:
    """What the steps of one run cost, until its end.

    ready: what steps are made from, of those that the step at hand needs; outcomes: how they ended.
    """

    def __init__(self, graph: Graph, cache: Cache, ready: Mapping[str, Ready], outcomes: Outcomes, read: Read) -> None:
        self._graph = graph
        self._cache = cache
        self._ready = ready
        self._outcomes = outcomes
        self._read = read
        self._found: dict[str, deque[Cost]] = {}
        self._modules = len(sys.modules)

    def note(self, step: Step, ready: Ready, seconds: float, spent: Spent, blobs: Sequence[Blob]) -> None:
        """Take in what a step cost, as soon as it is done."""
        found = self._found.get(step.kind, ())
        if len(found) >= _FEW and seconds < _LONG:
            return
        modules, self._modules = self._modules, len(sys.modules)
        if self._modules - modules > _MANY and not spent.starting + spent.loading:
            return
        effort = effort_of(ready.node, self._arrived(step))
        weights = weights_of(step, self._graph, self._ready) if step.accelerated else ""
        work = max(0.0, seconds - spent.starting - spent.loading)
        sizes = [len(blob.data) for blob in blobs]
        placed = ready.placed
        cost = Cost(
            placed.device, placed.precision, weights, choices(ready.node), *effort,
            work, spent.loading, spent.memory, spent.stays, sizes,
        )  # fmt: skip
        self._add(step.kind, cost)
        if spent.starting:
            self._add(START, Cost("", "", "", {}, 1, 1, spent.starting, 0, spent.base, spent.base, ()))

    def _arrived(self, step: Step) -> dict[str, int]:
        """The bytes of what a step took, by port."""
        taken = {name: takes(source, self._outcomes) for name, source in step.inputs.items()}
        return {name: sum(len(self._read(origin) or b"") for origin in found) for name, found in taken.items()}

    def _add(self, kind: str, cost: Cost) -> None:
        self._found.setdefault(kind, deque(maxlen=KEPT)).append(cost)

    def keep(self) -> None:
        """Write down what was measured, after what is known from earlier runs."""
        for kind, found in self._found.items():
            last = [*known(kind, self._cache), *found][-KEPT:]
            rows = [_FORMAT, [_row(cost) for cost in last]]
            self._cache.note(_SPACE, kind, json.dumps(rows, separators=(",", ":")).encode())


def known(kind: str, cache: Cache) -> list[Cost]:
    """What steps of a kind cost in the runs before, oldest first."""
    form, rows = json.loads(cache.noted(_SPACE, kind) or b"[0, []]")
    return [Cost(*row) for row in rows] if form == _FORMAT else []


def effort_of(node: Node, sizes: Mapping[str, int]) -> Effort:
    """How much a node says it has to do; 1 where it fails to say it: that may cost a forecast, but no run."""
    try:
        extent, rounds = node.effort(sizes)
        return Effort(float(extent), float(rounds))
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError):
        return Effort(1.0)


def choices(node: Node) -> dict[str, str]:
    """The parameters of a node that choose how something is done, as words; no numbers, no prompts, no files."""
    found = {}
    for name, parameter in parameters(type(node)).items():
        value = getattr(node, name)
        if isinstance(value, bool) or (isinstance(value, str) and parameter.type is not str and len(value) <= _WORD):
            found[name] = str(value)
    return found


def weights_of(step: Step, graph: Graph, ready: Mapping[str, Ready]) -> str:
    """The sha256 of the file that a step's weights come from, through all that changes them; "" if it is not known."""
    while ports := [name for name in model_ports(step.node) if name in step.inputs]:
        step = graph.steps[origins(step.inputs[ports[0]])[0].step]
    known = ready.get(step.name)
    values = json.loads(known.recipe)["parameters"].values() if known else ()
    return next((value["content"] for value in values if isinstance(value, dict) and "content" in value), "")


def _row(cost: Cost) -> list[object]:
    values = [getattr(cost, part.name) for part in fields(cost)]
    return [round(value, 6) if isinstance(value, float) else value for value in values]
