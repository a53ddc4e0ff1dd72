"""What is remembered of a run: what was asked for, how each node ended, what came out.

`Past` is all of it, made from the events of the run and from `Asked`, which depends on nothing that happens in it and
goes through JSON: a run can be noted without its graph. This file loads neither the language nor the nodes, for a run
that finds everything needs neither.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from graph.cache import Cache
from graph.events import NodeFinished, RunFinished, SavedOutput
from graph.runs import Noted

FORMAT = 1
MOST_NODES = 1000
"""Nodes that are told one by one; of a larger graph only those that were not taken from the cache."""
_LIKE = 64
"""Letters in front of the JSON: the digest by which a run is known to be a repetition."""
_PLAIN = ("ending", "seconds", "ran", "hits", "skipped", "failed", "computed", "saved", "versions")
_OUTPUT = ("name", "path", "digest", "value", "action", "file")
"""The fields that are told as they are."""

Ending = Literal["done", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for."""

    workflow: str
    """Its name."""
    source: str
    """The workflow's file, or the picture that it was in, absolute; "" for standard input and texts."""
    text: str
    """sha256 of the text of the workflow."""
    params: Mapping[str, Any]
    given: tuple[str, ...]
    """The params that were set from outside; a path among them is absolute."""
    out: str
    """The output folder, absolute."""
    device: str
    only: str
    nodes: tuple[str, ...]
    """Folders with nodes of the user's own."""
    kinds: Mapping[str, int]
    """The versions of the kinds."""
    files: Mapping[str, str]
    """By the name that the workflow uses: sha256 of each file or model."""

    def as_json(self) -> dict[str, Any]:
        """What `of_json` makes the same of, after a way through JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Asked:
        """Read what `as_json` gave. Raises TypeError for what it did not give."""
        parts: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in told.items()}
        return cls(**parts)


@dataclass(frozen=True, slots=True)
class Past:
    """A run, as the history tells it."""

    asked: Asked
    ending: Ending
    seconds: float
    ran: int
    hits: int
    skipped: int
    failed: int
    computed: float
    """Seconds of the nodes' own work."""
    saved: float
    """Seconds that the work took once which came from the cache this time."""
    nodes: tuple[NodeFinished, ...]
    outputs: tuple[SavedOutput, ...]
    """Paths are absolute."""
    versions: Mapping[str, str] = field(default_factory=dict)
    number: int = 0
    made: float = 0.0
    """When it ended, in seconds since 1970."""
    times: int = 0
    """How often it was asked for again, and all of it was there."""
    last: float = 0.0


def note(
    cache: Cache,
    asked: Asked,
    nodes: Iterable[NodeFinished],
    finished: RunFinished,
    made: float,
    versions: Callable[[], Mapping[str, str]],
    *,
    stopped: bool = False,
) -> None:
    """Add a run to the history: as a row of its own, or, where it is a mere repetition of the last one, as a count.

    versions: gives those of the packages; asked only for a row.
    """
    ended = tuple(nodes)
    outputs = tuple(replace(one, path=one.path and os.path.abspath(one.path)) for one in finished.outputs)
    like = _like(asked, ended, outputs)
    if finished.ok and not finished.ran:
        before = cache.runs(asked.workflow)
        if before and before[0].told.startswith(like.encode()):
            cache.note_again(before[0])
            return
    ending: Ending = "stopped" if stopped else "done" if finished.ok else "failed"
    computed = sum(node.seconds for node in ended if node.action != "hit")
    saved = sum(node.seconds for node in ended if node.action == "hit")
    past = Past(
        asked, ending, finished.seconds, finished.ran, finished.hits, finished.skipped, finished.failed,
        computed, saved, ended, outputs, dict(versions()),
    )  # fmt: skip
    cache.note_run(Noted(asked.workflow, made, (like if finished.ok else "-" * _LIKE).encode() + _told(past)))


def read(noted: Noted) -> Past | None:
    """Read a run back; None where another version of Darkroom told it in another form."""
    try:
        told = json.loads(noted.told[_LIKE:].decode("utf-8", "surrogatepass"))
        if told.pop("format") != FORMAT:
            return None
        nodes = tuple(NodeFinished(*node) for node in told.pop("nodes"))
        outputs = tuple(SavedOutput(**output) for output in told.pop("outputs"))
        return Past(
            Asked.of_json(told.pop("asked")), nodes=nodes, outputs=outputs, number=noted.number, made=noted.made,
            times=noted.times, last=noted.last, **told,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None


def _told(past: Past) -> bytes:
    nodes = past.nodes
    if len(nodes) > MOST_NODES:
        nodes = tuple(islice((node for node in nodes if node.action != "hit"), MOST_NODES))
    told = {"format": FORMAT, "asked": past.asked.as_json()} | {name: getattr(past, name) for name in _PLAIN}
    told["nodes"] = [_node(node) for node in nodes]
    told["outputs"] = [{name: getattr(output, name) for name in _OUTPUT} for output in past.outputs]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")


def _node(node: NodeFinished) -> list[object]:
    return [node.node, node.kind, node.action, round(node.seconds, 4), node.device, node.key, node.why]


def _like(asked: Asked, nodes: Iterable[NodeFinished], outputs: Iterable[SavedOutput]) -> str:
    """A digest of all that a run was asked for and gave, whether it was computed or not."""
    parts = [asked.workflow, asked.source, asked.text, asked.out, asked.device, repr(asked.params), repr(asked.given)]
    parts += [f"{node.node} {node.key}" for node in nodes]
    parts += [f"{one.name} {one.path} {one.digest} {one.value!r}" for one in outputs]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
