"""A kill, or a fault of the disk, at every point at which the cache or a picture is written."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from graph.failpoints import arm, disarm
from graph.upkeep import gc, verify
from tests.graph.lab import Lab

WORKFLOW = """
    nodes:
      word:   {use: say, text: ground}
      words:  {use: join, a: $word, b: $word}
      ground: {use: paint, size: 64}
      sky:    {use: paint, size: 128, colour: blue}
      framed: {use: frame, image: $ground}
      file:   {use: write, image: $sky, path: sky.png}
    outputs: {framed: $framed, words: $words}
"""


@pytest.fixture
def armed() -> Iterator[None]:
    yield
    disarm()


def at(number: int, act: Callable[[str], None]) -> Callable[[str], None]:
    """Call `act` at the point that comes as the `number`th, and at none before or after."""
    come = count(1)
    return lambda point: act(point) if next(come) == number else None


def kill(point: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(point: str) -> None:
    raise OSError(errno.EIO, f"the disk failed at {point}")


def run_and_die(folder: Path, number: int) -> None:
    """In a process of its own."""
    arm(at(number, kill))
    Lab(folder).run(WORKFLOW)


def collect_and_die(folder: Path, number: int) -> None:
    arm(at(number, kill))
    gc(folder / "cache", lambda told: None, most_bytes=0)


def pixels(folder: Path) -> dict[str, bytes]:
    """The pictures in the output folder, by name; whatever else lies there as well."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        with Image.open(path) as image:
            found[path.name] = image.tobytes()
    return found


def is_sound(folder: Path, undisturbed: Path) -> None:
    """The next run gives what an undisturbed one gives, with no word of damage and nothing left lying about."""
    lab = Lab(folder)
    result, expected = lab.run(WORKFLOW), Lab(undisturbed).run(WORKFLOW)

    assert [] == lab.warnings
    assert result.ok
    assert expected.outputs == result.outputs
    assert pixels(undisturbed) == pixels(folder)
    assert [] == list((folder / "cache" / "v2" / "writing").iterdir())
    assert 0 == verify(folder / "cache", print).damaged
    assert {"hit"} == set(Lab(folder).run(WORKFLOW).actions.values())


def died(target: Callable[[Path, int], None], folder: Path, number: int) -> bool:
    """Whether a process came to its point `number`, and was killed there."""
    if not (child := os.fork()):
        try:
            target(folder, number)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_kill_at_any_point_of_a_run_harms_nothing(tmp_path: Path) -> None:
    number = next(number for number in count(1) if not killed(tmp_path, number))

    assert number > 20


def killed(tmp_path: Path, number: int) -> bool:
    folder = tmp_path / str(number)
    folder.mkdir()
    if died(run_and_die, folder, number):
        is_sound(folder, tmp_path)
        return True
    return False


def test_a_kill_at_any_point_of_gc_harms_nothing(tmp_path: Path) -> None:
    for number in count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        Lab(folder).run(WORKFLOW)
        if not died(collect_and_die, folder, number):
            break
        is_sound(folder, tmp_path)

    assert number > 2


@pytest.mark.usefixtures("armed")
def test_a_fault_of_the_disk_at_any_point_costs_a_word_at_most(tmp_path: Path) -> None:
    for number in count(1):
        folder = tmp_path / str(number)
        come: list[str] = []
        folder.mkdir()
        arm(at(number, fail))
        arm(come.append)
        lab = Lab(folder)
        result = lab.run(WORKFLOW)
        disarm()
        if len(come) < number - 1:
            break
        assert result.ok or result.failures
        is_sound(folder, tmp_path)

    assert number > 20
