"""A run that is asked for again is not planned again, unless anything that decides it is another."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

import graph.witness
import runner
from graph.workflow import Workflow

WORKFLOW = """\
darkroom: 1
params: {label: one, source: {type: path, default: a.png}, enlarge: true}
nodes:
  photo: {use: load_image, path: $source}
  large: {use: upscale, image: $photo, factor: 2, when: $enlarge}
  sheet: {use: grid, images: [$photo], labels: $label}
  file:  {use: save_image, image: $sheet, path: sheet.png}
  mine:  {use: mine}
outputs: {sheet: $sheet, large: $large, file: $file, mine: $mine}
"""
NODE = '''\
"""One node."""

from darkroom import Context, Node


class Mine(Node, kind="mine", version=1):
    """Give a number."""

    def run(self, ctx: Context) -> int:
        return 1
'''
WORDS = ("sheet.yaml", "--nodes", "own")
Capture = pytest.CaptureFixture[str]


class Desk(NamedTuple):
    """A folder with a workflow, a picture and a node."""

    capsys: Capture
    planned: list[object]
    """One for each run that was not followed."""

    def run(self, *words: str) -> list[dict[str, Any]]:
        """The events of a run, without how long it took."""
        assert 0 == runner.main(["run", *words, "--json"])
        events = [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]
        events[-1]["seconds"] = 0
        return events

    def follows(self, *words: str) -> bool:
        before = len(self.planned)
        self.run(*words)
        return before == len(self.planned)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(graph.witness, "SETTLED", 0)
    Path("own").mkdir()
    Path("own/mine.py").write_text(NODE)
    Path("sheet.yaml").write_text(WORKFLOW)
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (64, 48), colour).save(name)
    planned: list[object] = []
    plan = runner._run

    def counted(*arguments: Any) -> int:
        planned.append(arguments)
        return plan(*arguments)

    monkeypatch.setattr(runner, "_run", counted)
    return Desk(capsys, planned)


def test_the_second_run_follows_the_first(desk: Desk) -> None:
    assert [False, True, True] == [desk.follows(*WORDS) for _ in range(3)]


def test_a_look_into_the_cache_itself_decides_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    load = runner._load

    def looking(request: argparse.Namespace) -> Workflow:
        os.path.exists("cache/v2/index")  # as the thread does that writes the cache, whenever it pleases
        os.listdir("cache/v2/blobs")
        return load(request)

    Path("cache/v2/blobs").mkdir(parents=True)
    monkeypatch.setattr(runner, "_load", looking)

    assert [False, True] == [desk.follows(*WORDS) for _ in range(2)]


def test_a_remote_that_is_none_is_refused_again(desk: Desk) -> None:
    desk.run(*WORDS)
    desk.capsys.readouterr()

    assert 2 == runner.main(["run", *WORDS, "--remote", "nonsense://x"])
    assert "--remote takes a URL" in desk.capsys.readouterr().err


def test_a_run_that_is_followed_tells_what_a_planned_one_tells(desk: Desk) -> None:
    desk.run(*WORDS)
    shutil.rmtree("own/__pycache__", ignore_errors=True)
    followed = desk.run(*WORDS)
    os.utime("a.png")
    planned = desk.run(*WORDS)

    assert 2 == len(desk.planned)
    assert planned == followed
    assert {"hit"} == {event["action"] for event in followed if event["event"] == "node_finished"}


def test_a_run_that_is_followed_warns_as_the_first_one_did(desk: Desk) -> None:
    Path("own/mine.py").write_text(NODE.replace("        return 1", '        ctx.warn("one is few")\n        return 1'))

    def warned() -> list[str]:
        assert 0 == runner.main(["run", *WORDS])
        return [line for line in desk.capsys.readouterr().err.splitlines() if line.startswith("warning")]

    first, followed = warned(), warned()
    _another_picture()
    planned = warned()

    assert 2 == len(desk.planned)
    assert ["warning: mine: one is few"] == first == followed == planned


def test_a_cache_that_is_opened_twice_warns_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.cache.network", lambda folder: "nfs4")
    runner.main(["run", *WORDS])
    _another_picture()
    desk.capsys.readouterr()
    runner.main(["run", *WORDS])

    assert 1 == desk.capsys.readouterr().err.count("nfs4")


def test_a_picture_is_named_by_a_followed_run_as_by_a_planned_one(desk: Desk) -> None:
    assert desk.run(*WORDS, "--out", "x/../y")[-1]["outputs"][0]["path"].startswith("x/../y/")
    assert desk.follows(*WORDS, "--out", "x/../y")
    assert desk.run(*WORDS, "--out", "x/../y")[-1]["outputs"][0]["path"].startswith("x/../y/")


def test_a_cache_that_cannot_be_opened_is_told_once(desk: Desk) -> None:
    Path("cache/v2").mkdir(parents=True)
    Path("cache/v2/index").touch()
    Path("cache/v2/living").touch()

    assert 0 == runner.main(["run", *WORDS])
    assert 1 == desk.capsys.readouterr().err.count("results are not kept")


def test_what_is_skipped_stays_skipped(desk: Desk) -> None:
    desk.run(*WORDS, "--set", "enlarge=false")
    followed = desk.run(*WORDS, "--set", "enlarge=false")

    assert 1 == len(desk.planned)
    assert ["skipped"] == [event["action"] for event in followed if event.get("node") == "large"]


def test_each_wording_has_its_own_trail(desk: Desk) -> None:
    two = ("--set", "label=two")
    desk.run(*WORDS)
    desk.run(*WORDS, *two)

    assert desk.follows(*WORDS)
    assert desk.follows(*WORDS, *two)
    assert not desk.follows(*WORDS, "--out", "elsewhere")


def _another_picture() -> None:
    Image.new("RGB", (64, 48), "green").save("a.png")


def _an_equal_picture() -> None:
    shutil.copyfile("a.png", "c.png")
    os.replace("c.png", "a.png")


def _another_text() -> None:
    Path("sheet.yaml").write_text(WORKFLOW.replace("label: one", "label: two"))


def _a_lock() -> None:
    Path("darkroom.lock").write_text('{"format": 1, "workflows": {}}')


def _another_node() -> None:
    Path("own/mine.py").write_text(NODE.replace("return 1", "return 2 - 1"))


def _one_more_node() -> None:
    Path("own/more.py").write_text(NODE.replace("mine", "more").replace("Mine", "More"))


def _lost_output() -> None:
    next(Path("outputs").glob("*large*")).unlink()


def _lost_file() -> None:
    Path("outputs/sheet.png").unlink()


def _altered_output() -> None:
    path = next(Path("outputs").glob("*large*"))
    data = path.read_bytes()
    path.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])


def _empty_cache() -> None:
    shutil.rmtree("cache")


def _another_result() -> None:
    index = sqlite3.connect("cache/v2/index")
    with index:
        index.execute("UPDATE results SET outputs = CAST(replace(CAST(outputs AS TEXT), 'a', 'b') AS BLOB)")
    index.close()


def _lost_results() -> None:
    index = sqlite3.connect("cache/v2/index")
    with index:
        index.execute("DELETE FROM results")
    index.close()


@pytest.mark.parametrize(
    "change",
    [
        _another_picture, _an_equal_picture, _another_text, _a_lock, _another_node, _one_more_node, _lost_output,
        _lost_file, _altered_output, _empty_cache, _another_result, _lost_results,
    ],
)  # fmt: skip
def test_whatever_decides_a_run_is_noticed(desk: Desk, change: Callable[[], None]) -> None:
    desk.run(*WORDS)
    assert desk.follows(*WORDS)
    change()

    assert not desk.follows(*WORDS)


@pytest.mark.parametrize("name", ["DARKROOM_MODELS", "HF_HOME", "CUDA_VISIBLE_DEVICES", "HOME"])
def test_another_environment_is_another_run(desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    desk.run(*WORDS)
    monkeypatch.setenv(name, "/nowhere")

    assert not desk.follows(*WORDS)


@pytest.mark.parametrize("words", [("--force", "sheet"), ("--cache", "none"), ("--set", "label=random")])
def test_what_may_end_otherwise_leaves_no_trail(desk: Desk, words: tuple[str, ...]) -> None:
    Path("sheet.yaml").write_text(WORKFLOW.replace("label: one", "label: 1"))
    desk.run(*WORDS, *words)

    assert not desk.follows(*WORDS, *words)


@pytest.mark.parametrize("word", ["cache: false", "fresh: always", "fresh: 1h"])
def test_a_node_that_is_to_be_asked_is_never_passed_over(desk: Desk, word: str) -> None:
    Path("sheet.yaml").write_text(WORKFLOW.replace("use: mine", f"use: mine, {word}"))
    desk.run(*WORDS)

    assert not desk.follows(*WORDS)


def test_what_python_writes_beside_code_decides_nothing(desk: Desk) -> None:
    families = Path(runner.__file__).parent / "nodes" / "sd" / "families" / "__pycache__"
    desk.run(*WORDS)
    for folder in (Path("own/__pycache__"), families):
        folder.mkdir(exist_ok=True)
        (folder / "unlike.any").touch()
        (folder / "unlike.any").unlink()

    assert desk.follows(*WORDS)


def test_a_run_that_failed_is_tried_again(desk: Desk) -> None:
    Path("own/mine.py").write_text(NODE.replace("return 1", "return 1 // 0"))
    for _ in range(2):
        assert 1 == runner.main(["run", *WORDS, "--json"])

    assert 2 == len(desk.planned)


def test_a_file_that_was_changed_just_now_leaves_no_trail(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph.witness, "SETTLED", 10**12)
    desk.run(*WORDS)

    assert not desk.follows(*WORDS)


def test_what_stands_earlier_on_the_search_path_is_noticed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is found by name in the second folder; then one of that name comes into the first."""
    folders = [Path("first"), Path("second")]
    monkeypatch.setenv("DARKROOM_MODELS", os.pathsep.join(map(str, folders)))
    tiny = Path(runner.__file__).parent / "nodes" / "sd" / "tiny"
    for folder in folders:
        folder.mkdir()
    shutil.copytree(tiny, folders[1] / "small")
    Path("model.yaml").write_text(
        "darkroom: 1\nnodes:\n  model: {use: load_model, path: small}\n"
        "  noise: {use: noise, model: $model, width: 64, height: 64}\noutputs: {noise: $noise}\n"
    )
    desk.run("model.yaml")
    assert desk.follows("model.yaml")
    shutil.copytree(tiny, folders[0] / "small")

    assert not desk.follows("model.yaml")


def test_a_variable_that_leads_to_a_model_is_noticed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of folders names one by a variable that nothing of Darkroom is called after."""
    tiny = Path(runner.__file__).parent / "nodes" / "sd" / "tiny"
    for folder in ("first", "second"):
        shutil.copytree(tiny, Path(folder) / "small")
    Path("paths.yaml").write_text("own: {base_path: $SHELF, checkpoints: .}\n")
    monkeypatch.setenv("DARKROOM_EXTRA_MODEL_PATHS", "paths.yaml")
    monkeypatch.setenv("SHELF", "first")
    Path("model.yaml").write_text(
        "darkroom: 1\nnodes:\n  model: {use: load_model, path: small}\n"
        "  noise: {use: noise, model: $model, width: 64, height: 64}\noutputs: {noise: $noise}\n"
    )
    desk.run("model.yaml")
    assert desk.follows("model.yaml")
    monkeypatch.setenv("SHELF", "second")

    assert not desk.follows("model.yaml")


def test_what_comes_to_lie_beside_a_model_is_noticed(desk: Desk) -> None:
    shutil.copytree(Path(runner.__file__).parent / "nodes" / "sd" / "tiny", "small")
    Path("model.yaml").write_text(
        "darkroom: 1\nnodes:\n  model: {use: load_model, path: small}\n"
        "  noise: {use: noise, model: $model, width: 64, height: 64}\noutputs: {noise: $noise}\n"
    )
    desk.run("model.yaml")
    assert desk.follows("model.yaml")
    Path("small/model.yaml").write_text("darkroom: 1\ndefaults: {noise: {seed: 9}}\n")

    assert not desk.follows("model.yaml")


def test_why_compares_with_the_run_that_was_followed_last(desk: Desk) -> None:
    desk.run(*WORDS)
    desk.run(*WORDS, "--set", "label=two")
    desk.run(*WORDS)
    assert 2 == len(desk.planned)
    runner.main(["why", "sheet.yaml", "sheet", "--nodes", "own", "--set", "label=three", "--json"])
    told = json.loads(desk.capsys.readouterr().out)

    assert [("one", "three")] == [(change["before"], change["now"]) for change in told["changes"]]


MEDDLER = '''\
"""One node."""

from pathlib import Path

from darkroom import Context, Node


class Mine(Node, kind="mine", version=1):
    """Give a number, while somebody saves a file in an editor."""

    def run(self, ctx: Context) -> int:
        for edited in Path("edits").iterdir():
            Path(edited.name.replace("+", "/")).write_bytes(edited.read_bytes())
            edited.unlink()
        return 1
'''


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sheet.yaml", WORKFLOW.replace("label: one", "label: two")),
        ("own/mine.py", MEDDLER.replace("return 1", "return 2")),
        ("darkroom.lock", '{"format": 1, "workflows": {}}'),
    ],
)
def test_what_is_edited_while_a_run_goes_on_counts_for_the_next_one(desk: Desk, name: str, text: str) -> None:
    Path("own/mine.py").write_text(MEDDLER)
    Path("edits").mkdir()
    Path("edits", name.replace("/", "+")).write_text(text)
    desk.run(*WORDS)
    assert text == Path(name).read_text()

    assert not desk.follows(*WORDS)


SHORT = '''\
"""One node."""

from pathlib import Path

from darkroom import Context, Node, OutOfMemory


class Short(Node, kind="short", version=1, accelerated=True, saves=("tiles",)):
    """Say how memory is saved."""

    def run(self, ctx: Context) -> str:
        if Path("short").exists() and not ctx.saving:
            raise OutOfMemory("no memory is left")
        return ctx.saving or "whole"
'''


def test_a_result_that_a_lack_of_memory_changed_leaves_no_trail_and_force_undoes_it(desk: Desk) -> None:
    Path("own/short.py").write_text(SHORT)
    Path("short.yaml").write_text("darkroom: 1\nnodes: {how: {use: short}}\noutputs: {how: $how}\n")
    Path("short").touch()
    words = ("short.yaml", "--nodes", "own")

    def made(*more: str) -> tuple[str, str]:
        *_, finished, ended = desk.run(*words, *more)
        return finished["action"], ended["outputs"][0]["value"]

    assert ("run", "tiles") == made()
    assert not desk.follows(*words)
    Path("short").unlink()
    assert ("hit", "tiles") == made()
    assert ("run", "whole") == made("--force", "how")
    assert ("hit", "whole") == made()
    assert desk.follows(*words)
