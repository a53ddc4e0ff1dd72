"""The code of a node: its own module and what that one uses, as one digest, at the price of `stat`."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from graph import code
from graph.cache import Memory
from graph.code import Code, Codes, declared_in, modules_changed, source_paths
from graph.modules import Module, module
from graph.node import Node
from graph.registry import find_nodes

NODE = """
from graph.node import Context, Node


class Probe(Node, kind="probe", version=1):

    def run(self, ctx: Context) -> str:
        from {package}.sd.near import value
        return value
"""
FILES = {
    "__init__.py": "",
    "probe.py": NODE,
    "sd/__init__.py": "",
    "sd/near.py": "from {package}.sd import far\nfrom {package}.sd.kinds import all_kinds\nvalue = 1",
    "sd/far.py": "import json\nfrom . import cycle\nfar = 1",
    "sd/cycle.py": "from {package}.sd.near import value",
    "sd/other.py": "other = 1",
    "sd/kinds/__init__.py": "import pkgutil\nall_kinds = pkgutil.iter_modules(__path__)",
    "sd/kinds/one.py": "one = 1",
}
USED = ["", "probe", "sd/", "sd/near", "sd/far", "sd/cycle", "sd/kinds/", "sd/kinds/one"]


@dataclass
class Package:
    """A package with a node, that may be edited between processes."""

    folder: Path
    memo: Memory

    @property
    def name(self) -> str:
        return self.folder.name

    def write(self, file: str, source: str) -> None:
        """Write a file that is older than the age from which `stat` is believed."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.replace("{package}", self.name))

    def node(self) -> type[Node]:
        probe: type[Node] = importlib.import_module(f"{self.name}.probe").Probe
        return probe

    def code(self) -> Code:
        """As a new process sees it."""
        for name in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[name]
        importlib.invalidate_caches()
        code._SEEN.clear()
        return Codes().of(self.node(), self.memo)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Package(tmp_path / f"pack_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}", Memory())
    for file, source in FILES.items():
        made.write(file, source)
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == made.name]:
        del sys.modules[name]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules that were read."""
    found: list[str] = []

    def noted(source: bytes, name: str, *, is_package: bool) -> Module:
        found.append(name)
        return module(source, name, is_package=is_package)

    monkeypatch.setattr(code, "module", noted)
    return found


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr("graph.files.time.time", lambda: now + 3)


def test_a_node_is_its_module_and_all_that_it_uses(package: Package) -> None:
    files = [f"{package.name}/{part}{'__init__' if part in ('', 'sd/', 'sd/kinds/') else ''}.py" for part in USED]

    assert sorted(files) == sorted(package.code().modules)


@pytest.mark.parametrize(
    "file", ["probe.py", "sd/near.py", "sd/far.py", "sd/cycle.py", "sd/__init__.py", "sd/kinds/one.py"]
)
def test_a_change_of_what_a_node_uses_is_noticed(package: Package, file: str) -> None:
    before = package.code()
    package.write(file, FILES[file] + "\nnew = 1")
    now = package.code()

    assert before.digest != now.digest
    assert (f"{package.name}/{file}",) == modules_changed(before.digest, now.digest, package.memo)


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("sd/other.py", lambda source: source + "\nnew = 1"),
        ("sd/far.py", lambda source: "# why\n" + source),
        ("sd/near.py", lambda source: '"""What it is for."""\n\n\n' + source),
        ("probe.py", lambda source: source.replace("version=1):\n", 'version=1):\n    """Probe."""\n')),
    ],
    ids=["another module", "a comment", "a docstring and blank lines", "a class's docstring"],
)
def test_what_changes_nothing_that_runs_is_no_change(package: Package, file: str, edit: Callable[[str], str]) -> None:
    before = package.code()
    package.write(file, edit(FILES[file]))

    assert before.digest == package.code().digest


def test_a_new_module_counts_where_the_folder_is_listed_and_nowhere_else(package: Package) -> None:
    before = package.code()
    package.write("sd/unused.py", "x = 1")
    assert before.digest == package.code().digest
    package.write("sd/kinds/two.py", "two = 2")

    assert before.digest != package.code().digest


def test_a_name_that_becomes_a_module_counts_from_then_on(package: Package) -> None:
    package.write("sd/near.py", "from {package}.sd import late")
    before = package.code()
    package.write("sd/late.py", "late = 1")

    assert before.digest != package.code().digest


def test_where_the_package_lies_is_no_part_of_its_code(package: Package, tmp_path: Path) -> None:
    before = package.code()
    moved = tmp_path / "elsewhere" / package.name
    moved.parent.mkdir()
    package.folder.rename(moved)
    sys.path.insert(0, str(moved.parent))

    try:
        assert before.digest == package.code().digest
    finally:
        sys.path.remove(str(moved.parent))


def test_settled_modules_are_read_once(package: Package, parsed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    first, read = package.code(), len(parsed)
    second = package.code()

    assert first == second
    assert (len(USED), len(USED)) == (read, len(parsed))


def test_only_what_changed_is_read_again(package: Package, parsed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    package.code()
    package.write("sd/far.py", "far = 2")
    parsed.clear()
    package.code()

    assert [f"{package.name}.sd.far"] == parsed


def test_young_modules_are_read_every_time(package: Package, parsed: list[str]) -> None:
    package.code()
    package.code()

    assert 2 * len(USED) == len(parsed)


def test_an_edit_that_keeps_size_and_time_is_noticed(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    before, path = package.code(), package.folder / "sd" / "far.py"
    stat = path.stat()
    package.write("sd/far.py", FILES["sd/far.py"].replace("far = 1", "far = 2"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert before.digest != package.code().digest


def test_a_module_that_this_process_runs_counts_as_it_was_loaded(package: Package) -> None:
    before, node = package.code(), package.node()
    package.write("probe.py", FILES["probe.py"] + "\nnew = 1")
    assert before.digest == Codes().of(node, package.memo).digest
    package.write("sd/far.py", "not_yet_loaded = 1")

    assert before.digest != Codes().of(node, package.memo).digest


def test_a_module_that_is_imported_after_the_first_look_counts_as_it_was_then(package: Package) -> None:
    before, node = package.code(), package.node()
    importlib.import_module(f"{package.name}.sd.far")
    package.write("sd/far.py", "edited_while_it_runs = 1")

    assert before.digest == Codes().of(node, package.memo).digest
    assert before.digest != package.code().digest


def test_the_paths_tell_when_the_code_may_have_changed(package: Package) -> None:
    package.code()
    paths = source_paths([package.node()], Codes(), package.memo)
    folders = [package.folder, package.folder / "sd", package.folder / "sd" / "kinds"]

    assert {package.folder / "probe.py", package.folder / "sd" / "far.py", *folders} <= set(paths)
    assert package.folder / "sd" / "other.py" not in paths


def test_a_loose_file_uses_what_lies_beside_it(tmp_path: Path) -> None:
    def written(name: str, **files: str) -> Code:
        folder = tmp_path / name
        for file, source in ({"probe": NODE.format(package="_shared")} | files).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{file}.py").write_text(source)
        node = find_nodes("nodes", [folder], plugins=False)["probe"]
        assert "probe.py" == declared_in(node)
        return Codes().of(node, Memory())

    near = {
        "_shared/__init__": "",
        "_shared/sd/__init__": "",
        "_shared/sd/near": "import beside\nvalue = 1",
        "beside": "x = 1",
    }
    first = written("one", **near)

    assert ["_shared/__init__.py", "_shared/sd/__init__.py", "_shared/sd/near.py", "beside.py", "probe.py"] == [
        *first.modules
    ]
    assert first.digest == written("two", **near, unused="y = 1").digest
    assert first.digest != written("three", **near | {"beside": "x = 2"}).digest


def test_a_module_in_an_archive_counts_by_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, name = tmp_path / "nodes.zip", f"zipped_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{name}.py", NODE.replace("{package}", name))
    monkeypatch.syspath_prepend(str(archive))
    node = importlib.import_module(name).Probe

    assert hashlib.sha256(archive.read_bytes()).hexdigest() == Codes().of(node, Memory()).digest


def test_a_node_that_no_file_holds_is_known_by_kind_and_version_alone() -> None:
    class Typed(Node, kind="typed", version=1):
        __module__ = "of_no_file"

    assert Code("", {}, ()) == Codes().of(Typed, Memory())


def test_a_module_that_is_in_no_package_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"single_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
    (tmp_path / f"{name}.py").write_text("import beside\n" + NODE.replace("{package}", "beside"))
    (tmp_path / "beside.py").write_text("x = 1")

    assert [f"{name}.py"] == [*Codes().of(importlib.import_module(name).Probe, Memory()).modules]


def test_the_sampler_uses_its_steps_and_no_picture_formats() -> None:
    used = Codes().of(find_nodes("nodes", plugins=False)["sampler"], Memory()).modules

    assert {"nodes/sampler.py", "nodes/sd/sampling.py", "nodes/sd/families/sdxl.py"} <= used.keys()
    assert {"nodes/sd/picture_files.py", "nodes/resize.py", "graph/values.py"}.isdisjoint(used)


def test_every_kind_has_code_of_its_own() -> None:
    nodes, codes, memo = find_nodes("nodes", plugins=False).kinds.values(), Codes(), Memory()

    assert [] == [node.kind for node in nodes if declared_in(node) not in codes.of(node, memo).modules]
    assert len(nodes) == len({codes.of(node, memo).digest for node in nodes})


def test_all_modules_of_a_package_are_remembered_in_one_note(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, memo = find_nodes("nodes", plugins=False).kinds.values(), Memory()
    asked: list[str] = []
    ask = memo.file_digest

    def counted(name: str) -> str | None:
        asked.append(name)
        return ask(name)

    monkeypatch.setattr(memo, "file_digest", counted)
    codes = Codes()
    for node in nodes:
        codes.of(node, memo)

    assert 1 == len(asked)
