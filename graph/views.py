"""Plans and their reasons, for people and for programs. Pure functions of a plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graph.errors import Mistake
from graph.explain import Change, words
from graph.locks import Pinned
from graph.node import parameters
from graph.order import ancestors
from graph.plan import Plan, Planned
from graph.steps import Graph, Step
from graph.tables import render

PLAN_HEADER = ("node", "kind", "action", "device", "why")


def plan_table(plan: Plan, width: int | None, colour: bool) -> str:
    """Show a plan, one line a node, and how many of each action."""
    rows = [(part.step.name, part.step.kind, part.action, _device(part), part.why) for part in plan.steps]
    counts = Counter(part.action for part in plan.steps)
    told = ", ".join(f"{count} {action}" for action, count in counts.items())
    reasons = dict.fromkeys(
        f"{part.ready.placed.device}: {part.ready.placed.why}"
        for part in plan.steps
        if part.ready and part.step.accelerated
    )
    return "\n".join([render(rows, PLAN_HEADER, width, colour), "", told or "nothing to do", *reasons])


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as `plan --json` prints it."""
    return {"nodes": [_planned_json(part) for part in plan.steps]}


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
    if step.origins.get(name) == "model":
        return step.places[name].file
    return {"node": "the node", "defaults": "defaults:"}.get(step.origins.get(name, ""), "the kind")


def why_text(plan: Mapping[str, Planned], node: str, found: Sequence[Change] | None, since: str) -> str:
    """Say why a node would run, or why not. `plan` is by node; `found` is what changed since it ran last."""
    planned = plan[node]
    changed = [f"  {change}" for change in found or ()]
    if planned.action == "hit":
        return "\n".join([f"{node} is cached: {planned.why}", *([f"  unlike {since}:", *changed] if changed else [])])
    if planned.action == "unknown":
        return "\n".join([f"{node} {planned.why}", *_first_causes(plan, node)])
    if planned.action == "skipped" or not changed:
        return f"{node} {'is skipped' if planned.action == 'skipped' else 'runs'}: {planned.why}"
    return "\n".join([f"{node} runs, because since {since}:", *changed])


def _first_causes(plan: Mapping[str, Planned], node: str) -> list[str]:
    """What a node that waits is waiting for in the end: the steps before it that are sure to run, and why."""
    needs = {name: list(planned.step.needs) for name, planned in plan.items()}
    before = ancestors(needs, [node])
    return [
        f"  {name} runs: {planned.why}" for name, planned in plan.items() if name in before and planned.action == "run"
    ]


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


def change_json(change: Change) -> dict[str, Any]:
    """A change as `why --json` prints it."""
    return {"field": change.field, "before": change.before, "now": change.now, "origin": change.origin}


def _planned_json(part: Planned) -> dict[str, Any]:
    told: dict[str, Any] = {"node": part.step.name, "kind": part.step.kind, "action": part.action, "why": part.why}
    told |= {"device": _device(part), "key": part.key}
    if part.ready and part.step.accelerated:
        told |= {"precision": part.ready.placed.precision, "placed": part.ready.placed.why}
    return told


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
