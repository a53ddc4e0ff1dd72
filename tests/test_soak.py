"""What takes too long for every day: `make soak`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import runner
from graph.upkeep import verify

ROOT = Path(__file__).parents[1]
KILLS, SEEDS = 200, 25
ROUNDS = 20
LONG = 300.0
"""Seconds after which a run hangs."""
pytestmark = pytest.mark.slow


@dataclass
class Run:
    """The main job in a process of its own, with everything below a folder.

    It is forked from this one, which has loaded what a run loads: what is killed is work, and not the import of torch.
    """

    folder: Path
    seed: int
    killed: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.said = self.folder / f"said-{os.urandom(4).hex()}"
        self.number = os.fork()
        if not self.number:
            code = 70
            try:
                code = self._run()
            finally:
                os._exit(code)

    def _run(self) -> int:
        said = os.open(self.said, os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115  # pytest's are no files
        options = ["--cache", str(self.folder / "cache"), "--out", str(self.folder / "out"), "--quiet"]
        workflow = str(ROOT / "workflows" / "img2img_upscale.yaml")
        try:
            return runner.main(["run", workflow, *options, "--set", f"seed={self.seed}"])
        finally:
            sys.stdout.flush()

    def kill(self) -> None:
        """May come too late."""
        self.killed = True
        os.kill(self.number, signal.SIGKILL)

    def ended(self) -> int:
        """Wait for the end; gives the exit status, negative if a signal ended it."""
        deadline = time.monotonic() + LONG
        while not (found := os.waitpid(self.number, os.WNOHANG))[0]:
            assert time.monotonic() < deadline, f"hangs: {self.said.read_text()}"
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(found[1])

    def picture(self) -> bytes:
        """The pixels that it gave, with no other word."""
        assert 0 == self.ended(), self.said.read_text()
        (path,) = self.said.read_text().splitlines()
        with Image.open(path) as image:
            return image.tobytes()


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds of a run that has nothing to load."""
    import diffusers
    import torch
    import transformers

    assert diffusers.UNet2DConditionModel  # these modules load their parts when they are asked for
    assert transformers.CLIPTextModel
    torch.set_num_threads(1)
    Run(tmp_path_factory.mktemp("first"), 0).picture()
    began = time.monotonic()
    Run(tmp_path_factory.mktemp("timed"), 0).picture()
    return time.monotonic() - began


def is_clean(folder: Path, seeds: int) -> None:
    """One picture a seed, and nothing that is damaged or left over."""
    assert seeds == len(list((folder / "out").iterdir()))
    assert [] == [*(folder / "cache").glob("v*/writing/*"), *(folder / "cache").glob("v*/living/*")]
    assert 0 == verify(folder / "cache", print).damaged


def test_two_hundred_kills_at_random_times_change_no_pixel_and_leave_no_litter(tmp_path: Path, takes: float) -> None:
    chance, ends = random.Random(4), []
    for seed in range(SEEDS):
        for _ in range(KILLS // SEEDS):
            run = Run(tmp_path / "killed", seed)
            time.sleep(chance.uniform(0, takes))
            run.kill()
            ends.append(run.ended())
        assert Run(tmp_path / "undisturbed", seed).picture() == Run(tmp_path / "killed", seed).picture()

    assert ends.count(-signal.SIGKILL) > KILLS / 4, "most came too late"
    is_clean(tmp_path / "killed", SEEDS)


def test_eight_processes_of_which_some_are_killed_give_the_same_pixels(tmp_path: Path, takes: float) -> None:
    chance = random.Random(28)
    for turn in range(ROUNDS):
        seeds = [2 * turn + number % 2 for number in range(8)]
        expected = {seed: Run(tmp_path / "undisturbed", seed).picture() for seed in set(seeds)}
        runs = [Run(tmp_path / "shared", seed) for seed in seeds]
        for unlucky in chance.sample(runs, 4):
            time.sleep(chance.uniform(0, takes))
            unlucky.kill()
        for run in runs:
            if run.killed:
                run.ended()
            else:
                assert expected[run.seed] == run.picture()
        for seed in expected:
            assert expected[seed] == Run(tmp_path / "shared", seed).picture()

    is_clean(tmp_path / "shared", 2 * ROUNDS)
