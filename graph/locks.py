"""darkroom.lock: which models and which versions of kinds the workflows of a folder are to be run with.

One file for a folder, with a part for each workflow by its file name. Kinds and files must be as it says; packages
(torch ...) are told where they differ, and no more than that: they are another on every machine.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from graph.code import Codes
from graph.errors import MissingError, Mistake, Place, UsageError, WorkflowError
from graph.failpoints import reached
from graph.fields import file_parameters
from graph.filerefs import FileRef
from graph.files import Memo, digest_of
from graph.memory import Memory
from graph.node import LOOSE
from graph.provenance import versions
from graph.steps import Graph, Step
from graph.workflow import Workflow

NAME = "darkroom.lock"
FORMAT = 1
_MOST_BYTES = 16 << 20
_SECTIONS = ("files", "kinds", "packages")

Part = Mapping[str, Mapping[str, Any]]
"""Of one workflow: `files`, `kinds` and `packages`, each by name."""
Opened = Callable[[], AbstractContextManager[Memo]]
"""Opens what remembers the digests of files; called only where a lock names some."""
Hold = Callable[[Graph, Opened], Graph]
LockWord = Literal["held", "required", "ignored"]
"""What is done about locks: the names of the three functions below."""


def held(graph: Graph, memo: Opened) -> Graph:
    """Refuse a graph that is not as its lock says, if there is one; gives it with what is only to be told.

    A file that a param was set to from outside may be missing in the lock: that is told.
    Raises WorkflowError with every drift, or with what is wrong with the lock.
    """
    part = _part_of(graph.workflow)
    return graph if part is None else _held(graph, part, memo, _set_from_outside(graph.workflow))


def required(graph: Graph, memo: Opened) -> Graph:
    """The same, but that there is no lock is a mistake, and so is any file that it does not name."""
    part = _part_of(graph.workflow)
    if part is None:
        message = f"{graph.workflow.file} is in no {NAME} beside it"
        raise WorkflowError([Mistake("no-lock", message, hint=f"Make one: {_remedy(graph.workflow)}")])
    return _held(graph, part, memo, {})


def ignored(graph: Graph, memo: Opened) -> Graph:
    """Look at no lock."""
    return graph


HOLDS: Mapping[LockWord, Hold] = {"held": held, "required": required, "ignored": ignored}


@dataclass(frozen=True, slots=True)
class Pinned:
    """What was written into a lock."""

    path: Path
    workflow: str
    part: Part
    before: Part
    """What was there of the workflow; empty sections if nothing was."""

    def changes(self) -> list[tuple[str, str, Any, Any]]:
        """What is pinned otherwise than before: (section, name, before, now), None for what is not there."""
        pairs = ((section, self.before[section], self.part[section]) for section in _SECTIONS)
        return [
            (section, name, was.get(name), now.get(name))
            for section, was, now in pairs
            for name in sorted({*was, *now})
            if was.get(name) != now.get(name)
        ]


def pin(graph: Graph, memo: Memo) -> Pinned:
    """Write what a graph is made of into the lock beside its workflow; the parts of other workflows stay.

    Raises UsageError for a workflow that is no file, WorkflowError for a lock that cannot be read, MissingError for
    one that cannot be written.
    """
    path = _beside(graph.workflow)
    if path is None:
        raise UsageError("only a workflow that is a file of its own can be locked", hint="Save it, and lock the file.")
    name = Path(graph.workflow.file).name
    parts, part = _read(path), _parts(graph, memo)
    told = {"format": FORMAT, "workflows": {**parts, name: part}}
    _write(path, json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    return Pinned(path, name, part, parts.get(name, {section: {} for section in _SECTIONS}))


def _parts(graph: Graph, memo: Memo) -> Part:
    kinds = {step.kind: _kind(step) for step in graph.steps.values()}
    files = {ref.written: _file(ref, memo) for _, _, ref in _refs(graph)}
    return {"kinds": kinds, "files": files, "packages": dict(versions())}


def _kind(step: Step) -> dict[str, Any]:
    """The version; of a node that has no releases, what its code says as well."""
    code = Codes().of(step.node, Memory()).digest if step.node.__module__.startswith(LOOSE) else ""
    return {"version": step.node.version} | ({"code": code} if code else {})


def _file(ref: FileRef, memo: Memo) -> dict[str, Any]:
    try:
        size = sum(path.stat().st_size for _, path in ref.members())
    except OSError as error:
        raise MissingError(f'{ref.what} "{ref.written}" cannot be read: {error.strerror}') from error
    return {"sha256": digest_of(ref, memo), "size": size}


def _refs(graph: Graph) -> Iterator[tuple[Step, str, FileRef]]:
    for step in graph.steps.values():
        for name in file_parameters(step.node) if step.instance else ():
            if isinstance(ref := getattr(step.instance, name), FileRef):
                yield step, name, ref


# Holding


def _held(graph: Graph, part: Part, memo: Opened, free: Mapping[str, str]) -> Graph:
    """free: the files that may be missing in the lock, each with the param that was set to it."""
    told = [*_kind_drifts(graph, part), *_file_drifts(graph, part, memo, free), *_package_drifts(part)]
    drifts = [mistake for mistake in told if mistake.code == "lock-drift"]
    if drifts:
        raise WorkflowError(drifts)
    return replace(graph, warnings=(*graph.warnings, *told))


def _kind_drifts(graph: Graph, part: Part) -> Iterator[Mistake]:
    """One for a kind, at its first node."""
    first = {step.kind: step for step in reversed(list(graph.steps.values()))}
    for kind, step in first.items():
        there, pinned = _kind(step), part["kinds"].get(kind)
        if pinned is None:
            message = f"the kind {kind} is not in {NAME}"
        elif pinned.get("version") != there["version"]:
            message = f"{kind} has version {there['version']}; {NAME} has version {pinned.get('version')}"
        elif pinned.get("code") != there.get("code"):
            codes = [f"sha256 {code[:12]}…" if code else "none" for code in (there.get("code"), pinned.get("code"))]
            message = f"the code of {kind} is {codes[0]}; {NAME} has {codes[1]}"
        else:
            continue
        hint = _way_out(graph.workflow, "Use the nodes that were locked, or accept" if pinned else "Accept")
        yield Mistake("lock-drift", f"{step.name}: {message}", step.place, hint)


def _file_drifts(graph: Graph, part: Part, memo: Opened, free: Mapping[str, str]) -> Iterator[Mistake]:
    """One for a file, at the first parameter that names it."""
    first = {ref.written: (step, name, ref) for step, name, ref in reversed([*_refs(graph)])}
    if not first:
        return
    with memo() as digests:
        for step, name, ref in first.values():
            pinned = part["files"].get(ref.written)
            if pinned is None and ref.written in free:
                yield _gap(graph.workflow, step, name, ref, free[ref.written])
            elif message := _file_drift(ref, pinned, digests):
                hint = _way_out(graph.workflow, "Put the locked one back, or accept" if pinned else "Accept")
                yield Mistake("lock-drift", f"{step.name}.{name}: {message}", step.place_of(name), hint)


def _file_drift(ref: FileRef, pinned: Mapping[str, Any] | None, memo: Memo) -> str:
    """What is other than in the lock; "" for nothing."""
    named = f'{ref.what} "{ref.written}"'
    if pinned is None:
        return f"the {named} is not in {NAME}"
    there = _file(ref, memo)
    same = there["sha256"] == pinned["sha256"]
    return "" if same else f"the {named} is {_described(there)}; {NAME} has {_described(pinned)}"


def _gap(workflow: Workflow, step: Step, name: str, ref: FileRef, param: str) -> Mistake:
    message = f'{step.name}.{name}: the {ref.what} "{ref.written}" is not in {NAME}, and is used as it is'
    hint = f"To lock it: {_remedy(workflow)} --set {param}=..."
    return Mistake("lock-gap", message, step.place_of(name), hint)


def _package_drifts(part: Part) -> Iterator[Mistake]:
    now = versions()
    moved = [
        f"{name} {was} (here {now.get(name, 'none')})" for name, was in part["packages"].items() if now.get(name) != was
    ]
    if moved:
        yield Mistake("lock-packages", f"{NAME} was made with {', '.join(moved)}: the last bits may differ")


def _described(file: Mapping[str, Any]) -> str:
    return f"sha256 {file['sha256'][:12]}…, {file['size']:,} bytes"


def _way_out(workflow: Workflow, first: str) -> str:
    return f"{first} what is here: {_remedy(workflow)}"


def _remedy(workflow: Workflow) -> str:
    return f"darkroom lock {workflow.file}"


def _set_from_outside(workflow: Workflow) -> dict[str, str]:
    """By value, the params that were set."""
    params = workflow.params.items()
    return {str(one.value.value): name for name, one in params if one.value.place.file in ("--set", "<values>")}


# The file


def _beside(workflow: Workflow) -> Path | None:
    """Where the lock of a workflow is or would be, as the user would type it; None for one that is no file."""
    file = Path(workflow.file)
    return file.with_name(NAME) if workflow.source and workflow.source.name == file.name else None


def _part_of(workflow: Workflow) -> Part | None:
    path = _beside(workflow)
    return _read(path).get(Path(workflow.file).name) if path and os.path.lexists(path) else None


def _read(path: Path) -> dict[str, Part]:
    """Every workflow's part; {} where there is no lock. Raises WorkflowError for what is no lock."""
    try:
        text = _text(path)
        told = json.loads(text, object_pairs_hook=_unique)
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise _bad(path, text, error.lineno, error.colno, f"it is not JSON: {error.msg}") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _bad(path, "", 1, 1, f"it cannot be read: {reason}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        found = told.get("format") if isinstance(told, dict) else None
        raise _bad(path, text, 1, 1, f"this Darkroom reads format {FORMAT}, not {json.dumps(found)}")
    parts = told.get("workflows")
    if not isinstance(parts, dict):
        raise _bad(path, text, 1, 1, "it has no table of workflows")
    for name, part in parts.items():
        if not _is_part(part):
            line = next(
                at for at, line in enumerate(text.split("\n"), 1) if json.dumps(name, ensure_ascii=False) in line
            )
            raise _bad(path, text, line, 1, f"what it says of {json.dumps(name)} is not what a lock says")
    return parts


def _text(path: Path) -> str:
    if not path.is_file():
        path.stat()
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    return data.decode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'"{next(name for name in names if names.count(name) > 1)}" is in it twice')
    return found


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict) or not all(isinstance(part.get(section), dict) for section in _SECTIONS):
        return False
    files, kinds = part["files"].values(), part["kinds"].values()
    return all(
        isinstance(file, dict) and isinstance(file.get("sha256"), str) and isinstance(file.get("size"), int)
        for file in files
    ) and all(isinstance(kind, dict) and isinstance(kind.get("code", ""), str) for kind in kinds)


def _bad(path: Path, text: str, line: int, column: int, message: str) -> WorkflowError:
    lines = text.split("\n")
    place = Place(str(path), line, column, lines[line - 1] if line <= len(lines) else "")
    hint = "Take it from before the change, or remove it and lock the workflows anew."
    return WorkflowError([Mistake("bad-lock", message, place, hint)])


def _write(path: Path, text: str) -> None:
    """Write the whole file or nothing."""
    beside = path.with_name(f".{NAME}-{secrets.token_hex(8)}")
    try:
        with beside.open("x", encoding="utf-8") as file:
            reached("lock.write")
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        reached("lock.rename")
        beside.replace(path)
    except OSError as error:
        raise MissingError(f'"{path}" cannot be written: {error.strerror or error}') from error
    finally:
        beside.unlink(missing_ok=True)
