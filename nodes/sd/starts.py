"""What each sample of a batch starts from, and what of it is kept while it is sampled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from graph.errors import StepError
from graph.values import Guide, Inpainting, Latents, Tensor
from nodes.sd.families import Family
from nodes.sd.noise import resumed
from nodes.sd.samplers import Schedule
from nodes.sd.tensors import in_layout, thaw


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that is kept outside a mask, for a model that does not see masks."""

    mask: torch.Tensor
    """(1, 1, rows, columns): 1 repaints, 0 keeps."""
    clean: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True, slots=True)
class Begun:
    """One sample at the noise level at which a run begins."""

    latents: torch.Tensor
    """(1, channels, rows, columns)."""
    masked: torch.Tensor | None = None
    """Of an Inpainting guide, as `Task` has it."""
    kept: Kept | None = None

    def held(self, latents: torch.Tensor, run: Schedule, step: int) -> torch.Tensor:
        """After a step (from 0), put back what is kept, at the noise level of the step to come.

        Source: Lugmayr et al. 2022, "RePaint" (arXiv:2201.09865), equation 8, without going back.
        """
        if self.kept is None:
            return latents
        known, coming = self.kept.clean, run.times[step + 1 : step + 2]
        if len(coming):
            known = run.scheduler.add_noise(known, self.kept.noise, coming)
        return (1 - self.kept.mask) * known + self.kept.mask * latents


@dataclass(frozen=True, slots=True)
class Start:
    """One sample of a batch, before its first step."""

    latents: torch.Tensor
    """(1, channels, rows, columns)."""
    noise: torch.Tensor | None
    """To be added to a clean picture; None: to be drawn."""
    is_noise: bool
    is_continued: bool
    """Whether it has the noise of the first step already."""
    guide: Guide | None
    sees_mask: bool
    """Whether the model does."""
    generator: torch.Generator
    before: int
    """How many samples of the batch come before this one."""
    among: int
    """How many samples the batch has."""

    def repaints(self, strength: float) -> bool:
        """Whether something of a picture shows through, to which noise is added."""
        is_picture = not self.is_noise and not self.is_continued
        return is_picture and (strength < 1 or not isinstance(self.guide, Inpainting))

    def begun(self, run: Schedule, strength: float) -> Begun:
        """Bring the sample to the noise level at which a run of this strength begins."""
        if isinstance(self.guide, Inpainting):
            return self._repainted(run, self.guide, strength)
        if self.is_continued:
            return Begun(self.latents)
        if self.is_noise:
            return Begun(self.latents * run.scheduler.init_noise_sigma)
        return Begun(_noised(run, self.latents, self._noise()))

    def _repainted(self, run: Schedule, guide: Inpainting, strength: float) -> Begun:
        """What draws, draws in this order: the picture, if anything of it shows; the noise; the masked picture."""
        shows = strength < 1 or not self.sees_mask
        # Contiguous, as diffusers' repeat for a batch leaves it; the masked picture is not repeated.
        clean = self._drawn(guide, guide.picture).contiguous() if shows else self.latents
        noise = self._noise()
        masked = self._drawn(guide, guide.masked)
        latents = _noised(run, clean, noise) if strength < 1 else noise * run.scheduler.init_noise_sigma
        kept = None if self.sees_mask else Kept(thaw(guide.mask).to(clean.device, clean.dtype), clean, noise)
        return Begun(latents, masked, kept)

    def _noise(self) -> torch.Tensor:
        noise = self.noise
        if noise is None:
            noise = torch.randn(self.latents.shape, generator=self.generator)
        return noise.to(self.latents.device, self.latents.dtype)

    def _drawn(self, guide: Inpainting, distribution: Tensor) -> torch.Tensor:
        parameters = in_layout(thaw(distribution), guide.channels_last)
        sample = guide.scale * DiagonalGaussianDistribution(parameters).sample(self.generator)
        return sample.to(self.latents.device, self.latents.dtype)


def _noised(run: Schedule, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Add noise to a clean picture.

    Source: Meng et al. 2021, "SDEdit" (arXiv:2108.01073), algorithm 1.
    """
    level: torch.Tensor = run.scheduler.add_noise(clean, noise, run.noised)
    return level


def starts(
    latents: Latents, noise: Latents | None, family: Family, channels: int, like: torch.Tensor, adds: bool
) -> Iterator[Start]:
    """Part a batch into single samples, each with its generator, where and in what `like` is.

    adds: whether noise that is left in them is to lie on top of the picture; see Latents.
    Raises StepError for latents that have not this many channels.
    """
    batch = in_layout(thaw(latents.samples), latents.channels_last)
    if batch.shape[1] != channels:
        raise StepError(
            f"latents have {batch.shape[1]} channels, but the model takes {channels}",
            hint="Use noise and VAE of the same model.",
        )
    batch = _with_noise(batch, latents, adds)
    given, sees_mask = None if noise is None else thaw(noise.samples), Inpainting in family.guides
    for index, saved in enumerate((noise or latents).generators):
        one = batch[index : index + 1].to(like.device, like.dtype)
        added = None if given is None else given[index : index + 1]
        yield Start(
            one, added, latents.is_noise, latents.level > 0, latents.guide, sees_mask, resumed(saved), index, len(batch)
        )


def _with_noise(batch: torch.Tensor, latents: Latents, adds: bool) -> torch.Tensor:
    """The batch with the noise left in it as a method has it: on top of the picture, or mixed with it.

    Source: Karras et al. 2022 (arXiv:2206.00364), table 1, the scaling s(t) of the two.
    """
    if latents.level == 0 or latents.adds == adds:
        return batch
    grown = math.sqrt(1 + latents.level**2)
    return batch * grown if adds else batch / grown
