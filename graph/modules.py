"""What one Python module says and which others it imports, read from its source and not by running it.

Comments, formatting, docstrings and every other text that stands alone are no part of what it says. The form is our
own and not that of `ast.dump`, which differs from one Python to the next: two machines are to agree.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields of syntax that say nothing: they follow from others, or are comments."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module."""

    digest: str
    """sha256 of what it says."""
    imports: tuple[str, ...]
    """What it imports, wherever in it: `a.b.C` for `from a.b import C`, `a.b.*` for all modules of a folder."""


def module(source: bytes, name: str, *, is_package: bool) -> Module:
    """Read the source of the module `name`. Of what is no Python, every byte counts."""
    said: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python warns of in it, it said when the module was compiled
            tree = ast.parse(source)
        _say(tree, said)
        text = "".join(said).encode("utf-8", "surrogatepass")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Module(hashlib.sha256(source).hexdigest(), ())
    package = name if is_package else name.rpartition(".")[0]
    return Module(hashlib.sha256(text).hexdigest(), tuple(sorted(set(_imports(tree, name, package)))))


def _say(part: object, said: list[str]) -> None:
    """Write down what a part of the syntax says."""
    if isinstance(part, ast.AST):
        said.append(f"({type(part).__name__}")
        for name in part._fields:
            value = getattr(part, name, None)
            if isinstance(part, ast.JoinedStr):  # Python 3.12 puts empty texts into some f-strings
                value = [piece for piece in part.values if getattr(piece, "value", None) != ""]
            if name not in _SILENT and value is not None and value != []:
                said.append(f" {name}=")
                _say(value, said)
        said.append(")")
    elif isinstance(part, list):
        said.append("[")
        for item in part:
            if not _says_nothing(item):
                _say(item, said)
        said.append("]")
    else:
        said.append(repr(part))


def _says_nothing(part: object) -> bool:
    is_text = isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)
    return is_text or isinstance(part, ast.Pass)


def _imports(tree: ast.Module, name: str, package: str) -> Iterator[str]:
    for part in _running(tree):
        match part:
            case ast.Import():
                yield from (alias.name for alias in part.names)
            case ast.ImportFrom():
                base = _base(part, package)
                yield from (base if alias.name == "*" else f"{base}.{alias.name}" for alias in part.names)
            case ast.Call(func=ast.Name(id="__import__" | "import_module"), args=[ast.Constant(value=str(named)), *_]):
                yield named
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(named)), *_]):
                yield named
            case ast.Name(id="__path__"):  # whoever lists his own folder imports what is in it
                yield f"{name}.*"


def _running(tree: ast.Module) -> Iterator[ast.AST]:
    """All of the syntax but what only type checkers read."""
    pending: list[ast.AST] = [tree]
    while pending:
        part = pending.pop()
        yield part
        is_for_types = isinstance(part, ast.If) and ast.unparse(part.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        pending += part.orelse if is_for_types and isinstance(part, ast.If) else ast.iter_child_nodes(part)


def _base(part: ast.ImportFrom, package: str) -> str:
    """The module that a `from` names, relative ones made whole."""
    if not part.level:
        return part.module or ""
    above = package.split(".")[: len(package.split(".")) - part.level + 1]
    return ".".join((*above, part.module) if part.module else above)
