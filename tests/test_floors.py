"""The architecture, read from the imports: who may know whom, and what may be heavy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from graph import FLOORS

ROOT = Path(__file__).parents[1]
GRAPH = sorted((ROOT / "graph").glob("*.py"))
NODES = sorted((ROOT / "nodes").glob("*.py"))
SOURCE = [path for folder in ("graph", "nodes") for path in sorted((ROOT / folder).rglob("*.py"))]
SOURCE += [path for path in (ROOT / "runner.py", ROOT / "darkroom.py") if path.exists()]
LIGHT = [path for path in SOURCE if "nodes/sd" not in path.as_posix()]
HEAVY = frozenset({"torch", "diffusers", "transformers", "numpy", "safetensors", "cv2", "rich", "networkx", "fsspec"})
MOST_LINES = 400


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere below, with its dots; of `from a import b` both a and a.b."""
    for part in ast.walk(tree):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            assert not part.level, "imports here are absolute"
            module = part.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in part.names)


def _at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported; not what is for the type checker alone."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_for_types(statement):
            continue
        yield statement
        pending += [inner for inner in ast.iter_child_nodes(statement) if isinstance(inner, ast.stmt)]


def _is_for_types(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _heavy_at_import(path: Path) -> set[str]:
    plain = (part for part in _at_import(_tree(path)) if isinstance(part, (ast.Import, ast.ImportFrom)))
    return {module.partition(".")[0] for part in plain for module in _imports(part)} & HEAVY


@pytest.mark.parametrize("path", GRAPH, ids=_name)
def test_an_engine_file_imports_only_from_lower_floors(path: Path) -> None:
    floors = {name: number for number, names in enumerate(FLOORS) for name in names}
    if path.stem == "__init__":
        assert [] == list(_imports(_tree(path)))
        return
    assert path.stem in floors, f"say on which floor {path.stem} is, in graph/__init__.py"
    used = {module.split(".")[1] for module in _imports(_tree(path)) if module.startswith("graph.")}

    assert {} == {name: floors.get(name) for name in used if floors.get(name, 99) >= floors[path.stem]}


def test_no_name_stands_on_two_floors() -> None:
    names = [name for floor in FLOORS for name in floor]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("path", GRAPH, ids=_name)
def test_the_engine_never_imports_a_node(path: Path) -> None:
    own = {"nodes", "runner", "darkroom", "training"}

    assert set() == {module for module in _imports(_tree(path)) if module.partition(".")[0] in own}


@pytest.mark.parametrize("path", NODES, ids=_name)
def test_a_node_never_imports_another_node(path: Path) -> None:
    allowed = {"nodes.sd"} if path.stem != "__init__" else set()
    used = {".".join(module.split(".")[:2]) for module in _imports(_tree(path)) if module.startswith("nodes.")}

    assert set() == used - allowed


@pytest.mark.parametrize("path", sorted((ROOT / "nodes" / "sd").rglob("*.py")), ids=_name)
def test_what_nodes_share_knows_no_node(path: Path) -> None:
    used = {".".join(module.split(".")[:2]) for module in _imports(_tree(path)) if module.startswith("nodes.")}

    assert set() == used - {"nodes.sd"}


@pytest.mark.parametrize("path", LIGHT, ids=_name)
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    assert set() == _heavy_at_import(path)


@pytest.mark.parametrize("path", SOURCE, ids=_name)
def test_nobody_needs_networkx(path: Path) -> None:
    assert "networkx" not in {module.partition(".")[0] for module in _imports(_tree(path))}


@pytest.mark.parametrize("path", SOURCE, ids=_name)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")

    assert lines <= MOST_LINES


@pytest.mark.parametrize("path", SOURCE, ids=_name)
def test_what_is_public_says_what_it_promises(path: Path) -> None:
    tree = _tree(path)

    assert ast.get_docstring(tree), "a file says what it is for"
    assert [] == sorted(name for name, part in _public(tree) if not ast.get_docstring(part))


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """Public classes and functions; not events and several outputs of a node, whose fields say it all."""
    for part in tree.body:
        if isinstance(part, (ast.ClassDef, ast.FunctionDef)) and not part.name.startswith("_"):
            bases = {ast.unparse(base) for base in part.bases} if isinstance(part, ast.ClassDef) else set()
            if not bases & {"Event", "NamedTuple"}:
                yield part.name, part
