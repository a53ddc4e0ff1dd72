"""Memory that truly runs out: processes that may not have more than a limit (ulimit -v)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import runner

ROOT = Path(runner.__file__).parent
WORKFLOW = """\
darkroom: 1
name: large
params: {side: 1024, cfg: 7.5, seed: 1}
nodes:
  model:   {use: load_model, path: "builtin:tiny"}
  words:   {use: text_encode, text_encoder: $model.text_encoder, text: a red circle}
  start:   {use: noise, model: $model, seed: $seed, width: $side, height: $side}
  painted: {use: sampler, model: $model, positive: $words, negative: $words, latents: $start, steps: 1, cfg: $cfg}
  decoded: {use: vae_decode, vae: $model.vae, latents: $painted}
outputs: {picture: $decoded}
"""
DRIVER = """\
import resource, sys
import runner
if limit := int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
code = runner.main(["run", "large.yaml", "--json", *sys.argv[2:]])
print(open("/proc/self/status").read().partition("VmPeak:")[2].split()[0])
sys.exit(code)
"""
SPARE = 8 << 20
"""Bytes: what two processes that do the same may differ by."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read as Linux tells it"),
]


class Ran(NamedTuple):
    code: int
    actions: dict[str, str]
    told: str
    peak: int
    """Bytes of address space."""


def run(limit: int, *words: str) -> Ran:
    """A run in a process of its own with at most `limit` bytes of address space; 0: with as much as it likes."""
    # One thread, one heap, and tensors outside of it: what is kept for later varies, and counts.
    heap = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | heap
    command = [sys.executable, "-c", DRIVER, str(limit), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings, timeout=300, check=False)
    *lines, peak = done.stdout.splitlines()
    ended = [event for event in map(json.loads, lines) if event["event"] == "node_finished"]
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, {event["node"]: event["action"] for event in ended}, done.stderr, int(peak) << 10)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("large.yaml").write_text(WORKFLOW)


def test_a_picture_that_does_not_fit_is_decoded_in_tiles_and_known_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    sampled = run(0, "--only", "painted")
    decoded = run(sampled.peak + SPARE)

    assert (0, "run") == (decoded.code, decoded.actions["decoded"])
    assert "warning: decoded: " in decoded.told
    assert "tried again in small tiles, whose seams may be seen" in decoded.told
    assert 0 == runner.main(["plan", "large.yaml"])
    assert "cpu: in small tiles, whose seams may be seen, because cpu had not enough" in capsys.readouterr().out
    assert 0 == runner.main(["run", "large.yaml"])
    assert "ran 0, cached 5" in capsys.readouterr().out


def test_a_sampler_without_memory_fails_in_words_and_goes_on_from_there_with_more() -> None:
    small = run(0, "--set", "side=64", "--only", "painted")
    failed = run(small.peak + SPARE, "--set", "side=1536")

    assert (1, "failed", "skipped") == (failed.code, failed.actions["painted"], failed.actions["decoded"])
    assert ("hit", "run") == (failed.actions["words"], failed.actions["start"])
    assert "asked for on cpu, which has" in failed.told
    assert "What lowers it: a smaller width and height" in failed.told
    assert "Tried in vain with the halves of a batch one after the other" in failed.told
    more = run(0, "--set", "side=1536")
    assert (0, "hit", "run") == (more.code, more.actions["start"], more.actions["painted"])
    assert "warning" not in more.told


def test_guidance_that_does_not_fit_together_is_computed_one_by_one() -> None:
    unguided = run(0, "--set", "side=2048", "--set", "cfg=1", "--only", "painted")
    guided = run(unguided.peak + 3 * SPARE, "--set", "side=2048", "--only", "painted")

    assert (0, "run") == (guided.code, guided.actions["painted"])
    assert "tried again with the halves of a batch one after the other, which changes the last bits" in guided.told
    again = run(0, "--set", "side=2048", "--only", "painted")
    assert {"hit"} == set(again.actions.values())
