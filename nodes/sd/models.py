"""A model on disk, whatever its layout. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from graph.errors import MissingError
from nodes.sd.alone import alone
from nodes.sd.folders import ModelFolder
from nodes.sd.headers import Weight
from nodes.sd.single_file import single_file
from nodes.sd.tokenizers import Tokenizer


class Model(Protocol):
    """What a model says of itself, in diffusers' words."""

    @property
    def path(self) -> Path: ...

    @property
    def index(self) -> dict[str, Any]:
        """model_index.json: the pipeline's class, and [library, class] of every component."""

    def config(self, component: str) -> dict[str, Any]:
        """A component's config.json. Raises MissingError."""

    def json(self, *name: str) -> dict[str, Any]:
        """Another JSON object of the model. Raises MissingError."""

    def weights(self, component: str) -> Iterable[tuple[str, Weight]]:
        """Where the weights of a component lie, by diffusers' names, or older ones of its. Raises MissingError."""

    def tokenizer(self, name: str) -> Tokenizer:
        """The files of "tokenizer", or "tokenizer_2". Raises MissingError."""

    def wrong(self, name: str, reason: str) -> MissingError:
        """The error for a config with senseless content."""

    def code(self, name: str, reason: str) -> MissingError:
        """The error for a model that would bring code of its own."""


def opened(path: Path, prediction: str = "") -> Model:
    """Look at a model; its weights are not read. prediction: what its U-Net predicts, if who uses it says so.

    Raises MissingError for a single file that is no checkpoint; of a folder, when a config is asked for and not there.
    """
    if found := alone(path):
        return found
    return single_file(path, prediction) if path.is_file() else ModelFolder(path, prediction)
