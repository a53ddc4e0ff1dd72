"""A real run that is killed or stopped in the middle of sampling, and the next one, from the shell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runner

ROOT = Path(runner.__file__).parent
WORKFLOW = """\
darkroom: 1
name: halves
nodes:
  weights:  {use: load_model, path: "builtin:tiny"}
  words:    {use: text_encode, text_encoder: $weights.text_encoder, text: a boat}
  nothing:  {use: text_encode, text_encoder: $weights.text_encoder, text: ""}
  start:    {use: noise, model: $weights, seed: 5, width: 64, height: 64, count: 2}
  painted:  {use: sampler, model: $weights, positive: $words, negative: $nothing, latents: $start, steps: 8,
             method: dpmpp_2m_sde}
  decoded:  {use: vae_decode, vae: $weights.vae, latents: $painted}
  sheet:    {use: grid, images: $decoded.images}
"""
CUT_OFF = """\
import os, signal, sys
from graph import context, resuming

step, number = int(sys.argv[1]), int(sys.argv[2])
undisturbed = context.Running.progress


def progress(self, at, total, mark=None):
    if at == step and number != signal.SIGKILL:
        os.kill(os.getpid(), number)
    undisturbed(self, at, total, mark)
    if at == step:
        os.kill(os.getpid(), number)


context.Running.progress = progress
if number == signal.SIGKILL:
    resuming.EVERY, resuming.SHARE = 0.0, float("inf")
import runner
sys.exit(runner.main(sys.argv[3:]))
"""
"""A command line that gets a signal at a step: SIGKILL once its bookmark is written, others before it is."""


def run(folder: Path, *python: str) -> subprocess.CompletedProcess[str]:
    (folder / "halves.yaml").write_text(WORKFLOW)
    options = ["run", "halves.yaml", "--json", "--cache", "cache", "--device", "cpu"]
    command = [sys.executable, *(python or [str(ROOT / "runner.py")]), *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, timeout=300
    )


def finished(folder: Path) -> tuple[str, int]:
    """The picture of a run, and after how many steps its sampler went on."""
    ran = run(folder)
    assert 0 == ran.returncode, ran.stderr
    events: list[dict[str, Any]] = [json.loads(line) for line in ran.stdout.splitlines()]
    resumed = next(event["resumed"] for event in events if event.get("node") == "painted")
    assert ("" if not resumed else f"done (resumed after {resumed} steps)") in ran.stderr
    return events[-1]["outputs"][0]["digest"], resumed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    digest, resumed = finished(tmp_path_factory.mktemp("undisturbed"))
    assert 0 == resumed
    return digest


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_run_cut_off_in_the_middle_of_sampling_paints_the_same_picture(
    sent: signal.Signals, code: int, undisturbed: str, tmp_path: Path
) -> None:
    cut_off = run(tmp_path, "-c", CUT_OFF, "11", str(int(sent)))

    assert code == cut_off.returncode, cut_off.stderr
    assert (undisturbed, 11) == finished(tmp_path)
    assert [] == list((tmp_path / "cache").glob("v*/bookmarks/*"))
