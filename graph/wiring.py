"""From a document to a typed graph: kinds looked up, references resolved, types and ranges checked, steps ordered.

`wire` finds every mistake of a workflow before anything heavy is loaded. Nothing here recurses on the graph: a
chain of any length is wired with a stack of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from graph.conditions import Condition, holds, links
from graph.errors import DarkroomError, MissingError, Mistake, Place, WorkflowError, suggest
from graph.fields import Given, checked, fitted, scalar_of, shown
from graph.inherited import inherit
from graph.lookup import Found, Scope, fits, resolve
from graph.misfits import misfits
from graph.node import SCALARS, Node, Port, outputs, parameters, ports, type_name
from graph.order import Cycle, ancestors, dependency_order
from graph.pace import builds
from graph.registry import Registry
from graph.sources import Blend, Choice, Constant, From, Gather, Source, origins
from graph.steps import Graph, Step, model_ports
from graph.traits import disagreements
from graph.unknown import is_meant, tell_unknown, tell_unknown_kind
from graph.wanted import find_wanted, idle, unsaved, unused, writers
from graph.workflow import Entry, Expression, First, Input, Link, Literal, Many, Template, Workflow

_NOTHING: Mapping[str, Any] = MappingProxyType({})
DEVICE = re.compile(r"auto|cpu|(cuda|xpu|mps)(:\d{1,3})?")
"""What a device may be called, on whatever machine it is."""


@builds
def wire(workflow: Workflow, registry: Registry, only: str | None = None) -> Graph:
    """Check a whole workflow and wire it. `only` names a node: nothing that it does not need is kept.

    Raises WorkflowError with every mistake of the file.
    """
    scope = Scope(workflow, registry, list(workflow.mistakes))
    _check_defaults(scope)
    steps = {name: _step(scope, entry) for name, entry in workflow.nodes.items()}
    known = {name: step for name, step in steps.items() if step}
    wanted = find_wanted(scope, known, only)
    needs = {name: tuple(filter(known.__contains__, step.needs)) for name, step in known.items()}
    order = _ordered(scope, known, needs)
    known = inherit(scope, known, order)
    scope.mistakes.extend(disagreements(known, order))
    scope.mistakes.extend(misfits(known))
    if scope.mistakes:
        raise WorkflowError(_told_once(scope.mistakes))
    targets = [origin.step for part in wanted for origin in origins(part.source)] + writers(known, only)
    kept = ancestors(needs, targets)
    return Graph(
        workflow,
        {name: known[name] for name in order if name in kept},
        wanted,
        (*workflow.warnings, *idle(scope), *unsaved(workflow, wanted), *unused(known, kept, only)),
        only or "",
    )


def _ordered(scope: Scope, steps: Mapping[str, Step], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Order the steps; a cycle is told, and what is left without it ordered on, so that every cycle is told."""
    left: Mapping[str, Sequence[str]] = needs
    while True:
        try:
            return dependency_order(left)
        except Cycle as cycle:
            place = steps[cycle.path[0]].place
            scope.tell("cycle", f"a cycle: {' -> '.join(cycle.path)}", place, "Take one of these links away.")
            gone = set(cycle.path)
            left = {
                name: [need for need in wanted if need not in gone] for name, wanted in left.items() if name not in gone
            }


def _step(scope: Scope, entry: Entry) -> Step | None:
    """Wire one node; None if its kind is not known."""
    node = scope.registry.kinds.get(entry.kind)
    if node is None:
        if entry.kind:
            tell_unknown_kind(scope, entry.kind, entry.kind_place)
        return None
    defaults = scope.workflow.defaults.get(entry.kind, _NOTHING)
    given = {**defaults, **entry.inputs} if defaults else entry.inputs
    tell_unknown(scope, entry.name, node, entry.inputs)
    if entry.device is not None and not DEVICE.fullmatch(entry.device):
        message = f'{entry.name}.device takes auto, cpu, cuda, cuda:1, mps or xpu, not "{entry.device}"'
        scope.tell("bad-value", message, entry.place, suggest(entry.device, ("auto", "cpu", "cuda", "mps", "xpu")))
    fixed, linked, instance = _parameters(scope, entry, node, given)
    inputs = _inputs(scope, entry, node, given)
    off, when, facts = _condition(scope, entry, entry.when) if entry.when else ("", None, _NOTHING)
    needs = dict[str, None]()
    for sources in (inputs, linked, facts, _after(scope, entry)):
        for source in sources.values():
            for origin in origins(source):
                needs[origin.step] = None
    return Step(
        name=entry.name,
        kind=entry.kind,
        node=node,
        accelerated=node.accelerated and (not model_ports(node) or any(name in inputs for name in model_ports(node))),
        place=entry.place,
        fixed=fixed,
        linked=linked,
        inputs=inputs,
        needs=tuple(needs),
        instance=instance,
        when=when,
        facts=facts,
        off=off,
        device=entry.device,
        cache=entry.cache,
        fresh=entry.fresh or node.fresh,
        folder=scope.workflow.folder,
        own=entry.inputs,
        defaults=defaults,
        proposed=_NOTHING,
    )


def _check_defaults(scope: Scope) -> None:
    for kind, given in scope.workflow.defaults.items():
        if kind not in scope.registry:
            tell_unknown_kind(scope, kind, scope.workflow.default_places[kind])
            continue
        node = scope.registry[kind]
        tell_unknown(scope, "defaults", node, given)
        if all(entry.kind != kind for entry in scope.workflow.nodes.values()):
            _tell_bad_defaults(scope, kind, node, given)


def _tell_bad_defaults(scope: Scope, kind: str, node: type[Node], given: Mapping[str, Input]) -> None:
    """Check defaults that no node of the file takes, as if one did."""
    place = scope.workflow.default_places[kind]
    _parameters(scope, Entry("defaults", place, kind, place, given, None, "", None, True, ()), node, given, whole=False)


# Parameters


def _parameters(
    scope: Scope, entry: Entry, node: type[Node], given: Mapping[str, Input], *, whole: bool = True
) -> tuple[dict[str, object], dict[str, Source], Node | None]:
    """What is known of the parameters, what comes from other steps, and the node where all is known."""
    fixed: dict[str, object] = {}
    linked: dict[str, Source] = {}
    for name, parameter in parameters(node).items():
        part = given.get(name)
        if part is None:
            if whole and parameter.required and not is_meant(name, entry, node):
                message = f'{entry.name}: a {node.kind} needs "{name}"'
                hint = f"Add {name}: {parameter.description}" if parameter.description else f"Add {name}."
                scope.tell("missing-parameter", message, entry.place, hint)
            continue
        found = _scalar(scope, part.value, f"{entry.name}.{name}", parameter.type)
        if isinstance(found, Given):
            _fix(scope, fixed, entry.name, part, found, parameter.type)
        elif found is not None:
            linked[name] = found
    instance, complaints = checked(node, fixed)
    for complaint in complaints:
        place = given[complaint.name].value.place if complaint.name else entry.place
        owner = f"{entry.name}.{complaint.name}" if complaint.name else f"{entry.name}:"
        scope.tell("bad-value", f"{owner} {complaint.message}", place, complaint.hint)
    return fixed, linked, None if linked else instance


def _fix(scope: Scope, fixed: dict[str, object], owner: str, part: Input, given: Given, annotation: object) -> None:
    try:
        fixed[part.name] = fitted(given, annotation)
    except WorkflowError as error:
        scope.mistakes.extend(error.mistakes)
    except MissingError as error:
        message = f"{owner}.{part.name}: {error.message}"
        scope.tell(error.code, message, part.value.place, error.hint, missing=True)


def _scalar(scope: Scope, value: Expression, where: str, annotation: object) -> Given | Source | None:
    """What a parameter is given: a plain value, or where it will come from. None if that is a mistake, now told."""
    match value:
        case Literal():
            return Given(value.value, value.text, value.quoted, scope.workflow.folder)
        case Template():
            return _blend(scope, value, where, annotation)
        case Many():
            scope.tell("bad-value", f"{where} takes one value, not a list", value.place)
            return None
        case First():
            scope.tell("bad-value", f"{where}: {{first: ...}} goes into ports, not into parameters", value.place)
            return None
    found = resolve(scope, value)
    if found is None or found.literal:
        return found.literal if found else None
    want = scalar_of(annotation)
    if want is None or found.many or not fits(want, found.type):
        expected, got = type_name(want or annotation), type_name(found.type, found.many)
        scope.tell("wrong-type", f"{where} takes {expected}, but {value} gives {got}", value.place)
        return None
    return found.source


def _blend(scope: Scope, template: Template, where: str, annotation: object) -> Given | Blend | None:
    parts: list[str | From] = []
    for part in template.parts:
        if isinstance(part, str):
            parts.append(part)
            continue
        found = resolve(scope, part)
        if found is None:
            return None
        if found.literal:
            parts.append(found.literal.text)
        elif isinstance(found.source, From) and not found.many and found.type in SCALARS:
            parts.append(found.source)
        else:
            got = type_name(found.type, found.many)
            scope.tell("wrong-type", f"{where}: a text can hold texts and numbers, but {part} gives {got}", part.place)
            return None
    if all(isinstance(part, str) for part in parts):
        text = "".join(map(str, parts))
        return Given(text, text, True, scope.workflow.folder)
    if scalar_of(annotation) is not str:
        scope.tell("wrong-type", f"{where} does not take a text", template.place)
        return None
    return Blend(tuple(parts))


# Ports


def _inputs(scope: Scope, entry: Entry, node: type[Node], given: Mapping[str, Input]) -> dict[str, Source]:
    inputs = {}
    for name, port in ports(node).items():
        if name in given:
            source = _port_source(scope, f"{entry.name}.{name}", port, given[name].value)
            if source is not None:
                inputs[name] = source
        elif port.required and not is_meant(name, entry, node):
            what = f'{entry.name}: a {node.kind} needs "{name}" ({type_name(port.type, port.many)})'
            scope.tell("missing-port", what, entry.place, _offers(scope, name, port, entry.name))
    return inputs


def _port_source(scope: Scope, where: str, port: Port, value: Expression) -> Source | None:
    match value:
        case Link():
            return _linked(scope, where, port, value)
        case Literal() if port.type in SCALARS and not port.many:
            given = Given(value.value, value.text, value.quoted, scope.workflow.folder)
            return _constant(scope, where, port, given, value.place)
        case Template() if port.type is str and not port.many:
            text = _blend(scope, value, where, str)
            return Constant(text.text) if isinstance(text, Given) else text
        case Literal() | Template():
            hint = "References start with a dollar: $name." if isinstance(value, Literal) else ""
            got = shown(value.value) if isinstance(value, Literal) else "a text"
            scope.tell("wrong-type", f"{where} takes {type_name(port.type, port.many)}, not {got}", value.place, hint)
        case Many() if port.many:
            single = Port(port.name, port.type)
            items = [_port_source(scope, f"{where}[{at}]", single, item) for at, item in enumerate(value.items)]
            plain = tuple(item for item in items if isinstance(item, (Constant, From, Choice, Blend)))
            return Gather(plain) if len(plain) == len(items) else None
        case Many():
            scope.tell(
                "wrong-type", f"{where} takes {type_name(port.type)}, not a list", value.place, "Give one reference."
            )
        case First():
            options = [_linked(scope, where, port, link) for link in value.links]
            for link, option in zip(value.links, options, strict=True):
                if isinstance(option, Constant):
                    what = f"{where}: {link} is a param, and {{first: ...}} takes outputs of nodes"
                    scope.tell("bad-reference", what, link.place, "Name nodes: a param is never skipped.")
            known = tuple(option for option in options if isinstance(option, From))
            return Choice(known) if known and len(known) == len(options) else None
    return None


def _constant(scope: Scope, where: str, port: Port, given: Given, place: Place) -> Constant | None:
    value = fitted(given, port.type)
    if isinstance(value, float) and not math.isfinite(value):
        scope.tell("bad-value", f"{where} takes a finite number, not {shown(given.value)}", place)
        return None
    if type(value) is port.type and isinstance(value, (str, bool, int, float)):
        return Constant(value)
    scope.tell("wrong-type", f"{where} takes {type_name(port.type)}, not {shown(given.value)}", place)
    return None


def _linked(scope: Scope, where: str, port: Port, link: Link) -> Source | None:
    found = resolve(scope, link)
    if found is None:
        return None
    if fits(port.type, found.type) and port.many == found.many:
        return _constant(scope, where, port, found.literal, link.place) if found.literal else found.source
    want, got = type_name(port.type, port.many), type_name(found.type, found.many)
    scope.tell(
        "wrong-type", f"{where} takes {want}, but {link} gives {got}", link.place, _bridge(scope, port, found, link)
    )
    return None


def _bridge(scope: Scope, port: Port, found: Found, link: Link) -> str:
    if port.type == found.type and port.many:
        return f"Make a list of it: [{link}]."
    if port.type == found.type:
        return f"Take one of them: {link}.0, or map the node over the list with each: (not in this version yet)."
    if found.literal:
        return f"${link.name} is a param. " + _offers(scope, port.name, port)
    between = scope.registry.bridges(found.type, port.type)
    if between:
        return f"Put a {' or '.join(between)} node between them."
    return _offers(scope, port.name, port)


def _offers(scope: Scope, name: str, port: Port, asker: str = "") -> str:
    """Which outputs of the workflow would fit a port."""
    offers: list[str] = []
    if not scope.has_patience(len(scope.workflow.nodes)):
        return ""
    for entry in scope.workflow.nodes.values():
        if entry.kind in scope.registry and entry.name != asker:
            for at, (output, what) in enumerate(outputs(scope.registry[entry.kind]).items()):
                if fits(port.type, what.type) and what.many == port.many:
                    offers.append(f"${entry.name}" + (f".{output}" if at else ""))
    if offers:
        return f"Add {name}: {' or '.join(offers[:4])}."
    kinds = [kind for kind, node in scope.registry.kinds.items() if _gives(node, port)]
    return f"Nothing in this workflow gives one; these kinds do: {', '.join(kinds)}." if kinds else ""


def _gives(node: type[Node], port: Port) -> bool:
    return any(fits(port.type, what.type) and what.many == port.many for what in outputs(node).values())


def _after(scope: Scope, entry: Entry) -> Mapping[str, Source]:
    """What a node waits for without taking it."""
    return {link.name: found.source for link in entry.after if (found := resolve(scope, link))}


def _condition(scope: Scope, entry: Entry, when: Condition) -> tuple[str, Condition | None, Mapping[str, Source]]:
    """(why it is off, what is left to see, what its references stand for)."""
    facts: dict[str, Source] = {}
    for link in links(when):
        found = resolve(scope, link)
        if found is None:
            return "", None, _NOTHING
        if found.many or found.type not in SCALARS:
            got = type_name(found.type, found.many)
            scope.tell("wrong-type", f"{entry.name}.when takes texts and numbers, but {link} gives {got}", link.place)
            return "", None, _NOTHING
        facts[str(link)] = found.source
    if any(not isinstance(source, Constant) for source in facts.values()):
        return "", when, facts
    try:
        on = holds(when, lambda link: _constant_value(facts[str(link)]))
    except WorkflowError as error:
        scope.mistakes.extend(error.mistakes)
        return "", None, _NOTHING
    except DarkroomError as error:
        scope.tell("bad-condition", f"{entry.name}.when: {error.message}", entry.place, error.hint)
        return "", None, _NOTHING
    return ("" if on else f"its condition is false ({_told(facts)})"), None, _NOTHING


def _constant_value(source: Source) -> object:
    return source.value if isinstance(source, Constant) else None


def _told(facts: Mapping[str, Source]) -> str:
    return ", ".join(f"{name} is {shown(_constant_value(source))}" for name, source in facts.items())


def _told_once(mistakes: Iterable[Mistake]) -> Iterable[Mistake]:
    """A default that is wrong is wrong for every node of its kind: once is enough."""
    return {
        (mistake.code, mistake.place, mistake.message if mistake.place is None else ""): mistake for mistake in mistakes
    }.values()
