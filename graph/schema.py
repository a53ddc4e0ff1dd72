"""The workflow language as a JSON Schema (2020-12), for editors that complete and check YAML while it is typed.

It refuses nothing that `darkroom check` accepts. The reverse does not hold: whether a reference leads anywhere, and
to what type, a schema cannot say.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from graph.entries import RESERVED
from graph.fields import scalar_of
from graph.node import Node, Port, parameters, ports, type_name
from graph.registry import Registry
from graph.workflow import VERSION

Schema = dict[str, Any]

_NAME = r"[^\s\d!-/:-@\[-^`{-~][^\s!-,./:-@\[-^`{-~]*"
"""graph.references.NAME for every dialect of regular expressions: some know only ASCII letters as \\w."""
_FRESH: Schema = {
    "type": "string",
    "pattern": r"^(always|never|[0-9]{1,15}(\.[0-9]{1,15})?\s*(min|h|d|w))$",
    "description": "how old a result may be: always (look again at every run), never (it stays), 30min, 1h, 2d ...",
}
_LINK: Schema = {"$ref": "#/$defs/reference"}
_TEXT: Schema = {"$ref": "#/$defs/text"}
_PARAM_TYPES = {"text": _TEXT, "path": _TEXT} | {name: {"type": name} for name in ("integer", "number", "boolean")}


def json_schema(registry: Registry) -> Schema:
    """Describe a workflow document with these kinds of nodes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Darkroom workflow, language version {VERSION}",
        "type": "object",
        "required": ["darkroom", "nodes"],
        "properties": {
            "darkroom": {"const": VERSION, "description": "the language version"},
            "name": _TEXT | {"description": "the file's own name unless given"},
            "doc": _TEXT | {"description": "what the workflow is for"},
            "params": _named("param", "what may be set from outside", {"$ref": "#/$defs/param"}),
            "defaults": _defaults(registry),
            "nodes": _named("node", "the steps, in any order", {"$ref": "#/$defs/node"}) | {"minProperties": 1},
            "outputs": _named("output", "what is saved and returned", {"$ref": "#/$defs/output"}),
        },
        "additionalProperties": False,
        "allOf": [_needs(node) for node in registry.kinds.values() if _required(node)],
        "$defs": _language(registry) | {f"node_{kind}": _node(node) for kind, node in registry.kinds.items()},
    }


def _named(what: str, description: str, item: Schema) -> Schema:
    """A table from names of the user's choice."""
    words = [] if what == "output" else [*RESERVED]
    names = {"pattern": f"^{_NAME}$", "not": {"enum": ["first", *words]}}
    empty = ["object"] if what == "node" else ["object", "null"]
    return {"type": empty, "description": description, "propertyNames": names, "additionalProperties": item}


def _language(registry: Registry) -> Schema:
    """What does not depend on a kind."""
    uses = [{"const": kind, "description": _doc(node)} for kind, node in registry.kinds.items()]
    by_kind = [{"if": _is(kind), "then": {"$ref": f"#/$defs/node_{kind}"}} for kind in registry.kinds]
    several = {"type": "array", "minItems": 1, "items": _LINK}
    return {
        "reference": {"type": "string", "pattern": rf"^\${_NAME}(\.({_NAME}|[0-9]{{1,9}}))*$",
                      "description": "$name, $name.output or $name.output.0"},
        "template": {"type": "string", "pattern": r"\$\{", "description": "a text with ${name} in it"},
        "text": {"type": ["string", "number", "boolean", "null"]},
        "first": {"type": "object", "required": ["first"], "properties": {"first": several},
                  "additionalProperties": False, "description": "the first whose node was not skipped"},
        "output": {"anyOf": [_LINK, {"$ref": "#/$defs/first"}]},
        "param": {"anyOf": [{"type": ["string", "number", "boolean"]}, _param_table()]},
        "node": {"type": "object", "required": ["use"], "properties": {"use": {"oneOf": uses}}, "allOf": by_kind},
    }  # fmt: skip


def _param_table() -> Schema:
    plain = {"type": ["string", "number", "boolean", "null"]}
    typed = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]},
         "then": {"properties": {"default": kind, "choices": {"items": kind}}}}
        for name, kind in _PARAM_TYPES.items()
    ]  # fmt: skip
    return {
        "type": "object",
        "required": ["default"],
        "properties": {
            "type": {"enum": list(_PARAM_TYPES), "description": "that of the default unless given"},
            "default": plain,
            "min": {"type": "number"},
            "max": {"type": "number"},
            "choices": {"type": "array", "minItems": 1, "items": plain},
            "doc": _TEXT,
        },
        "additionalProperties": False,
        "allOf": typed,
    }


def _defaults(registry: Registry) -> Schema:
    kinds = {
        kind: {"type": ["object", "null"], "properties": _inputs(node), "additionalProperties": False}
        for kind, node in registry.kinds.items()
    }
    description = "values for all nodes of a kind; a node's own come first"
    return {
        "type": ["object", "null"],
        "description": description,
        "properties": kinds,
        "additionalProperties": False,
    }


# One kind


def _node(node: type[Node]) -> Schema:
    own = {
        "use": {"const": node.kind},
        "when": {"type": ["string", "boolean"], "description": "run it only if this holds: $flag, $a == x ..."},
        "after": {"anyOf": [_LINK, {"type": "array", "items": _LINK}], "description": "what must be finished before"},
        "device": {"type": "string", "pattern": r"^[^$]+$", "description": "cpu, cuda, cuda:1, mps, xpu"},
        "cache": {"type": "boolean", "description": "false: run it at every run, and remember nothing"},
        "fresh": _FRESH | {"default": node.fresh},
        "doc": _TEXT,
    }
    return {
        "type": "object",
        "description": _doc(node),
        "properties": own | _inputs(node),
        "additionalProperties": False,
    }


def _inputs(node: type[Node]) -> Schema:
    plain = node.model_json_schema()["properties"] if parameters(node) else {}
    fields = {name: _field(plain[name], parameter.type) for name, parameter in parameters(node).items()}
    return {name: _port(port) for name, port in ports(node).items()} | fields


def _field(plain: Mapping[str, Any], annotation: object) -> Schema:
    """A parameter: its plain value, or a reference to one."""
    told = {name: plain[name] for name in ("description", "default") if name in plain}
    if scalar_of(annotation) is str and not _choices(plain):
        return told | {name: plain[name] for name in ("minLength", "maxLength") if name in plain} | _TEXT_TYPE
    value = {name: part for name, part in plain.items() if name not in (*told, "title")}
    template = [{"$ref": "#/$defs/template"}] if scalar_of(annotation) is str else []
    return told | {"anyOf": [*value.get("anyOf", [value]), _LINK, *template]}


def _choices(plain: Mapping[str, Any]) -> bool:
    return any("enum" in option or "const" in option for option in plain.get("anyOf", [plain]))


_TEXT_TYPE: Schema = {"type": ["string", "number", "boolean", "null"]}
"""A text parameter takes the source text of any scalar."""


def _port(port: Port) -> Schema:
    plain: dict[type, Schema] = {str: _TEXT_TYPE, int: {"type": "integer"}, float: {"type": "number"}}
    literal = [plain.get(port.type, {"type": "boolean"})] if port.type in (*plain, bool) else []
    one = {"anyOf": [_LINK, {"$ref": "#/$defs/first"}, *literal]}
    several = [{"type": "array", "items": one}] if port.many else []
    return {"description": f"a {type_name(port.type, port.many)}", "anyOf": [*one["anyOf"], *several]}


def _doc(node: type[Node]) -> str:
    return inspect.cleandoc(node.__doc__ or "")


# What a kind cannot do without


def _is(kind: str) -> Schema:
    return {"properties": {"use": {"const": kind}}, "required": ["use"]}


def _required(node: type[Node]) -> list[str]:
    needed = [name for name, port in ports(node).items() if port.required]
    return needed + [name for name, parameter in parameters(node).items() if parameter.required]


def _needs(node: type[Node]) -> Schema:
    """What a kind requires, unless the document has defaults for the kind: they may give it."""
    has_defaults = {"required": ["defaults"], "properties": {"defaults": {"required": [node.kind]}}}
    entry = {"if": _is(node.kind), "then": {"required": _required(node)}}
    return {"if": {"not": has_defaults}, "then": {"properties": {"nodes": {"additionalProperties": entry}}}}
