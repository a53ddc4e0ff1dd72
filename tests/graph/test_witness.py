"""What is looked at on disk does not escape the witness, by whatever call."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graph.witness import Seen, are_settled, stamp, watching


@pytest.mark.parametrize(
    "look",
    [
        lambda path: path.exists(),
        lambda path: path.is_file(),
        lambda path: path.stat(),
        lambda path: path.read_bytes(),
        lambda path: os.path.exists(path),
        lambda path: os.path.isdir(str(path)),
        lambda path: open(path).close(),
        lambda path: path.resolve(),
        lambda path: os.access(path, os.R_OK) and os.stat(path),
    ],
)
def test_every_way_to_ask_for_a_path_is_seen(tmp_path: Path, look: Callable[[Path], object]) -> None:
    path, seen = tmp_path / "file", Seen()
    path.touch()
    with watching(seen):
        look(path)

    assert str(path) in seen.asked


@pytest.mark.parametrize(
    "look",
    [
        lambda path: os.listdir(path),
        lambda path: os.scandir(path).close(),
        lambda path: list(path.iterdir()),
        lambda path: list(path.glob("*.yaml")),
    ],
)
def test_every_way_to_list_a_folder_is_seen(tmp_path: Path, look: Callable[[Path], object]) -> None:
    seen = Seen()
    with watching(seen):
        look(tmp_path)

    assert str(tmp_path) in seen.listed


def test_what_is_not_there_is_seen_as_well_and_shows_when_it_comes(tmp_path: Path) -> None:
    path, seen = tmp_path / "later", Seen()
    with watching(seen):
        path.exists()
    before = seen.stamps()
    path.touch()

    assert [] == before[str(path)]
    assert before != seen.stamps()


def test_nothing_is_seen_before_and_after(tmp_path: Path) -> None:
    seen, stat = Seen(), os.stat
    with pytest.raises(ZeroDivisionError), watching(seen):
        raise ZeroDivisionError
    (tmp_path / "file").exists()

    assert set() == seen.asked
    assert stat is os.stat


def test_a_new_entry_shows_only_where_entries_were_asked_for(tmp_path: Path) -> None:
    before = stamp(str(tmp_path), False), stamp(str(tmp_path), True)
    (tmp_path / "new").touch()

    assert before[0] == stamp(str(tmp_path), False)
    assert before[1] != stamp(str(tmp_path), True)


def test_what_changed_just_now_may_change_again_unnoticed(tmp_path: Path) -> None:
    state = stamp(str(tmp_path), True)
    changed = max(state[4:])

    assert not are_settled([state], changed + 10**9)
    assert are_settled([state, []], changed + 3 * 10**9)
