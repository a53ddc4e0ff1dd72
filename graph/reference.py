"""The kinds of nodes, told to people: in the terminal and as docs/nodes.md. Everything is read off the node classes."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from graph.errors import UsageError
from graph.fields import checked, limits, takes
from graph.lookup import fits
from graph.node import SCALARS, Node, Output, Port, outputs, parameters, ports, type_name
from graph.registry import Registry
from graph.tables import clean, pad, render, seen_width

WIDTH = 100
"""Where nobody says how wide the terminal is."""
_LITERALS: dict[Any, str] = {str: "a text", int: "1", float: "1.0", bool: "true"}
_ABSENT = ("required", "optional")
"""What is said instead of a default."""
_NAMED = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): ")
"""How a line of a docstring begins that is about ports, parameters or choices."""
_PLAIN = re.compile(r"[A-Za-z][\w./-]*")
"""Texts that YAML reads as themselves without quotes, unless they are words of YAML."""


def overview(registry: Registry, width: int | None, colour: bool) -> str:
    """List every kind: what it takes, what it gives, and the first sentence of its docstring."""
    rows = [(kind, _flow(node), _first_sentence(node)) for kind, node in registry.kinds.items()]
    table = render(rows, ("kind", "takes -> gives", "what it does"), width, colour)
    return f"{table}\n\ndarkroom nodes KIND tells all about one."


def page(registry: Registry, kind: str, width: int | None, colour: bool) -> str:
    """Explain one kind. Raises UsageError for a kind that is not there."""
    if kind not in registry:
        raise UsageError(f'there is no kind of node "{kind}"', hint=registry.suggest(kind))
    node, columns = registry[kind], max(40, width or WIDTH)
    blocks = [_heading(kind, colour), *(_wrapped(paragraph, columns) for paragraph in _paragraphs(node))]
    for title, rows in _lists(node):
        blocks.append("\n".join([_heading(title, colour), *_definitions(rows, columns)]))
    example = textwrap.indent(_example(registry, node), "  ")
    return "\n\n".join([*blocks, f"{_heading('example', colour)}\n{example}"])


def markdown(registry: Registry) -> str:
    """Write the text of docs/nodes.md, the same for the same nodes."""
    rows = [(f"[{kind}](#{kind})", _escaped(_first_sentence(node))) for kind, node in registry.kinds.items()]
    sections = [_section(registry, node) for node in registry.kinds.values()]
    return "\n\n".join([_INTRODUCTION, _table(("kind", "what it does"), rows), *sections])


_INTRODUCTION = """\
# Nodes

Made from the nodes themselves by `make docs`; `darkroom nodes KIND` shows the same in a terminal. A *port* takes a
reference to another node, a *parameter* a plain value or a reference to a param. The first output is the main one:
`$name` stands for it, `$name.output` for another. In the examples nodes are called as their kinds."""


# What a kind says of itself


def _docstring(node: type[Node]) -> str:
    return inspect.cleandoc(node.__doc__ or "")


def _first_sentence(node: type[Node]) -> str:
    paragraph = " ".join(_docstring(node).partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0]


def _paragraphs(node: type[Node]) -> Iterator[list[str]]:
    """Each paragraph of a docstring as its items, one line each: a new one where a line begins with a name."""
    for paragraph in _docstring(node).split("\n\n"):
        lines = paragraph.splitlines()
        yield lines if lines and lines[0].startswith(" ") else _items(lines)


def _items(lines: Sequence[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        after_name = items and _NAMED.match(items[-1]) and items[-1].endswith(".") and line[:1].isupper()
        if not items or _NAMED.match(line) or after_name:
            items.append(line)
        else:
            items[-1] += f" {line}"
    return items


def _flow(node: type[Node]) -> str:
    taken = ", ".join(name if port.required else f"[{name}]" for name, port in ports(node).items())
    return f"{taken} -> {', '.join(outputs(node))}".strip()


def _lists(node: type[Node]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The ports, parameters and outputs: (title, (name, what is said of it)), without empty ones."""
    taken = [(name, _port_words(port)) for name, port in ports(node).items()]
    fields = [(name, _field_words(field)) for name, field in node.model_fields.items()]
    given = [(name, _output_words(node, output)) for name, output in outputs(node).items()]
    for title, rows in (("ports", taken), ("parameters", fields), ("outputs", given)):
        if rows:
            yield title, rows


def _port_words(port: Port) -> str:
    return type_name(port.type, port.many) + ("" if port.required else ", optional")


def _field_words(field: FieldInfo) -> str:
    default = _default(field)
    description = f": {field.description}" if field.description else ""
    return f"{takes(field)}, {'' if default in _ABSENT else 'default '}{default}{description}"


def _output_words(node: type[Node], output: Output) -> str:
    is_main = output.name == next(iter(outputs(node)))
    return type_name(output.type, output.many) + (", the main one" if is_main and len(outputs(node)) > 1 else "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "optional" if value is None else _yaml(value)


# In the terminal


def _heading(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour else text


def _wrapped(items: Iterable[str], columns: int) -> str:
    lines = (textwrap.wrap(clean(item), columns, subsequent_indent="  " * bool(_NAMED.match(item))) for item in items)
    return "\n".join(part for line in lines for part in line)


def _definitions(rows: Sequence[tuple[str, str]], columns: int) -> Iterator[str]:
    most = max(seen_width(name) for name, _ in rows)
    for name, words in rows:
        first, *rest = textwrap.wrap(clean(words), max(20, columns - most - 4))
        yield f"  {pad(name, most)}  {first}"
        yield from (f"  {' ' * most}  {line}" for line in rest)


# As Markdown


def _section(registry: Registry, node: type[Node]) -> str:
    blocks = [f"## {node.kind}", *map(_prose, _paragraphs(node))]
    if ports(node):
        rows = [(f"`{name}`", *_cells(port)) for name, port in ports(node).items()]
        blocks.append(_table(("port", "type", "required"), rows))
    if parameters(node):
        fields = [(f"`{name}`", *_field_cells(field)) for name, field in node.model_fields.items()]
        blocks.append(_table(("parameter", "takes", "default", "what it is"), fields))
    given = [(f"`{name}`", f"`{type_name(out.type, out.many)}`") for name, out in outputs(node).items()]
    blocks.append(_table(("output", "type"), given))
    return "\n\n".join([*blocks, f"```yaml\n{_example(registry, node)}\n```"])


def _cells(port: Port) -> tuple[str, str]:
    return f"`{type_name(port.type, port.many)}`", "yes" if port.required else "no"


def _field_cells(field: FieldInfo) -> tuple[str, str, str]:
    default = _default(field)
    shown = default if default in _ABSENT else f"`{default}`"
    return _escaped(takes(field)), shown, _escaped(field.description or "")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _prose(items: list[str]) -> str:
    """Markdown of a paragraph; what begins with names becomes a list."""
    if items and items[0].startswith(" "):
        return "\n".join(["```", *(item.removeprefix("    ") for item in items), "```"])
    told = [_item(item) if _NAMED.match(item) else f"\n{_escaped(item)}\n" for item in items]
    return "\n".join(told).strip("\n")


def _item(text: str) -> str:
    names, _, rest = text.partition(": ")
    return f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {_escaped(rest)}"


def _escaped(text: str) -> str:
    """Keep Markdown from reading signs of arithmetic as its own; what stands in backticks stays."""
    parts = text.split("`")
    return "`".join(part if at % 2 else re.sub(r"([*<\[\]])", r"\\\1", part) for at, part in enumerate(parts))


# An example


def _example(registry: Registry, node: type[Node]) -> str:
    """A valid entry of `nodes:`, where the nodes that it refers to are called as their kinds."""
    lines = [f"{node.kind}:", f"  use: {node.kind}"]
    lines += [f"  {name}: {_reference(registry, node, port)}" for name, port in ports(node).items() if port.required]
    values = {name: _example_value(field) for name, field in node.model_fields.items()}
    lines += [f"  {name}: {value}" for name, value in values.items() if value]
    return "\n".join(lines)


def _reference(registry: Registry, node: type[Node], port: Port) -> str:
    for many in (True, False) if port.many else (False,):
        found = _giver(registry, node, port, many)
        if found:
            return found if many == port.many else f"[{found}]"
    return _LITERALS.get(port.type, f"${port.name}")


def _giver(registry: Registry, taker: type[Node], taken: Port, many: bool) -> str:
    """A reference to what makes this type of others with the fewest inputs; "" where any plain value will do."""
    kind = taken.type
    givers = [
        (
            any(port.type is kind for port in ports(node).values()),
            len(ports(node)),
            node.kind,
            f"${node.kind}" + (f".{output.name}" if at else ""),
        )
        for node in registry.kinds.values()
        for at, output in enumerate(outputs(node).values())
        if node is not taker and kind not in SCALARS and output.many == many and fits(kind, output.type)
        if _goes(node.gives.get(output.name, ""), taker, taken.name)
    ]
    return min(givers)[-1] if givers else ""


def _goes(word: str, taker: type[Node], port: str) -> bool:
    """Whether a node as an example has it takes what its kind says that it gives."""
    instance, _ = checked(taker, {})
    return not (word and instance and list(instance.misfits({port: word})))


def _example_value(field: FieldInfo) -> str:
    """What an example gives a parameter; nothing where it is best left out."""
    if field.examples:
        return _yaml(field.examples[0])
    if not field.is_required():
        value = field.get_default(call_default_factory=True)
        return "" if value is None else _yaml(value)
    taken = takes(field)
    if taken.startswith("one of "):
        return _yaml(taken.removeprefix("one of ").split(", ")[0])
    if field.annotation in (int, float):
        return _yaml(next(number for number in _numbers(field) if _is_taken(field, number)))
    return _LITERALS.get(field.annotation, f"my-{taken.partition(' ')[2]}")


def _is_taken(field: FieldInfo, value: object) -> bool:
    kind: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _numbers(field: FieldInfo) -> Iterator[int | float]:
    """Numbers of which a parameter takes at least one."""
    kind, bounds = field.annotation or int, limits(field)
    step = bounds.get("multiple_of", 1)
    for end in [bounds[name] for name in ("ge", "gt", "le", "lt") if name in bounds] or [0]:
        steps = (end // step * step, end, -(-end // step) * step)
        yield from (kind(number) for number in (*steps, steps[0] + step, steps[0] - step))


def _yaml(value: object) -> str:
    """A plain value as YAML 1.2 reads it back."""
    value = getattr(value, "written", value)
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in ("true", "false", "null"):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
