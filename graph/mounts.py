"""Which folders lie on a network, as far as the system tells: Linux does, in a table of what is mounted where."""

from __future__ import annotations

import os
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")
_NETWORKS = (
    "nfs nfs3 nfs4 cifs smbfs smb2 smb3 ncpfs 9p afs ceph lustre gpfs beegfs glusterfs ocfs2 gfs2 pvfs2 fuse.sshfs "
    "fuse.rclone fuse.s3fs fuse.gcsfuse fuse.goofys fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.juicefs fuse.mfs "
    "fuse.seaweedfs fuse.davfs fuse.smbnetfs"
)


def network(folder: Path, table: Path = _TABLE) -> str:
    """Name the network file system that a folder lies on ("nfs4"); "" where it lies on a disk, or nobody knows.

    Source: proc_pid_mountinfo(5): field 5 is where, the type follows a lone "-". Of two in one place the last counts.
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    wanted = os.path.join(os.path.realpath(folder), "")
    found, deepest = "", 0
    for line in lines:
        mount, _, kind = line.partition(" - ")
        where = os.path.join(_unescaped(mount.split(" ")[4]), "")
        if len(where) >= deepest and wanted.startswith(where):
            found, deepest = kind.split(" ")[0], len(where)
    return found if found in _NETWORKS.split() else ""


def _unescaped(path: str) -> str:
    """Spaces, tabs, line ends and backslashes are written as octal numbers there."""
    head, *rest = path.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
