"""What the documentation mentions is there: anchors, commands with their options and params, keys in pieces of YAML."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import darkroom
import runner
from graph import words
from graph.errors import WorkflowError
from graph.wiring import wire
from graph.workflow import load, parse

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md"),
    *(ROOT / "nodes").rglob("*.md"),
]  # fmt: skip
WORKFLOWS = sorted((ROOT / "workflows").rglob("*.yaml"))
_COMMAND = re.compile(r"(?:darkroom|python runner\.py) ((?:[a-z][a-z0-9]*\b|workflows/|outputs/)[^`\n]*)")
_SET = re.compile(r"--set ([a-z_]\w*)=")
_PIECE = re.compile(r"^\s*(\w+): +\{use: (?:[^{}]|\{[^{}]*\})*\}", re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE)
    bare = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower() for title in titles)
    return frozenset(re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in bare)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)

    assert [] == broken


def commands(text: str) -> Iterator[str]:
    """The command lines that a text shows, each behind `darkroom`, without what is said of it on the same line."""
    for found in _COMMAND.findall(text):
        line = re.split(r"\s{2,}|\s#|\s\(|[;)]|\.$|\.\s", found)[0]
        if line.split()[0] in words.OPTIONS or "/" in line.split()[0]:
            yield line


@cache
def options(command: str) -> frozenset[str]:
    parser = argparse.ArgumentParser()
    for add in words.OPTIONS[command]:
        add(parser)
    return frozenset((*parser._option_string_actions, "--debug"))


def texts() -> Iterator[object]:
    for page in (*PAGES, *WORKFLOWS):
        if "results" not in page.parts:
            yield pytest.param(page, id=str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", list(texts()))
def test_a_command_that_is_shown_is_one(page: Path) -> None:
    """It has the options that it is shown with; a shipped workflow is there, and has the params that are set."""
    wrong = []
    for line in commands(page.read_text(encoding="utf-8")):
        first, *rest = line.split()
        given = {word.split("=")[0] for word in rest if re.match("--[a-z]", word)}
        unknown = given - options(first if first in words.OPTIONS else "run")
        file = re.search(r"workflows/\S+\.yaml", line)
        if file and not (ROOT / file[0]).exists():
            unknown.add(file[0])
        elif file:
            unknown |= set(_SET.findall(line)) - load(ROOT / file[0]).params.keys()
        if unknown:
            wrong.append((line, unknown))

    assert [] == wrong


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_comment_in_a_workflow_sets_what_the_workflow_has(path: Path) -> None:
    comment = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    own = re.sub(rf"darkroom run workflows/(?!{re.escape(path.name)})[^)\n]*", "", comment)

    assert [] == [name for name in _SET.findall(own) if name not in load(path).params]


def pieces(page: Path) -> Iterator[str]:
    """The nodes in YAML blocks that are no whole workflow."""
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if not re.search("^darkroom:", block, re.MULTILINE):
            yield from (match[0].strip() for match in _PIECE.finditer(block))


@pytest.mark.parametrize("page", [page for page in PAGES if any(pieces(page))], ids=lambda page: page.stem)
def test_a_piece_of_a_workflow_names_what_there_is(page: Path) -> None:
    """Kinds, ports, parameters and values; what its references lead to stands elsewhere."""
    wrong = []
    for piece in pieces(page):
        text = f"darkroom: 1\nnodes:\n  {piece}\n"
        try:
            wire(parse(text.encode(), page.name, ROOT), darkroom.kinds())
        except WorkflowError as error:
            wrong += [str(each) for each in error.mistakes if each.code != "unknown-reference" and not each.missing]

    assert [] == wrong


def test_the_readme_shows_the_mistakes_as_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines that it quotes stand where it says; what they refer to is added."""
    blocks = re.findall(
        r"^  ```\n(.*?)^  ```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    shown = next(block for block in blocks if "portrait.yaml" in block).replace("\n  ", "\n").removeprefix("  ")
    quoted = re.findall(r"^portrait\.yaml:(\d+):.*\n  (.*)$", shown, re.MULTILINE)
    lines = ["darkroom: 1", "nodes:", '  model: {use: load_model, path: "builtin:tiny"}', *[""] * 6]
    for number, line in quoted:
        lines[int(number) - 1] = line
    lines[4] = f"  photo: {{use: load_image, path: {ROOT / 'workflows' / 'pictures' / 'bird.png'}}}"
    monkeypatch.chdir(tmp_path)
    Path("portrait.yaml").write_text("\n".join(lines), encoding="utf-8")

    assert 2 == runner.main(["check", "portrait.yaml"])
    assert shown.strip() == capsys.readouterr().err.strip()
