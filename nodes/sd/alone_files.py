"""Naming components that come without a model. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from graph.errors import MissingError
from graph.filerefs import FileRef
from nodes.sd.alone import AloneFile
from nodes.sd.folders import ModelFolder, weight_files
from nodes.sd.latent_diffusion import check_vae
from nodes.sd.models import opened
from nodes.sd.search import find
from nodes.sd.shelves import Kind
from nodes.sd.single_file import SingleFile

TINY = Path(__file__).parent / "tiny"
LATENTS = {0.18215: "sd", 0.13025: "sdxl", 0.08333: "x4"}
"""Whose latents an autoencoder gives, by the scaling factor in its config."""
NETWORKS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Families by the width of the prompts that their U-Nets attend to."""

ORDER = "controlnet_conditioning_channel_order"


class ComponentFile(FileRef):
    """A component, by path or by name."""

    kind: ClassVar[Kind]
    component: ClassVar[str]
    built: ClassVar[str]
    """The class that diffusers has for it."""

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a component: a file, a folder as diffusers saves it, or a model with one in it.

        Raises MissingError: nothing there, damaged, another kind of thing, code in the folder.
        """
        path = TINY if written == "builtin:tiny" else find(cls.kind, written, folder)
        if path.is_dir():
            path = path / cls.component if (path / "model_index.json").is_file() else path
            ModelFolder(path).refuse_code()
            said = ModelFolder(path).json("config.json").get("_class_name")
            if said != cls.built:
                raise MissingError(f'{cls.what} "{written}" is a {said!r:.60}, but {cls.built} is what can be run')
            weight_files(path)
        found = cls(written, path)
        if not found.says:
            raise MissingError(f'"{written}" holds no {cls.what}', hint=f"Looked at {path}")
        return found

    @property
    def says(self) -> Mapping[str, Any]:
        """Its config."""
        return opened(self.path).config(self.component)

    def members(self) -> tuple[tuple[str, Path], ...]:
        """The config and the weights; of a checkpoint's VAE, the one too that its sidecar puts in its place."""
        if self.path.is_file():
            model = opened(self.path)
            other = model.other_vae if isinstance(model, SingleFile) and self.component == "vae" else ()
            return (*super().members(), *other)
        paths = [self.path / "config.json", *weight_files(self.path)]
        return tuple((path.name, path) for path in sorted(paths))


class VaeFile(ComponentFile):
    """An autoencoder without a model."""

    what, kind, component, built = "VAE", "vae", "vae", "AutoencoderKL"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """As every component; raises MissingError also for numbers in its config that are none."""
        found = super().find(written, folder)
        check_vae(opened(found.path))
        return found

    @property
    def latents(self) -> str:
        """The word for its latent space; "" where it does not say: the weights alone are of one shape for all."""
        if isinstance(opened(self.path), AloneFile):
            return ""
        return LATENTS.get(self.says.get("scaling_factor", 0.18215), "")

    def traits(self) -> Mapping[str, str]:
        return {"latents": self.latents} if self.latents else {}


class ControlNetFile(ComponentFile):
    """A ControlNet."""

    what, kind, component, built = "ControlNet", "controlnet", "controlnet", "ControlNetModel"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """As every component; raises MissingError also for one that sees colours in an unknown order."""
        found = super().find(written, folder)
        if (order := found.says.get(ORDER, "rgb")) not in ("rgb", "bgr"):
            raise opened(found.path).wrong("config.json", f'has the unknown "{ORDER}" {order!r:.60}')
        return found

    @property
    def network(self) -> str:
        """The family whose U-Nets it steers; "" where the width of the prompts does not tell."""
        width = self.says.get("cross_attention_dim", 1280)
        return NETWORKS.get(width, "") if isinstance(width, int) else ""

    def traits(self) -> Mapping[str, str]:
        return {"network": self.network} if self.network else {}
