"""Which kinds of nodes there are: found by listing folders, never by a list that someone must edit."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, ModuleType

from graph.errors import UsageError, suggest
from graph.node import LOOSE, RESERVED, Node, outputs, ports, source

ENTRY_POINTS = "darkroom.nodes"
"""The group in which an installed package names modules with nodes."""
_KIND = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Registry:
    """The kinds of nodes that a workflow may use. It does not change once it is made."""

    kinds: Mapping[str, type[Node]]

    def __contains__(self, kind: str) -> bool:
        return kind in self.kinds

    def __getitem__(self, kind: str) -> type[Node]:
        return self.kinds[kind]

    def suggest(self, kind: str) -> str:
        """A hint for a kind that is not there."""
        words = (pair for node in self.kinds.values() for pair in node.elsewhere.items() if pair[1] == node.kind)
        return suggest(kind, self.kinds, dict(words))

    def bridges(self, given: type, wanted: type) -> list[str]:
        """The kinds that take one type and give the other as their main output; if some can be undone, only these.

        A kind that another turns back, with the same other inputs, changes the form of a value and not its content.
        """
        there, back = self._turns(given, wanted), self._turns(wanted, given)
        return [kind for kind, others in there.items() if others in back.values()] or list(there)

    def _turns(self, given: type, wanted: type) -> dict[str, frozenset[type]]:
        """The kinds that take one type and give the other, each with the types of what else it needs."""
        return {
            kind: frozenset(port.type for port in ports(node).values() if port.required and port.type is not given)
            for kind, node in self.kinds.items()
            if any(port.type is given and not port.many for port in ports(node).values())
            and next(iter(outputs(node).values())).type is wanted
        }


def find_nodes(package: str, folders: Sequence[Path] = (), *, plugins: bool = True) -> Registry:
    """Find the nodes of a package, of folders that the user names, and of installed packages.

    Raises UsageError if a file cannot be loaded, or two files declare the same kind; both are named.
    """
    modules = list(_of_package(package))
    modules += [module for folder in folders for module in _of_folder(folder)]
    if plugins:
        modules += _of_entry_points()
    return Registry(MappingProxyType(dict(sorted(_by_kind(_declared(modules)).items()))))


def _by_kind(nodes: Iterable[type[Node]]) -> dict[str, type[Node]]:
    kinds: dict[str, type[Node]] = {}
    for node in nodes:
        other = kinds.setdefault(node.kind, node)
        if other is not node:
            raise UsageError(
                f'the kind "{node.kind}" is declared twice: in {source(other)} and in {source(node)}',
                hint="Give one of them another kind in its class line.",
            )
    return kinds


def _declared(modules: Iterable[ModuleType]) -> Iterator[type[Node]]:
    for module in modules:
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, Node) and thing.__module__ == module.__name__:
                yield from [_checked(thing)] if thing.kind else []


def _checked(node: type[Node]) -> type[Node]:
    if not _KIND.fullmatch(node.kind):
        raise UsageError(f'{source(node)}: the kind "{node.kind}" must be lower-case letters, digits and underscores')
    reserved = sorted(RESERVED & node.model_fields.keys())
    if reserved:
        raise UsageError(f'{source(node)}: "{reserved[0]}" is a word of the language and cannot name a parameter')
    try:
        ports(node), outputs(node)
    except Exception as error:  # an annotation may be any expression
        raise UsageError(
            f"{source(node)}: the node {node.kind} cannot be used: {error}",
            hint="Annotate every argument of run and its return type with value types imported from darkroom.",
        ) from error
    return node


def _of_package(package: str) -> Iterator[ModuleType]:
    for folder in importlib.import_module(package).__path__:
        for path in sorted(Path(folder).glob("[!_]*.py")):
            yield importlib.import_module(f"{package}.{path.stem}")


def _of_folder(folder: Path) -> Iterator[ModuleType]:
    if not os.path.isdir(folder):
        raise UsageError(f'there is no folder "{folder!s:.200}" with nodes')
    for path in sorted(folder.absolute().glob("[!_]*.py")):
        yield _loaded(path)


def _loaded(path: Path) -> ModuleType:
    name = f"{_beside(path.parent)}.{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f'"{path}" is not a Python file')
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        words = f"{type(error).__name__}: {error}"
        told = f"the nodes in {path}{_line(error, path)} cannot be loaded: {words}"
        raise UsageError(told, hint=_dotted(error, path.parent)) from error
    return module


def _beside(folder: Path) -> str:
    """The package that the files of a folder are modules of, so that one imports another: `from .other import name`."""
    name = f"{LOOSE}{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = importlib.util.module_from_spec(spec)
    return name


def _dotted(error: BaseException, folder: Path) -> str:
    """The way out where the module that was not found lies beside the node."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    there = name and ((folder / f"{name}.py").exists() or (folder / name).is_dir())
    return f"What lies beside a node is imported with a dot: from .{name} import ..." if there else ""


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f":{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _of_entry_points() -> list[ModuleType]:
    found = []
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            module = entry.load()
        except Exception as error:
            raise UsageError(
                f'the nodes of the installed package "{entry.name}" ({entry.value}) cannot be loaded: {error!r}',
                hint="Uninstall or update that package.",
            ) from error
        found.append(module if isinstance(module, ModuleType) else sys.modules[module.__module__])
    return found
