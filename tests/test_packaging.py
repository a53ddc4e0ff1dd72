"""The frame: what is installed, and that the exact versions say everything there is to say."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return found[0]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _asked_for() -> list[str]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [*PROJECT["project"]["dependencies"], *(requirement for extra in extras for requirement in extra)]


def _closure(names: list[str]) -> Iterator[str]:
    """What is installed of these, and of what they need in turn; markers are left to what is installed."""
    pending, seen = list(names), set[str]()
    while pending:
        name = _plain(_name(pending.pop()))
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        yield name
        pending += [need for need in needs if "extra ==" not in need]


def test_every_package_that_comes_along_has_an_exact_version() -> None:
    pinned = {_plain(name) for name in PINS}

    assert set() == set(_closure(_asked_for())) - pinned


def test_no_exact_version_names_one_build() -> None:
    assert [] == [name for name, version in PINS.items() if "+" in version]


@pytest.mark.parametrize("requirement", _asked_for())
def test_a_dependency_has_a_lower_bound_and_no_upper(requirement: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+>=[0-9.]+", requirement)


def test_every_dependency_is_explained() -> None:
    told = (ROOT / "docs" / "decisions" / "0030-dependencies.md").read_text().lower()

    assert [] == [name for name in map(_name, _asked_for()) if name.lower() not in told]


def test_only_the_source_is_installed() -> None:
    setuptools = PROJECT["tool"]["setuptools"]

    assert ["darkroom", "runner"] == setuptools["py-modules"]
    assert ["graph*", "nodes*"] == setuptools["packages"]["find"]["include"]
    assert {"darkroom": "runner:main"} == PROJECT["project"]["scripts"]


def test_the_top_level_holds_nothing_else() -> None:
    """What is in version control; a folder that a run left there once was committed."""
    if not shutil.which("git"):
        pytest.skip("no git")
    found = subprocess.run(["git", "ls-files", "--full-name", ROOT], capture_output=True, text=True, cwd=ROOT)
    if found.returncode:
        pytest.skip("no checkout")
    files = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"}
    files |= {"constraints.txt", "darkroom.py", "pyproject.toml", "runner.py", ".gitignore"}
    folders = {".ci", "benchmarks", "changelog.d", "docs", "graph", "nodes", "tests", "training", "workflows"}

    assert {path.partition("/")[0] for path in found.stdout.splitlines()} <= files | folders
