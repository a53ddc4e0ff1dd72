"""Laying the trail of a run, for `graph.trail` to follow."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from graph.cache import Cache
from graph.errors import DarkroomError
from graph.events import SavedOutput
from graph.execute import Results
from graph.fields import file_parameters
from graph.filerefs import FileRef
from graph.files import digest_of
from graph.ladder import is_reached_by_climbing
from graph.node import source
from graph.steps import Graph, Step, is_picture, writes_files
from graph.trail import DEVICES, FORMAT, code, name_of
from graph.values import SavedFile, decode
from graph.witness import Seen, are_settled, watching

_NOT_FILES = ("/proc/", "/sys/", "/dev/")
"""What the system makes up when it is read."""


def lay(
    request: argparse.Namespace, graph: Graph, results: Results, cache: Cache, seen: Seen, warnings: Sequence[str]
) -> None:
    """Keep the trail of a run that is done.

    seen: what was looked at since before the workflow was read. warnings: what was told of the workflow.
    Leaves none of a run that may end otherwise when it is asked for again, where something failed, is not to be
    cached, was changed by a lack of memory, or names a file by what another step gives; and none where a change of
    what was looked at might not show.
    """
    name = name_of(request)
    if not name or not results.ok or not all(map(_may_be_repeated, graph.steps.values())):
        return
    if any(event.device and is_reached_by_climbing(event.key, cache) for event in results.finished.values()):
        return
    with watching(seen):
        is_same = _has_same_files(graph, results, cache)
    written = tuple(_written(graph, results, cache))
    looked = _looked(seen, graph, [os.path.abspath(request.file), *(file.path for file in written if file)])
    states = looked.stamps()
    if not is_same or None in written or not are_settled(states.values(), time.time_ns()):
        return
    trail = {
        "format": FORMAT,
        "workflow": graph.workflow.name,
        "code": code(request.nodes),
        "looked": states,
        "listed": sorted(looked.listed),
        "warnings": list(warnings),
        "steps": [_step(step, results) for step in graph.steps],
        "outputs": [_output(graph, output) for output in results.saved],
        "files": [[file.path, file.digest, file.size] for file in written if file],
    }
    cache.note_trail(name, json.dumps(trail, separators=(",", ":")).encode())
    cache.note_led(graph.workflow.name, name)


def _may_be_repeated(step: Step) -> bool:
    return step.cache and not any(name in step.linked for name in file_parameters(step.node))


def _has_same_files(graph: Graph, results: Results, cache: Cache) -> bool:
    """Whether the files that parameters name are those that the keys were made of."""
    try:
        return all(digest_of(file, cache) in results.files for file in _named(graph))
    except DarkroomError:
        return False


def _named(graph: Graph) -> Iterator[FileRef]:
    for step in graph.steps.values():
        values = (step.fixed.get(name) for name in file_parameters(step.node) if not step.off)
        yield from (value for value in values if isinstance(value, FileRef))


def _written(graph: Graph, results: Results, cache: Cache) -> Iterator[SavedFile | None]:
    """Every file that the run left; None for one of which nothing is known any more."""
    yield from results.files_saved
    for name, step in graph.steps.items():
        for digest in results.digests.get(name, ()) if writes_files(step.node) else ():
            data = cache.blob(digest)
            value = None if data is None else decode(data)
            if value is None or isinstance(value, SavedFile):
                yield value


def _looked(seen: Seen, graph: Graph, without: Collection[str]) -> Seen:
    """What decides the run: not what is compared by content, nor the cache itself."""
    plugins = {source(step.node) for step in graph.steps.values()}
    asked = (seen.asked | plugins | set(DEVICES)) - set(without)
    kept = {path for path in asked if not path.startswith(_NOT_FILES) or path in DEVICES}
    return Seen(kept, seen.listed | set(DEVICES))


def _step(name: str, results: Results) -> list[Any]:
    """What will be told of a step when it is a hit."""
    event = results.finished[name]
    action, why = ("skipped", event.why) if event.action == "skipped" else ("hit", "")
    digests = list(results.digests.get(name, ()))
    return [event.node, event.kind, action, event.seconds, event.device, event.key, why, digests]


def _output(graph: Graph, output: SavedOutput) -> list[Any]:
    kinds = {wanted.name: wanted.type for wanted in graph.wanted}
    action = "kept" if is_picture(kinds[output.name]) else output.action
    return [output.name, os.path.abspath(output.path) if output.path else "", output.digest, output.value, action]
