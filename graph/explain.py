"""Why a step runs: what in its recipe is another than when it ran last, followed to where that began.

A recipe names what arrives at an input by digest alone. That it is another digest is a consequence; the cause is in
a step before: a field, a file, a version, some code. `Reasons` follows inputs up to there, each step looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from graph.ages import ALWAYS, NEVER, is_fresh
from graph.cache import Cache, Result
from graph.code import declared_in, modules_changed
from graph.codec import decode
from graph.contrast import contrast, words
from graph.keys import CODE, differences
from graph.ready import Ready
from graph.sources import Choice, From, Gather, Source, origins
from graph.steps import Graph, Step, writes_files
from graph.values import SavedFile

Topic = Literal[
    "parameter", "file", "input", "unkept", "unstable",
    "version", "code", "kind", "precision", "folder", "name", "other",
]  # fmt: skip
"""What a change is of. Inputs: of a step with cache: false; of a step that is not deterministic; any other."""
_FIELDS = frozenset({"parameter", "file", "input", "unkept", "unstable"})
"""Topics whose sentence begins with a parameter or port."""
NAMED = "named"
"""The space of notes that tell how a file was called, by its digest."""
_SHOWN = 3
"""Causes, and modules, that one line names."""
_MOST = 20
"""Causes of one step that are followed on; a workflow that was rewritten has more than anybody reads."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a recipe, before and now."""

    field: str
    before: Any
    now: Any
    origin: str = ""
    """Of an input or a linked parameter: the reference that brings it. Of code: the modules that changed."""
    topic: Topic = "parameter"
    kind: str = ""
    """Of a version: of which kind of node."""
    called: tuple[str, str] = ("", "")
    """Of a file: its name then, and now. Of an input: the reference that brought it then, and now, if they differ."""

    def __str__(self) -> str:
        return (_SAID.get(self.topic) or _plainly)(self)

    def of(self, step: str) -> str:
        """The change in a sentence that names its step."""
        return f"{step}{'.' if self.topic in _FIELDS else ': '}{self}"


@dataclass(frozen=True, slots=True)
class Cause:
    """A change where it began."""

    step: str
    change: Change

    def __str__(self) -> str:
        return self.change.of(self.step)


Past = Callable[[str, str], Result | None]
"""Gives a result that gave a value (a digest), best one of this kind of node: many may give the same."""


class Reasons:
    """Why the steps of one graph run, compared with what ran last under the workflow's name.

    ready: what steps are made from now; who asks about a step has put it there, and those that it needs.
    past: where to look for what gave a value that those which ran last did not give.
    """

    def __init__(
        self, graph: Graph, cache: Cache, ready: Mapping[str, Ready], past: Past = lambda digest, kind: None
    ) -> None:
        self._graph = graph
        self._cache = cache
        self._ready = ready
        self._past = past
        self._latest = cache.latest(graph.workflow.name)
        self.compares = bool(self._latest)
        """Whether the workflow ever ran under this name."""
        self._roots: dict[tuple[str, str], tuple[Cause, ...]] = {}
        cache.results(self._latest.values())  # one read for all of them: most steps are as they were

    def why(self, step: Step, ready: Ready, *, forced: bool = False) -> str:
        """Say in one line why a step that is ready is not taken from the cache."""
        if forced:
            return "forced"
        if not step.cache:
            return "cache: false"
        known = self._cache.result(ready.key) if step.fresh != NEVER or writes_files(step.node) else None
        if known and not is_fresh(step.fresh, known.made):
            return "fresh: always" if step.fresh == ALWAYS else f"older than {step.fresh}"
        if known and writes_files(step.node):
            return _lost_file(known, self._cache)
        if step.name not in self._latest:
            return "never run before"
        if self._latest[step.name] == ready.key:
            return "its result is no longer in the cache"
        causes = self.roots(step.name)
        if not causes:
            return "what it was made from before is no longer known"
        told = [str(cause.change) if cause.step == step.name else str(cause) for cause in causes[:_SHOWN]]
        return "; ".join([*told, *([f"and {len(causes) - _SHOWN} more"] if len(causes) > _SHOWN else [])])

    def last(self, step: str) -> Result | None:
        """What a step gave when it ran last under this workflow's name."""
        return self._cache.result(self._latest[step]) if step in self._latest else None

    def changes(self, step: str, since: Result | None = None) -> tuple[Change, ...] | None:
        """What in a step's recipe is another than in an earlier one, unless given that of the last run.

        None if nothing is known of either.
        """
        known, now = since or self.last(step), self._ready.get(step)
        if known is None or now is None:
            return None
        found = differences(known.recipe, now.recipe)
        if kinds := [change for change in found if change[:2] == ("", "kind")]:
            found = kinds  # of another kind everything differs
        return tuple(self._change(self._graph.steps[step], *difference) for difference in found)

    def roots(self, step: str, since: Result | None = None) -> tuple[Cause, ...]:
        """Where the changes of a step began: in itself, or in steps before it, through any depth."""
        first = since or self.last(step)
        if first is None:
            return ()
        open_ = [(step, first)]
        while open_:
            name, known = open_[-1]
            at = (name, known.key)
            changes = () if at in self._roots else self.changes(name, known) or ()
            before = [pair for change in changes for pair in self._behind(name, change)]
            if unseen := [pair for pair in before if (pair[0], pair[1].key) not in self._roots]:
                open_ += unseen
                continue
            open_.pop()
            if at not in self._roots:
                self._roots[at] = _distinct(self._first_causes(name, changes))
        return self._roots[step, first.key]

    def behind(self, step: str, change: Change) -> tuple[Cause, ...]:
        """Where the change of an input began, in the steps before; nothing where it began at the input itself."""
        return _distinct(cause for pair in self._behind(step, change) for cause in self.roots(*pair))

    def _first_causes(self, step: str, changes: tuple[Change, ...]) -> Iterator[Cause]:
        for change in changes:
            causes = [cause for name, known in self._behind(step, change) for cause in self._roots[name, known.key]]
            yield from causes or [Cause(step, change)]

    def _behind(self, step: str, change: Change) -> list[tuple[str, Result]]:
        """The steps that the change of an input may come from, each with what it is to be compared with."""
        if change.topic != "input" or change.called != ("", ""):
            return []
        source = self._graph.steps[step].inputs.get(change.field)
        return [
            (origin.step, known)
            for origin, before in self._moved(source, change.before)
            if origin.step in self._ready and (known := self._then(origin, before))
        ]

    def _then(self, origin: From, before: Any) -> Result | None:
        """The result that a value came from; what its step gave last where the value itself is not known."""
        last = self.last(origin.step)
        if origin.item is not None or not isinstance(before, str) or before in _outputs(last):
            return last
        return self._past(before, self._graph.steps[origin.step].kind)

    def _moved(self, source: Source | None, before: Any) -> Iterator[tuple[From, Any]]:
        """The outputs that an input takes now, each with the digest that was there before."""
        if isinstance(source, Gather):
            old = before if isinstance(before, list) else []
            for item, then in zip_longest(source.items, old[: len(source.items)]):
                yield from self._moved(item, then)
        elif isinstance(source, Choice):
            yield from [(option, before) for option in source.options if option.step in self._ready][:1]
        elif source:
            yield from ((origin, before if isinstance(source, From) else None) for origin in origins(source))

    def _change(self, step: Step, section: str, field: str, before: Any, now: Any) -> Change:
        topic = _topic(section, field, before, now)
        if topic == "file":
            return Change(field, before, now, "", topic, "", (self._called(before), _written(step, field, now)))
        if topic == "input":
            return self._input(step, field, before, now)
        if topic == "code":
            return Change(field, before, now, self._code(step, before, now), topic, step.kind)
        return Change(field, before, now, _reference(step.linked.get(field)), topic, step.kind)

    def _code(self, step: Step, before: Any, now: Any) -> str:
        """Which modules of a node's code changed."""
        changed = modules_changed(str(before), str(now), self._cache)
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return ", ".join(changed[:_SHOWN]) + more or f"{declared_in(step.node)} or what it uses"

    def _input(self, step: Step, field: str, before: Any, now: Any) -> Change:
        source = step.inputs.get(field)
        origin = _reference(source)
        taken = None if isinstance(source, Gather) else next((found for found, _ in self._moved(source, before)), None)
        if taken is None or taken.item is not None or not isinstance(before, str):
            return Change(field, before, now, origin, "input")
        known, ready = self.last(taken.step), self._ready.get(taken.step)
        if not self._graph.steps[taken.step].cache:
            return Change(field, before, now, origin, "unkept")
        if known and before in known.outputs:
            is_same = ready is not None and known.key == ready.key
            return Change(field, before, now, origin, "unstable" if is_same else "input")
        then = self._giver(before, step.name)
        called = (then, taken.name or f"${taken.step}") if then else ("", "")
        return Change(field, before, now, origin, "input", "", called)

    def _giver(self, digest: Any, taker: str) -> str:
        """The reference that brought a value, where a step of the run before, ahead of the taker, gave it."""
        order, gave = self._before
        name = gave.get(digest, taker)
        return f"${name}" if order.get(name, -1) < order[taker] else ""

    @cached_property
    def _before(self) -> tuple[dict[str, int], dict[str, str]]:
        """(The place of each step in the order, by value the first step that gave it in the run before)."""
        order = {name: at for at, name in enumerate(self._graph.steps)}
        names = sorted(self._latest, key=lambda name: order.get(name, -1), reverse=True)
        return order, {value: name for name in names for value in _outputs(self.last(name))}

    def _called(self, content: Any) -> str:
        found = self._cache.noted(NAMED, content["content"]) if isinstance(content, Mapping) else None
        return found.decode("utf-8", "replace") if found else ""


def _distinct(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    found = {(cause.step, cause.change.topic, cause.change.field): cause for cause in causes}
    return tuple(found.values())[:_MOST]


def _outputs(result: Result | None) -> tuple[str, ...]:
    return result.outputs if result else ()


def _topic(section: str, field: str, before: Any, now: Any) -> Topic:
    if section == "inputs":
        return "input"
    if section == "parameters":
        files = [value for value in (before, now) if isinstance(value, Mapping) and "content" in value]
        return "file" if files else "parameter"
    if (section, field) == ("world", CODE):
        return "code"
    topics: Mapping[str, Topic] = {
        "version": "version", "kind": "kind", "precision": "precision", "folder": "folder", "node": "name",
    }  # fmt: skip
    return topics.get(field, "other")


def _written(step: Step, field: str, now: Any) -> str:
    return str(getattr(getattr(step.instance, field, None), "written", "")) if now else ""


def _reference(source: Source | None) -> str:
    return ", ".join(origin.name or origin.step for origin in origins(source)) if source else ""


def _lost_file(result: Result, cache: Cache) -> str:
    values = [decode(data) for digest in result.outputs if (data := cache.blob(digest))]
    files = [Path(value.path) for value in values if isinstance(value, SavedFile)]
    gone = [path.name for path in files if not path.exists()]
    if gone:
        return f"its file {gone[0]} is gone"
    return f"its file {files[0].name} was changed" if files else "where its file is, is no longer known"


def _file(change: Change) -> str:
    then, now = change.called
    if change.before is None or change.now is None:
        return f"{change.field} was {_name(then, change.before)}, is now {_name(now, change.now)}"
    if then == now != "":
        digests = (f"{change.before['content'][:12]}…", f"{change.now['content'][:12]}…")
        return f"{change.field}: the content of {now} changed (sha256 {digests[0]}, now {digests[1]})"
    return f"{change.field} was {_name(then, change.before)}, is now {_name(now, change.now)}"


def _name(called: str, content: Any) -> str:
    return called or words(content)


def _input_words(change: Change) -> str:
    then, now = change.called
    if then:
        return f"{change.field} came from {then}, comes from {now} now"
    if change.now is None:
        return f"{change.field} is no longer given"
    brought = f" ({change.origin})" if change.origin else ""
    if change.before is None:
        return f"{change.field} was not given, and is now{brought}"
    counts = [len(value) for value in (change.before, change.now) if isinstance(value, list)]
    if len(set(counts)) == 2:
        return f"{change.field} had {counts[0]} values, has {counts[1]} now{brought}"
    return f"{change.field} brings another value{brought}"


def _plainly(change: Change) -> str:
    told = f"{change.field} {contrast(change.before, change.now)}"
    return f"{told} ({change.origin})" if change.origin else told


_SAID: Mapping[Topic, Any] = {
    "file": _file,
    "input": _input_words,
    "version": lambda change: f"version of {change.kind} was {change.before}, is now {change.now}",
    "code": lambda change: f"its code changed ({change.origin})",
    "kind": lambda change: f"it was a {change.before}, is now a {change.now}",
    "precision": lambda change: f"precision was {change.before or 'none'}, is now {change.now or 'none'}",
    "folder": lambda change: f"the output folder was {change.before}, is now {change.now}",
    "name": lambda change: f"its name was {change.before}, is now {change.now}",
    "unkept": lambda change: f"{change.field} takes {change.origin}, which is computed at every run",
    "unstable": lambda change: f"{change.field} takes {change.origin}, which gave another value for the same inputs",
}
