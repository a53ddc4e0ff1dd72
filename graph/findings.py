"""What nodes found out about a picture on its way: texts, numbers and yes or no, to be written into its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graph.codec import decode
from graph.node import SCALARS, outputs
from graph.order import ancestors
from graph.ready import Done, Outcomes, Read
from graph.sources import From
from graph.steps import Graph

Findings = dict[str, dict[str, Any]]
"""By node, by output."""
LONGEST = 1000
"""Letters of a text that is written into a picture."""


def findings(graph: Graph, step: str, outcomes: Outcomes, read: Read) -> Findings:
    """Collect what a step and those before it gave beside pictures. What the cache no longer has is left out."""
    needs = {name: one.needs for name, one in graph.steps.items()}
    found = {name: dict(_scalars(graph, name, outcomes, read)) for name in sorted(ancestors(needs, [step]))}
    return {name: told for name, told in found.items() if told}


def _scalars(graph: Graph, name: str, outcomes: Outcomes, read: Read) -> Iterator[tuple[str, Any]]:
    if not isinstance(outcomes.get(name), Done):
        return
    for at, output in enumerate(outputs(graph.steps[name].node).values()):
        data = read(From(name, at)) if output.type in SCALARS and not output.many else None
        if data is not None:
            value = decode(data)
            yield output.name, value[:LONGEST] if isinstance(value, str) else value
