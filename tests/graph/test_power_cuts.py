"""What is left after a power cut, at every point of a run, as a pessimistic file system leaves it.

A file system promises of a file that was fsynced: its bytes. Of what was not: nothing. It may keep the length of a
file and lose its bytes, keep a file and lose its name, and write what came late before what came early. SQLite fsyncs
its log only now and then (synchronous NORMAL), so the last commits may be lost, or the last of them torn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from graph.execute import Results
from graph.failpoints import arm, disarm
from graph.upkeep import verify
from tests.graph.lab import Lab
from tests.graph.test_crashes import WORKFLOW, pixels

LOG = "cache/v2/index-wal"


@dataclass(frozen=True, slots=True)
class File:
    """A file in the moment of the cut."""

    data: bytes
    is_durable: bool
    """It was fsynced since it was written."""


Disk = Mapping[str, File]
"""All files below a folder, by their paths."""
Loss = Callable[[str, File], tuple[str, bytes] | None]
"""What becomes of a file: a name and bytes, or nothing."""


class Power:
    """Looks on while a run writes, and keeps the disk as it was at every point."""

    def __init__(self, folder: Path, fsync: Callable[[int], None]) -> None:
        self.cuts: list[Disk] = []
        self._folder = folder
        self._fsync = fsync
        self._durable: dict[int, int] = {}

    def fsync(self, file: int) -> None:
        """Stands for os.fsync."""
        self._fsync(file)
        stat = os.fstat(file)
        self._durable[stat.st_ino] = stat.st_size

    def cut(self, point: str) -> None:
        """Keep the disk as it is now."""
        self.cuts.append({str(path.relative_to(self._folder)): self._file(path) for path in all_files(self._folder)})

    def _file(self, path: Path) -> File:
        return File(path.read_bytes(), self._durable.get(path.stat().st_ino) == path.stat().st_size)


def all_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def is_of_sqlite(name: str) -> bool:
    return name.startswith("cache/v2/index")


def all_is_there(name: str, file: File) -> tuple[str, bytes] | None:
    return name, file.data


def unsynced_is_zero(name: str, file: File) -> tuple[str, bytes] | None:
    return name, file.data if file.is_durable or is_of_sqlite(name) else bytes(len(file.data))


def unsynced_is_empty(name: str, file: File) -> tuple[str, bytes] | None:
    return name, file.data if file.is_durable or is_of_sqlite(name) else b""


def renames_are_undone(name: str, file: File) -> tuple[str, bytes] | None:
    """No folder is ever fsynced: a blob is back under the name that it was written by, or has none."""
    if "/blobs/" in name:
        return f"cache/v2/writing/1-dead-{name[-12:]}", file.data
    return (name, file.data) if is_of_sqlite(name) else None


def every_other_name_is_lost(name: str, file: File) -> tuple[str, bytes] | None:
    return None if not is_of_sqlite(name) and sum(name.encode()) % 2 else (name, file.data)


LOSSES = (all_is_there, unsynced_is_zero, unsynced_is_empty, renames_are_undone, every_other_name_is_lost)
CUTS: Mapping[str, Callable[[bytes], bytes]] = {
    "whole": lambda log: log,
    "torn": lambda log: log[: len(log) * 2 // 3],
    "zeroed_end": lambda log: log[: len(log) // 2] + bytes(len(log) - len(log) // 2),
    "lost": lambda log: b"",
}
"""What becomes of SQLite's log."""


Left = Mapping[str, bytes]
"""The files that are there when the machine starts again."""


def left(disk: Disk, loss: Loss, cut: Callable[[bytes], bytes]) -> Left:
    """What is left of a disk. SQLite's shared memory never is."""
    found = (loss(name, file) for name, file in disk.items() if not name.endswith("-shm"))
    return {name: cut(data) if name == LOG else data for name, data in filter(None, found)}


def restored(folder: Path, files: Left) -> Lab:
    """A machine that starts again."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Lab(folder)


def different(lefts: Iterable[Left]) -> list[Left]:
    return list({tuple(files.items()): files for files in lefts}.values())


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Disk], Results]:
    """Run a workflow; gives the disk as it was at every point, and what the run gave."""
    power = Power(folder, os.fsync)
    monkeypatch.setattr(os, "fsync", power.fsync)
    arm(power.cut)
    try:
        results = Lab(folder).run(WORKFLOW)
        power.cut("the end")
    finally:
        disarm()
    return power.cuts, results


@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_a_power_cut_loses_the_next_run_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    cuts, expected = watched(tmp_path / "watched", monkeypatch)
    shown = pixels(tmp_path / "watched")
    lefts = different(left(disk, loss, cut) for disk in cuts for cut in CUTS.values())
    for number, files in enumerate(lefts):
        lab = restored(tmp_path / str(number), files)
        result = lab.run(WORKFLOW)

        assert [] == lab.warnings
        assert result.ok
        assert expected.outputs == result.outputs
        assert set(shown) <= set(readable(lab.folder))
        assert [] == list((lab.cache_folder / "v2" / "writing").iterdir())
    assert len(lefts) > 10


def readable(folder: Path) -> list[bytes]:
    """The pictures that are whole: one that the cut tore lies there still, beside the one made again."""
    for path in all_files(folder / "out"):
        if not any(path.read_bytes()):
            path.unlink()
    return pixels(folder)


@pytest.mark.parametrize("loss", [unsynced_is_zero, unsynced_is_empty])
def test_a_row_vouches_for_no_bytes_that_a_power_cut_can_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    cuts, _ = watched(tmp_path / "watched", monkeypatch)

    assert 0 == most_damage(tmp_path, cuts, loss)


def test_without_the_fsync_these_tests_would_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(Power, "fsync", lambda power, file: None)
    cuts, _ = watched(tmp_path / "watched", monkeypatch)

    assert 0 < most_damage(tmp_path, cuts, unsynced_is_zero)


def most_damage(folder: Path, cuts: list[Disk], loss: Loss) -> int:
    """How many blobs that the index names are not what they should be, in the worst moment to cut."""
    found = []
    for number, files in enumerate(different(left(disk, loss, CUTS["whole"]) for disk in cuts)):
        lab = restored(folder / str(number), files)
        lab.open().close()
        found.append(verify(lab.cache_folder, print).damaged)
    return max(found)


def test_an_index_that_a_power_cut_took_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_index(name: str, file: File) -> tuple[str, bytes] | None:
        return None if is_of_sqlite(name) else (name, file.data)

    cuts, expected = watched(tmp_path / "watched", monkeypatch)
    for number, files in enumerate(different(left(disk, without_index, CUTS["lost"]) for disk in cuts)):
        lab = restored(tmp_path / str(number), files)

        assert expected.outputs == lab.run(WORKFLOW).outputs
        assert [] == lab.warnings
