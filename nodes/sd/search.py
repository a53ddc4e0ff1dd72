"""Finding models by name: beside the workflow, on the search path, in the Hugging Face cache. Light: no torch."""

from __future__ import annotations

import difflib
import heapq
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from graph.errors import MissingError, suggest
from graph.filerefs import absolute
from nodes.sd.shelves import SEARCH_PATH, Kind, extra_files, hub, roots, shelves, snapshot, troubles

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""What a name may go without."""
WHOLE = ("model_index.json", "config.json")
"""A folder with one of these is a model; others may hold some."""
MOST_COMPARED = 300
"""Names that are compared with a missing one letter by letter."""
NOTHING_FETCHED = "Darkroom downloads nothing."
WORDS: Mapping[Kind, str] = {
    "checkpoint": "model", "lora": "LoRA", "vae": "VAE", "controlnet": "ControlNet", "upscaler": "upscaler",
    "embedding": "embedding", "safety": "safety checker",
}  # fmt: skip


def find(kind: Kind, written: str, folder: Path) -> Path:
    """Find a model, a file or a folder: a path, or a name on the search path, with or without its suffix.

    A relative path starts at `folder`. A name is then looked for in the folders of DARKROOM_MODELS, in those of
    extra_model_paths.yaml, both sorted by kind, and (`owner/name`) in the Hugging Face cache.
    Raises MissingError, saying where it was looked for and what is called alike.
    """
    places = [absolute(written, folder, WORDS[kind]), *_named(kind, written)]
    spelled = [Path(f"{place}{suffix}") for place in places for suffix in ("", *SUFFIXES)]
    path = next(filter(_is_model, spelled), None) or next(filter(os.path.exists, spelled), None)
    if path is None:
        raise _missing(kind, written, places[0], folder)
    return path


def _named(kind: Kind, written: str) -> Iterator[Path]:
    """Where a name may stand. What climbs, or begins somewhere of its own, is a path and no name."""
    parts = re.split(r"[/\\]", written.rstrip("/"))
    if {"", ".", ".."} & set(parts) or written.startswith("~") or ":" in parts[0]:
        return
    yield from (shelf.folder.joinpath(*parts) for shelf in shelves(kind))
    if len(parts) > 1 and (found := snapshot(hub() / f"models--{parts[0]}--{parts[1]}")):
        yield found.joinpath(*parts[2:])


def _is_model(path: Path) -> bool:
    return os.path.isfile(path) or any(os.path.isfile(path / name) for name in WHOLE)


# What is there


def listed(folder: Path, depth: int = 4) -> Iterator[Path]:
    """The models in a folder, and in the folders of it: files by their suffix, and folders as diffusers saves them.

    Folders that cannot be read, links that lead nowhere, and a folder met twice are passed over.
    """
    pending, seen = [(folder, depth)], set()
    while pending:
        here, left = pending.pop()
        try:
            state = os.stat(here)
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            continue
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if _is_model(path):
                    yield path
                elif left > 1:
                    pending.append((path, left - 1))
            elif path.suffix.lower() in SUFFIXES and entry.is_file():
                yield path


class Found(NamedTuple):
    """A model on the search path."""

    kind: Kind | None
    """None where only its content can tell."""
    name: str
    """By which it is found."""
    path: Path
    shelf: Path


def everything() -> Iterator[Found]:
    """Every model on the search path once, by its shortest name. Of the Hugging Face cache, whole repositories."""
    met: set[Path] = set()
    for shelf in sorted(shelves(), key=lambda shelf: shelf.kind is None):
        for path in listed(shelf.folder):
            if path not in met:
                met.add(path)
                yield Found(shelf.kind, path.relative_to(shelf.folder).as_posix(), path, shelf.folder)
    for repository in sorted(hub().glob("models--*--*")):
        fetched = snapshot(repository)
        if fetched and _is_model(fetched):
            yield Found(None, "/".join(repository.name.split("--")[1:]), fetched, hub())


def _missing(kind: Kind, written: str, beside: Path, folder: Path) -> MissingError:
    looked = [f"{beside!s:.300}"]
    looked += [f"in {SEARCH_PATH} ({os.pathsep.join(map(str, roots())):.200})"] if roots() else []
    looked += [f"in the folders of {file!s:.200}" for file in extra_files()]
    names = [found.name for found in everything() if found.kind in (None, kind)]
    names += [os.path.relpath(path, folder) for path in listed(beside.parent, depth=1)]
    hint = f"{_alike(written, names)} {NOTHING_FETCHED} Looked for {', '.join(looked)}, and in the Hugging Face cache."
    return MissingError(f'{WORDS[kind]} "{written:.200}" is not there', hint="\n  ".join([hint.strip(), *troubles()]))


def _alike(written: str, names: Sequence[str]) -> str:
    """Offer the name that is near, whatever its case, suffix and folder; else some of the names."""
    by_part = {part.casefold(): name for name in names for part in _parts(name)}
    for part in dict.fromkeys(part.casefold() for part in _parts(written)):
        some = heapq.nlargest(MOST_COMPARED, by_part, key=partial(_shared, part))
        if near := difflib.get_close_matches(part, some, n=1):
            return f'Did you mean "{by_part[near[0]]}"?'
    return suggest(_parts(written)[0], names)


def _shared(one: str, other: str) -> int:
    """With how many equal letters two texts begin."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _parts(name: str) -> Sequence[str]:
    """The name without its suffix, which makes all names alike, and without its folders."""
    stem = name[: -len(suffix)] if (suffix := Path(name).suffix.lower()) in SUFFIXES else name
    return stem, os.path.basename(stem)
