"""sampler: from noise to a clean picture, in latent space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import WithJsonSchema, model_validator

from graph.node import Context, Effort, Field, Misfit, Node
from graph.values import Conditioning, Control, Denoiser, Latents
from nodes.sd.methods import Method, ScheduleName, method_schema, resolved, schedule_schema
from nodes.sd.settings import Compat, Settings, check, keeping


class Sampler(
    Node, kind="sampler", version=2, accelerated=True, endings=("end_step",), saves=("halves",),
    elsewhere={
        "KSampler": "sampler", "KSamplerAdvanced": "sampler", "sampler_name": "method", "scheduler": "schedule",
        "denoise": "strength", "denoising_strength": "strength", "cfg_scale": "cfg", "guidance_scale": "cfg",
        "latent_image": "latents", "num_inference_steps": "steps", "start_at_step": "start_step",
        "end_at_step": "end_step",
    },
):  # fmt: skip
    """Denoise latents step by step, steered by two prompts.

    latents: noise, or a clean picture to repaint (`strength` says how much: 0 returns it, 1 keeps almost nothing).
    noise: what to add to a clean picture instead of noise drawn from its own generator.
    Every sample of a batch is sampled alone, with its own generator: the same bits as if it were made by itself.
    controls: ControlNets with their pictures; they steer together.
    cfg: how strongly to follow `positive` rather than `negative`; 1 and less does without `negative`.
    method, schedule: also by the names of other programs ("DPM++ 2M Karras", dpm_2_ancestral, simple ...).
    start_step, end_step: run a part of the steps. What ends early gives latents with noise left in them, for another
    sampler to go on from the same step; a clean picture that starts late is repainted as with `strength`.
    compat: compvis takes the steps of CompVis' scripts of 2022, for ddim, plms and dpmpp_2m.

    Raises StepError where strength * steps is less than one step, where noise has a strength below 1, and where
    the model gives values that are no numbers; OutOfMemory; Stopped, within one step, if the user asked to stop.
    """

    method: Annotated[Method, WithJsonSchema(method_schema())] = Field(
        default="dpmpp_2m", description="the sampling method; docs/samplers.md compares them"
    )
    schedule: Annotated[ScheduleName, WithJsonSchema(schedule_schema())] = Field(
        default="normal", description="how the steps are spaced; normal: as the model's own scheduler has it"
    )
    steps: int = Field(default=30, ge=1, le=1000, description="how many steps from pure noise")
    start_step: int = Field(default=0, ge=0, le=999, description="how many of them to leave out at the start")
    end_step: int | None = Field(default=None, ge=1, le=1000, description="before which of them to stop")
    cfg: float = Field(default=7.5, ge=0, le=100, allow_inf_nan=False, description="guidance scale")
    rescale: float = Field(
        default=0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="how much of what guidance adds to contrast to take back",
    )
    strength: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False, description="how much may change")
    eta: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False, description="fresh noise a step: ddim, tcd")
    compat: Compat = Field(default="diffusers", description="whose steps to take")

    @model_validator(mode="before")
    @classmethod
    def _by_our_names(cls, given: Any) -> Any:
        return resolved(given)

    @model_validator(mode="after")
    def _together(self) -> Sampler:
        check(self._settings())
        return self

    def effort(self, sizes: Mapping[str, int]) -> Effort:
        """Every step goes over all latents; what is repainted by half takes half of the steps."""
        last = self.steps if self.end_step is None else min(self.end_step, self.steps)
        return Effort(sizes["latents"], max(1.0, self.strength * self.steps - (self.steps - last) - self.start_step))

    def misfits(self, arriving: Mapping[str, str]) -> Iterable[Misfit]:
        """Of noise there is nothing to keep."""
        return keeping(self._settings(), [port for port, word in arriving.items() if word == "noise"])

    def _settings(self) -> Settings:
        return Settings(**self.model_dump())

    def run(
        self,
        ctx: Context,
        model: Denoiser,
        positive: Conditioning,
        negative: Conditioning,
        latents: Latents,
        noise: Latents | None = None,
        controls: list[Control] | None = None,
    ) -> Latents:
        from nodes.sd.sampling import sample

        return sample(ctx, model, positive, negative, latents, noise, controls or [], self._settings())
