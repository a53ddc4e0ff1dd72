"""What a benchmark found, as Markdown: tables, and bounds that are met or missed."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("torch", "diffusers", "transformers", "pydantic", "PyYAML", "pillow")
"""Those whose version moves the figures."""
RESULTS = Path(__file__).parent / "results"


class Bound(NamedTuple):
    """Something promised, and what was measured."""

    what: str
    promised: str
    measured: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one kind."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """What a reader must know to read it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found."""

    name: str
    question: str
    tables: tuple[Table, ...]
    bounds: tuple[Bound, ...] = ()

    def markdown(self) -> str:
        """The whole page, with the machine and the day that it was measured on."""
        return "\n\n".join(self._parts()) + "\n"

    def _parts(self) -> Iterator[str]:
        yield f"# {self.name}"
        yield self.question
        yield f"Measured on {datetime.date.today().isoformat()}: {machine()}."
        if self.bounds:
            rows = [(*bound[:3], "met" if bound.is_met else "**missed**") for bound in self.bounds]
            yield grid(("promise", "bound", "measured", ""), rows)
        for table in self.tables:
            yield f"## {table.title}"
            yield grid(table.columns, table.rows)
            if table.note:
                yield table.note


def write(report: Report, folder: Path = RESULTS) -> Path:
    """Put a report beside those of the other benchmarks."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{report.name}.md"
    path.write_text(report.markdown(), encoding="utf-8")
    return path


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, figures to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """The machine and the versions, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    hardware = f"{_processor()}, {cores} cores, {memory:.0f} GiB of memory, load average {load}"
    return f"{hardware}; {platform.system()}, Python {platform.python_version()}, {versions}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
