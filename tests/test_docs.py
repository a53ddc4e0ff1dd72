"""The documentation: its workflows have no mistake, its node runs, its tables name what there is."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import darkroom
import runner
from graph import words
from graph.errors import WorkflowError
from graph.events import NodeFinished
from graph.wiring import wire
from graph.workflow import parse
from tests.graph.lab import Heard

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NODE_PAGE = ROOT / "docs" / "writing-a-node.md"
COMMANDS = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def workflows() -> Iterator[object]:
    """Every YAML block that is a whole workflow; others that name a version are sidecars of models."""
    for page in PAGES:
        whole = [block for block in blocks(page, "yaml") if re.search("^darkroom:", block, re.M)]
        for at, text in enumerate(block for block in whole if "\nnodes:" in block):
            yield pytest.param(page, text, id=f"{page.stem}-{at}")


@pytest.fixture
def own_nodes(tmp_path: Path) -> Path:
    """A folder with the node of the page on nodes."""
    folder = tmp_path / "my_nodes"
    folder.mkdir()
    (folder / "posterize.py").write_text(blocks(NODE_PAGE, "python")[0], encoding="utf-8")
    return folder


def test_the_node_that_can_be_gone_on_with_goes_on(tmp_path: Path) -> None:
    (tmp_path / "slow_sum.py").write_text(blocks(NODE_PAGE, "python")[1], encoding="utf-8")
    text = "darkroom: 1\nparams: {count: 50}\nnodes: {sum: {use: slow_sum, count: $count}}\noutputs: {sum: $sum}\n"
    (tmp_path / "sum.yaml").write_text(text, encoding="utf-8")
    heard = Heard()
    for count in (50, 100):
        given = darkroom.run(darkroom.load(tmp_path / "sum.yaml"), nodes=[tmp_path], sink=heard, count=count)

    assert sum(number**2 for number in range(100)) == given.outputs["sum"]
    assert [0, 50] == [event.resumed for event in heard.events if isinstance(event, NodeFinished)]


@pytest.mark.parametrize(("page", "text"), list(workflows()))
def test_a_workflow_in_the_docs_has_no_mistake(page: Path, text: str, own_nodes: Path) -> None:
    """But for the files that it names: they are the reader's."""
    workflow = parse(text.encode(), page.name, ROOT / "workflows")
    try:
        told = list(wire(workflow, darkroom.kinds((own_nodes,))).warnings)
    except WorkflowError as error:
        told = [mistake for mistake in error.mistakes if not mistake.missing]

    assert [] == list(map(str, told))


def test_the_sidecar_in_the_docs_has_no_mistake(tmp_path: Path) -> None:
    text = next(block for block in blocks(ROOT / "docs" / "models.md", "yaml") if "\nnodes:" not in block)
    model = shutil.copytree(ROOT / "nodes" / "sd" / "tiny", tmp_path / "tiny")
    (model / "model.yaml").write_text(text)
    graph = darkroom.check(parse(f"darkroom: 1\nnodes: {{m: {{use: load_model, path: {model}}}}}".encode(), "x", ROOT))

    assert 1 == len(graph.steps)


def test_the_node_in_the_docs_runs(
    tmp_path: Path, own_nodes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").save("photo.png")
    Path("poster.yaml").write_text(blocks(NODE_PAGE, "yaml")[0], encoding="utf-8")

    assert 0 == runner.main(["run", "poster.yaml", "--nodes", str(own_nodes), "--json"])
    finished = json.loads(capsys.readouterr().out.splitlines()[-1])
    with Image.open(finished["outputs"][0]["path"]) as poster:
        assert {0, 128, 255} == set(poster.tobytes())


def test_the_other_python_of_the_page_on_nodes_runs() -> None:
    exec(compile(blocks(NODE_PAGE, "python")[2], "docs", "exec", dont_inherit=True), {"__name__": "docs_palette"})


@pytest.mark.parametrize("command", runner.COMMANDS, ids=lambda command: command.__name__)
def test_the_command_line_page_names_every_command_and_option(command: words.Command) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    for options in words.OPTIONS[command.__name__]:
        options(parser)
    names = [name for action in parser._actions for name in action.option_strings if action.help != argparse.SUPPRESS]

    assert [] == [name for name in names if f"`{name}" not in COMMANDS]
    assert f"darkroom {command.__name__}" in COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))

    assert [] == [link for link in links if not (page.parent / link).exists()]
