"""A safety checker on disk: what its folder must hold. Light: no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from graph.errors import MissingError
from graph.filerefs import FileRef
from nodes.sd.folders import ModelFolder, weight_files, weights_in
from nodes.sd.search import find

COMPONENT = "safety_checker"


class SafetyFile(FileRef):
    """A folder as diffusers saves StableDiffusionSafetyChecker, alone or as a part of a model."""

    what = "safety checker"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a checker and see that it is whole: a path, or a name on the search path.

        Raises MissingError: nothing there, no such checker, weights that are damaged, code in the folder.
        """
        path = find("safety", written, folder)
        path = path / COMPONENT if (path / COMPONENT).is_dir() else path
        ModelFolder(path).refuse_code()
        vision(path)
        for _ in weights_in(path):
            pass
        return cls(written, path)

    def members(self) -> tuple[tuple[str, Path], ...]:
        """Its config and weights."""
        paths = (self.path / "config.json", *weight_files(self.path))
        return tuple((path.name, path) for path in sorted(paths))


def vision(path: Path) -> dict[str, Any]:
    """The config of the network that looks at pictures, with "projection_dim" as the whole checker has it.

    Raises MissingError for the config of something else.
    """
    folder = ModelFolder(path)
    config = folder.json("config.json")
    told = config.get("vision_config")
    if not isinstance(told, dict) or not isinstance(config.get("projection_dim", 512), int):
        raise MissingError(
            f'"{path.name}" is no safety checker: its config.json has no vision_config',
            hint="Name the folder safety_checker of a Stable Diffusion 1 model in the diffusers layout.",
        )
    for key in ("attn_implementation", "_attn_implementation", "auto_map"):
        if told.get(key) not in (None, "eager", "sdpa"):
            raise folder.code("config.json", f'asks by "{key}" for code')
    return {**told, "projection_dim": config.get("projection_dim", 512)}
