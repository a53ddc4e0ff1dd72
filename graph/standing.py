"""Files that a run left: whether they still stand, and how they are named."""

from __future__ import annotations

import hashlib
import os


def stands(path: str, digest: str, size: int) -> bool:
    """Whether a file is there with the very bytes of this sha256. size: of the file, in bytes."""
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size != size:
                return False
            return hashlib.file_digest(stream, "sha256").hexdigest() == digest
    except (OSError, ValueError):
        return False


def as_typed(path: str) -> str:
    """A path as a user would type it: relative, where it lies below the current folder."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path
