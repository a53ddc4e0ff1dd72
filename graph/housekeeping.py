"""What `darkroom cache` says and does."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from graph import parcel, pins, upkeep
from graph.cache import default_folder
from graph.errors import UsageError
from graph.eviction import limit
from graph.gathered import gather, gather_shared
from graph.plan import Plan
from graph.quantities import age_words, counted, parse_age, parse_size, size_words
from graph.tables import clean, render

_NO_LIMIT = sys.maxsize
_NAMED = 20
"""How many damaged values are named."""

Warn = Callable[[str], None]


def tell(
    action: str,
    folder: Path | None,
    request: argparse.Namespace,
    width: int | None,
    colour: bool,
    planned: Callable[[str], Plan],
) -> str:
    """Do what is asked for with the cache in a folder, by default the user's, and tell of it.

    planned: gives the plan of the workflow in a file.
    Raises UsageError for a folder that is no cache, and for words that do not belong to the action.
    """
    _check_options(action, request)
    if folder == Path("none"):
        raise UsageError("--cache none keeps nothing that could be looked after")
    warnings: list[str] = []
    actions = _ACTIONS | {"pin": partial(_pin, planned), "export": partial(_export, planned)}
    report = actions[action](_folder(folder), warnings.append, request)
    if request.json:
        return json.dumps(_plain(asdict(report)) | {"warnings": warnings}, ensure_ascii=False)
    return "\n".join([*(f"warning: {warning}" for warning in warnings), _told(report, request, width, colour)])


# What is done


def _ls(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Listing:
    return upkeep.ls(folder, warn, request.most)


def _size(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Size:
    return upkeep.size(folder, warn)


def _verify(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Verified:
    return upkeep.verify(folder, warn)


def _gc(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Evicted:
    """Without a limit, the user's own and that of `upkeep`; with one of the two, that one alone."""
    if request.max_size is None and request.older_than is None:
        return upkeep.gc(folder, warn, limit() or _NO_LIMIT)
    most = parse_size(request.max_size) if request.max_size is not None else _NO_LIMIT
    age = parse_age(request.older_than) if request.older_than is not None else float(_NO_LIMIT)
    return upkeep.gc(folder, warn, most, age)


def _clear(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Cleared:
    there = upkeep.size(folder, warn)
    if not request.yes and not _agreed(folder, there, request):
        raise UsageError("nothing was removed")
    return upkeep.clear(folder, warn)


def _pin(planned: Callable[[str], Plan], folder: Path, warn: Warn, request: argparse.Namespace) -> pins.Pinned:
    what = request.names[0]
    if pins.is_key(what) and not Path(what).exists():
        return pins.pin_result(folder, warn, what, request.name)
    return pins.pin_workflow(folder, warn, gather(planned(what)), request.name)


def _unpin(folder: Path, warn: Warn, request: argparse.Namespace) -> pins.Unpinned:
    return pins.unpin(folder, warn, request.names[0])


def _pins(folder: Path, warn: Warn, request: argparse.Namespace) -> pins.Pins:
    return pins.pins(folder, warn)


def _export(planned: Callable[[str], Plan], folder: Path, warn: Warn, request: argparse.Namespace) -> parcel.Exported:
    gathered = gather_shared(planned(request.names[0]))
    out = request.names[1] if len(request.names) > 1 else f"{re.sub('[^A-Za-z0-9_-]', '-', gathered.name)}.tar"
    return parcel.export(folder, warn, gathered, Path(out).absolute())


def _import(folder: Path, warn: Warn, request: argparse.Namespace) -> parcel.Imported:
    return parcel.import_(folder, warn, Path(request.names[0]))


_ACTIONS: dict[str, Callable[[Path, Warn, argparse.Namespace], Any]] = {
    "ls": _ls,
    "size": _size,
    "verify": _verify,
    "gc": _gc,
    "clear": _clear,
    "unpin": _unpin,
    "pins": _pins,
    "import": _import,
}


def _agreed(folder: Path, there: upkeep.Size, request: argparse.Namespace) -> bool:
    if request.json or not sys.stdin.isatty():
        raise UsageError(f'clear would remove everything in "{folder}"', hint="Say --yes if that is meant.")
    taken = size_words(there.blob_bytes + there.index_bytes)
    pinned = f" and {counted(there.pins, 'pin')}" if there.pins else ""
    question = f"Remove {counted(there.results, 'result')}{pinned} ({taken}) from {folder}? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _folder(folder: Path | None) -> Path:
    try:
        return folder.expanduser() if folder else default_folder()
    except RuntimeError as error:
        raise UsageError(f"the folder of the cache is not known: {error}", hint="Name one with --cache.") from error


_TAKES = {
    "pin": (1, 1, "one workflow, or the beginning of one key"),
    "unpin": (1, 1, "one name"),
    "export": (1, 2, "a workflow, and the file to write"),
    "import": (1, 1, "one file"),
}
"""Of the words behind an action: least, most, what they are."""
_OPTIONS = {
    "--max-size": ("max_size", ("gc",)),
    "--older-than": ("older_than", ("gc",)),
    "--name": ("name", ("pin",)),
    "--set": ("set", ("pin", "export")),
    "--nodes": ("nodes", ("pin", "export")),
}
"""Options that go with some actions: where their value is, which actions."""


def _check_options(action: str, request: argparse.Namespace) -> None:
    for option, (name, actions) in _OPTIONS.items():
        if getattr(request, name) not in (None, "", []) and action not in actions:
            raise UsageError(f"{option} goes with cache {' and '.join(actions)}, not with cache {action}")
    least, most, what = _TAKES.get(action, (0, 0, "nothing"))
    if not least <= len(request.names) <= most:
        raise UsageError(f"cache {action} takes {what}, not {counted(len(request.names), 'word')}")
    if request.most < 1:
        raise UsageError(f"--most takes a number from 1, not {request.most}")


# What is said


def _told(report: object, request: argparse.Namespace, width: int | None, colour: bool) -> str:
    match report:
        case upkeep.Listing():
            return _listing(report, width, colour)
        case upkeep.Size():
            return _measured(report, width)
        case upkeep.Verified():
            return _verified(report)
        case upkeep.Evicted():
            return _evicted(report, request)
        case upkeep.Cleared():
            pinned = f"; {counted(report.pins, 'pin')} went too" if report.pins else ""
            return f"removed {counted(report.results, 'result')} and {_values(report.blobs, report.bytes)}{pinned}"
        case pins.Pinned():
            return _pinned(report)
        case pins.Unpinned():
            return f'let go of "{clean(report.pin.name)}": {_values(report.pin.blobs, report.pin.bytes)}'
        case pins.Pins():
            return _pin_list(report, width, colour)
        case parcel.Exported():
            return _exported(report)
        case parcel.Imported():
            return _imported(report)
    raise TypeError(f"no words for {report!r}")


def _listing(listing: upkeep.Listing, width: int | None, colour: bool) -> str:
    if not listing.entries:
        return f"no results in {listing.folder}"
    now = time.time()
    rows = [
        (
            entry.kind or "?",
            entry.key[:12],
            size_words(entry.bytes),
            age_words(now - entry.made),
            age_words(now - entry.used),
            "" if entry.is_whole else "evicted in part" if entry.bytes else "evicted",
        )
        for entry in listing.entries
    ]
    table = render(rows, ("kind", "key", "size", "made", "last used", ""), width, colour)
    return f"{table}\n\n{len(listing.entries):,} of {listing.results:,} results in {listing.folder}"


def _measured(size: upkeep.Size, width: int | None) -> str:
    rows = [
        ("folder", str(size.folder)),
        ("results", f"{size.results:,}"),
        ("values", _values(size.blobs, size.blob_bytes)),
        ("index", f"{size_words(size.index_bytes)}, with the small values in it"),
    ]
    if size.pins:
        rows.append(("pinned", f"{_values(size.pinned_blobs, size.pinned_bytes)} by {counted(size.pins, 'pin')}"))
    return render(rows, width=width)


def _verified(report: upkeep.Verified) -> str:
    read = f"read {_values(report.blobs, report.bytes)}"
    if not report.damaged:
        return f"{read}: all of them sound"
    named = [f"  {digest[:12]}" for digest in report.dropped[:_NAMED]]
    more = report.damaged - len(named)
    lines = [f"{read}: dropped {report.damaged:,} that were damaged; they are computed again when needed", *named]
    return "\n".join([*lines, *([f"  and {more:,} more"] if more else [])])


def _evicted(report: upkeep.Evicted, request: argparse.Namespace) -> str:
    lines = [f"evicted {_values(report.blobs, report.bytes)}; kept {_values(report.kept_blobs, report.kept_bytes)}"]
    if report.litter:
        lines.append(f"removed {counted(report.litter, 'file')} that interrupted runs left")
    if report.outdated_bytes:
        lines.append(f"removed the cache of an older Darkroom ({size_words(report.outdated_bytes)})")
    if request.max_size is not None and report.kept_bytes > parse_size(request.max_size):
        lines.append("more than --max-size is kept: what was used lately, or since a running process began, stays")
    return "\n".join(lines)


def _pinned(report: pins.Pinned) -> str:
    kept = _values(report.pin.blobs, report.pin.bytes)
    lines = [f'pinned {kept} as "{clean(report.pin.name)}"', *_left_out(report.pin.evicted, report.missing)]
    return "\n".join(lines)


def _pin_list(report: pins.Pins, width: int | None, colour: bool) -> str:
    if not report.pins:
        return "nothing is pinned"
    rows = [(pin.name, f"{pin.blobs:,}", size_words(pin.bytes), f"{pin.evicted:,}") for pin in report.pins]
    return render(rows, ("name", "values", "size", "evicted before"), width, colour)


def _exported(report: parcel.Exported) -> str:
    what = f"{counted(report.results, 'result')} and {counted(report.blobs, 'value')}"
    first = f"wrote {what} to {report.path} ({size_words(report.bytes)})"
    return "\n".join([first, *_left_out(report.evicted, report.missing)])


def _left_out(evicted: int, missing: tuple[str, ...]) -> Iterator[str]:
    if evicted:
        yield f"not there any more: {counted(evicted, 'value')}; a run with --force makes them again"
    if missing:
        yield f"not computed yet: {', '.join(missing)}"


def _imported(report: parcel.Imported) -> str:
    told = f'read {counted(report.results, "result")} and {_values(report.blobs, report.bytes)} of "{report.workflow}"'
    ours = f"{counted(report.kept, 'result')} with other outputs were known here, and stay as they are"
    return f"{told}\n{ours}" if report.kept else told


def _values(count: int, size: int) -> str:
    return f"{counted(count, 'value')} ({size_words(size)})"


def _plain(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in report.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value
