"""What a run is for: the outputs of a workflow, or its sinks, and the nodes that write files by themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from graph.errors import Mistake, suggest
from graph.lookup import Scope, resolve
from graph.node import SCALARS, outputs, type_name
from graph.sources import Choice, From, origins
from graph.steps import Step, Wanted, is_picture, writes_files
from graph.values import SavedFile
from graph.workflow import First, Link, Workflow


def find_wanted(scope: Scope, steps: Mapping[str, Step], only: str | None) -> tuple[Wanted, ...]:
    """What a run gives back: what `outputs` names, else what every sink gives; with `only`, what that node gives."""
    if only is not None:
        if only not in scope.workflow.nodes:
            hint = suggest(only, scope.workflow.nodes)
            scope.mistakes.append(Mistake("unknown-node", f'there is no node "{only}"', hint=hint))
        return (_sink(steps[only]),) if only in steps else ()
    if scope.workflow.outputs is None:
        used = {
            origin.step
            for step in steps.values()
            for source in (*step.inputs.values(), *step.linked.values())
            for origin in origins(source)
        }
        return tuple(_sink(step) for name, step in steps.items() if name not in used)
    return tuple(
        want for output in scope.workflow.outputs if (want := _wanted_output(scope, output.name, output.value))
    )


def _wanted_output(scope: Scope, name: str, value: Link | First) -> Wanted | None:
    found = [resolve(scope, link) for link in (value.links if isinstance(value, First) else (value,))]
    sources = tuple(part.source for part in found if part and isinstance(part.source, From))
    if len(sources) < len(found) or not found or found[0] is None:
        if all(found):
            scope.tell("bad-reference", f"the output {name} is a param; outputs are outputs of nodes", value.place)
        return None
    types = dict.fromkeys(type_name(part.type, part.many) for part in found if part)
    if len(types) > 1:
        scope.tell("wrong-type", f"the output {name} is one of {', '.join(types)}; it must be one type", value.place)
        return None
    return Wanted(name, sources[0] if isinstance(value, Link) else Choice(sources), found[0].type)


def _sink(step: Step) -> Wanted:
    """What a node without consumers gives: its main output, or the list of all, where it has one of that type."""
    known = list(outputs(step.node).values())
    at = next((at for at, output in enumerate(known) if output.many and output.type is known[0].type), 0)
    return Wanted(step.name, From(step.name, at), known[at].type)


def writers(steps: Mapping[str, Step], only: str | None) -> list[str]:
    """The nodes that are run for what they write."""
    return [] if only else [name for name, step in steps.items() if writes_files(step.node)]


def unsaved(workflow: Workflow, wanted: Iterable[Wanted]) -> Iterable[Mistake]:
    """Tell which outputs are no pictures, texts or numbers: Python gets them, but nothing is saved."""
    places = {output.name: output.value.place for output in workflow.outputs or ()}
    for part in wanted:
        if part.name in places and not is_picture(part.type) and part.type not in (*SCALARS, SavedFile):
            what = f"the output {part.name} is {type_name(part.type)}: Python gets it, but no file is saved"
            yield Mistake("unsaved", what, places[part.name])


def idle(scope: Scope) -> Iterable[Mistake]:
    """Tell which params change nothing."""
    for name, param in scope.workflow.params.items():
        if name not in scope.params:
            what = f"the param {name} changes nothing: no ${name} stands anywhere"
            hint = f"Write ${name}, with its dollar sign, where it belongs, or take it out."
            yield Mistake("unused", what, param.place, hint)


def unused(steps: Mapping[str, Step], kept: Collection[str], only: str | None) -> Iterable[Mistake]:
    """Tell which nodes are not run."""
    if only is not None:
        return
    for name, step in steps.items():
        if name not in kept:
            hint = "Name it under outputs:, or take it out."
            yield Mistake("unused", f"{name} is not run: no output needs it", step.place, hint)
