"""Lay pictures out on one sheet."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Picture


class Grid(Node, kind="grid", version=1):
    """Lay pictures out in rows, from the left and from the top, on black (clear, if any of them has alpha).

    Every cell is as large as the largest picture; smaller ones stand in the middle. What CompVis calls n_rows is
    `columns`.
    labels: a line for each picture (or, in one line, separated by |), written below it.

    Raises StepError where there is no picture, where labels and pictures differ in number, or where the sheet is
    over 100 million pixels.
    """

    columns: int | None = Field(default=None, ge=1, le=10000, description="in a row; a square unless set")
    padding: int = Field(default=2, ge=0, le=1024, description="pixels between pictures and around them")
    labels: str = Field(default="", description="a line for each picture, or a | between them")

    def run(self, ctx: Context, images: list[Picture]) -> Picture:
        from nodes.sd.sheet import sheet

        return sheet(images, self.columns, self.padding, self.labels)
