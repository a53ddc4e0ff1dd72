"""What a step would be made from now, given what is known of the steps before it.

`prepare` is asked when planning, and again when running for steps whose inputs were not known when planning. Its
answer is one of three: the step is ready, with its recipe and key; it is skipped; or it waits for others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graph.code import Codes
from graph.codec import decode, encode
from graph.conditions import holds
from graph.errors import StepError
from graph.fields import Given, checked, file_parameters, fitted
from graph.filerefs import FileRef
from graph.files import Memo, digest_of
from graph.keys import CODE, Content, key_of, recipe
from graph.node import Node, parameters
from graph.placement import Device, Placed, place
from graph.records import record
from graph.sources import Blend, Choice, Constant, From, Gather, Source, origins
from graph.steps import Step, model_ports, writes_files


@record
class Done:
    """A step has a result."""

    digests: tuple[str, ...]
    """Of its outputs, and behind them of its node's remarks, if it had any."""


@record
class Off:
    """A step has no result and will not have one: it is skipped, or it failed."""

    why: str


Outcome = Done | Off
Outcomes = Mapping[str, Outcome]
"""Of the steps that are settled, by name."""
Read = Callable[[From], bytes | None]
"""Gives the bytes of an output that is known, or None if they cannot be had now."""


@dataclass(frozen=True, slots=True)
class World:
    """What a run stands in, besides its workflow."""

    files: Memo
    folder: Path
    """Where pictures are saved, absolute."""
    devices: tuple[Device, ...]
    device: str = "auto"
    """What the user asks for."""
    workflow: str = ""
    codes: Codes = field(default_factory=Codes)


@record
class Ready:
    """All that a step needs is known."""

    node: Node
    recipe: str
    key: str
    placed: Placed
    files: tuple[FileRef, ...] = ()
    """What its parameters name."""
    rung: str = ""
    """How it is done because memory was short before (graph/ladder.py); "" where it was not."""
    foot: Ready | None = None
    """Of a step on a rung: what it is where memory is not short."""


@record
class Wait:
    """Not known yet: the results of these steps."""

    steps: tuple[str, ...]


_NO_FILES: Mapping[str, FileRef] = MappingProxyType({})
_ANYWHERE = Placed("cpu", "fp32", "")
"""Where steps are computed that have no use for an accelerator."""


class _Unknown(Exception):
    def __init__(self, step: str) -> None:
        self.step = step


def prepare(step: Step, outcomes: Outcomes, read: Read, world: World) -> Ready | Off | Wait:
    """Say what a step is made from.

    Raises StepError where a value from another step is not what a parameter takes, MissingError for a file.
    """
    if step.off:
        return Off(step.off)
    waits, is_any_off = [], False
    for need in step.needs:
        outcome = outcomes.get(need)
        if outcome is None:
            waits.append(need)
        elif isinstance(outcome, Off):
            is_any_off = True
    if waits:
        return Wait(tuple(waits))
    try:
        off = _off(step, outcomes, read) if is_any_off or step.when is not None else ""
        if off:
            return Off(off)
        node = step.instance or _instance(step, outcomes, read)
        inputs = {}
        for name, source in step.inputs.items():
            inputs[name] = _arriving(source, outcomes, read)
        placed = _placed(step, outcomes, read, world) if step.accelerated else _ANYWHERE
    except _Unknown as unknown:
        return Wait((unknown.step,))
    named = file_parameters(type(node))
    files = {name: file for name in named if (file := getattr(node, name)) is not None} if named else _NO_FILES
    try:
        text = recipe(
            node.kind,
            node.version,
            _said(node, files, world.files),
            inputs,
            placed.precision if step.accelerated else "",
            _beside(step, node, world),
        )
    except TypeError as error:
        hint = "Its parameters can be texts, numbers, booleans, files, and lists and tables of these."
        raise StepError(f"{step.name}: a {step.kind} cannot be remembered: {error}", hint=hint) from error
    return Ready(node, text, key_of(text), placed, tuple(files.values()))


def _beside(step: Step, node: Node, world: World) -> dict[str, str]:
    """What decides a result besides the node's version, parameters and inputs."""
    code = world.codes.of(type(node), world.files).digest
    beside = {CODE: code} if code else {}
    return beside | _where(step, node, world) if writes_files(type(node)) else beside


def _where(step: Step, node: Node, world: World) -> dict[str, str]:
    """What decides which file a node writes: its own name too, where a pattern asks for it."""
    named = any(isinstance(value, str) and re.search(r"\{(node|output)\b", value) for _, value in node)
    return {"folder": str(world.folder), "workflow": world.workflow} | ({"node": step.name} if named else {})


def chosen(source: From | Choice, outcomes: Outcomes) -> From | None:
    """The output that a source takes; None if every one of them is off."""
    for option in source.options if isinstance(source, Choice) else (source,):
        if isinstance(outcomes[option.step], Done):
            return option
    return None


def takes(source: Source, outcomes: Outcomes) -> Sequence[From]:
    """The outputs of other steps that a source truly takes, once choices are made."""
    if isinstance(source, From):
        return [source]
    if isinstance(source, Choice):
        taken = chosen(source, outcomes)
        return [taken] if taken else []
    if isinstance(source, Gather):
        return [origin for item in source.items for origin in takes(item, outcomes)]
    return origins(source)


def taken_by(step: Step, outcomes: Outcomes) -> list[From]:
    """The outputs of other steps that a step takes, for its ports and parameters."""
    sources = (*step.inputs.values(), *step.linked.values())
    return [origin for source in sources for origin in takes(source, outcomes)]


def value_of(source: Source, outcomes: Outcomes, read: Read) -> Any:
    """The value that a source gives, freshly made."""
    if isinstance(source, From):
        return _read(source, read)
    if isinstance(source, Constant):
        return source.value
    if isinstance(source, Gather):
        return [value_of(item, outcomes, read) for item in source.items]
    if isinstance(source, Blend):
        return "".join(part if isinstance(part, str) else _text(_read(part, read)) for part in source.parts)
    taken = chosen(source, outcomes)
    if taken is None:
        raise LookupError(f"asked for {source}, which is off")
    return _read(taken, read)


def _text(value: object) -> str:
    """A text or number inside a longer text, in the words of YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _off(step: Step, outcomes: Outcomes, read: Read) -> str:
    are_off = [need for need in step.needs if isinstance(outcomes[need], Off)]
    for source in (*step.inputs.values(), *step.linked.values(), *step.facts.values()) if are_off else ():
        parts = source.items if isinstance(source, Gather) else (source,)
        for part in parts:
            lost = _lost(part, outcomes)
            if lost:
                return lost
    if step.when is not None and not _on(step, outcomes, read):
        return "its condition is false"
    return ""


def _lost(source: Source, outcomes: Outcomes) -> str:
    """Why a source gives nothing; "" where it gives something."""
    offs = [(origin.step, outcomes[origin.step]) for origin in origins(source)]
    if isinstance(source, Choice) and any(isinstance(outcome, Done) for _, outcome in offs):
        return ""
    return next((_because(name, outcome.why) for name, outcome in offs if isinstance(outcome, Off)), "")


def _because(name: str, why: str) -> str:
    """One reason, however long the chain: the first cause, not the tower of its consequences."""
    if why.endswith((" was skipped", " failed")):
        return why
    return f"{name} {'failed' if why == 'failed' else 'was skipped'}"


def _on(step: Step, outcomes: Outcomes, read: Read) -> bool:
    assert step.when is not None
    return holds(step.when, lambda link: value_of(step.facts[str(link)], outcomes, read))


def _instance(step: Step, outcomes: Outcomes, read: Read) -> Node:
    values = dict(step.fixed)
    for name, source in step.linked.items():
        value = value_of(source, outcomes, read)
        given = Given(value, str(value), True, step.folder)
        values[name] = fitted(given, parameters(step.node)[name].type)
    node, wrong = checked(step.node, values)
    if node is None:
        told = "; ".join(f"{step.name}{'.' if part.name else ':'}{part.name} {part.message}" for part in wrong)
        raise StepError(f"{step.place_of(wrong[0].name)}: {told}", hint=wrong[0].hint)
    return node


def _said(node: Node, files: Mapping[str, FileRef], memo: Memo) -> dict[str, object]:
    """The parameters of a node, a file by its content."""
    said: dict[str, object] = {}
    for name in parameters(type(node)):
        said[name] = getattr(node, name)
    return said | {name: Content(digest_of(file, memo)) for name, file in files.items()} if files else said


def _arriving(source: Source, outcomes: Outcomes, read: Read) -> str | list[str]:
    """The digest of what arrives at a port; of a list, one for each of its items."""
    if isinstance(source, Gather):
        return [_digest(item, outcomes, read) for item in source.items]
    return _digest(source, outcomes, read)


def _digest(source: Constant | From | Choice | Blend, outcomes: Outcomes, read: Read) -> str:
    if isinstance(source, From) and source.item is None:
        outcome = outcomes[source.step]
        assert isinstance(outcome, Done)
        return outcome.digests[source.output]
    if isinstance(source, (Constant, Blend)):
        value = value_of(source, outcomes, read)
        return _text_digest(value) if isinstance(value, str) else encode(value).digest
    taken = chosen(source, outcomes)
    assert taken is not None
    return _digest(taken, outcomes, read) if taken.item is None else encode(_read(taken, read)).digest


@lru_cache(maxsize=4096)
def _text_digest(text: str) -> str:
    return encode(text).digest


def _read(origin: From, read: Read) -> Any:
    data = read(origin)
    if data is None:
        raise _Unknown(origin.step)
    value = decode(data)
    return value if origin.item is None else picked(value, origin)


def picked(value: Any, origin: From) -> Any:
    """An output, or the item of it that is asked for. Raises StepError where there is no such item."""
    if origin.item is None:
        return value
    if origin.item >= len(value):
        raise StepError(
            f"{origin.name} asks for item {origin.item}, but there are {len(value)}", hint="They count from 0."
        )
    return value[origin.item]


def _placed(step: Step, outcomes: Outcomes, read: Read, world: World) -> Placed:
    linked = (step.inputs[name] for name in model_ports(step.node) if name in step.inputs)
    handles = [value_of(source, outcomes, read) for source in linked]
    wish = next((handle.precision for handle in handles), "auto")
    return place(world.devices, step.device or world.device, wish)
