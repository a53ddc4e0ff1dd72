"""The watermark beside the package invisible-watermark: what `watermark.py` prints, as a report."""

from __future__ import annotations

from benchmarks.processes import python
from benchmarks.report import Bound, Report, Table


def full() -> Report:
    """Time it on pictures of 512 and 2048 pixels a side."""
    return measure((512, 2048))


def quick() -> Report:
    """See that it works."""
    return measure((256,))


def measure(sides: tuple[int, ...]) -> Report:
    """Run the script once for each size, and put its rows together."""
    tables = [_cells(python("-m", "benchmarks.watermark", str(side)).printed) for side in sides]
    columns, rows = tables[0][0], [row for table in tables for row in table[2:]]
    least = 5 if max(sides) >= 2048 else 1
    checked = [row for row in rows if row[0].startswith(str(max(sides)))]
    slower = [" ".join(row[:3]) for row in checked if float(row[-1]) < least]
    return Report(
        "watermark",
        "What does signing a picture, and reading the signature, cost beside the package invisible-watermark?",
        (Table("CPU seconds, best of three", columns, tuple(rows)),),
        (
            Bound(
                f"every row of {max(sides)}x{max(sides)}",
                f"at least {least} times as fast",
                "; ".join(slower) or f"at least {min(float(row[-1]) for row in checked)}",
                not slower,
            ),
        ),
    )


def _cells(markdown: str) -> list[tuple[str, ...]]:
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in markdown.splitlines() if line]
