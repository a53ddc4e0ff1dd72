"""A model on disk, whatever its layout. Light: no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from graph.errors import MissingError
from nodes.sd.folders import ModelFolder


class Model(Protocol):
    """What a model says of itself, in diffusers' words."""

    @property
    def path(self) -> Path: ...

    def part(self, name: str) -> Path:
        """Where a component or tokenizer lies."""

    @property
    def index(self) -> dict[str, Any]:
        """model_index.json: the pipeline's class, and [library, class] of every component."""

    def config(self, component: str) -> dict[str, Any]:
        """A component's config.json. Raises MissingError."""

    def json(self, *name: str) -> dict[str, Any]:
        """Another JSON object of the model. Raises MissingError."""

    def wrong(self, name: str, reason: str) -> MissingError:
        """The error for a config with senseless content."""

    def code(self, name: str, reason: str) -> MissingError:
        """The error for a model that would bring code of its own."""


def opened(path: Path) -> Model:
    """Look at a model; its weights are not read. Raises MissingError where a config is asked for that is not there."""
    return ModelFolder(path)
