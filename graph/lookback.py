"""What `darkroom history` says: the runs that were made, or all of one."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.cache import Cache, Memory, Warn, default_folder, open_cache
from graph.errors import DarkroomError, MissingError, UsageError, suggest
from graph.events import SavedOutput
from graph.history import Past, read
from graph.index import FORMAT
from graph.metadata import read_metadata
from graph.provenance import read_origin, versions
from graph.report import duration
from graph.requests import is_picture
from graph.runs import MOST, NOW, Noted
from graph.standing import as_typed
from graph.tables import GAP, cut, render, seen_width
from graph.workflow import load

_HEADER = ("run", "when", "workflow", "state", "ran", "cached", "computed", "saved", "again", "outputs", "params")
_LONGEST = 32
"""Columns of a param's value in the list."""
_SPARE = ("saved", "again", "computed", "cached", "ran", "params")
"""What a narrow list goes without, first to last; `history NUMBER` tells it."""
_READABLE = 12
"""Columns of the params below which nobody can read them."""


def tell(request: argparse.Namespace, warn: Warn, width: int | None, colour: bool) -> str:
    """Tell of the runs of a cache: of one by its number, or of the last ones, of all workflows or of one.

    Raises UsageError for what was never run, MissingError for a picture that tells of no workflow.
    """
    if request.most < 1:
        raise UsageError(f"--most takes a number from 1, not {request.most}")
    with contextlib.closing(_opened(request.cache, warn)) as cache:
        if request.what.isdecimal():
            past = _one(cache, int(request.what[:20]))
            before = _before(cache, past)
            if request.json:
                return json.dumps(_as_json(past, before), ensure_ascii=False)
            return _full(past, before, width, colour)
        runs = _some(cache, request.what, request.most)
        pairs = [(past, _before(cache, past)) for past in runs]
    if request.json:
        return json.dumps({"runs": [_as_json(past, before) for past, before in pairs]}, ensure_ascii=False)
    return _listed([_row(*pair) for pair in pairs], width, colour) if pairs else "nothing was run yet"


def _opened(named: str, warn: Warn) -> Cache:
    if named == "none":
        raise UsageError("--cache none keeps no history")
    folder = Path(named).expanduser() if named else default_folder()
    if not (folder / f"v{FORMAT}").is_dir():
        raise UsageError(f'there is no cache in "{folder}"', hint="The first run makes one.")
    cache = open_cache(folder, warn)
    if isinstance(cache, Memory):
        raise MissingError(f'the cache in "{folder}" cannot be used', hint="Name another with --cache.")
    return cache


def _one(cache: Cache, number: int) -> Past:
    noted = cache.run(number) if number < NOW else None
    past = read(noted) if noted else None
    if past:
        return past
    if noted:
        raise UsageError(f"run {number} was noted by another version of Darkroom")
    last = cache.runs()
    hint = f"The last one is {last[0].number}." if last else "Nothing was run yet."
    raise UsageError(f"there is no run {number} in the history", hint=hint)


def _some(cache: Cache, what: str, most: int) -> list[Past]:
    name = _workflow(what) if what else ""
    if what and not cache.runs(name):
        known = dict.fromkeys(noted.workflow for noted in cache.runs("", MOST))
        raise UsageError(f'no run of "{name}" is in the history', hint=suggest(name, known))
    if not is_picture(what):
        return _read_all(cache.runs(name, most))
    path = str(Path(what).absolute())
    return [past for past in _read_all(cache.runs(name, MOST)) if any(path == one.path for one in past.outputs)][:most]


def _workflow(what: str) -> str:
    """The name of the workflow that a file, or a picture, or a name stands for."""
    if is_picture(what):
        return read_origin(read_metadata(Path(what)), what).name
    if not Path(what).is_file():
        return what
    try:
        return load(what).name
    except DarkroomError:  # what was run before may be broken now
        return Path(what).stem


def _read_all(runs: Iterable[Noted]) -> list[Past]:
    return [past for past in map(read, runs) if past]


def _before(cache: Cache, past: Past) -> Past | None:
    """The run of the same workflow before this one."""
    return next(iter(_read_all(cache.runs(past.asked.workflow, 1, below=past.number))), None)


def command(past: Past) -> tuple[str, ...]:
    """The words that ask for the same again, as typed from the current folder."""
    asked = past.asked
    words = ["darkroom", "run", as_typed(asked.source) if asked.source else "-"]
    words += [part for name in asked.given for part in ("--set", f"{name}={_typed(asked.params[name])}")]
    words += [part for folder in asked.nodes for part in ("--nodes", as_typed(folder))]
    words += ["--out", as_typed(asked.out)] if asked.out != str(Path.cwd() / "outputs") else []
    words += ["--device", asked.device] if asked.device != "auto" else []
    return (*words, *(["--only", asked.only] if asked.only else []))


def _typed(value: object) -> str:
    """A param's value as `--set` takes it; a path as a user would type it."""
    return str(value).lower() if isinstance(value, bool) else as_typed(str(value))


# What is said


def _listed(rows: Sequence[Sequence[str]], width: int | None, colour: bool) -> str:
    """The table of runs, without columns for which there is no room."""
    columns = dict(zip(_HEADER, zip(*rows, strict=True), strict=True))
    takes = {name: max(map(seen_width, (name, *cells))) for name, cells in columns.items()}
    takes["params"] = min(takes["params"], _READABLE)
    for spare in _SPARE:
        if width is not None and sum(takes[name] + GAP for name in columns) - GAP > width:
            del columns[spare]
    return render(list(zip(*columns.values(), strict=True)), tuple(columns), width, colour)


def _row(past: Past, before: Past | None) -> tuple[str, ...]:
    changed = _changed(past, before)
    params = sorted(past.asked.params, key=lambda name: (name not in changed, name not in past.asked.given))
    return (
        str(past.number),
        _when(past.made),
        past.asked.workflow,
        f"failed {past.failed}" if past.failed else past.ending,
        str(past.ran),
        str(past.hits),
        duration(past.computed) if past.computed >= 0.005 else "",
        duration(past.saved) if past.saved >= 0.05 else "",
        f"{past.times} x" if past.times else "",
        _outputs(past.outputs),
        ", ".join(_param(past, name, changed) for name in params),
    )


def _full(past: Past, before: Past | None, width: int | None, colour: bool) -> str:
    asked = past.asked
    facts = [
        ("when", _when(past.made)),
        (
            "took",
            f"{duration(past.seconds)}; computed {duration(past.computed)}, the cache saved {duration(past.saved)}",
        ),
        *([("again", f"{past.times} x, all of it cached; last {_when(past.last)}")] if past.times else []),
        ("workflow", f"{as_typed(asked.source)}{_since(asked.source, asked.text)}" if asked.source else "(no file)"),
        ("command", shlex.join(command(past))),
    ]
    nodes = [
        (node.node, node.kind, node.action, f"{node.seconds:.2f}", node.device, node.key[:12], node.why.split("\n")[0])
        for node in past.nodes
    ]
    hidden = past.ran + past.hits + past.skipped + past.failed - len(nodes)
    tables = [
        _table(("param", "value", ""), _params(past, before), width),
        _table(("node", "kind", "action", "seconds", "device", "key", "why"), nodes, width, colour)
        + (f"\nand {hidden} more, cached" if hidden > 0 else ""),
        _table(("output", "path", "state", "digest"), map(_output, past.outputs), width),
        _table(("file", "sha256"), sorted(asked.files.items()), width),
        _table(("kind", "version"), [(kind, str(version)) for kind, version in asked.kinds.items()], width),
        _table(("package", "version", ""), _packages(past), width),
    ]
    head = f"run {past.number} of {asked.workflow}: {past.ending}"
    return "\n\n".join([f"{head}\n{render(facts, width=width)}", *filter(None, tables)])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], width: int | None, colour: bool = False) -> str:
    lines = list(rows)
    return render(lines, header, width, colour) if lines else ""


def _params(past: Past, before: Past | None) -> list[tuple[str, str, str]]:
    changed = _changed(past, before)
    number = before.number if before else 0
    told = [
        (name, _plain(value), f"was {_plain(changed[name])} in run {number}" if name in changed else "set"
         if name in past.asked.given else "")
        for name, value in past.asked.params.items()
    ]  # fmt: skip
    return sorted(told, key=lambda row: (not row[2].startswith("was"), not row[2]))


def _packages(past: Past) -> list[tuple[str, str, str]]:
    now = versions()
    return [
        (name, version, "" if now.get(name) == version else f"now {now.get(name, 'gone')}")
        for name, version in past.versions.items()
    ]


def _changed(past: Past, before: Past | None) -> dict[str, Any]:
    """The params that have another value than in the run before, with what they were there."""
    was = before.asked.params if before else {}
    return {name: was[name] for name, value in past.asked.params.items() if name in was and was[name] != value}


def _param(past: Past, name: str, changed: Mapping[str, Any]) -> str:
    told = f"{name}={cut(_plain(past.asked.params[name]), _LONGEST)}"
    return f"{told} (was {cut(_plain(changed[name]), _LONGEST)})" if name in changed else told


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _outputs(outputs: Sequence[SavedOutput]) -> str:
    shown = [
        f"{as_typed(one.path)}{_noticed(one)}" if one.path else cut(_plain(one.value), _LONGEST) for one in outputs
    ]
    return shown[0] + (f" and {len(shown) - 1} more" if shown[1:] else "") if shown else ""


def _noticed(output: SavedOutput) -> str:
    state = _state(output)
    return "" if state == "there" else f" ({state})"


def _output(output: SavedOutput) -> tuple[str, str, str, str]:
    what = as_typed(output.path) if output.path else _plain(output.value)
    return output.name, what, _state(output) if output.path else "", output.digest


def _state(output: SavedOutput) -> str:
    """Whether a file is there, with the bytes that were written."""
    try:
        with open(output.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return "gone"
    return "there" if output.file in ("", f"sha256:{digest}") else "altered"


def _since(source: str, text: str) -> str:
    """What became of the file since it was run."""
    if not Path(source).exists():
        return " (gone)"
    if is_picture(source):
        return ""
    try:
        now = hashlib.sha256(load(source).text.encode("utf-8", "surrogatepass")).hexdigest()
    except DarkroomError:
        now = ""
    return "" if now == text else " (changed since; a picture that is there holds it as it was)"


def _when(made: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made))


def _as_json(past: Past, before: Past | None) -> dict[str, Any]:
    asked = past.asked
    outputs = [
        {"name": one.name, "path": one.path, "digest": one.digest, "value": one.value}
        | ({"state": _state(one)} if one.path else {})
        for one in past.outputs
    ]
    nodes = [
        {"node": node.node, "kind": node.kind, "action": node.action, "seconds": node.seconds, "device": node.device,
         "key": node.key, "why": node.why}
        for node in past.nodes
    ]  # fmt: skip
    plain = ("number", "made", "ending", "seconds", "computed", "saved", "ran", "hits", "skipped", "failed", "times")
    told = {name: getattr(past, name) for name in (*plain, "last")}
    told |= {name: getattr(asked, name) for name in ("workflow", "source", "params", "given", "kinds", "files")}
    told |= {"changed": _changed(past, before), "before": before.number if before else 0}
    return told | {"nodes": nodes, "outputs": outputs, "versions": past.versions, "command": command(past)}
