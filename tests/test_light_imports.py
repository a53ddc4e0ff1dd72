"""What a command may load: the heavy packages cost seconds, and most commands have no use for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = frozenset({"torch", "diffusers", "transformers", "numpy", "rich", "networkx", "cv2", "fsspec"})
WORKFLOW = """\
darkroom: 1
name: tiny
nodes:
  model:   {use: load_model, path: "builtin:tiny"}
  words:   {use: text_encode, text_encoder: $model.text_encoder, text: a red circle}
  nothing: {use: text_encode, text_encoder: $model.text_encoder, text: ""}
  start:   {use: noise, model: $model, seed: 1, width: 64, height: 64}
  painted: {use: sampler, model: $model, positive: $words, negative: $nothing, latents: $start, steps: 2}
  decoded: {use: vae_decode, vae: $model.vae, latents: $painted}
outputs:
  picture: $decoded
"""
SPY = """\
import json, runpy, sys
file, sys.argv = sys.argv[1], sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    code = stop.code
else:
    code = 0
with open(file, "w") as report:
    json.dump({"code": code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}, report)
"""


def _loaded(folder: Path, *arguments: str) -> tuple[int, set[str]]:
    """Run the command line in a process of its own; give its exit status and the packages it loaded."""
    report = folder / "loaded.json"
    command = [sys.executable, "-c", SPY, str(report), str(ROOT / "runner.py"), *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    told = json.loads(report.read_text())
    return int(told["code"] or 0), set(told["modules"])


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(WORKFLOW)
    return path


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code, modules = _loaded(tmp_path, "--help")

    assert (0, set()) == (code, modules & HEAVY)


@pytest.mark.parametrize("command", ["nodes", "models"])
def test_a_list_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    code, modules = _loaded(tmp_path, command)

    assert (0, set()) == (code, modules & HEAVY)


@pytest.mark.parametrize("command", ["check", "plan", "lock"])
def test_a_look_at_a_workflow_loads_nothing_heavy(command: str, workflow: Path, tmp_path: Path) -> None:
    code, modules = _loaded(tmp_path, command, str(workflow))

    assert (0, set()) == (code, modules & HEAVY)


def test_a_run_that_finds_everything_in_the_cache_loads_nothing_heavy(workflow: Path, tmp_path: Path) -> None:
    assert _loaded(tmp_path, "run", str(workflow))[0] == 0

    code, modules = _loaded(tmp_path, "run", str(workflow))

    assert (0, set()) == (code, modules & HEAVY)


def test_the_terminals_table_is_loaded_when_something_runs(tmp_path: Path) -> None:
    script = "import sys, graph.console, graph.report; sys.exit('rich' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60).returncode


def test_the_end_looks_for_no_cycles() -> None:
    """Among what torch, diffusers and transformers leave that takes most of a second."""
    program = """
import gc, runner
gc.disable()
runner.main(["nodes", "--json"])
class Found:
    def __del__(self): print("looked")
found = Found()
found.itself = found
del found
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert 0 == ended.returncode, ended.stderr
    assert "looked" not in ended.stdout
