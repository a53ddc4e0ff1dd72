"""What differs between the ways in which two pictures were made, as far as their files tell."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graph.document import Items, Scalar, Table, read
from graph.errors import DarkroomError
from graph.provenance import Origin

_SETTING = re.compile(r'\s*([\w /.-]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')


@dataclass(frozen=True, slots=True)
class Contrast:
    """One thing that differs."""

    what: str
    """workflow, param, node, output, parameter, file, kind, package; of other programs' pictures: setting."""
    name: str
    a: Any
    b: Any
    """None where the one has no such thing."""


def contrasts(a: Origin, b: Origin) -> tuple[Contrast, ...]:
    """Say what differs: params, nodes and what is written in them, parameters after defaults, files, versions."""
    facts = [("workflow", "name", a.name, b.name), ("workflow", "output", a.output, b.output)]
    found = [Contrast(*fact) for fact in facts if fact[2] != fact[3]]
    found += _between("param", a.params, b.params)
    text = list(_in_text(a.workflow, b.workflow))
    inside = list(_parameters(a.nodes, b.nodes))
    known = {change.name for change in inside}
    found += [change for change in text if change.name not in known] + inside
    found += _between("file", a.files, b.files)
    shared = [kind for kind in a.kinds if kind in b.kinds]
    found += _between("kind", *({kind: kinds[kind] for kind in shared} for kinds in (a.kinds, b.kinds)))
    found += _between("package", a.versions, b.versions)
    if a.workflow != b.workflow and not text and not inside:
        found.append(Contrast("workflow", "text", "its comments, order or form", "are others"))
    return tuple(found)


def other_contrasts(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[Contrast, ...]:
    """The same for pictures of other programs: what A1111 and ComfyUI write into a PNG. The arguments are its texts."""
    return tuple(_between("setting", _settings(a), _settings(b)))


def _between(what: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Contrast]:
    for name in dict.fromkeys((*a, *b)):
        if a.get(name) != b.get(name):
            yield Contrast(what, name, a.get(name), b.get(name))


def _in_text(a: str, b: str) -> Iterator[Contrast]:
    """Nodes that only one file has, and what is written otherwise in those that both have."""
    before, after = _sections(a), _sections(b)
    nodes, others = before["nodes"], after["nodes"]
    for name in dict.fromkeys((*nodes, *others)):
        one, other = nodes.get(name), others.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _between("node", *({f"{name}.{key}": node[key] for key in node} for node in (one, other)))
        elif one != other:
            yield Contrast("node", name, _use(one), _use(other))
    yield from _between("output", before["outputs"], after["outputs"])


def _use(node: Any) -> Any:
    return node.get("use") if isinstance(node, dict) else node


def _sections(text: str) -> dict[str, dict[str, Any]]:
    """The nodes and the outputs of a workflow, as its text has them."""
    plain: dict[str, Any] = {}
    with contextlib.suppress(DarkroomError):  # of a picture that somebody tampered with
        plain = _plain(read(text.encode("utf-8", "surrogatepass"), "")[0])
    found = {name: plain.get(name) for name in ("nodes", "outputs")}
    return {name: section if isinstance(section, dict) else {} for name, section in found.items()}


def _plain(branch: Scalar | Items | Table) -> Any:
    if isinstance(branch, Table):
        return {key.text: _plain(value) for key, value in branch.entries}
    return [_plain(item) for item in branch.items] if isinstance(branch, Items) else branch.text


def _parameters(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Contrast]:
    for name in a:
        one, other = a[name], b.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _between("parameter", *({f"{name}.{key}": node[key] for key in node} for node in (one, other)))


def _settings(texts: Mapping[str, str]) -> dict[str, Any]:
    """Source: the `parameters` text of A1111, the `prompt` text of ComfyUI."""
    *said, last = texts.get("parameters", "").rstrip().split("\n")
    found: dict[str, Any] = {}
    if re.match(r"Steps: \d", last):
        prompt, _, negative = "\n".join(said).partition("\nNegative prompt: ")
        found = {"prompt": prompt, "negative prompt": negative} | dict(_SETTING.findall(last))
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        for number, node in json.loads(texts.get("prompt", "{}")).items():
            kind = f"{number} {node.get('class_type', '')}"
            found |= {f"{kind}.{name}": value for name, value in node.get("inputs", {}).items()}
    return found
