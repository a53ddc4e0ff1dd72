"""What is written into a picture about how it was made, enough to make it again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graph.errors import MissingError
from graph.fields import file_parameters
from graph.filerefs import FileRef
from graph.files import Memo, digest_of
from graph.metadata import Seal
from graph.outputs import write_picture
from graph.steps import Graph
from graph.values import Picture, SavedFile

FORMAT = 1
CHUNK = "darkroom"
"""The name of the text in the picture's file."""
_OTHERS = {"parameters": "A1111's web UI", "prompt": "ComfyUI", "workflow": "ComfyUI"}
"""Who writes a text of that name into a picture."""
Plain = str | int | float | bool
_PACKAGES = ("darkroom", "torch", "diffusers", "transformers", "pillow", "numpy")


@dataclass(frozen=True, slots=True)
class Origin:
    """How a picture was made, as read from its file."""

    workflow: str
    """The text of the workflow file."""
    name: str
    """The name of the workflow: names files, and is the key of what ran last."""
    file: str
    """The name of the workflow file."""
    folder: str
    """The workflow's folder, as seen from the picture's folder when it was saved."""
    params: Mapping[str, Any]
    """The value of every param."""
    output: str
    """The name of the output that this picture is."""
    digest: str
    """"sha256:..." of the pixels."""
    files: Mapping[str, str]
    """By the name that the workflow uses: sha256 of each file or model."""
    versions: Mapping[str, str]
    nodes: Mapping[str, Any] = field(default_factory=dict)
    """By node: its parameters after defaults, where the workflow alone decides them."""
    kinds: Mapping[str, Any] = field(default_factory=dict)
    """The versions of the kinds."""
    proposed: Mapping[str, Mapping[str, Plain]] | None = None
    """By node and parameter: the values that came from the files beside models, not from the workflow. None where that
    was not written down."""


def metadata(
    graph: Graph, output: str, digest: str, memo: Memo, folder: Path, found: Mapping[str, object]
) -> dict[str, str]:
    """Describe how an output was made. `folder` is where the picture is saved; `found`, what nodes told of it."""
    workflow = graph.workflow
    told = {
        "format": FORMAT,
        "name": workflow.name,
        "output": output,
        "digest": digest,
        "file": Path(workflow.file).name,
        "folder": _seen_from(workflow.folder, folder),
        "workflow": workflow.text,
        "params": {name: param.value.value for name, param in workflow.params.items()},
        "nodes": {name: _parameters(step.instance) for name, step in graph.steps.items() if step.instance},
        "proposed": _proposed(graph),
        "kinds": {step.kind: step.node.version for step in graph.steps.values()},
        "files": file_digests(graph, memo),
        "found": found,
        "versions": dict(versions()),
    }
    return {CHUNK: json.dumps(told, ensure_ascii=False, sort_keys=True, default=str)}


def write_with_origin(
    picture: Picture,
    graph: Graph,
    output: str,
    digest: str,
    memo: Memo,
    folder: Path,
    pattern: str,
    found: Mapping[str, object],
    *,
    format: str = "",
    quality: int = 95,
    seal: Seal | None = None,
) -> SavedFile:
    """Write a picture below a folder, with what made it inside, and note its digest.

    output: the name of the output or node, for the pattern's {output} and {node}. digest: "sha256:..." of the pixels.
    Raises StepError as `write_picture` does.
    """
    told = metadata(graph, output, digest, memo, folder, found)
    fields = {"name": graph.workflow.name, "output": output, "node": output, "seed": seed_of(graph)}
    file = write_picture(picture, folder, pattern, fields, told, format=format, quality=quality, seal=seal)
    return replace(file, pixels=digest)


def read_origin(chunks: Mapping[str, str], picture: str) -> Origin:
    """Read what `metadata` wrote. Raises MissingError if the picture does not hold it, or a newer form of it."""
    try:
        told = json.loads(chunks[CHUNK])
        if told["format"] != FORMAT:
            hint = "Update Darkroom."
            raise MissingError(
                f"{picture} was made by another version of Darkroom (format {told['format']})", hint=hint
            )
        text, params, files = told["workflow"], told["params"], told["files"]
        names = (told["name"], told["file"], told["folder"], told["output"], told["digest"])
        shapes = isinstance(text, str) and isinstance(params, dict) and isinstance(files, dict)
        if not shapes or not all(isinstance(name, str) for name in names):
            raise ValueError(picture)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        hint = "Only pictures that Darkroom saved, and that no other program re-saved, can be run again."
        if other := next((name for chunk, name in _OTHERS.items() if chunk in chunks), ""):
            hint = f"It comes from {other}: docs/from-web-uis.md says what its settings are here."
        raise MissingError(f"{picture} does not hold a workflow that Darkroom wrote", hint=hint) from error
    name, file, folder, output, digest = names
    versions, nodes, kinds = (
        part if isinstance(part := told.get(word), dict) else {} for word in ("versions", "nodes", "kinds")
    )
    return Origin(
        text, name, file, folder, params, output, digest, files, versions, nodes, kinds, proposed=_noted(told)
    )


@cache
def versions() -> Mapping[str, str]:
    """The versions of what decides the bits of a picture; what is not installed is left out."""
    found = {}
    for package in _PACKAGES:
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        # `distribution.version` parses all of the file, licence and readme too, which takes milliseconds.
        told = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        line = re.search(r"^Version: *(\S+)", told, re.MULTILINE)
        found[package] = line[1] if line else distribution.version
    return MappingProxyType(found)


def file_digests(graph: Graph, memo: Memo) -> dict[str, str]:
    """The sha256 of each file and model that a graph names, by the name it uses; one that went away is left out."""
    files = {}
    for step in graph.steps.values():
        for name in file_parameters(step.node) if step.instance else ():
            if isinstance(ref := getattr(step.instance, name), FileRef):
                with contextlib.suppress(MissingError):
                    files[ref.written] = digest_of(ref, memo)
    return files


def seed_of(graph: Graph) -> int | None:
    """The seed of a run, for file names: the param "seed", or that of the first node which has one."""
    param = graph.workflow.params.get("seed")
    if param and isinstance(param.value.value, int):
        return param.value.value
    seeds = [getattr(step.instance, "seed", None) for step in graph.steps.values() if step.instance]
    return next((seed for seed in seeds if isinstance(seed, int)), None)


def _proposed(graph: Graph) -> dict[str, dict[str, Any]] | None:
    """What models proposed. None where a file is among it: it is found from the folder of who names it."""
    by_step = {
        name: {parameter: step.fixed.get(parameter) for parameter in step.proposed}
        for name, step in graph.steps.items()
    }
    found = {name: given for name, given in by_step.items() if given}
    return found if all(_is_plain(value) for given in found.values() for value in given.values()) else None


def _noted(told: Mapping[str, Any]) -> dict[str, dict[str, Plain]] | None:
    noted = told.get("proposed")
    if not isinstance(noted, dict) or not all(isinstance(given, dict) for given in noted.values()):
        return None
    return {name: {key: value for key, value in given.items() if _is_plain(value)} for name, given in noted.items()}


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _parameters(node: Any) -> dict[str, Any]:
    return {name: value.written if isinstance(value, FileRef) else value for name, value in dict(node).items()}


def _seen_from(folder: Path, start: Path) -> str:
    """A relative path: it says nothing about whose machine this is, and holds while both folders move together."""
    try:
        return Path(os.path.relpath(folder, start)).as_posix()
    except ValueError:  # another drive on Windows
        return ""
