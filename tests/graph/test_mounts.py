"""Folders on a network are told from those on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph import cache, doctor, mounts
from graph.cache import open_cache
from graph.mounts import network

TABLE = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:26 / /home rw shared:2 master:1 - nfs4 server:/home rw,vers=4.2
31 30 8:1 / /home/me/disk rw - xfs /dev/sda1 rw
32 22 0:27 / /mnt/two\040words rw - cifs //server/share rw
33 22 0:28 / /mnt/far rw - fuse.sshfs me@server:/ rw
34 22 0:29 / /mnt/near rw - fuse.gocryptfs /crypt rw
35 22 0:30 / /mnt/over rw - nfs server:/over rw
36 22 8:2 / /mnt/over rw - btrfs /dev/sdb rw
""".lstrip()


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", ""),
        ("/homes/me", ""),
        ("/home/me/cache", "nfs4"),
        ("/home/me/disk/cache", ""),
        ("/mnt/two words/cache", "cifs"),
        ("/mnt/far", "fuse.sshfs"),
        ("/mnt/near", ""),
        ("/mnt/over", ""),
    ],
)
def test_the_deepest_and_last_mount_tells(tmp_path: Path, folder: str, expected: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)

    assert expected == network(Path(folder), table)


def test_without_a_table_no_folder_is_on_a_network(tmp_path: Path) -> None:
    assert "" == network(tmp_path, tmp_path / "none")


def test_a_cache_on_a_network_warns_once_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "network", lambda folder: "nfs4")
    warnings: list[str] = []
    open_cache(tmp_path, warnings.append).close()

    assert [True] == ["nfs4" in warning and "--cache" in warning for warning in warnings]


def test_the_doctor_names_a_cache_on_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "network", lambda folder: "cifs")
    finding = doctor._cache(tmp_path)

    assert ("warning", True) == (finding.state, "cifs" in finding.found)


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    assert isinstance(mounts.network(tmp_path), str)
