"""What a run of a graph is asked for, as the history keeps it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from graph.history import Asked
from graph.node import LOOSE, source
from graph.provenance import file_digests
from graph.ready import World
from graph.steps import Graph
from graph.workflow import Workflow


def asked_of(graph: Graph, world: World) -> Asked:
    """Say what a run of a graph is asked for."""
    workflow = graph.workflow
    given = tuple(name for name, param in workflow.params.items() if param.value.place.file in _outside(workflow))
    kinds = sorted({step.node for step in graph.steps.values()}, key=lambda kind: kind.kind)
    return Asked(
        workflow=workflow.name,
        source=str(workflow.source or ""),
        text=hashlib.sha256(workflow.text.encode("utf-8", "surrogatepass")).hexdigest(),
        params={name: _param(workflow, name, name in given) for name in workflow.params},
        given=given,
        out=str(world.folder),
        device=world.device,
        only=graph.only,
        nodes=tuple(sorted({str(Path(source(kind)).parent) for kind in kinds if kind.__module__.startswith(LOOSE)})),
        kinds={kind.kind: kind.version for kind in kinds},
        files=file_digests(graph, world.files),
    )


def _outside(workflow: Workflow) -> tuple[str, ...]:
    """Where settings come from that are not in the file; a picture brings its own params along."""
    inside = workflow.source and workflow.source.name != Path(workflow.file).name
    return ("--set",) if inside else ("--set", "<values>")


def _param(workflow: Workflow, name: str, given: bool) -> Any:
    param = workflow.params[name]
    value = param.value.value
    if given and param.type == "path" and (param.base / str(value)).exists():
        return str((param.base / str(value)).absolute())
    return value
