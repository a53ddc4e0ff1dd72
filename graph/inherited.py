"""Defaults that a model brings along: taken by the steps that its parts go to, where the workflow gives no value.

A model's parts are handles. They go on through every step that takes a handle and gives one (LoRA ...); of several, a
step's first port that takes one decides. What a file proposes is checked as a whole, used or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from graph.errors import MissingError, suggest
from graph.fields import Given, checked, file_parameters, fitted
from graph.filerefs import Default, FileRef
from graph.lookup import Scope
from graph.node import Node, outputs, parameters
from graph.sources import Choice, From, Source
from graph.steps import Step
from graph.unknown import tell_unknown_kind
from graph.values import ModelHandle

Values = dict[str, object]
Proposed = Mapping[str, tuple[Values, Mapping[str, Default]]]
"""By kind, the values of parameters, and where they stand."""


def inherit(scope: Scope, steps: Mapping[str, Step], order: Iterable[str]) -> dict[str, Step]:
    """Give steps the defaults of the models whose parts they take. order: each step after those that it needs.

    Mistakes in what a model proposes are told once.
    """
    done = dict(steps)
    if scope.workflow.is_settled:
        return done
    givers: dict[str, FileRef] = {}
    proposed: dict[FileRef, Proposed] = {}
    for name in order:
        file = _own(steps[name]) or _handed_on(steps[name], steps, givers)
        if file:
            givers[name] = file
            if file not in proposed:
                proposed[file] = _checked(scope, file)
            done[name] = _completed(scope, steps[name], *proposed[file].get(steps[name].kind, ({}, {})))
    return done


def _own(step: Step) -> FileRef | None:
    for name in file_parameters(step.node):
        file = step.fixed.get(name)
        if isinstance(file, FileRef) and file.defaults():
            return file
    return None


def _handed_on(step: Step, steps: Mapping[str, Step], givers: Mapping[str, FileRef]) -> FileRef | None:
    if givers.keys().isdisjoint(step.needs):
        return None
    return next((file for source in step.inputs.values() if (file := _giver(source, steps, givers))), None)


def _giver(source: Source, steps: Mapping[str, Step], givers: Mapping[str, FileRef]) -> FileRef | None:
    """The model that a handle is of; of a choice, the one that all of it are of."""
    if isinstance(source, Choice):
        files = {_giver(option, steps, givers) for option in source.options}
        return files.pop() if len(files) == 1 else None
    if not isinstance(source, From) or source.step not in givers:
        return None
    given = list(outputs(steps[source.step].node).values())[source.output].type
    return givers[source.step] if isinstance(given, type) and issubclass(given, ModelHandle) else None


def _completed(scope: Scope, step: Step, values: Values, proposed: Mapping[str, Default]) -> Step:
    added = {name: value for name, value in values.items() if not step.set_by(name)}
    if not added:
        return step
    fixed = {**step.fixed, **added}
    instance, complaints = checked(step.node, fixed)
    whole = replace(
        step,
        fixed=fixed,
        instance=None if step.linked else instance,
        proposed={name: proposed[name] for name in added},
    )
    for complaint in complaints if step.instance else ():
        what = f"{step.name}.{complaint.name} {complaint.message}"
        scope.tell("bad-value", what, whole.place_of(complaint.name), complaint.hint)
    return whole


# What a file proposes


def _checked(scope: Scope, file: FileRef) -> Proposed:
    kinds: dict[str, dict[str, Default]] = {}
    for default in file.defaults():
        kinds.setdefault(default.kind, {})[default.name] = default
    found = {}
    for kind, given in kinds.items():
        if kind in scope.registry:
            found[kind] = _values(scope, scope.registry[kind], given), given
        else:
            place = next(iter(given.values())).kind_place
            tell_unknown_kind(scope, kind, place)
    return found


def _values(scope: Scope, node: type[Node], given: Mapping[str, Default]) -> Values:
    """What is proposed for one kind of node, as its parameters take it; what they do not take is told."""
    values: Values = {}
    known = parameters(node)
    for name, default in given.items():
        if name not in known:
            what = f'a {node.kind} has no parameter "{name}"'
            scope.tell("unknown-parameter", what, default.place, suggest(name, known, node.elsewhere))
            continue
        try:
            values[name] = fitted(Given(default.value, default.text, default.quoted, default.folder), known[name].type)
        except MissingError as error:
            what = f"{node.kind}.{name}: {error.message}"
            scope.tell(error.code, what, default.place, error.hint, missing=True)
    for complaint in checked(node, values)[1]:
        place = given[complaint.name].place if complaint.name else next(iter(given.values())).kind_place
        scope.tell("bad-value", f"{node.kind}.{complaint.name} {complaint.message}", place, complaint.hint)
        values.pop(complaint.name, None)
    return values
