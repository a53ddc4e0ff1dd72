"""What `darkroom cache` says and does."""

from __future__ import annotations

import argparse
from pathlib import Path


def tell(action: str, folder: Path | None, request: argparse.Namespace, width: int | None, colour: bool) -> str:
    """Do one of ls, size, verify, gc and clear on the cache in a folder, by default the user's, and tell of it.

    Raises UsageError for a folder that is no cache, and for a size or an age that is none.
    """
    raise NotImplementedError
