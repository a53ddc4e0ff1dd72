"""The folders that hold models: those of DARKROOM_MODELS, of ComfyUI and A1111, and the Hugging Face cache. Light."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from graph.document import MAX_BYTES, Branch, Scalar, Table, read
from graph.errors import Mistake, WorkflowError

Kind = Literal["checkpoint", "lora", "vae", "controlnet", "upscaler", "embedding", "safety"]

SEARCH_PATH = "DARKROOM_MODELS"
"""The environment variable that lists folders of models, separated as PATH is."""
EXTRA_PATHS = "DARKROOM_EXTRA_MODEL_PATHS"
"""The environment variable that names files in the manner of ComfyUI's extra_model_paths.yaml."""
EXTRA_FILE = "extra_model_paths.yaml"

FOLDERS: Mapping[Kind, tuple[str, ...]] = {
    "checkpoint": ("checkpoints", "diffusers", "Stable-diffusion"),
    "lora": ("loras", "Lora", "LyCORIS"),
    "vae": ("vae", "VAE"),
    "controlnet": ("controlnet", "ControlNet"),
    "upscaler": ("upscale_models", "ESRGAN", "RealESRGAN"),
    "embedding": ("embeddings",),
    "safety": ("safety", "safety_checker"),
}
"""What the folders of each kind are called: here and in ComfyUI first, then in A1111's web UI."""
_KINDS: Mapping[str, Kind] = {name: kind for kind, names in FOLDERS.items() for name in names}


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder that may hold models."""

    folder: Path
    kind: Kind | None = None
    """None where models of every kind may lie."""
    is_default: bool = False


def shelves(kind: Kind | None = None) -> tuple[Shelf, ...]:
    """The folders to look in, first come first: for one kind of models, or all. Not all of them need be there."""
    every = [shelf for root in roots() for shelf in _below(root)] + list(_extra_shelves())
    return tuple(dict.fromkeys(shelf for shelf in every if kind is None or shelf.kind in (None, kind)))


def roots() -> tuple[Path, ...]:
    """The folders of DARKROOM_MODELS, absolute."""
    return tuple(_path(text) for text in os.environ.get(SEARCH_PATH, "").split(os.pathsep) if text)


def _below(root: Path) -> Iterator[Shelf]:
    """A folder of models, of ComfyUI or of A1111: what is sorted by kind first, then the folder itself."""
    for base in (root, root / "models"):
        yield from (Shelf(base / name, kind) for name, kind in _KINDS.items())
    yield Shelf(root)


# extra_model_paths.yaml


def extra_files() -> tuple[Path, ...]:
    """The files of ComfyUI's manner that are there: named by the environment, the user's, in DARKROOM_MODELS."""
    named = [_path(text) for text in os.environ.get(EXTRA_PATHS, "").split(os.pathsep) if text]
    config = _path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    own = [config / "darkroom" / EXTRA_FILE, *(root / EXTRA_FILE for root in roots())]
    return tuple(dict.fromkeys([*named, *(path for path in own if os.path.isfile(path))]))


def troubles() -> tuple[str, ...]:
    """What is wrong with these files: they are read as far as they go."""
    return tuple(str(mistake) for file in extra_files() for mistake in _read_extra(file)[1])


def _extra_shelves() -> list[Shelf]:
    found = [shelf for file in extra_files() for shelf in _read_extra(file)[0]]
    return sorted(found, key=lambda shelf: not shelf.is_default)


def _read_extra(file: Path) -> tuple[tuple[Shelf, ...], tuple[Mistake, ...]]:
    try:
        state = os.stat(file)
        if not os.path.isfile(file):
            raise OSError(0, "it is not a file")
        return _parsed_extra(file, state.st_size, state.st_mtime_ns)
    except OSError as error:
        return (), (Mistake("missing-file", f'"{file}" cannot be read: {error.strerror}'),)


@lru_cache(maxsize=16)
def _parsed_extra(file: Path, size: int, mtime_ns: int) -> tuple[tuple[Shelf, ...], tuple[Mistake, ...]]:
    """Once for a file that stays as it is."""
    with file.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    try:
        tree, mistakes, _ = read(data, str(file))
    except WorkflowError as error:
        return (), error.mistakes
    found = [shelf for _, section in tree.entries if isinstance(section, Table) for shelf in _section(section, file)]
    return tuple(found), mistakes


def _section(section: Table, file: Path) -> Iterator[Shelf]:
    """One program's folders. Keys of kinds that Darkroom does not use are passed over."""
    entries = {key.text: value for key, value in section.entries}
    base = file.parent / _path(_text(entries.get("base_path")), file.parent)
    first = _text(entries.get("is_default")).strip().lower() == "true"
    for name, value in entries.items():
        if name in _KINDS:
            lines = [line.strip() for line in _text(value).splitlines()]
            yield from (Shelf(_path(line, base), _KINDS[name], first) for line in lines if line)


def _text(branch: Branch | None) -> str:
    return branch.text if isinstance(branch, Scalar) else ""


def _path(text: str, base: Path | None = None) -> Path:
    """A path as people write it, with ~ and variables, absolute."""
    path = os.path.expanduser(os.path.expandvars(text))
    return Path(os.path.abspath(os.path.join(base or os.getcwd(), path)))


# The Hugging Face cache


def hub() -> Path:
    """The Hugging Face cache, which is read only."""
    for name, below in (("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        if root := os.environ.get(name):
            return _path(root) / below
    return _path("~/.cache/huggingface/hub")


def snapshot(repository: Path) -> Path | None:
    """The files of a repository in the cache, as they were when it was fetched last; None if it never was."""
    try:
        with (repository / "refs" / "main").open(encoding="ascii") as file:
            revision = file.read(64).strip()
    except (OSError, ValueError):
        return None
    return repository / "snapshots" / revision if re.fullmatch("[0-9a-f]+", revision) else None
