"""Files that were deleted or altered since they were written are made again; "kept" is said of no other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.graph.lab import Lab

GIVEN = "nodes: {a: {use: paint}, b: {use: frame, image: $a}}\noutputs: {b: $b}"
WRITTEN = 'nodes: {a: {use: paint}, w: {use: write, image: $a, path: "shots/{n}.png"}}\noutputs: {w: $w}'


def deleted(path: Path) -> None:
    path.unlink()


def gone_with_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """One bit, and the times as they were."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nothing.png")


HARMS = (deleted, gone_with_its_folder, emptied, flipped, longer, a_folder, a_link_to_nothing)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("text", [GIVEN, WRITTEN], ids=["an output", "a file that a node writes"])
def test_a_file_that_was_harmed_is_made_again(lab: Lab, text: str, harm: Callable[[Path], None]) -> None:
    first = Path(lab.run(text).saved[0].path)
    made = first.read_bytes()
    harm(first)
    again = Path(lab.run(text).saved[0].path)

    assert made == again.read_bytes()
    assert lab.run(text).saved[0].path == str(again)


@pytest.mark.parametrize("harm", [flipped, longer, emptied], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("text", [GIVEN, WRITTEN], ids=["an output", "a file that a node writes"])
def test_the_altered_file_is_left_to_whoever_altered_it(lab: Lab, text: str, harm: Callable[[Path], None]) -> None:
    first = Path(lab.run(text).saved[0].path)
    harm(first)
    theirs = first.read_bytes()
    again = Path(lab.run(text).saved[0].path)

    assert (theirs, True) == (first.read_bytes(), first != again)


def test_only_the_file_that_is_missing_is_made_again(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}, b: {use: frame, image: $a}}\noutputs: {a: $a, b: $b}"
    saved = {output.name: Path(output.path) for output in lab.run(text).saved}
    saved["a"].unlink()

    assert {"a": "saved", "b": "kept"} == {output.name: output.action for output in lab.run(text).saved}
    assert {"hit"} == set(lab.run(text).actions.values())


def test_a_file_is_made_again_though_its_pixels_were_evicted(lab: Lab) -> None:
    text = GIVEN.replace("paint", "paint, size: 256")
    path = Path(lab.run(text).saved[0].path)
    made = path.read_bytes()
    path.unlink()
    for blob in lab.cache_folder.rglob("blobs/*/*"):
        blob.unlink()
    result = lab.run(text)

    assert (made, {"a": "run", "b": "run"}) == (path.read_bytes(), result.actions)
