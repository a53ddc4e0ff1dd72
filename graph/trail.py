"""The trail of a run: what it was made from and where it led, so that asking for the same again plans nothing.

A run that is asked for in the same words, over the same files, with the same code, comes to the same keys. Its trail
is kept under a name made of the words (the workflow's bytes, the params, the folders, the environment). In it stand

    the code, and what was looked at when the run was checked and planned: paths with their states, variables
    every step, with its key and the digests that this key gave
    every file that the run left, with its digest

A trail is followed only where all of that is as it was: the states on disk, the digests that the cache has for the
keys, the bytes of the files. Then a plan would be nothing but hits, and what happens is what `execute` does of such a
plan. Anything else, and nothing has happened yet: the run is planned. Neither the language, nor the nodes, nor the
types of values need be loaded for it, and this file must not load them: most of a cached run would be imports.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.cache import LED, Cache, Disk, default_folder, warn_of_network
from graph.events import NodeFinished, RunFinished, RunStarted, SavedOutput, Sink, Warned
from graph.eviction import limit
from graph.history import Asked, note
from graph.index import FORMAT as CACHE_FORMAT
from graph.signatures import STARTS
from graph.standing import as_typed, stands
from graph.witness import environment, stamp

FORMAT = 3
TRAIL = "trail"
"""The space of notes that hold trails, by name."""
ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = (
    "DARKROOM_", "HF_", "XDG_", "CUDA_", "HIP_", "ROCR_", "ZE_", "PYTORCH_", "HOME", "USERPROFILE", "LOCALAPPDATA",
)  # fmt: skip
"""How the variables begin that may decide where things are found and where steps run."""
DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dri", "/proc/driver/nvidia/version")
"""What comes and goes with the devices of a machine."""

NODE, KIND, ACTION, SECONDS, DEVICE, KEY, WHY, DIGESTS = range(8)
"""What a step of a trail is: the fields of NodeFinished, and the digests of the outputs."""
_LARGEST = 64 << 20
"""Bytes of a workflow; larger ones are refused where they are read."""

Trail = Mapping[str, Any]
Say = Callable[[str], None]


def follow(request: argparse.Namespace, sink: Sink, say: Say) -> bool:
    """Do a run whose trail still holds, if this is one; otherwise do nothing. Gives which it was."""
    start = time.perf_counter()
    name, folder = name_of(request), folder_of(request)
    if not name or folder is None or not (folder / f"v{CACHE_FORMAT}" / "index").exists():
        return False
    most_bytes = limit()
    try:
        cache = Disk(folder, lambda message: sink.emit(Warned(message)), most_bytes)
    except (OSError, sqlite3.Error):
        return False  # that is told where the run is planned
    try:
        trail = _read(cache, name, request)
        if trail is None:
            return False
        warn_of_network(folder, lambda message: sink.emit(Warned(message)))
        for warning in trail["warnings"]:
            say(warning)
        _note_latest(trail, cache, name)
        sink.emit(_repeated(trail, cache, sink, start))
        return True
    finally:
        cache.close()


def name_of(request: argparse.Namespace) -> str:
    """Name the trail of a run by the words that it is asked for in; "" for one that leaves none.

    That is what is forced, drawn at random, read from standard input or from a picture, or not kept on disk.
    """
    drawn = any(setting.partition("=")[2] == "random" for setting in request.set)
    if request.force or request.sweep or drawn or request.file == "-" or request.cache == "none":
        return ""
    workflow = _text_of(request.file)
    if workflow is None:
        return ""
    words = {
        "format": FORMAT,
        "file": os.path.abspath(request.file),
        "workflow": hashlib.sha256(workflow).hexdigest(),
        "here": os.getcwd(),
        "set": request.set,
        "out": request.out,
        "only": request.only,
        "device": request.device,
        "nodes": request.nodes,
        "lock": request.lock,
        "remote": request.remote,
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(ENVIRONMENT)},
        "python": sys.version,
        "root": str(ROOT),
    }
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def sources(folders: Sequence[str]) -> list[str]:
    """The files of the code that may decide a run: Darkroom's own, and those in `folders`."""
    own = [str(ROOT / "darkroom.py"), str(ROOT / "runner.py"), *_sources(ROOT / "graph"), *_sources(ROOT / "nodes")]
    return [*own, *(path for folder in folders for path in _sources(Path(folder).absolute()))]


def code(folders: Sequence[str]) -> str:
    """The state of that code."""
    return _state(sources(folders))


def installed() -> str:
    """The state of the folders that Python imports from; beside Darkroom's own code more comes and goes than code."""
    return _state([path for path in sys.path if path != str(ROOT)])


def _state(paths: Sequence[str]) -> str:
    states = [(path, stamp(path, True)) for path in paths]
    return hashlib.sha256(json.dumps(states).encode("utf-8", "surrogatepass")).hexdigest()


# Following


def _read(cache: Cache, name: str, request: argparse.Namespace) -> Trail | None:
    """The trail of this name, where it holds."""
    data = cache.noted(TRAIL, name)
    if data is None:
        return None
    trail: Trail = json.loads(data)
    return trail if _holds(trail, cache, request.nodes) else None


def _holds(trail: Trail, cache: Cache, folders: list[str]) -> bool:
    listed = set(trail["listed"])
    return (
        (trail["code"], trail["installed"]) == (code(folders), installed())
        and all(stamp(path, path in listed) == state for path, state in trail["looked"].items())
        and all(stands(*file) for file in trail["files"])
        and trail["environment"] == environment(trail["variables"])
        and cache.gives({step[KEY]: step[DIGESTS] for step in trail["steps"] if step[KEY]})
    )


def _repeated(trail: Trail, cache: Cache, sink: Sink, start: float) -> RunFinished:
    """Tell what `execute` tells of a plan of nothing but hits, do what it does, and give how it ended."""
    nodes = [NodeFinished(*step[:DIGESTS]) for step in trail["steps"]]
    sink.emit(RunStarted(trail["workflow"], len(nodes), 1, tuple((node.node, node.kind) for node in nodes)))
    cache.touch(digest for step in trail["steps"] for digest in step[DIGESTS])
    for node in nodes:
        for message in trail["remarks"].get(node.node, ()):
            sink.emit(Warned(message, node.node))
        sink.emit(node)
    hits = sum(node.action == "hit" for node in nodes)
    outputs = tuple(_output(*output) for output in trail["outputs"])
    finished = RunFinished(True, 0, hits, time.perf_counter() - start, outputs, 0, len(nodes) - hits)
    note(cache, Asked.of_json(trail["asked"]), nodes, finished, time.time(), _versions)
    return finished


def _output(name: str, path: str, digest: str, value: Any, action: Any, file: str) -> SavedOutput:
    return SavedOutput(name, as_typed(path) if path else "", digest, value, action, file=file)


def _versions() -> Mapping[str, str]:
    from graph.provenance import versions  # asked for where another run came between, which is rare

    return versions()


def _note_latest(trail: Trail, cache: Cache, name: str) -> None:
    if cache.noted(LED, trail["workflow"]) != name.encode():
        cache.note_latest(trail["workflow"], {step[NODE]: step[KEY] for step in trail["steps"] if step[KEY]})
        cache.note(LED, trail["workflow"], name.encode())


# What it is made from


def folder_of(request: argparse.Namespace) -> Path | None:
    """The folder of the cache that a run is asked to use; None where the user has no home."""
    try:
        return Path(request.cache).expanduser() if request.cache else default_folder()
    except RuntimeError:
        return None


def _text_of(file: str) -> bytes | None:
    """A workflow's bytes; None of a picture, and of what cannot be read: the error is told where it is loaded."""
    try:
        if not os.path.isfile(file):
            return None
        with open(file, "rb") as stream:
            data = stream.read(min(os.fstat(stream.fileno()).st_size, _LARGEST))  # read takes all that it is told
    except (OSError, ValueError):
        return None
    return None if data.startswith(STARTS) else data


def _sources(folder: Path) -> Iterator[str]:
    """The Python files in a folder and the folders in it."""
    pending = [str(folder)]
    while pending:
        try:
            entries = sorted(os.scandir(pending.pop()), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir() and entry.name != "__pycache__":
                pending.append(entry.path)
            elif entry.name.endswith(".py"):
                yield entry.path
