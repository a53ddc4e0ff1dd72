"""Values that travel on links, and their one canonical form as bytes.

A value is frozen and at rest: tensors and pixels are immutable bytes in main memory, contiguous, without a device.
A node thaws what it works on and freezes what it returns, so nobody can change a value that another node still
needs, and a value is the same whether it was computed just now or read from the cache.

`graph.codec` gives values their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from graph.codec import Tensor as Tensor  # for those who declare values of their own
from graph.codec import Value as Value
from graph.codec import encode

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, init=False)
class Raster(Value):
    """Pixels, 8 bits a channel, rows from the top."""

    modes: ClassVar[tuple[str, ...]] = ()

    mode: str
    width: int
    height: int
    """Both in pixels."""
    data: bytes

    def __init__(self, pixels: Image) -> None:
        if pixels.mode not in self.modes:
            raise ValueError(f"{type(self).__name__} takes {' or '.join(self.modes)} pixels, not {pixels.mode}")
        vars(self).update(mode=pixels.mode, width=pixels.width, height=pixels.height, data=pixels.tobytes())

    @classmethod
    def of_bytes(cls, mode: str, width: int, height: int, data: bytes) -> Self:
        """Take pixels as they are: row by row, the channels of each side by side."""
        made = object.__new__(cls)
        vars(made).update(mode=mode, width=width, height=height, data=data)
        return made

    @property
    def pixels(self) -> Image:
        """A fresh Pillow image of these pixels; changing it changes nothing here."""
        from PIL import Image

        return Image.frombytes(self.mode, (self.width, self.height), self.data)

    @property
    def digest(self) -> str:
        """ "sha256:" and the digest of the pixels with their mode and size, whatever file they came from."""
        return "sha256:" + encode(self).digest

    def save(self, path: str | Path) -> None:
        """Write the pixels to a file; its suffix names the format."""
        self.pixels.save(path)


@dataclass(frozen=True, init=False)
class Picture(Raster, noun="image"):
    """A picture: L, RGB, or RGBA with straight alpha, in sRGB."""

    modes: ClassVar[tuple[str, ...]] = ("L", "RGB", "RGBA")


@dataclass(frozen=True, init=False)
class Mask(Raster, noun="mask"):
    """Where to paint: 0 keeps, 255 repaints."""

    modes: ClassVar[tuple[str, ...]] = ("L",)


@dataclass(frozen=True)
class Guide(Value):
    """Base of what some models see beside the latents."""


@dataclass(frozen=True)
class Latents(Value, noun="latents"):
    """One or more pictures in a model's latent space."""

    carries = ("latents",)

    samples: Tensor
    """F32, (count, channels, height / factor, width / factor), multiplied by the VAE's scaling factor."""
    generators: tuple[bytes, ...] = ()
    """Per sample, the state of torch's CPU generator after the draws so far; the sampler draws on from there."""
    is_noise: bool = False
    """Unit Gaussian noise, not yet scaled to a sampler's first noise level; otherwise a clean picture."""
    channels_last: bool = False
    """Whether they are computed with laid out pixel by pixel, as a VAE gives them: it decides the last bits."""
    guide: Guide | None = None
    """What the model is to see beside them: a mask, a depth map, a small picture."""
    level: float = 0.0
    """How much noise a sampler left in them: its deviation beside a picture of 1. 0 for clean pictures and noise."""
    adds: bool = False
    """Whether that noise lies on top of the picture; otherwise both are divided by the square root of 1 + level**2."""


@dataclass(frozen=True)
class Inpainting(Guide):
    """Where a picture is to be painted anew, and the picture.

    Distributions of a VAE are F32, (1, 2 * channels, rows, columns): means, then logarithms of the variances. The
    sampler draws from them, because when they are drawn depends on the model.
    """

    mask: Tensor
    """F32, (1, 1, rows, columns) of the latents: 1 repaints, 0 keeps."""
    picture: Tensor
    """The distribution of the whole picture."""
    masked: Tensor
    """The distribution of the picture without what is to be painted anew."""
    scale: float
    """The VAE's scaling factor, which what is drawn is multiplied by."""
    channels_last: bool = False
    """How the distributions lay in memory."""


@dataclass(frozen=True)
class DepthMap(Guide):
    """How far away everything is."""

    samples: Tensor
    """F32, (1, 1, rows, columns) of the latents, from -1 (far) to 1 (near)."""


@dataclass(frozen=True)
class SmallPicture(Guide):
    """The picture that a diffusion upscaler enlarges, with noise on it."""

    samples: Tensor
    """F32, (1, 3, height, width), -1 to 1 before the noise."""
    level: int
    """How much noise, in steps of the upscaler's own schedule."""


@dataclass(frozen=True)
class Conditioning(Value, noun="conditioning"):
    """What a text encoder makes of a prompt."""

    carries = ("conditioning",)

    embeddings: Tensor
    """F32, (1, tokens, width)."""
    pooled: Tensor | None = None
    """F32, (1, width), for families that take one."""
    family: str = ""
    """The word for the models that understand it ("clip-l", "sdxl" ...)."""
    variants: tuple[Conditioning, ...] = ()
    """Of a prompt that changes while it is sampled, what it becomes; this one is the first."""
    script: str = ""
    """When it becomes which, as canonical JSON; "" where it never changes."""
    filler: Tensor | None = None
    """F32, (1, longest, width), of a prompt of several chunks: an empty one, which makes a shorter prompt as long."""
    micro: tuple[tuple[str, float], ...] = ()
    """What the picture is said to be (its size before cropping ...), by name, for families that are told."""


@dataclass(frozen=True)
class ModelHandle(Value, noun="model"):
    """A description of one component of a model; the weights stay in their file until a step needs them."""

    digest: str
    """sha256 of the model's files; where they lie is looked up anew in every run."""
    component: str
    """The part of the model, as its folder is called: unet, text_encoder, vae, upscaler ..."""
    family: str
    """What decides how the weights are used: "sd1", "sd2" ..."""
    precision: str = "auto"
    """What the user asked for: auto, fp32, fp16 or bf16."""
    patches: tuple[str, ...] = ()
    """What changes the weights after loading (LoRA ...), as canonical JSON, in order."""


@dataclass(frozen=True)
class Denoiser(ModelHandle, noun="model"):
    """A denoising network with its schedule. prediction: what it predicts, where the user says so (epsilon ...)."""

    carries = ("network", "conditioning", "latents")
    prediction: str = ""


@dataclass(frozen=True)
class TextEncoder(ModelHandle, noun="text_encoder"):
    """A text encoder with its tokenizer."""

    carries = ("network", "conditioning")

    embeddings: tuple[str, ...] = ()
    """Textual inversions that prompts may name, as canonical JSON, in order. They change no weights."""


@dataclass(frozen=True)
class Vae(ModelHandle, noun="vae"):
    """An autoencoder between pictures and latents."""

    carries = ("latents",)


@dataclass(frozen=True)
class SuperResolution(ModelHandle, noun="model"):
    """A network that enlarges pictures."""


@dataclass(frozen=True)
class ControlNet(ModelHandle, noun="controlnet"):
    """A network that steers a denoiser by a picture."""

    carries = ("network",)


@dataclass(frozen=True)
class Control(Value, noun="control"):
    """One picture's hold over a sampler."""

    carries = ("network",)

    net: ControlNet
    image: Picture
    strength: float = 1.0
    """What the network's residuals are multiplied by."""
    start: float = 0.0
    end: float = 1.0
    """From which part of the steps on, and up to which: 0 to 1."""


@dataclass(frozen=True)
class SavedFile(Value, noun="path"):
    """A file that a node wrote, at an absolute path. A remembered one counts only while it has these bytes."""

    path: str
    digest: str
    """sha256 of the file's bytes."""
    size: int
    """In bytes."""
    pixels: str = ""
    """"sha256:..." of the picture in it."""

    def __str__(self) -> str:
        return self.path
