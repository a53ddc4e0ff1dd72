"""What this machine has, what is wrong with it, and the way out of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    """A word or two: "torch", "device cpu", "cache"."""
    state: State
    found: str
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was looked at."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem; warnings are none."""
        return all(finding.state != "problem" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The report as `doctor --json` prints it."""
        raise NotImplementedError

    def text(self, width: int | None, colour: bool) -> str:
        """The report for people."""
        raise NotImplementedError


def examine(cache: Path | None) -> Report:
    """Look at this machine. `cache`: the folder of results; the user's own unless given."""
    raise NotImplementedError
