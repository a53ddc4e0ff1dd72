"""From the shell: an edit of a node's code, or of code that it uses, runs it again; an edit for readers does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NODE = '''\
from darkroom import Context, Node

from .tones import shout


class Greet(Node, kind="greet", version=1):
    """Greet somebody."""

    name: str = "you"

    def run(self, ctx: Context) -> str:
        return shout(self.name)
'''
TONES = "def shout(text):\n    return text.upper()\n"
WORKFLOW = "darkroom: 1\nname: greeting\nnodes:\n  greeting: {use: greet, name: world}\n"


class Shell:
    """Runs commands, each in a process of its own, over a folder with a node and a helper beside it."""

    path = ""
    """Where Python looks for modules besides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("greet.py", NODE)
        self.write("tones.py", TONES)
        (folder / "greeting.yaml").write_text(WORKFLOW)

    def write(self, name: str, source: str) -> None:
        (self.folder / "mine").mkdir(exist_ok=True)
        (self.folder / "mine" / name).write_text(source)

    def __call__(self, command: str, *words: str) -> str:
        settings = {"PYTHONPATH": self.path, "DARKROOM_CACHE": str(self.folder / "cache")}
        line = [sys.executable, str(ROOT / "runner.py"), command, "greeting.yaml", *words, "--nodes", "mine"]
        done = subprocess.run(
            line, cwd=self.folder, env=os.environ | settings, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def action(self) -> str:
        events = [json.loads(line) for line in self("run", "--json").splitlines()]
        return next(str(event["action"]) for event in events if event["event"] == "node_finished")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_an_edit_for_readers_runs_nothing(shell: Shell) -> None:
    assert "run" == shell.action()
    shell.write("greet.py", NODE.replace("somebody", "anybody"))
    shell.write("tones.py", "# Louder.\n\n" + TONES)

    assert "hit" == shell.action()


def test_an_edit_of_a_helper_runs_the_node_and_plan_and_why_name_the_helper(shell: Shell) -> None:
    shell.action()
    shell.write("tones.py", TONES.replace("upper", "title"))

    assert "its code changed (tones.py)" in " ".join(shell("plan").split())
    assert "  its code changed (tones.py)\n" in shell("why", "greeting")
    assert "run" == shell.action()


def test_going_back_to_earlier_code_computes_nothing(shell: Shell) -> None:
    shell.action()
    shell.write("tones.py", TONES.replace("upper", "title"))
    shell.action()
    shell.write("tones.py", TONES)

    assert "hit" == shell.action()


def test_a_helper_that_python_finds_by_itself_counts_too(shell: Shell) -> None:
    shell.path = str(shell.folder / "mine")
    shell.write("greet.py", NODE.replace("from .tones", "from tones"))
    first = shell.action()
    shell.write("tones.py", TONES.replace("upper", "title"))

    assert ["run", "run", "hit"] == [first, shell.action(), shell.action()]
