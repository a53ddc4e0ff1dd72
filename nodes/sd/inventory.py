"""The models that can be named, each looked at as the node would that takes it. Light: no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from graph.errors import DarkroomError, MissingError
from graph.fields import file_parameters, file_type
from graph.filerefs import FileRef
from graph.node import Node
from graph.report import size_words
from graph.tables import render
from nodes.sd.pickles import read_entries
from nodes.sd.search import SUFFIXES, WORDS, Found, everything
from nodes.sd.shelves import Kind

HEADER = ("kind", "name", "family", "precision", "size", "sha256", "found in")
PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
SHORT = 10
"""Digits of a digest that a table shows: as model sites do."""

BUILT_IN = (
    Found("checkpoint", "builtin:tiny", Path("builtin:tiny"), Path("Darkroom")),
    Found("upscaler", "builtin:tiny-upscaler", Path("builtin:tiny-upscaler"), Path("Darkroom")),
)

Digest = Callable[[FileRef], str]
Types = Mapping[Kind, type[FileRef]]


class Listed(NamedTuple):
    """A model on the search path."""

    kind: str
    name: str
    family: str
    precision: str
    size: int
    digest: str
    """sha256, as it enters keys; empty where it is not known yet."""
    path: Path
    found_in: str
    problem: str
    """Why it cannot be used; empty where it can."""

    def cells(self) -> tuple[str, ...]:
        """What a table shows, under HEADER."""
        size = size_words(self.size) if self.size else ""
        return self.kind, self.name, self.family, self.precision, size, self.digest[:SHORT], self.found_in

    def as_json(self) -> dict[str, Any]:
        """What a program is told."""
        return self._asdict() | {"path": str(self.path)}


def inventory(nodes: Iterable[type[Node]], digest: Digest) -> Iterator[Listed]:
    """List the models that come with Darkroom, then those on the search path, by kind and name.

    nodes: whatever takes models; each is looked at by the type of the parameter that would take it.
    """
    types = _types(nodes)
    for found in BUILT_IN:
        yield _listed(found, types, digest)
    for found in everything():
        yield _listed(found, types, digest)


def shown(models: Sequence[Listed], width: int | None, colour: bool) -> str:
    """Show models as a table, and below it why others cannot be used."""
    table = render([model.cells() for model in models if not model.problem], HEADER, width, colour)
    return "\n".join([table, *(f"cannot be used: {one.path}\n  {one.problem}" for one in models if one.problem)])


def _types(nodes: Iterable[type[Node]]) -> Types:
    kinds = {word: kind for kind, word in WORDS.items()}
    taken = (file_type(node, name) for node in nodes for name in file_parameters(node))
    return {kinds[type_.what]: type_ for type_ in taken if type_.what in kinds}


def _listed(found: Found, types: Types, digest: Digest) -> Listed:
    path, place = found.path, str(found.shelf)
    try:
        kind, file = _opened(found, types)
        members = [member for _, member in file.members()]
        size = sum(member.stat().st_size for member in members)
        family = getattr(file, "family", "") or file.traits().get("network", "")
        return Listed(kind, found.name, family, _precision(members), size, digest(file), file.path, place, "")
    except (DarkroomError, OSError) as error:
        reason = str(error).splitlines()[0]
        return Listed(WORDS[found.kind] if found.kind else "", found.name, "", "", _size(path), "", path, place, reason)


def _opened(found: Found, types: Types) -> tuple[str, FileRef]:
    """Find it as its kind of model, or as the first kind that takes it. Raises MissingError, the first kind's."""
    kinds = [kind for kind in ([found.kind] if found.kind else get_args(Kind)) if kind in types]
    complaints = []
    for kind in kinds:
        try:
            return WORDS[kind], types[kind].find(str(found.path), Path())
        except MissingError as error:
            complaints.append(error)
    if complaints:
        raise complaints[0]
    raise MissingError("no node of this version takes it")


def _precision(members: Sequence[Path]) -> str:
    """What most of the weights are stored in."""
    stored: Counter[str] = Counter()
    for path in members:
        if path.suffix in SUFFIXES:
            for entry in read_entries(path).values():
                stored[entry.dtype] += entry.size
    return PRECISIONS.get(stored.most_common(1)[0][0], "") if stored else ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
