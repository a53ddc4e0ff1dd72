"""Laying the trail of a run, for `graph.trail` to follow."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from graph.ages import NEVER
from graph.cache import LED, Cache
from graph.codec import decode
from graph.errors import DarkroomError
from graph.events import SavedOutput
from graph.execute import Results
from graph.fields import file_parameters
from graph.filerefs import FileRef
from graph.files import digest_of
from graph.index import FORMAT as CACHE_FORMAT
from graph.ladder import is_reached_by_climbing
from graph.pace import builds
from graph.steps import Graph, Step, is_picture, values_of, writes_files
from graph.trail import DEVICES, FORMAT, TRAIL, code, folder_of, installed, name_of, sources
from graph.values import SavedFile
from graph.witness import SIZE, Seen, are_settled, environment, stamp, watching

_NOT_FILES = ("/proc/", "/sys/", "/dev/")
"""What the system makes up when it is read."""
_COMPILED = f"{os.sep}__pycache__"


def begun(request: argparse.Namespace) -> tuple[str, str]:
    """The name of a run's trail and the state of its code, before anything is read."""
    name = name_of(request)
    return (name, code(request.nodes)) if name else ("", "")


@builds
def lay(
    request: argparse.Namespace,
    beginning: tuple[str, str],
    graph: Graph,
    results: Results,
    cache: Cache,
    seen: Seen,
    warnings: Sequence[str],
) -> None:
    """Keep the trail of a run that is done.

    beginning: what `begun` gave. seen: what was looked at since. warnings: what was told of the workflow.
    Leaves none of a run that may end otherwise when it is asked for again, where something failed, is not to be
    cached, was changed by a lack of memory, or names a file by what another step gives; and none where what
    decides the run was changed while it went on, or where a change of it might not show.
    """
    name, own_code = beginning
    if not name or not results.ok or not all(map(_may_be_repeated, graph.steps.values())):
        return
    if any(event.device and is_reached_by_climbing(event.key, cache) for event in results.finished.values()):
        return
    with watching(seen):
        is_same = _has_same_files(graph, results, cache)
    written = tuple(_written(graph, results, cache))
    file = os.path.abspath(request.file)
    looked = _looked(seen, request, [file, *(left[0] for left in written if left)])
    states = looked.stamps()
    is_same = is_same and begun(request) == beginning and not looked.changed() & {file, *states}
    if not is_same or None in written or not are_settled(states.values(), time.time_ns()):
        return
    trail = {
        "format": FORMAT,
        "workflow": graph.workflow.name,
        "asked": results.asked.as_json(),
        "code": own_code,
        "installed": installed(),  # only now: the run itself may have added its output folder there
        "looked": states,
        "listed": sorted(looked.listed),
        "warnings": list(warnings),
        "variables": (variables := sorted(seen.variables)),
        "environment": environment(variables),
        "steps": [_step(step, results) for step in graph.steps],
        "remarks": results.remarks,
        "outputs": [_output(graph, output) for output in results.saved],
        "files": [file for file in written if file],
    }
    cache.note(TRAIL, name, json.dumps(trail, separators=(",", ":")).encode())
    cache.note(LED, graph.workflow.name, name.encode())


def _may_be_repeated(step: Step) -> bool:
    if step.linked and any(name in step.linked for name in file_parameters(step.node)):
        return False
    return step.cache and step.fresh == NEVER


def _has_same_files(graph: Graph, results: Results, cache: Cache) -> bool:
    """Whether the files that parameters name are those that the keys were made of."""
    try:
        return all(digest_of(file, cache) in results.files for file in _named(graph))
    except DarkroomError:
        return False


def _named(graph: Graph) -> Iterator[FileRef]:
    for step in graph.steps.values():
        for name in file_parameters(step.node):
            value = step.fixed.get(name)
            if isinstance(value, FileRef) and not step.off:
                yield value


def _written(graph: Graph, results: Results, cache: Cache) -> Iterator[tuple[str, str, int] | None]:
    """Path, sha256 and size of every file that the run left; None for one of which nothing is known any more."""
    for output in results.saved:
        if output.file:
            path = os.path.abspath(output.path)
            size = stamp(path, False)[SIZE:]
            yield (path, output.file.removeprefix("sha256:"), size[0]) if size else None
    for name, step in graph.steps.items():
        for digest in values_of(step, results.digests.get(name, ())) if writes_files(step.node) else ():
            data = cache.blob(digest)
            value = None if data is None else decode(data)
            if value is None:
                yield None
            elif isinstance(value, SavedFile):
                yield value.path, value.digest, value.size


def _in_cache(request: argparse.Namespace) -> str:
    """How the paths in the cache begin, whose writer may look at them at any moment."""
    return os.path.join(os.path.abspath(folder_of(request) or ""), f"v{CACHE_FORMAT}", "")


def _looked(seen: Seen, request: argparse.Namespace, without: Collection[str]) -> Seen:
    """What decides the run: not what is compared by content, nor the cache itself, nor code, which `code` states.

    Nor the folders of code, into which Python writes what it compiles.
    """
    ours, cache = set(sources(request.nodes)), _in_cache(request)
    packages = {os.path.dirname(path) for path in ours}
    asked = {path for path in seen.asked - ours - set(without) if not path.startswith((*_NOT_FILES, cache))}
    listed = {path for path in seen.listed - packages if not path.startswith(cache)}
    asked, listed = ({path for path in paths if _COMPILED not in path} for paths in (asked, listed))
    return Seen(asked | set(DEVICES), listed | set(DEVICES), seen.first)


def _step(name: str, results: Results) -> list[Any]:
    """What will be told of a step when it is a hit."""
    event = results.finished[name]
    action, why = ("skipped", event.why) if event.action == "skipped" else ("hit", "")
    digests = list(results.digests.get(name, ()))
    return [event.node, event.kind, action, event.seconds, event.device, event.key, why, digests]


def _output(graph: Graph, output: SavedOutput) -> list[Any]:
    kinds = {wanted.name: wanted.type for wanted in graph.wanted}
    action = "kept" if is_picture(kinds[output.name]) else output.action
    path = os.path.join(os.getcwd(), output.path) if output.path else ""
    return [output.name, path, output.digest, output.value, action, output.file]
