"""Values that travel on links, and their one canonical form as bytes.

A value is frozen and at rest: tensors and pixels are immutable bytes in main memory, contiguous, without a device.
A node thaws what it works on and freezes what it returns, so nobody can change a value that another node still
needs, and a value is the same whether it was computed just now or read from the cache.

`encode` gives a value's bytes: JSON where there are no arrays, the safetensors layout where there are. The sha256
of these bytes is the value's digest; equal values have equal bytes.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from PIL.Image import Image

_TYPES: dict[str, type] = {"tensor": object, "bytes": bytes}  # what arrays are called in bytes


@dataclass(frozen=True)
class Value:
    """Base of what travels on links besides text, numbers and booleans. Declare subclasses as frozen dataclasses.

    Fields may be None, bool, int, float, str, bytes, `Tensor`, other values, and tuples of these.
    """

    noun: ClassVar[str] = "value"
    """The name of an output of this type, where a node has one output."""
    carries: ClassVar[tuple[str, ...]] = ()
    """The traits of a model that what is made with it has too: things of different traits do not go together.

    network: whose weights; conditioning: whose prompts it gives or takes; latents: in whose latent space.
    """

    def __init_subclass__(cls, noun: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.noun = noun or cls.noun
        if "type" in inspect.get_annotations(cls):
            raise TypeError(f'{cls.__name__}: a value cannot have a field "type", its bytes name its own type by it')
        known = _TYPES.setdefault(cls.__name__, cls)
        if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
            raise TypeError(f'two value types are called "{cls.__name__}": {known.__module__}, {cls.__module__}')
        _TYPES[cls.__name__] = cls


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array at rest: C-contiguous little-endian bytes. `dtype` as safetensors writes it (F32, F16, BF16, U8 ...)."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


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


@dataclass(frozen=True, slots=True)
class Blob:
    """A value as bytes, with the sha256 of these bytes (64 hexadecimal digits)."""

    digest: str
    data: bytes


_HEAD = '{"darkroom":1,"value":'
_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode(value: object) -> Blob:
    """Give a value its canonical bytes.

    Raises TypeError for what no value may hold, ValueError for a number that is not finite.
    """
    arrays: list[Tensor] = []
    tree = _encoded(_pack(value, arrays))
    text = _HEAD + tree + "}"
    data = _with_arrays(text, arrays) if arrays else text.encode("utf-8", "surrogatepass")
    return Blob(hashlib.sha256(data).hexdigest(), data)


def decode(data: bytes) -> Any:
    """Give the value that `encode` made these bytes of. A sequence comes back as a list, inside values as a tuple.

    Raises ValueError if these are not the bytes of a value.
    """
    try:
        if data.startswith(_HEAD.encode()):
            value = _unpack(json.loads(data.decode("utf-8", "surrogatepass"))["value"], ())
        else:
            tree, arrays = _read_arrays(data)
            value = _unpack(json.loads(tree)["value"], arrays)
    except (KeyError, IndexError, TypeError, UnicodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"not the bytes of a value: {error!r}") from error
    return list(value) if isinstance(value, tuple) else value


def _pack(value: object, arrays: list[Tensor]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Value):
        return {"type": type(value).__name__, **{name: _pack(part, arrays) for name, part in _said(value)}}
    if isinstance(value, (list, tuple)):
        return [_pack(item, arrays) for item in value]
    if isinstance(value, (Tensor, bytes)):
        arrays.append(value if isinstance(value, Tensor) else Tensor("U8", (len(value),), value))
        return {"type": "tensor" if isinstance(value, Tensor) else "bytes", "at": len(arrays) - 1}
    raise TypeError(f"a value cannot hold {type(value).__name__}: {value!r:.80}")


def _said(value: Value) -> Iterator[tuple[str, object]]:
    """The fields that are not at their default: a field that a type gets later changes no digest of before."""
    for field in fields(value):
        part = getattr(value, field.name)
        # By repr as well: 0 is False, and -0.0 is 0.0, for == alone.
        if part != field.default or repr(part) != repr(field.default):
            yield field.name, part


def _unpack(tree: Any, arrays: tuple[Tensor, ...]) -> Any:
    if isinstance(tree, list):
        return tuple(_unpack(item, arrays) for item in tree)
    if not isinstance(tree, dict):
        return tree
    kind = tree["type"]
    if kind in ("tensor", "bytes"):
        array = arrays[tree["at"]]
        return array if kind == "tensor" else array.data
    value: Any = object.__new__(_TYPES[kind])
    for field in fields(value):
        part = _unpack(tree[field.name], arrays) if field.name in tree or field.default is MISSING else field.default
        object.__setattr__(value, field.name, part)
    return value


def _with_arrays(tree: str, arrays: list[Tensor]) -> bytes:
    """Source: the safetensors format (8-byte length, JSON header, bytes), readable by any of its readers."""
    header: dict[str, Any] = {"__metadata__": {"darkroom": tree}}
    start = 0
    for name, array in enumerate(arrays):
        start, offsets = start + len(array.data), [start, start + len(array.data)]
        header[str(name)] = {"dtype": array.dtype, "shape": list(array.shape), "data_offsets": offsets}
    # Not escaped: the escapes of two lone surrogates are those of the one character that a pair of them stands for.
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *(array.data for array in arrays)))


def _read_arrays(data: bytes) -> tuple[str, tuple[Tensor, ...]]:
    body = 8 + int.from_bytes(data[:8], "little")
    if body > len(data):
        raise ValueError("not the bytes of a value: cut short")
    header = json.loads(data[8:body])
    tree: str = header.pop("__metadata__")["darkroom"]
    return tree, tuple(_array(header[str(name)], data, body) for name in range(len(header)))


def _array(entry: dict[str, Any], data: bytes, body: int) -> Tensor:
    start, stop = entry["data_offsets"]
    if body + stop > len(data):
        raise ValueError("not the bytes of a value: cut short")
    return Tensor(entry["dtype"], tuple(entry["shape"]), data[body + start : body + stop])


if sys.byteorder != "little":
    raise ImportError("Darkroom keeps arrays as little-endian bytes and does not run on big-endian machines")
