"""What `darkroom cache` says and does."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from graph import upkeep
from graph.cache import default_folder
from graph.errors import UsageError
from graph.report import size_words
from graph.tables import render

_UNITS = {"": 1} | {f"{letter}{end}": base**power for power, letter in enumerate("KMGT", 1)
                    for end, base in (("", 1000), ("B", 1000), ("IB", 1024))} | {"B": 1}  # fmt: skip
_SPANS = {"min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_NO_LIMIT = sys.maxsize
_NAMED = 20
"""How many damaged values are named."""

Warn = Callable[[str], None]


def tell(action: str, folder: Path | None, request: argparse.Namespace, width: int | None, colour: bool) -> str:
    """Do one of ls, size, verify, gc and clear on the cache in a folder, by default the user's, and tell of it.

    Raises UsageError for a folder that is no cache, and for a size or an age that is none.
    """
    _check_options(action, request)
    if folder == Path("none"):
        raise UsageError("--cache none keeps nothing that could be looked after")
    warnings: list[str] = []
    report = _ACTIONS[action](_folder(folder), warnings.append, request)
    if request.json:
        return json.dumps(_plain(asdict(report)) | {"warnings": warnings}, ensure_ascii=False)
    return "\n".join([*(f"warning: {warning}" for warning in warnings), _told(report, request, width, colour)])


def parse_size(text: str) -> int:
    """Read a size as people write it ("10GB", "1.5 GiB", "500M", "1000") as bytes. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    if not found or found[2].upper() not in _UNITS:
        raise UsageError(f'--max-size takes a size, not "{text}"', hint="For example 10GB, 1.5GiB or 500M.")
    return round(float(found[1]) * _UNITS[found[2].upper()])


def parse_age(text: str) -> float:
    """Read an age as people write it ("30d", "12h", "2 w", "45min") as seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]+)", text.strip(), re.ASCII)
    if not found or found[2] not in _SPANS:
        raise UsageError(f'--older-than takes an age, not "{text}"', hint="For example 30d, 12h, 2w or 45min.")
    return float(found[1]) * _SPANS[found[2]]


def age_words(seconds: float) -> str:
    """Tell how long ago something was: "3 h ago", "12 days ago"."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit != "days" and seconds >= length):
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


# What is done


def _ls(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Listing:
    return upkeep.ls(folder, warn, request.most)


def _size(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Size:
    return upkeep.size(folder, warn)


def _verify(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Verified:
    return upkeep.verify(folder, warn)


def _gc(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Evicted:
    """Without a limit, those of `upkeep`; with one of the two, that one alone."""
    if request.max_size is None and request.older_than is None:
        return upkeep.gc(folder, warn)
    most = parse_size(request.max_size) if request.max_size is not None else _NO_LIMIT
    age = parse_age(request.older_than) if request.older_than is not None else float(_NO_LIMIT)
    return upkeep.gc(folder, warn, most, age)


def _clear(folder: Path, warn: Warn, request: argparse.Namespace) -> upkeep.Cleared:
    there = upkeep.size(folder, warn)
    if not request.yes and not _agreed(folder, there, request):
        raise UsageError("nothing was removed")
    return upkeep.clear(folder, warn)


_ACTIONS: Mapping[str, Callable[[Path, Warn, argparse.Namespace], Any]] = {
    "ls": _ls,
    "size": _size,
    "verify": _verify,
    "gc": _gc,
    "clear": _clear,
}


def _agreed(folder: Path, there: upkeep.Size, request: argparse.Namespace) -> bool:
    if request.json or not sys.stdin.isatty():
        raise UsageError(f'clear would remove everything in "{folder}"', hint="Say --yes if that is meant.")
    taken = size_words(there.blob_bytes + there.index_bytes)
    print(
        f"Remove {_counted(there.results, 'result')} ({taken}) from {folder}? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _folder(folder: Path | None) -> Path:
    try:
        return folder.expanduser() if folder else default_folder()
    except RuntimeError as error:
        raise UsageError(f"the folder of the cache is not known: {error}", hint="Name one with --cache.") from error


def _check_options(action: str, request: argparse.Namespace) -> None:
    given = {"--max-size": request.max_size, "--older-than": request.older_than}
    strange = next((name for name, value in given.items() if value is not None and action != "gc"), "")
    if strange:
        raise UsageError(f"{strange} goes with cache gc, not with cache {action}")
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
            return f"removed {_counted(report.results, 'result')} and {_values(report.blobs, report.bytes)}"
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
        lines.append(f"removed {_counted(report.litter, 'file')} that interrupted runs left")
    if request.max_size is not None and report.kept_bytes > parse_size(request.max_size):
        lines.append("more than --max-size is kept: what was used lately, or since a running process began, stays")
    return "\n".join(lines)


def _values(count: int, size: int) -> str:
    return f"{_counted(count, 'value')} ({size_words(size)})"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _plain(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in report.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value
