"""Finding models by name: beside the workflow, on the search path, in the Hugging Face cache. Light: no torch."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from graph.errors import MissingError, suggest
from graph.filerefs import absolute
from nodes.sd.shelves import EXTRA_FILE, SEARCH_PATH, Kind, extra_files, hub, roots, shelves, snapshot, troubles

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""What a name may go without."""
WHOLE = ("model_index.json", "config.json")
"""A folder with one of these is a model; others may hold some."""
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


def _missing(kind: Kind, written: str, beside: Path, folder: Path) -> MissingError:
    looked = [f"{beside!s:.300}"]
    looked += [f"{SEARCH_PATH} ({os.pathsep.join(map(str, roots())):.200})"] if roots() else []
    looked += [f"{len(extra_files())} {EXTRA_FILE}"] if extra_files() else []
    near = _alike(written, _names(kind, beside, folder))
    hint = f"{near} {NOTHING_FETCHED} Looked for {', in '.join(looked)}, and in the Hugging Face cache."
    return MissingError(f'{WORDS[kind]} "{written:.200}" is not there', hint="\n  ".join([hint.strip(), *troubles()]))


def _names(kind: Kind, beside: Path, folder: Path) -> Iterator[str]:
    """What could be written instead."""
    places = [(shelf.folder, shelf.folder, 4) for shelf in shelves(kind)] + [(beside.parent, folder, 1)]
    for place, base, depth in places:
        yield from (os.path.relpath(path, base) for path in listed(place, depth))


def _alike(written: str, names: Iterator[str]) -> str:
    """Offer the name that is near, whatever its case, suffix and folder; else some of the names."""
    known = sorted(set(names))
    by_part = {part.casefold(): name for name in known for part in _parts(name)}
    near = [match for part in _parts(written) for match in difflib.get_close_matches(part.casefold(), by_part, n=1)]
    return f'Did you mean "{by_part[near[0]]}"?' if near else suggest(written, known)


def _parts(name: str) -> Sequence[str]:
    """The name, without its suffix, and without its folders."""
    stem = name[: -len(suffix)] if (suffix := Path(name).suffix) in SUFFIXES else name
    return name, stem, os.path.basename(stem)
