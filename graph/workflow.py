"""Reading a workflow: from a file to its params, nodes and outputs, every one with its place.

Here is what can be said of a file alone, without the kinds of nodes: see `graph.wiring` for the rest.
"""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from graph.conditions import Condition
from graph.document import MAX_BYTES, Branch, Items, Scalar, Table, decode, read
from graph.entries import NO_MERGE, RESERVED, Entry, Input, read_entry, text_of
from graph.errors import MissingError, Mistake, Place, WorkflowError, suggest
from graph.pace import builds
from graph.params import Param, read_param, set_text, set_value, shown
from graph.references import (
    NAME,
    Expression,
    First,
    Link,
    Literal,
    Many,
    Template,
    described,
    expression,
    reference,
)
from graph.syntax import named

__all__ = [
    "Condition",
    "Entry",
    "Expression",
    "First",
    "Input",
    "Link",
    "Literal",
    "Many",
    "Output",
    "Param",
    "Template",
    "Workflow",
    "load",
    "parse",
    "set_params",
    "set_values",
]


@dataclass(frozen=True, slots=True)
class Output:
    """What is saved and returned under a name."""

    name: str
    place: Place
    value: Link | First


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow document, syntactically read."""

    file: str
    """As the user named it; "<stdin>" for "-"."""
    folder: Path
    text: str
    name: str
    doc: str
    params: Mapping[str, Param]
    defaults: Mapping[str, Mapping[str, Input]]
    """By kind."""
    default_places: Mapping[str, Place]
    """By kind: the place of its name under `defaults`."""
    nodes: Mapping[str, Entry]
    outputs: tuple[Output, ...] | None
    """None where there is no such section."""
    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]
    unreadable: frozenset[str] = frozenset()
    """Params and nodes left out because of a mistake that is already told: not to be told as unknown."""
    source: Path | None = None
    """The file that it was read from, a picture where it was inside one; None for standard input and texts."""
    is_settled: bool = False
    """Whether its nodes say all that counts, so that no model proposes anything: it comes out of a picture."""


VERSION = 1
_NAMING = 'A name begins with a letter; letters, digits, "_" and "-" may follow.'
FOREIGN = "Darkroom reads a language of its own: docs/from-web-uis.md says what each node of ComfyUI is in it."
SECTIONS = ("darkroom", "name", "doc", "params", "defaults", "nodes", "outputs", "sweep")


def load(path: str | Path) -> Workflow:
    """Read a workflow file, or standard input for "-".

    Raises MissingError where there is no such file, WorkflowError as `parse` does.
    """
    if str(path) == "-":
        return parse(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>", Path.cwd())
    source = Path(path).absolute()
    return replace(parse(_bytes_of(Path(path)), str(path), source.parent), source=source)


@builds
def parse(data: bytes, file: str, folder: Path) -> Workflow:
    """Read a workflow from the bytes of its file; its mistakes are in `mistakes`.

    Raises WorkflowError only where there is no document at all.
    """
    tree, mistakes, warnings = read(data, file)
    if _is_of_comfyui(tree):
        start = replace(tree.place, column=1)
        raise WorkflowError([Mistake("version", "this is a workflow of ComfyUI", start, FOREIGN)])
    found = _Found()
    sections = _sections(tree, found)
    params = _params(sections, folder, found)
    defaults, default_places = _defaults(sections, found)
    nodes = _nodes(sections, tree.place, found)
    _check_namespace(params, nodes, found)
    told = {mistake.place for mistake in mistakes}
    return Workflow(
        file=file,
        folder=folder,
        text=decode(data, file),
        name=text_of("name", sections, found.mistakes) or (Path(file).stem if file != "<stdin>" else "workflow"),
        doc=text_of("doc", sections, found.mistakes),
        params=params,
        defaults=defaults,
        default_places=default_places,
        nodes=nodes,
        outputs=_outputs(sections, found),
        mistakes=(*mistakes, *(mistake for mistake in found.mistakes if mistake.place not in told)),
        warnings=warnings,
        unreadable=frozenset(found.unreadable),
    )


def set_params(workflow: Workflow, settings: Mapping[str, str], folder: Path) -> Workflow:
    """Give params the values of `--set`, each text typed as its param is; paths are relative to `folder`.

    Texts are taken as they are: no references, and a dollar sign is one.
    Raises WorkflowError with every mistake of every setting.
    """
    lines = {name: f"{name}={text}" for name, text in settings.items()}
    places = {name: Place("--set", 1, len(name) + 2, line) for name, line in lines.items()}
    return _set(workflow, places, folder, lambda param: set_text(param, settings[param.name], places[param.name]))


def set_values(workflow: Workflow, values: Mapping[str, object]) -> Workflow:
    """Give params values from Python; paths are relative to the current folder.

    A text is read as `--set` reads it. Raises WorkflowError with every mistake of every value.
    """
    lines = {name: f"{name}={shown(value)}" for name, value in values.items()}
    places = {name: Place("<values>", 1, len(name) + 2, line) for name, line in lines.items()}
    return _set(workflow, places, Path.cwd(), lambda param: set_value(param, values[param.name], places[param.name]))


def _set(
    workflow: Workflow, places: Mapping[str, Place], folder: Path, typed: Callable[[Param], Literal | Mistake]
) -> Workflow:
    mistakes: list[Mistake] = []
    params = dict(workflow.params)
    for name, place in places.items():
        if name in params:
            value = typed(params[name])
            if isinstance(value, Mistake):
                mistakes.append(value)
            else:
                params[name] = replace(params[name], value=value, base=folder)
        elif name not in workflow.unreadable:
            hint = suggest(name, params) or "The workflow has no params."
            mistakes.append(Mistake("bad-setting", f"there is no param {named(name)}", replace(place, column=1), hint))
    if mistakes:
        raise WorkflowError(mistakes)
    return replace(workflow, params=params)


def _bytes_of(path: Path) -> bytes:
    """Read a file, at most one byte more than is allowed, and nothing that could block or end never."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        near = sorted(entry.name for entry in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise MissingError(f"there is no file {named(str(path))}", hint=suggest(path.name, near)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MissingError(f"{named(str(path))} cannot be read: {reason}") from None
    if stat.S_ISDIR(mode):
        raise MissingError(f"{named(str(path))} is a folder", hint="Name a workflow file in it.")
    hint = 'Name a file, or "-" to read from standard input.'
    raise MissingError(f"{named(str(path))} is no file, but a pipe or a device", hint=hint)


@dataclass(slots=True)
class _Found:
    """What reading finds on its way."""

    mistakes: list[Mistake] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)

    def add(self, code: str, message: str, place: Place, hint: str = "") -> None:
        self.mistakes.append(Mistake(code, message, place, hint))


def _is_of_comfyui(tree: Table) -> bool:
    """Whether a document is what ComfyUI saves: for its canvas (nodes and links), or for its API (class_type)."""
    sections = {key.text: branch for key, branch in tree.entries}
    if "darkroom" in sections:
        return False
    tables = [branch for branch in sections.values() if isinstance(branch, Table)]
    is_api = any(key.text == "class_type" for table in tables for key, _ in table.entries)
    return is_api or (isinstance(sections.get("nodes"), Items) and "links" in sections)


def _sections(tree: Table, found: _Found) -> dict[str, Branch]:
    sections: dict[str, Branch] = {}
    for key, branch in tree.entries:
        sections[key.text] = branch
        if key.text == "sweep":
            hint = "Until then, run the workflow once for each value, with --set."
            found.add("not-yet", '"sweep" is not in this version of Darkroom yet', key.place, hint)
        elif key.text not in SECTIONS:
            found.add(
                "unknown-key",
                f"unknown key {named(key.text)}",
                key.place,
                NO_MERGE if key.text == "<<" else suggest(key.text, SECTIONS),
            )
    version = sections.get("darkroom")
    if version is None:
        place = replace(tree.place, column=1)
        found.add("version", "the language version is missing", place, f"Begin with the line: darkroom: {VERSION}")
    elif not (isinstance(version, Scalar) and version.value == VERSION and type(version.value) is int):
        message = f"this Darkroom reads language version {VERSION}, but got {described(version)}"
        found.add("version", message, version.place, f"Write darkroom: {VERSION}, or use the Darkroom it is for.")
    return sections


def _table(name: str, example: str, sections: Mapping[str, Branch], found: _Found) -> tuple[tuple[Scalar, Branch], ...]:
    """Read a section that is a table of names."""
    branch = sections.get(name)
    if isinstance(branch, Table):
        return branch.entries
    if branch is not None and not _is_empty(branch):
        found.add("syntax", f"{name} takes a table, but got {described(branch)}", branch.place, f"Write {example}.")
    return ()


def _is_empty(branch: Branch) -> bool:
    return isinstance(branch, Scalar) and branch.value is None


def _is_name(key: Scalar, what: str, found: _Found) -> bool:
    name = named(key.text)
    if key.text == "first" or (key.text in RESERVED and what != "output"):
        message = f"{name} is a word of the language and cannot name a {what}"
        found.add("bad-name", message, key.place, f'Choose another name, such as "my_{key.text}".')
    elif not re.fullmatch(NAME, key.text):
        hint = NO_MERGE if key.text == "<<" else _NAMING
        found.add("bad-name", f"{name} cannot name a {what}", key.place, hint)
    else:
        return True
    found.unreadable.add(key.text)
    return False


def _params(sections: Mapping[str, Branch], folder: Path, found: _Found) -> dict[str, Param]:
    params = {}
    for key, branch in _table("params", "params: {seed: 42}", sections, found):
        if not _is_name(key, "param", found):
            continue
        if param := read_param(key, branch, folder, found.mistakes):
            params[key.text] = param
        else:
            found.unreadable.add(key.text)
    return params


def _defaults(sections: Mapping[str, Branch], found: _Found) -> tuple[dict[str, dict[str, Input]], dict[str, Place]]:
    defaults: dict[str, dict[str, Input]] = {}
    places: dict[str, Place] = {}
    for kind, branch in _table("defaults", "defaults: {sampler: {steps: 50}}", sections, found):
        places[kind.text] = kind.place
        inputs = defaults[kind.text] = {}
        for key, value in _table(kind.text, f"{kind.text}: {{steps: 50}}", {kind.text: branch}, found):
            if key.text in (*RESERVED, "<<"):
                message = f"defaults of {kind.text} cannot hold {named(key.text)}"
                found.add(
                    "unknown-key",
                    message,
                    key.place,
                    NO_MERGE if key.text == "<<" else "Write it in the nodes.",
                )
            elif read_value := expression(value, found.mistakes):
                inputs[key.text] = Input(key.text, key.place, read_value)
    return defaults, places


def _nodes(sections: Mapping[str, Branch], top: Place, found: _Found) -> dict[str, Entry]:
    example = "nodes: {model: {use: load_model, ...}}"
    rows = _table("nodes", example, sections, found)
    branch = sections.get("nodes")
    if not rows and (branch is None or _is_empty(branch) or isinstance(branch, Table)):
        found.add("syntax", "the workflow has no nodes", branch.place if branch else top, f"Write {example}.")
    entries = {}
    for key, value in rows:
        entry = read_entry(key, value, found.mistakes) if _is_name(key, "node", found) else None
        if entry:
            entries[entry.name] = entry
        else:
            found.unreadable.add(key.text)
    return entries


def _outputs(sections: Mapping[str, Branch], found: _Found) -> tuple[Output, ...] | None:
    section = sections.get("outputs")
    if section is None or _is_empty(section):
        return None
    outputs = []
    for key, branch in _table("outputs", "outputs: {picture: $decoded}", sections, found):
        if not _is_name(key, "output", found):
            continue
        before = len(found.mistakes)
        value = expression(branch, found.mistakes) if isinstance(branch, Table) else None
        if len(found.mistakes) == before and not isinstance(value, First):
            value = reference(branch, key.text, found.mistakes)
        if isinstance(value, Link | First):
            outputs.append(Output(key.text, key.place, value))
    return tuple(outputs)


def _check_namespace(params: Mapping[str, Param], nodes: Mapping[str, Entry], found: _Found) -> None:
    for name in params.keys() & nodes.keys():
        lines = f"a param on line {params[name].place.line} and a node on line {nodes[name].place.line}"
        hint = "Params and nodes share their names. Rename one."
        found.add("duplicate-key", f"{named(name)} is {lines}", nodes[name].place, hint)
