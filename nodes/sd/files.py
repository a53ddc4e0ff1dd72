"""Finding models on disk."""

from __future__ import annotations

from graph.values import FileRef


class ModelFile(FileRef):
    """A model."""

    what = "model"
