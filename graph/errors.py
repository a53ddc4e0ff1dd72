"""What can go wrong, and how it is told.

    DarkroomError            the user's mistakes: a message, a hint, an exit code, never a traceback
    ├── UsageError           the command line is wrong                                    exit 2
    ├── WorkflowError        a workflow is wrong: every `Mistake` of it, with its place   exit 2, or 3
    ├── MissingError         a file or model is not there, or is not what it should be    exit 3
    ├── StepError            a node could not do its work                                 exit 1
    │   └── OutOfMemory      with what was needed, what was free, and what lowers it
    │       └── TooLarge     not even with nothing else in the device's memory
    └── Stopped              the user asked to stop                                       exit 128 + signal

Our own mistakes are ordinary exceptions, and a traceback of them is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from graph.records import record

_CONTROLS = {code: "·" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Signs in names from files that a terminal would obey: they would clear it, or write over what was said."""


@record
class Place:
    """Where in a text something stands. Lines and columns count from 1, columns in characters."""

    file: str
    line: int
    column: int
    text: str = ""
    """The source line itself, without its line break."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a workflow, and the way out."""

    code: str
    """A word for programs, e.g. "unknown-parameter". Stable across releases."""
    message: str
    place: Place | None = None
    hint: str = ""
    missing: bool = False
    """True where nothing but a file or a model is lacking (exit 3 instead of 2)."""

    def __str__(self) -> str:
        lines = [f"{self.place}: {self.message}" if self.place else self.message]
        if self.place and self.place.text:
            lines += excerpt(self.place)
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines).translate(_CONTROLS)


class DarkroomError(Exception):
    """A user's mistake."""

    exit_code = 2
    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return (f"{self.message}\n  {self.hint}" if self.hint else self.message).translate(_CONTROLS)


class UsageError(DarkroomError):
    """The command line asks for something that cannot be."""

    code = "usage"


class MissingError(DarkroomError):
    """A file or model is not there, cannot be read, or is not what its use needs."""

    exit_code = 3
    code = "missing-file"


class StepError(DarkroomError):
    """A node could not do its work; other branches of the graph go on."""

    exit_code = 1
    code = "step-failed"


class OutOfMemory(StepError):
    """A device has not enough memory for a step."""

    code = "out-of-memory"


class TooLarge(OutOfMemory):
    """A device would not have enough memory for a step if nothing else were in it."""


class Stopped(DarkroomError):
    """The user asked to stop. `signal` is 2 (Ctrl-C) or 15 (terminate)."""

    code = "stopped"

    def __init__(self, signal: int = 2) -> None:
        super().__init__("stopped; what was finished is kept")
        self.signal = signal
        self.exit_code = 128 + signal


class WorkflowError(DarkroomError):
    """A workflow is wrong. Carries every mistake found, in the order of the file."""

    code = "workflow"

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=_in_file_order))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))
        self.exit_code = 3 if all(mistake.missing for mistake in self.mistakes) else 2


def suggest(word: str, candidates: Iterable[str], elsewhere: Mapping[str, str] = MappingProxyType({})) -> str:
    """Offer the one name that is near, otherwise the list; nothing if there is nothing to offer.

    elsewhere: words of other programs, and what each is called here; where that is a candidate, it is the one.
    """
    names = sorted(set(candidates))
    theirs = elsewhere.get(word)
    if near := theirs if theirs in names else nearest(word, names):
        return f'Did you mean "{near}"?'
    return f"Possible: {_listed(names)}." if names else ""


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that is nearest to a word, whatever the case and what parts its words; "" if none is near."""
    from difflib import SequenceMatcher, get_close_matches

    folded, meant = {_folded(name): name for name in names}, _folded(word)
    # Of two that are equally near, the one that begins alike.
    alike = [
        (SequenceMatcher(None, name, meant).ratio(), SequenceMatcher(None, name, meant[: len(name)]).ratio(), name)
        for name in get_close_matches(meant, folded, n=3, cutoff=0.6)
    ]
    return folded[max(alike)[-1]] if alike else ""


def _folded(name: str) -> str:
    """ "DPM++ 2M" and "dpmpp_2m" are one word, "VAEDecode" and "vae_decode" too."""
    return re.sub(r"[\s_-]+", "", name.casefold().replace("+", "p"))


def excerpt(place: Place, width: int = 110) -> list[str]:
    """Show the source line of a place, cut to `width`, with a caret below the column."""
    start = max(0, place.column - 1 - width // 2) if len(place.text) > width else 0
    shown = place.text[start : start + width].replace("\t", " ")
    shown = "".join(letter if letter.isprintable() else "·" for letter in shown)
    return [f"  {shown}", f"  {' ' * (place.column - 1 - start)}^"]


def _listed(names: list[str], most: int = 24) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _in_file_order(mistake: Mistake) -> tuple[str, int, int]:
    return (mistake.place.file, mistake.place.line, mistake.place.column) if mistake.place else ("", 0, 0)
