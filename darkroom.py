"""Darkroom's public names: what programs and plug-ins import.

    from darkroom import load, run
    result = run(load("workflows/txt2img.yaml"), prompt="a red circle", seed=7)
    result.outputs["picture"].save("out.png")

A node needs `Node`, `Field`, `Context` and the value types of its ports; see docs/writing-a-node.md.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FunctionType

from graph import gauge
from graph.cache import Cache, Memory, open_cache
from graph.context import Stop
from graph.errors import DarkroomError, MissingError, OutOfMemory, StepError, Stopped, UsageError, WorkflowError
from graph.events import Event, Silent, Sink, Warned
from graph.execute import Results, execute
from graph.filerefs import FileRef, PictureFile
from graph.gauge import Spent
from graph.locks import HOLDS, Hold, LockWord, Pinned, held, pin
from graph.node import Context, Effort, Field, Misfit, Node
from graph.placement import must_have, survey
from graph.plan import Plan
from graph.plan import plan as _plan
from graph.ready import World
from graph.registry import Registry, find_nodes
from graph.steps import Graph
from graph.values import (
    Conditioning,
    Control,
    ControlNet,
    Denoiser,
    DepthMap,
    Guide,
    Inpainting,
    Latents,
    Mask,
    ModelHandle,
    Picture,
    SavedFile,
    SmallPicture,
    SuperResolution,
    Tensor,
    TextEncoder,
    Vae,
    Value,
)
from graph.wiring import wire
from graph.workflow import Workflow, load, set_values

__all__ = [
    "Conditioning", "Context", "Control", "ControlNet", "DarkroomError", "Denoiser", "DepthMap", "Effort", "Event",
    "Field", "FileRef", "Graph", "Guide", "Inpainting", "Latents", "Mask", "Misfit", "MissingError", "ModelHandle",
    "Node", "OutOfMemory", "Picture", "PictureFile", "Plan", "Results", "SavedFile", "Session", "Silent", "Sink",
    "SmallPicture", "StepError", "Stop", "Stopped", "SuperResolution", "Tensor", "TextEncoder", "UsageError", "Vae",
    "Value", "Workflow", "WorkflowError", "check", "kinds", "load", "lock", "open_session", "plan", "run",
]  # fmt: skip


_RESIDENCY = "nodes.sd.residency"
"""The owner of weights; never imported for its own sake, as that imports torch."""


@dataclass(frozen=True, slots=True)
class Session:
    """What checks, plans and runs have in common: the kinds of nodes, the cache, the place. Close its cache."""

    registry: Registry
    cache: Cache
    world: World
    sink: Sink
    hold: Hold = held

    def check(self, workflow: Workflow, only: str | None = None) -> Graph:
        """Wire a workflow. Raises WorkflowError with every mistake of it, or with every drift from its lock."""
        return self.hold(wire(workflow, self.registry, only), lambda: nullcontext(self.cache))

    def plan(self, graph: Graph, force: Collection[str] = ()) -> Plan:
        """Decide what a run would do. Raises UsageError, MissingError."""
        return _plan(graph, self.cache, self._world(graph), force)

    def run(self, planned: Plan, *, stop: Stop | None = None, keep_values: bool = False, save: bool = True) -> Results:
        """Run a plan. Raises Stopped."""
        try:
            return execute(
                planned,
                self.cache,
                self.sink,
                self._world(planned.graph),
                stop=stop,
                release=_release,
                watch=_watch,
                keep_values=keep_values,
                save=save,
            )
        finally:
            if residency := sys.modules.get(_RESIDENCY):
                residency.weights.tidy()

    def _world(self, graph: Graph) -> World:
        return replace(self.world, workflow=graph.workflow.name)


def open_session(
    *,
    cache: str | Path | None = None,
    out: str | Path = "outputs",
    device: str = "auto",
    nodes: Sequence[str | Path] = (),
    sink: Sink | None = None,
    lock: LockWord = "held",
    remote: str | None = None,
) -> Session:
    """Bring together what runs need.

    cache: the folder of results; the user's own unless given, "none" for nothing on disk, as --cache none.
    remote: the URL of a cache that machines share; DARKROOM_REMOTE unless given, "none" for none.
    nodes: folders with nodes of one's own. lock: whether darkroom.lock is held, required or ignored.
    Raises UsageError for a device or folder that is not there.
    """
    sink = sink or Silent()
    devices = survey()
    asked = must_have(devices, device)
    registry = kinds(nodes)
    local: Cache = Memory() if cache == "none" else open_cache(Path(cache) if cache else None, _warner(sink))
    store = _before_remote(local, os.environ.get("DARKROOM_REMOTE", "") if remote is None else remote, _warner(sink))
    return Session(registry, store, World(store, Path(out).absolute(), devices, asked), sink, HOLDS[lock])


def _before_remote(local: Cache, url: str, warn: Callable[[str], None]) -> Cache:
    if url in ("", "none"):
        return local
    from graph.tiered import shared

    return shared(local, url, warn)


def kinds(folders: Sequence[str | Path] = ()) -> Registry:
    """Every kind of node: Darkroom's own, those in `folders`, and those of installed packages.

    Raises UsageError for a folder that is not there, and for a node that cannot be used.
    """
    if "" in folders:
        raise UsageError("a folder with nodes has an empty name", hint="The current folder is called .")
    return _kinds(tuple(Path(folder).absolute() for folder in folders))


@cache
def _kinds(folders: tuple[Path, ...]) -> Registry:
    return find_nodes("nodes", folders)


def check(workflow: Workflow, *, nodes: Sequence[str | Path] = (), lock: LockWord = "held") -> Graph:
    """Check a workflow. Raises WorkflowError with every mistake of it, or with every drift from its lock."""
    return HOLDS[lock](wire(workflow, kinds(nodes)), lambda: closing(open_cache(None, lambda message: None)))


def lock(workflow: Workflow, *, nodes: Sequence[str | Path] = ()) -> Pinned:
    """Pin the models and the versions of nodes of a workflow in the darkroom.lock beside it.

    Raises WorkflowError, also for a lock that cannot be read, UsageError, MissingError.
    """
    graph = wire(workflow, kinds(nodes))
    with closing(open_cache(None, lambda message: None)) as memo:
        return pin(graph, memo)


def plan(
    workflow: Workflow,
    /,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    nodes: Sequence[str | Path] = (),
    force: Collection[str] = (),
    **params: object,
) -> Plan:
    """Say what a run of a workflow would do, and why. Nothing is run. The options are those of `run`."""
    session = open_session(cache=cache, out=out or "outputs", device=device, nodes=nodes)
    try:
        return session.plan(session.check(set_values(workflow, params)), force)
    finally:
        session.cache.close()


def run(
    workflow: Workflow,
    /,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    nodes: Sequence[str | Path] = (),
    sink: Sink | None = None,
    force: Collection[str] = (),
    **params: object,
) -> Results:
    """Run a workflow and give its outputs as values.

    params: values of the workflow's params, by name. out: also save the pictures there.
    Raises WorkflowError, MissingError, UsageError before anything runs; the error of the first step that failed.
    """
    session = open_session(cache=cache, out=out or "outputs", device=device, nodes=nodes, sink=sink)
    try:
        graph = session.check(set_values(workflow, params))
        results = session.run(session.plan(graph, force), keep_values=True, save=out is not None)
    finally:
        session.cache.close()
    if results.failures:
        raise results.failures[0].error
    return results


def _release(handle: ModelHandle) -> None:
    """Drop weights that no step needs any more; nothing to do where none were ever loaded."""
    if residency := sys.modules.get(_RESIDENCY):
        residency.weights.release(handle)


def _watch(node: type[Node], device: str) -> Callable[[], Spent]:
    """Watch a step with weights, and tell apart what is imported for it: once a process, whatever there is to do.

    The first such step of a process starts what computes with weights; what later ones import counts as loading.
    """
    if not node.__module__.startswith("nodes."):
        return gauge.watch(node, device)
    start, before = time.perf_counter(), gauge.in_use()
    was_there = "nodes.sd.gauge" in sys.modules
    from nodes.sd.gauge import watch

    _import_for(node)
    importing = time.perf_counter() - start
    base = 0 if was_there else max(0, gauge.in_use()[1] - before[1])
    spent = watch(node, device)

    def told() -> Spent:
        found = spent()
        if was_there:
            return replace(found, loading=found.loading + importing)
        return replace(found, starting=importing, base=base)

    return told


def _import_for(node: type[Node]) -> None:
    """Import what the node itself imports first when it is run; what fails to, fails there."""
    run = getattr(node, "run", None)
    for name in run.__code__.co_names if isinstance(run, FunctionType) else ():
        if name.startswith("nodes.sd.") and name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)


def _warner(sink: Sink) -> Callable[[str], None]:
    return lambda message: sink.emit(Warned(message))


if __name__ == "__main__":
    import runner

    sys.exit(runner.main())
