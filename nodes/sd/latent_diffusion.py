"""What the families of Stable Diffusion share: CLIP text encoders, a U-Net, a KL autoencoder.

A family is a thin subclass in nodes/sd/families/: it says what its prompts and latents are called, and gives the U-Net
what its kind takes besides. Light at import, as the families are.
Source: Rombach et al. 2022 (arXiv:2112.10752).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from graph.errors import StepError
from graph.values import Guide
from nodes.sd.families import Floors, Part, Passage, Prompt, Steering, Task
from nodes.sd.models import Model

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from nodes.sd.tokens import Tokens


UNFED = ("time_cond_proj_dim", "addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim")
"""Keys of a U-Net's config that ask for inputs which not every family gives."""


class Inputs(NamedTuple):
    """What a U-Net takes at every step. Guided, everything comes twice: for the negative prompt, then the positive."""

    embeddings: Tensor
    """(1 or 2, tokens, width)."""
    guidance: float | None
    """The guidance scale, where there is guidance."""
    rescale: float = 0.0
    beside: Tensor | None = None
    """Channels that follow those of the latents."""
    added: Mapping[str, Tensor] | None = None
    """What a U-Net embeds together with the time, by diffusers' names."""
    labels: Tensor | None = None
    """The class of each, for a U-Net that was trained with classes."""


DEEPEST, LARGEST_WIDTH, LARGEST_SIDE, LARGEST_SCALE = 8, 65536, 2048, 1e6
"""What a config may ask for at most: blocks, channels, pixels of the latents, and what latents are divided by."""


SD1_CHANNELS = [320, 640, 1280, 1280]
"""The widths of a U-Net whose config does not say them."""


class LatentDiffusion:
    """The base of the families. What a subclass says of itself:"""

    name = ""
    conditioning = ""
    latents = "sd"
    pipelines: frozenset[str] = frozenset()
    components: Mapping[str, Part] = MappingProxyType(
        {
            "unet": Part("diffusers", "UNet2DConditionModel"),
            "text_encoder": Part("transformers", "CLIPTextModel"),
            "vae": Part("diffusers", "AutoencoderKL"),
        }
    )
    encoders: tuple[str, ...] = ("text_encoder",)
    trained = 64
    """The side of the latents where a config does not say it."""
    beside_channels = 0
    """How many channels its U-Net takes beside those of the latents."""
    fed: Mapping[str, object] = MappingProxyType({"addition_embed_type": "text"})
    """Values of `UNFED` that are provided for. "text" asks for nothing: the U-Net pools the embeddings itself."""
    guides: tuple[type[Guide], ...] = ()
    """What its U-Net cannot do without, one of them."""

    @property
    def network(self) -> str:
        """What is trained on a model also fits those made from it: "sd1-inpainting" is of "sd1"."""
        return self.name.partition("-")[0]

    def recognises(self, model: Model) -> bool:
        """By the number of channels that its U-Net takes. Raises MissingError for numbers that are none."""
        unet, vae = model.config("unet"), model.config("vae")
        _check_numbers(model)
        return bool(unet.get("in_channels", 4) - self.beside_channels == vae.get("latent_channels", 4))

    def cannot(self, model: Model) -> str:
        """Name what needs another family, or inputs that no node gives yet."""
        _check_numbers(model)
        unet = model.config("unet")
        asks = (key for key in UNFED if unet.get(key) not in (None, self.fed.get(key)))
        return next((f'has "{key}" in its U-Net' for key in asks), "")

    def encode(
        self, model: Model, digest: str, encoders: Mapping[str, Module], passage: Passage, clip_skip: int
    ) -> Prompt:
        """clip_skip: how many more of the last layers to leave out than the U-Net was trained without."""
        from nodes.sd import encoding

        return encoding.read(model, digest, encoders, passage, partial(self.states, clip_skip=clip_skip))

    def states(self, encoder: Module, tokens: Tokens, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """What the U-Net sees of one chunk, (1, tokens, width), and the pooled state of those that take one.

        The final normalisation is kept, as diffusers does.
        """
        from nodes.sd import encoding

        return encoding.hidden(encoder, tokens, clip_skip), None

    def latent_shape(self, model: Model, width: int | None, height: int | None) -> tuple[int, int, int]:
        """Raises StepError for a size that is no multiple of the VAE's factor (8 for Stable Diffusion)."""
        unet, factor = model.config("unet"), self.factor(model)
        trained = unet.get("sample_size") or self.trained
        rows, columns = trained if isinstance(trained, list) else (trained, trained)
        rows = rows if height is None else _divided(height, factor)
        columns = columns if width is None else _divided(width, factor)
        return model.config("vae").get("latent_channels", 4), rows, columns

    def factor(self, model: Model) -> int:
        """Every block of the VAE but the last halves the sides."""
        factor: int = 2 ** (len(model.config("vae")["block_out_channels"]) - 1)
        return factor

    def floors(self, model: Model) -> Floors:
        """A residual block holds its input, normalised and activated; behind an upsampler, at the next block's width.

        In the U-Net, what its way down keeps for its way up, or that block, whichever is more.
        """
        unet, vae = model.config("unet"), model.config("vae")["block_out_channels"]
        wide = unet.get("block_out_channels", SD1_CHANNELS)
        kept = sum(channels / 4**depth for depth, channels in enumerate(wide))
        pixels = 4 ** (len(vae) - 1)
        step = max(kept, 3 * sum(wide[:2]) if len(wide) > 1 else 0)
        return Floors(step, encode=3 * vae[0] * pixels, decode=3 * max(vae[:2]) * pixels)

    def prepare(self, model: Model, denoiser: Module, task: Task) -> Inputs:
        """A cfg of 1 or less means no guidance, and half the work, as in diffusers.

        Raises StepError for prompts of another model.
        """
        import torch

        from nodes.sd.encoding import level

        self._check_prompts(denoiser, task)
        guided = task.cfg > 1
        beside, labels = self.beside(denoiser, task), self.labels(denoiser, task)
        return Inputs(
            torch.cat(level([task.negative, task.positive])) if guided else task.positive.embeddings,
            task.cfg if guided else None,
            task.rescale,
            torch.cat([beside] * 2) if guided and beside is not None else beside,
            self.added(model, denoiser, task),
            torch.cat([labels] * 2) if guided and labels is not None else labels,
        )

    def beside(self, denoiser: Module, task: Task) -> Tensor | None:
        """What follows the latents' channels, (1, beside_channels, rows, columns)."""
        return None

    def added(self, model: Model, denoiser: Module, task: Task) -> Mapping[str, Tensor] | None:
        """What is embedded with the time, by diffusers' names; twice where the task is guided."""
        return None

    def labels(self, denoiser: Module, task: Task) -> Tensor | None:
        """The class, (1,)."""
        return None

    def denoise_step(
        self,
        denoiser: Module,
        inputs: Inputs,
        scheduler: Any,
        latents: Tensor,
        time: Tensor,
        steering: Sequence[Steering],
    ) -> Tensor:
        """Both prompts go through the net as one batch of two: other batches give other bits.

        Source: Ho and Salimans 2022, "Classifier-free diffusion guidance" (arXiv:2207.12598), equation 6.
        """
        import torch

        batch = latents if inputs.guidance is None else torch.cat([latents] * 2)
        scaled = scheduler.scale_model_input(batch, time)
        residuals = _residuals(steering, scaled, time, inputs)
        seen = scaled if inputs.beside is None else torch.cat([scaled, inputs.beside], dim=1)
        prediction: Tensor = denoiser(
            seen, time, encoder_hidden_states=inputs.embeddings, class_labels=inputs.labels,
            added_cond_kwargs=inputs.added, **residuals, return_dict=False,
        )[0]  # fmt: skip
        if inputs.guidance is None:
            return prediction
        without, with_prompt = prediction.chunk(2)
        guided = without + inputs.guidance * (with_prompt - without)
        return _rescaled(guided, with_prompt, inputs.rescale) if inputs.rescale else guided

    def decode(self, vae: Module, latents: Tensor) -> Tensor:
        picture: Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        return picture

    def _check_prompts(self, denoiser: Module, task: Task) -> None:
        width = denoiser.config.cross_attention_dim
        for which, prompt in (("positive", task.positive), ("negative", task.negative)):
            if prompt.embeddings.shape[-1] != width:
                raise StepError(
                    f"{which} is {prompt.embeddings.shape[-1]} wide, but the model takes {width}",
                    hint="Encode the prompts with the text encoder of the same model.",
                )


def _residuals(steering: Sequence[Steering], scaled: Tensor, time: Tensor, inputs: Inputs) -> dict[str, Any]:
    """What all ControlNets add, summed in their order."""
    if not steering:
        return {}
    down, middle = steering[0](scaled, time, inputs.embeddings, inputs.added)
    for steer in steering[1:]:
        more, much = steer(scaled, time, inputs.embeddings, inputs.added)
        down, middle = [one + other for one, other in zip(down, more, strict=True)], middle + much
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _rescaled(guided: Tensor, with_prompt: Tensor, share: float) -> Tensor:
    """Give a guided prediction the deviation of the unguided one, in part.

    Source: Lin et al. 2023 (arXiv:2305.08891), equations 14 to 16.
    """
    axes = list(range(1, guided.ndim))
    matched = guided * (with_prompt.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True))
    return share * matched + (1 - share) * guided


def _check_numbers(model: Model) -> None:
    """Raises MissingError for numbers that sizes are computed from, and that are none."""
    check_vae(model)
    unet = model.config("unet")
    if not _widths(unet.get("block_out_channels", SD1_CHANNELS)):
        raise model.wrong("unet/config.json", 'has a wrong "block_out_channels"')
    if not _counts([unet.get("in_channels", 4)], LARGEST_WIDTH):
        raise model.wrong("unet/config.json", 'has a wrong "in_channels"')
    side = unet.get("sample_size") or 1
    if not _counts(side if isinstance(side, list) and len(side) == 2 else [side], LARGEST_SIDE):
        raise model.wrong("unet/config.json", f'has a wrong "sample_size": {side!r:.80}')


def check_vae(model: Model) -> None:
    """Raises MissingError for numbers in the config of a VAE that sizes are computed from, and that are none."""
    vae = model.config("vae")
    widths: Any = vae.get("block_out_channels")
    if not _widths(widths):
        raise model.wrong("vae/config.json", 'has no list "block_out_channels"')
    for key in ("latent_channels", "layers_per_block"):
        if not _counts([vae.get(key, 1)], LARGEST_WIDTH):
            raise model.wrong("vae/config.json", f'has a wrong "{key}"')
    for key in ("down_block_types", "up_block_types"):
        kinds = vae.get(key, [""])
        if not isinstance(kinds, list) or len(kinds) != len(widths):
            raise model.wrong("vae/config.json", f'has not as many "{key}" as "block_out_channels"')
    scale = vae.get("scaling_factor", 1.0)
    if not isinstance(scale, (int, float)) or not 0 < scale < LARGEST_SCALE:
        raise model.wrong("vae/config.json", 'has a wrong "scaling_factor"')


def _widths(found: object) -> bool:
    return isinstance(found, list) and 1 <= len(found) <= DEEPEST and _counts(found, LARGEST_WIDTH)


def _counts(numbers: Sequence[object], most: int) -> bool:
    return all(type(number) is int and 1 <= number <= most for number in numbers)


def _divided(side: int, factor: int) -> int:
    if side % factor == 0:
        return side // factor
    below = max(side // factor * factor, factor)
    raise StepError(
        f"{side} pixels are no multiple of {factor}, the factor of this model's VAE",
        hint=f"The nearest sizes are {below} and {below + factor}.",
    )
