"""Look for what a picture should not show."""

from __future__ import annotations

from typing import Literal, NamedTuple

from graph.node import Context, Field, Node
from graph.values import Picture
from nodes.sd.safety import SafetyFile


class Checked(NamedTuple):
    """The picture, and what was found."""

    image: Picture
    flagged: bool
    found: str


class SafetyCheck(Node, kind="safety_check", version=1, accelerated=True):
    """Look at a picture with the safety checker of Stable Diffusion 1, and hide what it flags. Off without a path.

    path: the folder safety_checker of a model in the diffusers layout, or that model's folder; nothing is fetched.
    action: flag only tells; blur and black hide the whole picture, alpha stays; fail ends the run.
    found: the concepts that were over their limit, and by how much. Their names were never published.
    What is found is written into the pictures that are saved: docs/safety.md.

    Raises StepError with `fail`; MissingError for a folder that holds no such checker.
    """

    path: SafetyFile | None = Field(default=None, description="the checker's folder; without it nothing is looked for")
    action: Literal["flag", "blur", "black", "fail"] = Field(
        default="blur", description="what becomes of a flagged picture"
    )

    def run(self, ctx: Context, image: Picture) -> Checked:
        if self.path is None:
            return Checked(image, False, "")
        from nodes.sd.hiding import found, hidden

        over = found(image, ctx.digest(self.path), ctx)
        told = ", ".join(f"{name} by {score:g}" for name, score in over.items())
        return Checked(hidden(image, self.action, told) if over else image, bool(over), told)
