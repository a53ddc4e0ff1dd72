"""Stable Diffusion 1, and what is built alike: one CLIP text encoder, a U-Net on four channels, a KL autoencoder.

Stable Diffusion 2 as a diffusers folder is built alike too (its encoder's last layer is already cut off there, and
its prediction type stands in the scheduler's config).
Source: Rombach et al. 2022 (arXiv:2112.10752).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from graph.errors import StepError
from nodes.sd.families import Floors, Part, Prompt
from nodes.sd.folders import ModelFolder

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


UNFED = ("time_cond_proj_dim", "addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim")
"""Keys of a U-Net's config that ask for inputs which no node gives yet."""
FED = {"addition_embed_type": "text"}
"""Values of these keys that ask for nothing more: the U-Net pools the embeddings itself."""


class Inputs(NamedTuple):
    embeddings: Tensor
    """Guided: of the negative prompt and the positive one, (2, tokens, width); else of the positive one."""
    guidance: float | None
    """The guidance scale, where there is guidance."""


DEEPEST, LARGEST_WIDTH, LARGEST_SIDE = 8, 65536, 2048
"""What a config may ask for at most: blocks, channels, and pixels of the latents."""
TRAINED = 64
"""The side of the latents where a config does not say it: 512 pixels."""


SD1_CHANNELS = [320, 640, 1280, 1280]
"""The widths of a U-Net whose config does not say them."""


class StableDiffusion1:
    """The family "sd1"."""

    name = "sd1"
    pipelines = frozenset({"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"})
    components = MappingProxyType(
        {
            "unet": Part("diffusers", "UNet2DConditionModel"),
            "text_encoder": Part("transformers", "CLIPTextModel"),
            "vae": Part("diffusers", "AutoencoderKL"),
        }
    )

    def cannot(self, folder: ModelFolder) -> str:
        """Name what needs another family, or inputs that no node gives yet."""
        unet, vae = folder.config("unet"), folder.config("vae")
        _check_numbers(folder, unet, vae)
        if unet.get("in_channels", 4) != vae.get("latent_channels", 4):
            return f"takes {unet.get('in_channels')} channels (inpainting, depth or an upscaler)"
        asks = (key for key in UNFED if unet.get(key) not in (None, FED.get(key)))
        return next((f'has "{key}" in its U-Net' for key in asks), "")

    def encode(self, folder: ModelFolder, digest: str, encoder: Module, text: str, clip_skip: int) -> Prompt:
        """clip_skip: how many last layers to leave out; the final normalisation is kept, as diffusers does."""
        from nodes.sd import tokens

        words = tokens.tokenize(folder, digest, encoder.config, text)
        return Prompt(tokens.hidden(encoder, words, clip_skip), None, words.lost)

    def latent_shape(self, folder: ModelFolder, width: int | None, height: int | None) -> tuple[int, int, int]:
        """Raises StepError for a size that is no multiple of the VAE's factor (8 for Stable Diffusion)."""
        unet, factor = folder.config("unet"), self.factor(folder)
        trained = unet.get("sample_size") or TRAINED
        rows, columns = trained if isinstance(trained, list) else (trained, trained)
        rows = rows if height is None else _divided(height, factor)
        columns = columns if width is None else _divided(width, factor)
        return unet.get("in_channels", 4), rows, columns

    def factor(self, folder: ModelFolder) -> int:
        """Every block of the VAE but the last halves the sides."""
        factor: int = 2 ** (len(folder.config("vae")["block_out_channels"]) - 1)
        return factor

    def floors(self, folder: ModelFolder) -> Floors:
        """A residual block holds its input, normalised and activated; behind an upsampler, at the next block's width.

        In the U-Net, what its way down keeps for its way up, or that block, whichever is more.
        """
        unet, vae = folder.config("unet"), folder.config("vae")["block_out_channels"]
        wide = unet.get("block_out_channels", SD1_CHANNELS)
        kept = sum(channels / 4**depth for depth, channels in enumerate(wide))
        pixels = 4 ** (len(vae) - 1)
        step = max(kept, 3 * sum(wide[:2]) if len(wide) > 1 else 0)
        return Floors(step, encode=3 * vae[0] * pixels, decode=3 * max(vae[:2]) * pixels)

    def prepare(self, denoiser: Module, positive: Prompt, negative: Prompt, cfg: float) -> Inputs:
        """A cfg of 1 or less means no guidance, and half the work, as in diffusers."""
        import torch

        width = denoiser.config.cross_attention_dim
        for which, prompt in (("positive", positive), ("negative", negative)):
            if prompt.embeddings.shape[-1] != width:
                raise StepError(
                    f"{which} is {prompt.embeddings.shape[-1]} wide, but the model takes {width}",
                    hint="Encode the prompts with the text encoder of the same model.",
                )
        if cfg <= 1:
            return Inputs(positive.embeddings, None)
        if negative.embeddings.shape != positive.embeddings.shape:
            raise StepError(
                f"positive has {positive.embeddings.shape[1]} tokens, negative {negative.embeddings.shape[1]}",
                hint="Encode both prompts with the same text encoder.",
            )
        return Inputs(torch.cat([negative.embeddings, positive.embeddings]), cfg)

    def denoise_step(self, denoiser: Module, inputs: Inputs, scheduler: Any, latents: Tensor, time: Tensor) -> Tensor:
        """Both prompts go through the net as one batch of two: other batches give other bits.

        Source: Ho and Salimans 2022, "Classifier-free diffusion guidance" (arXiv:2207.12598), equation 6.
        """
        import torch

        batch = latents if inputs.guidance is None else torch.cat([latents] * 2)
        scaled = scheduler.scale_model_input(batch, time)
        prediction: Tensor = denoiser(scaled, time, encoder_hidden_states=inputs.embeddings, return_dict=False)[0]
        if inputs.guidance is None:
            return prediction
        without, with_prompt = prediction.chunk(2)
        return without + inputs.guidance * (with_prompt - without)

    def decode(self, vae: Module, latents: Tensor) -> Tensor:
        picture: Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        return picture


def _check_numbers(folder: ModelFolder, unet: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    """Raises MissingError for numbers that sizes are computed from, and that are none."""
    if not _widths(vae.get("block_out_channels")):
        raise folder.wrong("vae/config.json", 'has no list "block_out_channels"')
    if not _widths(unet.get("block_out_channels", SD1_CHANNELS)):
        raise folder.wrong("unet/config.json", 'has a wrong "block_out_channels"')
    if not _counts([unet.get("in_channels", 4), vae.get("latent_channels", 4)], LARGEST_WIDTH):
        raise folder.wrong("unet/config.json", 'has a wrong "in_channels"')
    side = unet.get("sample_size") or TRAINED
    if not _counts(side if isinstance(side, list) and len(side) == 2 else [side], LARGEST_SIDE):
        raise folder.wrong("unet/config.json", f'has a wrong "sample_size": {side!r:.80}')
    if not isinstance(vae.get("scaling_factor", 1.0), (int, float)) or not vae.get("scaling_factor", 1.0):
        raise folder.wrong("vae/config.json", 'has a wrong "scaling_factor"')


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


FAMILY = StableDiffusion1()
