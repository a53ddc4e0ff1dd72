"""Running again what is inside a picture, and saying whether the pixels came out the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from graph.entries import Entry, Input
from graph.events import SavedOutput
from graph.metadata import read_metadata
from graph.params import Param
from graph.provenance import Origin, Plain, read_origin, versions
from graph.references import Literal
from graph.workflow import Workflow, parse, set_values


def workflow_of(picture: Path) -> tuple[Workflow, Origin]:
    """Read the workflow inside a picture, with the params that it was made with, and what its models proposed then.

    Relative paths start where the workflow's folder lies as seen from the picture, else beside the picture, else
    in the current folder: the first where the file is. Raises MissingError if the picture holds no workflow.
    """
    origin = read_origin(read_metadata(picture), str(picture))
    folders = [(picture.parent / origin.folder).resolve(), picture.parent.absolute(), Path.cwd()]
    workflow = parse(origin.workflow.encode(), f"{picture} ({origin.file})", folders[0])
    known = {name: value for name, value in origin.params.items() if name in workflow.params}
    filled = set_values(workflow, known)
    params = {name: _based(param, folders) for name, param in filled.params.items()}
    named = replace(filled, name=origin.name, params=params, source=picture.absolute())
    return named if origin.proposed is None else _settled(named, origin.proposed), origin


def compare(
    picture: Path, origin: Origin, saved: Sequence[SavedOutput], *, changed: bool, computed: bool = True
) -> str:
    """Say whether a picture came out again with the same pixels, and what may be the reason if not.

    changed: params were given other values. computed: something was computed, not all taken from the cache.
    """
    again = next((output for output in saved if output.name == origin.output and output.digest), None)
    if again is None:
        return f"{picture}: its output {origin.output} was not made this time"
    if again.digest == origin.digest:
        told = "" if computed else " (all of it from the cache; --cache none computes it anew)"
        return f"{picture}: the same pixels again, bit for bit{told}"
    now = versions()
    moved = [
        f"{name} {was}, now {now.get(name, 'none')}" for name, was in origin.versions.items() if now.get(name) != was
    ]
    reason = "as params were changed" if changed else "it was made with " + ", ".join(moved) if moved else ""
    return f"{picture}: other pixels than in the picture" + (f"; {reason}" if reason else "")


def _settled(workflow: Workflow, proposed: Mapping[str, Mapping[str, Plain]]) -> Workflow:
    """A workflow that says itself what the files beside its models said: they may have changed since, or be gone."""
    nodes = {
        name: _saying(entry, workflow.defaults.get(entry.kind, {}), proposed.get(name, {}))
        for name, entry in workflow.nodes.items()
    }
    return replace(workflow, nodes=nodes, is_settled=True)


def _saying(entry: Entry, defaults: Mapping[str, Input], proposed: Mapping[str, Plain]) -> Entry:
    added = {
        name: Input(name, entry.place, Literal(value, str(value), isinstance(value, str), entry.place))
        for name, value in proposed.items()
        if name not in defaults
    }
    return replace(entry, inputs={**added, **entry.inputs})


def _based(param: Param, folders: Sequence[Path]) -> Param:
    if param.type != "path":
        return param
    text = str(param.value.value)
    there = (folder for folder in folders if (folder / text).exists())
    return replace(param, base=next(there, folders[0]))
