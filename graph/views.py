"""Plans and their reasons, for people and for programs. Pure functions of a plan."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graph.contrast import words
from graph.errors import Mistake
from graph.explain import Change
from graph.forecast import Forecast
from graph.inquiry import Like, Seen, Told
from graph.locks import Pinned
from graph.node import parameters
from graph.plan import Plan, Planned
from graph.quantities import size_words
from graph.report import duration
from graph.steps import Graph, Step
from graph.tables import clean, render

_MOST = 10
"""Lines of one list of causes."""
_AT_ONCE = frozenset({"forced", "cache: false"})
"""Reasons to run that hold whatever changed."""
PLAN_HEADER = ("node", "kind", "action", "device", "takes", "why")


def plan_table(plan: Plan, cost: Forecast, width: int | None, colour: bool) -> str:
    """Show a plan, one line a node, how many of each action, and what it will cost. Empty columns are left out."""
    rows = [
        (part.step.name, part.step.kind, part.action, _device(part), _takes(part, cost), _why(part, cost))
        for part in plan.steps
    ]
    kept = [at for at, column in enumerate(zip(*rows, strict=True)) if any(column)]
    shown = [[row[at] for at in kept] for row in rows]
    counts = Counter(part.action for part in plan.steps)
    told = ", ".join(f"{count} {action}" for action, count in counts.items())
    reasons = dict.fromkeys(
        f"{part.ready.placed.device}: {part.ready.placed.why}"
        for part in plan.steps
        if part.ready and part.step.accelerated
    )
    table = render(shown, [PLAN_HEADER[at] for at in kept], width, colour)
    return "\n".join([table, "", told or "nothing to do", *_cost_lines(cost), *reasons])


def _takes(part: Planned, cost: Forecast) -> str:
    if part.step.name not in cost.steps:
        return ""
    estimate = cost.steps[part.step.name]
    return duration(estimate.seconds) if estimate else "?"


def _why(part: Planned, cost: Forecast) -> str:
    return f"{part.why}, but evicted: is made again" if part.step.name in cost.again else part.why


def _cost_lines(cost: Forecast) -> Iterator[str]:
    """What a plan will cost, and what of it is not known."""
    measured = [name for name, estimate in cost.steps.items() if estimate]
    if measured:
        start = f", {duration(cost.starting)} of it to start up" if cost.starting >= 0.05 else ""
        yield f"{'about' if cost.is_sure else 'at most about'} {duration(cost.seconds)}{start}"
        peak = f"{size_words(cost.memory)} of memory at the peak, " if cost.memory else ""
        yield f"{peak}{size_words(cost.size)} more in the cache"
    if cost.unknown and measured:
        names = ", ".join(cost.unknown[:_MOST]) + (" ..." if len(cost.unknown) > _MOST else "")
        yield f"without {names}: nothing like it was measured"
    elif cost.unknown:
        yield "how long it takes is not known: nothing like it ran before"


def plan_json(plan: Plan, cost: Forecast) -> dict[str, Any]:
    """A plan as `plan --json` prints it."""
    total: dict[str, Any] = {"seconds": round(cost.seconds, 3), "memory": cost.memory, "bytes": cost.size}
    total |= {"starting": round(cost.starting, 3), "is_sure": cost.is_sure, "unknown": list(cost.unknown)}
    return {"nodes": [_planned_json(part, cost) for part in plan.steps], "forecast": total}


def defaults_table(graph: Graph, width: int | None, colour: bool) -> str:
    """Show every parameter of every node, and where its value comes from."""
    rows = []
    for step in graph.steps.values():
        for name, parameter in parameters(step.node).items():
            value = (
                "(from another node)" if name in step.linked else words(_plain(step.fixed.get(name, parameter.default)))
            )
            rows.append((step.name, name, value, _set_by(step, name)))
    return render(rows, ("node", "parameter", "value", "set by"), width, colour)


def _set_by(step: Step, name: str) -> str:
    by = step.set_by(name)
    if by == "model":
        return step.place_of(name).file
    return {"node": "the node", "defaults": "defaults:"}.get(by, "the kind")


def why_text(told: Told) -> str:
    """Say why a node would run, or why not, and in comparison with which run."""
    return "\n".join(map(clean, _why_lines(told)))


def _why_lines(told: Told) -> Iterator[str]:
    part = told.planned
    name = part.step.name
    since = f"the run of {told.since.workflow} at {_time(told.since.made)}" if told.since else ""
    changed = list(_changed(told))
    if part.action == "hit":
        yield f"{name} is cached: {part.why}{f', as {_seen(told.origin)}' if told.origin and told.origin.node else ''}"
        yield from ["  a value of it was evicted, and is made again if a node that runs takes it"] * told.evicted
        yield from [f"  unlike {since}:", *(f"  {line}" for line in changed)] if changed else []
    elif part.action == "run" and changed and part.why not in _AT_ONCE:
        yield from [f"{name} runs, because since {since}:", *changed]
    elif part.action == "run":
        yield f"{name} runs: {part.why}"
        yield from _alike(told.like) if told.like else ()
    elif part.action == "skipped":
        yield f"{name} is skipped: {part.why}"
    else:
        yield f"{name} {part.why}"
        yield from (f"  {line}" for before in told.before[:_MOST] for line in _why_lines(before))
        yield from [f"  and {len(told.before) - _MOST} more run"] if len(told.before) > _MOST else []


def _changed(told: Told) -> Iterator[str]:
    """What changed, each input followed by where that began."""
    for change in told.changes or ():
        yield f"  {change}"
        causes = (told.roots or {}).get(change.field, ())
        yield from (f"    {cause}" for cause in causes[:_MOST])
        yield from [f"    and {len(causes) - _MOST} more"] if len(causes) > _MOST else []


def _alike(like: Like) -> Iterator[str]:
    what = _seen(like.seen) if like.seen.node else "a result"
    yield f"  it is most like {what}, computed at {_time(like.seen.made)}, but:"
    yield from (f"    {change}" for change in like.changes)


def _seen(seen: Seen) -> str:
    return f"{seen.node} of {seen.workflow}"


def _time(made: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made))


def why_json(told: Told) -> dict[str, Any]:
    """What `why --json` prints."""
    part = told.planned
    fields: dict[str, Any] = {"node": part.step.name, "action": part.action, "why": part.why}
    fields["changes"] = [_change_json(change) for change in told.changes or ()]
    fields["causes"] = [{"node": cause.step} | _change_json(cause.change) for cause in told.causes()]
    fields["since"] = _seen_json(told.since)
    fields["like"] = _like_json(told.like)
    return fields | {"computed_as": _seen_json(told.origin), "evicted": told.evicted}


def _change_json(change: Change) -> dict[str, Any]:
    fields = {"field": change.field, "before": change.before, "now": change.now, "origin": change.origin}
    return fields | {"topic": change.topic, "says": str(change)}


def _seen_json(seen: Seen | None) -> dict[str, Any] | None:
    return {"workflow": seen.workflow, "node": seen.node, "made": round(seen.made, 3)} if seen else None


def _like_json(like: Like | None) -> dict[str, Any] | None:
    if like is None:
        return None
    return (_seen_json(like.seen) or {}) | {"changes": [_change_json(change) for change in like.changes]}


def mistakes_json(file: str, mistakes: Iterable[Mistake]) -> list[dict[str, Any]]:
    """Mistakes as `check --json` prints them."""
    return [
        {
            "file": mistake.place.file if mistake.place else file,
            "line": mistake.place.line if mistake.place else 0,
            "column": mistake.place.column if mistake.place else 0,
            "code": mistake.code,
            "message": mistake.message,
            "hint": mistake.hint,
        }
        for mistake in mistakes
    ]


def _planned_json(part: Planned, cost: Forecast) -> dict[str, Any]:
    told: dict[str, Any] = {"node": part.step.name, "kind": part.step.kind, "action": part.action, "why": part.why}
    told |= {"device": _device(part), "key": part.key}
    if part.ready and part.step.accelerated:
        told |= {"precision": part.ready.placed.precision, "placed": part.ready.placed.why}
    if part.step.name in cost.steps:
        estimate = cost.steps[part.step.name]
        told |= {"seconds": round(estimate.seconds, 3) if estimate else None}
        told |= {"memory": estimate.memory if estimate else None, "bytes": estimate.size if estimate else None}
    return told | {"again": part.step.name in cost.again}


def _device(part: Planned) -> str:
    return part.ready.placed.device if part.ready and part.step.accelerated else ""


def _plain(value: object) -> Any:
    written = getattr(value, "written", value)
    return json.loads(json.dumps(written, default=str)) if not isinstance(written, Mapping) else dict(written)


def pinned_text(pinned: Pinned) -> str:
    """Say what a lock pins, and what is pinned otherwise than before."""
    counts = [
        f"{count} {noun}{'s' * (count != 1)}"
        for noun, count in (("kind", len(pinned.part["kinds"])), ("file", len(pinned.part["files"])))
    ]
    changed = [
        f"  {name}: {'was ' + _pin(was) if was else 'new'}{', is now ' + _pin(now) if was and now else ''}"
        f"{', is gone' if not now else ''}"
        for _, name, was, now in pinned.changes()
    ]
    news = any(pinned.before.values())
    return "\n".join([f"{pinned.path}: {pinned.workflow} with {' and '.join(counts)}", *(changed if news else [])])


def pinned_json(pinned: Pinned) -> dict[str, Any]:
    """What a lock pins, as `lock --json` prints it."""
    changes = [{"what": what, "name": name, "before": was, "now": now} for what, name, was, now in pinned.changes()]
    return {"lock": str(pinned.path), "workflow": pinned.workflow, **pinned.part, "changes": changes}


def _pin(value: object) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    told = value.get("sha256") or value.get("code") or ""
    return f"sha256 {told[:12]}…" if told else f"version {value.get('version')}"
