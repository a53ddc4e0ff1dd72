"""The code that decides what a node gives, as one digest: of the module that declares it and all that this one uses.

What it uses are the modules of the same package, or of the same folder of `--nodes`, that it imports, and that these
import in turn; found by reading their sources, without importing any. The engine, torch and the like are not looked
into: their versions stand for them, as a node's `version` does for what no source tells (docs/decisions/0060).

    nodes/sampler.py ──▶ nodes/sd/sampling.py ──▶ nodes/sd/steering.py        counts
           └───────────▶ graph/values.py, torch                               does not

Reading a hundred modules takes a third of a second, so what each says and imports is remembered with what `stat`
told of it, for all modules of a package in one note.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph.filerefs import FileRef
from graph.files import Memo, digest_of, is_settled, looks
from graph.modules import Module, module
from graph.node import LOOSE, Node

_FORMAT = 1
"""Of the notes, and of what `graph.modules` makes of a source."""
_START = "__init__.py"
_SEEN: dict[str, Module] = {}
"""By path: modules as this process saw them last. Once one is imported, it counts as it was then: an edit of its file
changes nothing of what runs."""


@dataclass(frozen=True, slots=True)
class Code:
    """The code of one kind of node."""

    digest: str
    """"" where there is no source, and no file that could stand for it."""
    modules: Mapping[str, str]
    """Digest of each module, by its file as people know it: "nodes/sd/sampling.py"."""
    paths: tuple[str, ...]
    """Its files, and the folders in which a new file could change what an import means."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a name with dots leads to. One that is no module, but a thing in one, leads to that module."""

    files: tuple[str, ...]
    """Those that run when it is imported: of the packages that it is in, and its own."""
    folders: tuple[str, ...]
    """Of a package: where its modules lie."""


class Codes:
    """The code of kinds of nodes, each looked at once."""

    def __init__(self) -> None:
        self._codes: dict[type[Node], Code] = {}
        self._trees: dict[tuple[str, tuple[str, ...]], _Tree] = {}

    def of(self, node: type[Node], memo: Memo) -> Code:
        """The code of a node class."""
        known = self._codes.get(node)
        if known is None:
            known = self._codes[node] = self._read(node, memo)
            if known.digest:
                memo.note_file_digest(_named(known.digest), _brief(known.modules))
        return known

    def _read(self, node: type[Node], memo: Memo) -> Code:
        where = sys.modules.get(node.__module__)
        path = getattr(where, "__file__", None) or ""
        if not path.endswith(".py") or not os.path.isfile(path):
            return _sourceless(path, memo)
        top, folders = _root(node.__module__, path)
        if (top, folders) not in self._trees:
            self._trees[top, folders] = _Tree(top, folders, memo)
        return self._trees[top, folders].code(path, node.__module__)


def source_paths(nodes: Iterable[type[Node]], codes: Codes, memo: Memo) -> tuple[Path, ...]:
    """What the code of these nodes depends on, files and folders: it stays while `stat` says the same of them."""
    return tuple(Path(path) for path in sorted({path for node in nodes for path in codes.of(node, memo).paths}))


def modules_changed(before: str, now: str, memo: Memo) -> tuple[str, ...]:
    """The modules that differ between two digests of code; none where one of the two is not remembered."""
    old, new = (json.loads(memo.file_digest(_named(digest)) or "{}") for digest in (before, now))
    return tuple(sorted(name for name in {*old, *new} if old.get(name) != new.get(name))) if old and new else ()


def declared_in(node: type[Node]) -> str:
    """The file that declares a node, as `Code.modules` names it."""
    if node.__module__.startswith(LOOSE):
        return Path(sys.modules[node.__module__].__file__ or "").name
    return node.__module__.replace(".", "/") + ".py"


def _brief(modules: Mapping[str, str]) -> str:
    return json.dumps({name: digest[:16] for name, digest in modules.items()}, separators=(",", ":"))


def _named(digest: str) -> str:
    return f"code {digest}"


def _root(name: str, path: str) -> tuple[str, tuple[str, ...]]:
    """The top-level package of a module, and the folders that it lies in: none for a module that is no part of one.

    A file of `--nodes` is in no package; what it may use lies beside it.
    """
    if name.startswith(LOOSE):
        return "", (os.path.dirname(path),)
    top = name.partition(".")[0]
    return top, tuple(getattr(sys.modules.get(top), "__path__", ()))


def _sourceless(path: str, memo: Memo) -> Code:
    """Where there is no source, the file that holds the module: an archive, an extension, the frozen program."""
    start = Path(path or (sys.executable if getattr(sys, "frozen", False) else ""))
    held = next((place for place in (start, *start.parents) if place.is_file()), None)
    if held is None:
        return Code("", {}, ())
    digest = digest_of(FileRef(held.name, held), memo)
    return Code(digest, {held.name: digest}, (str(held),))


class _Tree:
    """The modules of one top-level package, or of one folder of `--nodes`, read as they are needed."""

    def __init__(self, top: str, folders: tuple[str, ...], memo: Memo) -> None:
        self._top = top
        self._folders = folders
        self._memo = memo
        self._note = json.dumps(["code", _FORMAT, top, *folders])
        self._remembered: dict[str, Any] = json.loads(memo.file_digest(self._note) or "{}")
        """By path: what `stat` said of a module, its digest, its imports."""
        self._is_changed = False
        self._imported = {getattr(loaded, "__file__", None) for loaded in list(sys.modules.values())}
        self._names: dict[str, frozenset[str]] = {}
        """By folder: what is in it."""
        self._modules: dict[str, Module] = {}
        """By path."""
        self._uses: dict[str, frozenset[str]] = {}
        """By path."""
        self._places: dict[str, _Place] = {}
        """By name, with dots."""

    def code(self, path: str, name: str) -> Code:
        """The code of the module at a path, with all that it imports from here."""
        found: set[str] = set()
        pending = {path, *self._place(name).files}
        while pending:
            found |= pending
            pending = {used for path in pending for used in self._used(path)} - found
        if self._is_changed:
            self._memo.note_file_digest(self._note, json.dumps(self._remembered, separators=(",", ":")))
            self._is_changed = False
        modules = dict(sorted((self._shown(path), self._module(path).digest) for path in found))
        lines = "".join(f"{shown} {digest}\n" for shown, digest in modules.items())
        return Code(hashlib.sha256(lines.encode()).hexdigest(), modules, (*found, *self._names))

    def _used(self, path: str) -> frozenset[str]:
        """The files that run when a module's imports do."""
        if path not in self._uses:
            self._uses[path] = frozenset(
                file for name in self._module(path).imports if self._is_ours(name) for file in self._place(name).files
            )
        return self._uses[path]

    def _is_ours(self, name: str) -> bool:
        return not self._top or name == self._top or name.startswith(self._top + ".")

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            self._places[name] = self._look_up(name)
        return self._places[name]

    def _look_up(self, name: str) -> _Place:
        if name == self._top:
            return self._opened((), self._folders)
        base, _, last = name.rpartition(".")
        above = self._place(base) if base else _Place((), () if self._top else self._folders)
        if last == "*":
            inside = {entry.removesuffix(".py") for folder in above.folders for entry in self._listed(folder)}
            return _Place(tuple(file for entry in inside for file in self._place(f"{base}.{entry}").files), ())
        inner = [os.path.join(folder, last) for folder in above.folders if last in self._listed(folder)]
        if inner and any(map(self._listed, inner)):
            return self._opened(above.files, tuple(inner))
        files = [os.path.join(folder, f"{last}.py") for folder in above.folders if f"{last}.py" in self._listed(folder)]
        return _Place((*above.files, *files), ())

    def _opened(self, files: tuple[str, ...], folders: tuple[str, ...]) -> _Place:
        starts = (os.path.join(folder, _START) for folder in folders if _START in self._listed(folder))
        return _Place((*files, *starts), folders)

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]

    def _module(self, path: str) -> Module:
        if path not in self._modules:
            seen = _SEEN.get(path) if path in self._imported else None
            self._modules[path] = _SEEN[path] = seen or self._looked_at(path)
        return self._modules[path]

    def _looked_at(self, path: str) -> Module:
        """A module by what is remembered of it, read if its file is another or young."""
        try:
            remembered = self._remembered.get(path)
            if remembered and remembered[0] == looks(os.stat(path)):
                return Module(remembered[1], tuple(remembered[2]))
            return self._read(path)
        except OSError:
            return Module("", ())  # it went away just now: whoever imports it will say so

    def _read(self, path: str) -> Module:
        with open(path, "rb") as file:
            before, source, after = os.fstat(file.fileno()), file.read(), os.fstat(file.fileno())
        read = module(source, self._dotted(path), is_package=os.path.basename(path) == _START)
        if looks(before) == looks(after) and is_settled(before):
            self._remembered[path] = [looks(before), read.digest, read.imports]
            self._is_changed = True
        return read

    def _shown(self, path: str) -> str:
        return self._relative(path).replace(os.sep, "/")

    def _dotted(self, path: str) -> str:
        name = self._relative(path).removesuffix(".py").replace(os.sep, ".")
        return name.removesuffix(".__init__")

    def _relative(self, path: str) -> str:
        """A path from the folder that the top-level package, or the loose file, is in."""
        for folder in self._folders:
            if path.startswith(folder + os.sep):
                return self._top + path[len(folder) :] if self._top else path[len(folder) + 1 :]
        return os.path.basename(path)
