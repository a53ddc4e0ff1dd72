"""How much memory a device has left, and telling in words that it was not enough."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from graph.errors import OutOfMemory

UNLIMITED = 1 << 62
"""In bytes: what a device has free that cannot say."""
_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?([KMG]iB|bytes)", re.ASCII)
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
_WORDLESS = "could not create a primitive"
"""All that oneDNN says when it has no memory for its plans; where it knows of none, it goes on to say so."""


def free_bytes(device: str) -> int:
    """What can still be allocated on a device, torch's own reserve included."""
    kind = torch.device(device).type
    if kind == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + int(reserve)
    if kind == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    return _available() if kind == "cpu" else UNLIMITED


def total_bytes(device: str) -> int:
    """What a device has when nothing is allocated; of main memory, with swap, within the limit of a container."""
    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if kind == "mps":
        return int(torch.mps.recommended_max_memory())
    return min(_installed(), _allowed(), _limit()) if kind == "cpu" else UNLIMITED


@contextmanager
def named_out_of_memory(device: str) -> Iterator[None]:
    """Turn torch's errors about memory into OutOfMemory, with what was asked for, what is free, what lowers it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not _tells_of_memory(str(error)):
            raise
        raise out_of_memory(device, str(error)) from error


def _tells_of_memory(said: str) -> bool:
    return said == _WORDLESS or any(sign in said for sign in _SIGNS)


def out_of_memory(device: str, said: str) -> OutOfMemory:
    """Name what `said`, torch's own message, asked for."""
    found = _ASKED.search(said)
    asked = in_words(int(float(found[1]) * _UNITS[found[2]])) if found else "more memory than there is"
    free = free_bytes(device)
    left = f", which has {in_words(free)} free" if free < UNLIMITED else ""
    lower = "a smaller width and height, a smaller tile where the node has one"
    if torch.device(device).type != "cpu":
        lower += ", precision: fp16 in load_model, or device: cpu"
    return OutOfMemory(f"{asked} asked for on {device}{left}", hint=f"What lowers it: {lower}.")


def _available() -> int:
    """Source: proc(5), MemAvailable: what can be had without swapping; statm: what this process has, in pages."""
    available, limit = _told().get("MemAvailable", UNLIMITED), _limit()
    if limit == UNLIMITED:
        return available
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return min(available, max(0, limit - taken))


def _installed() -> int:
    told = _told()
    return told.get("MemTotal", UNLIMITED) + told.get("SwapTotal", 0)


def _told() -> dict[str, int]:
    """What Linux tells of its memory, in bytes; nothing elsewhere."""
    try:
        lines = re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return {}
    return {name: int(size) << 10 for name, size in lines}


def _limit() -> int:
    """What this process may have at most (ulimit -v), where that can be compared with what it has."""
    if not sys.platform.startswith("linux"):
        return UNLIMITED
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return UNLIMITED if limit == resource.RLIM_INFINITY else limit


def _allowed() -> int:
    """What the container may have. Source: the kernel's cgroup-v2, memory.max and memory.swap.max."""
    try:
        limits = [Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.swap.max")]
    except OSError:
        return UNLIMITED
    return sum(map(int, limits)) if all(limit.isdecimal() for limit in limits) else UNLIMITED


def in_words(size: int) -> str:
    """A number of bytes in the unit that fits it."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f} {unit}"
    return f"{size} bytes"
