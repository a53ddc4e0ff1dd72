"""What takes too long for every day: `make soak`."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from graph.upkeep import verify

ROOT = Path(__file__).parents[1]
KILLS, SEEDS = 200, 25


def started(folder: Path, seed: int) -> subprocess.Popen[bytes]:
    """The main job, with everything below `folder`."""
    command = [sys.executable, str(ROOT / "runner.py"), "run", str(ROOT / "workflows" / "img2img_upscale.yaml")]
    options = ["--cache", str(folder / "cache"), "--out", str(folder / "out"), "--set", f"seed={seed}"]
    return subprocess.Popen([*command, *options, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finished(folder: Path, seed: int) -> bytes:
    """The pixels of a run that nobody disturbs, and that says nothing."""
    out, err = (run := started(folder, seed)).communicate(timeout=300)
    assert (0, b"") == (run.returncode, err)
    with Image.open(out.decode().strip()) as image:
        return image.tobytes()


@pytest.mark.slow
def test_two_hundred_kills_at_random_times_change_no_pixel_and_leave_no_litter(tmp_path: Path) -> None:
    chance, began = random.Random(4), time.monotonic()
    finished(tmp_path / "timed", 0)
    takes = time.monotonic() - began
    for seed in range(SEEDS):
        for _ in range(KILLS // SEEDS):
            run = started(tmp_path / "killed", seed)
            time.sleep(chance.uniform(0, takes))
            run.kill()
            run.communicate()
        assert finished(tmp_path / "undisturbed", seed) == finished(tmp_path / "killed", seed)

    assert SEEDS == len(list((tmp_path / "killed" / "out").iterdir()))
    assert [] == list((tmp_path / "killed" / "cache" / "v2" / "writing").iterdir())
    assert 0 == verify(tmp_path / "killed" / "cache", print).damaged
