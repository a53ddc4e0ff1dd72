"""What each sample of a batch starts from, and what of it is kept while it is sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from graph.errors import StepError
from graph.values import Latents
from nodes.sd.noise import resumed
from nodes.sd.samplers import Schedule
from nodes.sd.tensors import in_layout, thaw


@dataclass(frozen=True, slots=True)
class Start:
    """One sample of a batch, before its first step."""

    latents: torch.Tensor
    """(1, channels, rows, columns)."""
    noise: torch.Tensor | None
    """To be added to a clean picture; None: to be drawn."""
    is_noise: bool
    generator: torch.Generator
    before: int
    """How many samples of the batch come before this one."""
    among: int
    """How many samples the batch has."""

    def at_level(self, run: Schedule) -> torch.Tensor:
        """Bring the sample to the noise level at which a run begins."""
        return self._scaled(run) if self.is_noise else self._noised(run)

    def _scaled(self, run: Schedule) -> torch.Tensor:
        scaled: torch.Tensor = self.latents * run.scheduler.init_noise_sigma
        return scaled

    def _noised(self, run: Schedule) -> torch.Tensor:
        """Add noise to a clean picture.

        Source: Meng et al. 2021, "SDEdit" (arXiv:2108.01073), algorithm 1.
        """
        clean, noise = self.latents, self.noise
        if noise is None:
            noise = torch.randn(clean.shape, generator=self.generator)
        level: torch.Tensor = run.scheduler.add_noise(clean, noise.to(clean.device, clean.dtype), run.times[:1])
        return level


def starts(latents: Latents, noise: Latents | None, channels: int, like: torch.Tensor) -> Iterator[Start]:
    """Part a batch into single samples, each with its generator, where and in what `like` is.

    Raises StepError for latents that have not this many channels.
    """
    batch = in_layout(thaw(latents.samples), latents.channels_last)
    if batch.shape[1] != channels:
        raise StepError(
            f"latents have {batch.shape[1]} channels, but the model takes {channels}",
            hint="Use noise and VAE of the same model.",
        )
    given = None if noise is None else thaw(noise.samples)
    for index, saved in enumerate((noise or latents).generators):
        one = batch[index : index + 1].to(like.device, like.dtype)
        added = None if given is None else given[index : index + 1]
        yield Start(one, added, latents.is_noise, resumed(saved), index, len(batch))
