"""Why a step runs: what in its recipe is another than when it ran last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graph.cache import Cache
from graph.code import declared_in, modules_changed
from graph.keys import CODE, differences
from graph.node import parameters, ports
from graph.sources import origins
from graph.steps import Step

_NAMED = 3
"""How many modules are named."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a recipe, before and now."""

    field: str
    before: Any
    now: Any
    origin: str = ""
    """Of an input: the reference that brings it."""
    code: str = ""
    """Of the node's code: the modules that changed."""

    def __str__(self) -> str:
        if self.code:
            return f"its code changed ({self.code})"
        if self.origin:
            return f"{self.field} brings another value ({self.origin})"
        return f"{self.field} was {words(self.before)}, is now {words(self.now)}"


def changes(step: Step, recipe: str, cache: Cache, latest: Mapping[str, str]) -> tuple[Change, ...] | None:
    """What changed since the node of this name ran last in this workflow; None if nothing is known of that."""
    known = cache.result(latest[step.name]) if step.name in latest else None
    if known is None:
        return None
    return tuple(
        Change(name, before, now, _origin(step, name), _code(step, name, before, now, cache))
        for name, before, now in differences(known.recipe, recipe)
    )


def reason(step: Step, recipe: str, cache: Cache, latest: Mapping[str, str]) -> str:
    """One line of why a step runs."""
    found = changes(step, recipe, cache, latest)
    if found is None:
        return "never run before"
    return "; ".join(map(str, found)) if found else "its result is no longer in the cache"


def words(value: Any, most: int = 60) -> str:
    """A recipe's value for people."""
    if isinstance(value, Mapping):
        if "content" in value:
            return f"the file with sha256 {value['content'][:12]}…"
        value = next(iter(value.values()))
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= most:
        return text
    return text[: most - 2] + '…"' if text.startswith('"') else text[: most - 1] + "…"


def _code(step: Step, name: str, before: Any, now: Any, cache: Cache) -> str:
    """Which modules changed, where a field is the node's code; "" where it is another."""
    own = name in parameters(step.node) or name in ports(step.node)
    if name.removeprefix("its ") != CODE or own:
        return ""
    changed = modules_changed(str(before), str(now), cache)
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return ", ".join(changed[:_NAMED]) + more or f"{declared_in(step.node)} or what it uses"


def _origin(step: Step, name: str) -> str:
    source = step.inputs.get(name)
    return ", ".join(origin.name or origin.step for origin in origins(source)) if source else ""
