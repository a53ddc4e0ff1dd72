"""Standard input, output and error as a program finds them: closed, full, or in an encoding that lacks letters."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


def mend() -> None:
    """Let streams that are closed, and letters that a terminal lacks, stop nothing."""
    sys.stdin = sys.stdin or _nothing("r")
    sys.stdout = sys.stdout or _nothing("w")
    sys.stderr = sys.stderr or _nothing("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def output(*, programs: bool) -> Iterator[TextIO]:
    """Standard output. For programs it is JSON alone: what nodes and their libraries print goes to standard error."""
    stream: TextIO = sys.stdout
    if not programs:
        yield stream
        return
    own: TextIO | None = None
    if stream is sys.__stdout__:
        stream.flush()
        own = io.TextIOWrapper(os.fdopen(os.dup(stream.fileno()), "wb"), encoding="utf-8")
        os.dup2(sys.stderr.fileno(), stream.fileno())
    sys.stdout = sys.stderr
    try:
        yield own or stream
    finally:
        sys.stdout = stream
        if own:
            os.dup2(own.fileno(), stream.fileno())
            own.close()


def drop_output() -> None:
    """Let what is left for standard output go nowhere: nobody takes it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nothing(mode: str) -> TextIO:
    return io.TextIOWrapper(io.FileIO(os.devnull, mode), encoding="utf-8")
