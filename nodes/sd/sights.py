"""What some U-Nets see beside the latents. A family of such a U-Net inherits one of these first. Light at import."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from graph.errors import StepError
from graph.values import DepthMap, Guide, Inpainting, Latents, SmallPicture, Tensor
from nodes.sd.families import Family, Task
from nodes.sd.latent_diffusion import LatentDiffusion

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

WORDS: dict[type[Guide], tuple[str, str]] = {
    Inpainting: ("a mask with its picture", "inpaint"),
    DepthMap: ("a depth picture", "depth"),
    SmallPicture: ("the picture to enlarge", "upscale_noise"),
}
"""What each guide is, and the node that gives it."""


def check_guide(family: Family, latents: Latents) -> None:
    """Raise StepError for latents without what the model must see, or with what it cannot see.

    A model that sees nothing beside the latents is held to a mask by the sampler.
    """
    if family.guides and not isinstance(latents.guide, family.guides):
        what, node = WORDS[family.guides[0]]
        raise StepError(
            f'a model of family "{family.name}" sees {what} beside the latents, but these come without',
            hint=f"Let the latents come from {'an' if node[0] in 'aeiou' else 'a'} {node} node.",
        )
    if latents.guide is not None and not isinstance(latents.guide, (*family.guides, Inpainting)):
        what, _ = WORDS[type(latents.guide)]
        raise StepError(
            f'the latents carry {what}, which a model of family "{family.name}" cannot see',
            hint="Load a model that was trained for it.",
        )


class SeesMask(LatentDiffusion):
    """The mask, and the latents of the picture without what it covers."""

    beside_channels = 5
    guides = (Inpainting,)

    def beside(self, denoiser: Module, task: Task) -> torch.Tensor:
        import torch

        guide, masked = cast(Inpainting, task.guide), cast("torch.Tensor", task.masked)
        return torch.cat([_like(task, guide.mask), masked], dim=1)


class SeesDepth(LatentDiffusion):
    """How far away everything is."""

    beside_channels = 1
    guides = (DepthMap,)

    def beside(self, denoiser: Module, task: Task) -> torch.Tensor:
        return _like(task, cast(DepthMap, task.guide).samples)


class SeesSmallPicture(LatentDiffusion):
    """The picture to be enlarged, with noise on it; how much noise is its class."""

    beside_channels = 3
    guides = (SmallPicture,)

    def beside(self, denoiser: Module, task: Task) -> torch.Tensor:
        return _like(task, cast(SmallPicture, task.guide).samples)

    def labels(self, denoiser: Module, task: Task) -> torch.Tensor:
        import torch

        level = cast(SmallPicture, task.guide).level
        return torch.tensor([level], dtype=torch.long, device=task.positive.embeddings.device)


def _like(task: Task, tensor: Tensor) -> torch.Tensor:
    """A tensor where the prompts are, and in what they are."""
    from nodes.sd.tensors import thaw

    return thaw(tensor).to(task.positive.embeddings.device, task.positive.embeddings.dtype)
