"""A context for running one node by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from graph.filerefs import FileRef
from graph.metadata import Seal
from graph.values import Picture, SavedFile, Value


@dataclass
class Bench:
    """Runs nodes on the CPU in fp32 and writes down what they say."""

    folder: Path
    device: str = "cpu"
    precision: str = "fp32"
    saving: str = ""
    steps: list[tuple[int, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    places: dict[str, Path] = field(default_factory=dict)

    def progress(self, step: int, total: int, mark: Callable[[], Value] | None = None) -> None:
        self.steps.append((step, total))

    def bookmarks(self) -> list[Value]:
        return []

    def resumed(self, steps: int) -> None:
        """Nobody asks."""

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def digest(self, file: FileRef) -> str:
        content = hashlib.sha256()
        for name, path in file.members():
            content.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
        self.places[content.hexdigest()] = file.path
        return content.hexdigest()

    def locate(self, digest: str) -> Path:
        return self.places[digest]

    def save(
        self, image: Picture, pattern: str, *, format: str = "", quality: int = 95, seal: Seal | None = None
    ) -> SavedFile:
        raise LookupError("a bench has no output folder")


@pytest.fixture
def ctx(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
