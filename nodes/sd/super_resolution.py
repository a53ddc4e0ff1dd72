"""Which super-resolution net a file holds, told by the names and shapes of its weights. Light: no torch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from graph.errors import MissingError, suggest
from graph.filerefs import FileRef
from nodes.sd.pickles import read_entries
from nodes.sd.search import find

Shape = tuple[int, ...]
TINY = "builtin:tiny-upscaler"
SUPPORTED = "Nets that run here: ESRGAN (RRDBNet) and the compact nets of Real-ESRGAN (SRVGGNetCompact), for RGB."
MOST_SHOWN = 120
"""Characters of a weight's name in a message."""
WRAPPINGS = ("params_ema.", "params.", "module.", "")
"""What may stand before every name. Where training left several copies of a net in a file, the first is taken."""
LOOKS = {
    "model.diffusion_model.": "a Stable Diffusion checkpoint",
    "lora_": "a LoRA",
    "conv1x1": "an ESRGAN+ net",
    "residual_group": "a SwinIR or HAT net",
    "relative_position": "a transformer",
}
"""What other files are, by a part of a weight's name."""
OLD = (
    (r"model\.0\.", "conv_first."),
    (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"model\.1\.sub\.\d+\.", "conv_body."),
    (r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\.", r"body.\1.rdb\2.conv\3."),
    (r"trunk_conv\.", "conv_body."),
    (r"upconv(\d)\.", r"conv_up\1."),
    (r"HRconv\.", "conv_hr."),
)
"""From what ESRGAN's weights were called, in its first two years, to what they are called since Real-ESRGAN."""


@dataclass(frozen=True, slots=True)
class Esrgan:
    """RRDBNet: residual-in-residual dense blocks at the small size, then doublings.

    Source: Wang et al. 2018, "ESRGAN" (arXiv:1809.00219), section 3.1; Wang et al. 2021, "Real-ESRGAN"
    (arXiv:2107.10833), section 3.3, for the pixels folded into channels.
    """

    features: int
    growth: int
    """Channels that each convolution of a dense block adds."""
    blocks: int
    doublings: int
    folded: int
    """Along a side, how many pixels become the channels of one."""
    family: ClassVar[str] = "esrgan"

    @property
    def scale(self) -> int:
        """How many times as wide its result is."""
        return 2**self.doublings // self.folded

    @property
    def reach(self) -> int:
        """How far away, in pixels of the small picture, a pixel can matter."""
        return self.folded * (15 * self.blocks + 4)

    @property
    def floor(self) -> int:
        """Numbers that are in memory at one time, for each pixel of the small picture."""
        return 3 * self.features * self.scale**2

    def shapes(self) -> dict[str, Shape]:
        """Its weights."""
        wide, more = self.features, self.growth
        ends = {"conv_body": wide, "conv_hr": wide, "conv_last": 3}
        ends |= {f"conv_up{number}": wide for number in range(1, self.doublings + 1)}
        made = _convolution("conv_first", wide, 3 * self.folded**2)
        for name, gives in ends.items():
            made |= _convolution(name, gives, wide)
        for number in range(1, 6):
            for place in (f"body.{block}.rdb{dense}" for block in range(self.blocks) for dense in (1, 2, 3)):
                made |= _convolution(f"{place}.conv{number}", more if number < 5 else wide, wide + (number - 1) * more)
        return made


@dataclass(frozen=True, slots=True)
class Compact:
    """SRVGGNetCompact: convolutions at the small size, the last of them giving the pixels of the large one.

    Source: Wang et al. 2021, "Real-ESRGAN" (arXiv:2107.10833), the compact models that its authors added; Shi et al.
    2016 (arXiv:1609.05158), section 2.2, for channels that become pixels.
    """

    features: int
    convolutions: int
    """Between the first and the last."""
    scale: int
    family: ClassVar[str] = "compact"

    @property
    def reach(self) -> int:
        """How far away, in pixels of the small picture, a pixel can matter."""
        return self.convolutions + 2

    @property
    def floor(self) -> int:
        """Numbers that are in memory at one time, for each pixel of the small picture."""
        return 2 * max(self.features, 3 * self.scale**2)

    def shapes(self) -> dict[str, Shape]:
        """Its weights: convolutions at even places, the slopes of their PReLUs at odd ones."""
        last = 2 * self.convolutions + 2
        made: dict[str, Shape] = {f"body.{at}.weight": (self.features,) for at in range(1, last, 2)}
        for at in range(0, last + 1, 2):
            gives = self.features if at < last else 3 * self.scale**2
            made |= _convolution(f"body.{at}", gives, self.features if at else 3)
        return made


def _convolution(name: str, gives: int, takes: int) -> dict[str, Shape]:
    return {f"{name}.weight": (gives, takes, 3, 3), f"{name}.bias": (gives,)}


Net = Esrgan | Compact


class Found(NamedTuple):
    """A net, and where its weights are."""

    net: Net
    names: Mapping[str, str]
    """What each of its weights is called in the file."""


class UpscalerFile(FileRef):
    """A super-resolution net in one file."""

    what = "upscaler"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a net and see that it can be run: `builtin:tiny-upscaler`, a path, or a name on the search path.

        Raises MissingError: nothing there; a damaged file; another kind of net, with what it looks like.
        """
        path = _builtin(written) if written.startswith("builtin:") else find("upscaler", written, folder)
        described(path)
        return cls(written, path)

    @property
    def family(self) -> str:
        """The word for how the net is built: "esrgan" or "compact"."""
        return described(self.path).net.family


def _builtin(written: str) -> Path:
    if written != TINY:
        raise MissingError(f'no upscaler "{written}" comes with Darkroom', hint=suggest(written, [TINY]))
    return Path(__file__).parent / "tiny" / "upscaler" / "model.safetensors"


def described(path: Path) -> Found:
    """Tell which net a file holds; its weights are not read. Raises MissingError."""
    try:
        stat = path.stat()
    except OSError as error:
        raise MissingError(f'cannot read upscaler "{path.name}": {error.strerror}') from error
    return _described(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _described(path: Path, size: int, mtime_ns: int) -> Found:
    """Once for a file that stays as it is."""
    entries = read_entries(path)
    try:
        if whole := next((name for name, entry in entries.items() if "F" not in entry.dtype), ""):
            raise ValueError(f'holds "{whole:.{MOST_SHOWN}}" as {entries[whole].dtype}, which are no fractions')
        return recognised({name: entry.shape for name, entry in entries.items()})
    except ValueError as error:
        raise MissingError(f'upscaler "{path.name}" {error}', hint=SUPPORTED) from error


def recognised(shapes: Mapping[str, Shape]) -> Found:
    """Tell a net by its weights. Raises ValueError, whose text ends a sentence, for what is none or not whole."""
    wrapping = next((start for start in WRAPPINGS if any(name.startswith(start) for name in shapes)), "")
    inside = [name.removeprefix(wrapping) for name in shapes if name.startswith(wrapping)]
    names = {today: wrapping + name for name, today in _today(inside).items()}
    found = {name: shapes[old] for name, old in names.items()}
    read = _esrgan if "conv_first.weight" in found else _compact if "body.0.weight" in found else None
    if read is None:
        raise ValueError(_looks(shapes))
    try:
        net = read(found)
    except (KeyError, ValueError) as error:
        raise ValueError(f"is like an {read.__name__[1:]} net, but {error}") from error
    _compare(found, net.shapes())
    return Found(net, {name: names[name] for name in net.shapes()})


def _today(names: list[str]) -> dict[str, str]:
    """What each weight is called since Real-ESRGAN."""
    tail = sorted({int(found[1]) for name in names if (found := re.match(r"model\.(\d+)\.", name))} - {0, 1})
    ends = [*(f"conv_up{number}" for number in range(1, len(tail) - 1)), "conv_hr", "conv_last"]
    table = [*OLD, *((rf"model\.{at}\.", f"{end}.") for at, end in zip(tail, ends, strict=False))]
    rules = [(re.compile(old), new) for old, new in table]
    return {name: next((rule.sub(new, name) for rule, new in rules if rule.match(name)), name) for name in names}


def _esrgan(found: Mapping[str, Shape]) -> Esrgan:
    features, colours, *_ = _sides(found, "conv_first.weight", 4)
    growth, *_ = _sides(found, "body.0.rdb1.conv1.weight", 4)
    folded = {3: 1, 12: 2, 48: 4}.get(colours, 0)
    if not folded:
        raise ValueError(f"its first convolution takes {colours} channels, not 3, 12 or 48")
    doublings = sum(re.fullmatch(r"conv_up\d\.weight", name) is not None for name in found)
    net = Esrgan(features, growth, len({name.split(".")[1] for name in found if ".rdb" in name}), doublings, folded)
    if net.scale not in (1, 2, 4, 8):
        raise ValueError(f"it enlarges {2**doublings / folded:g} times, not 1, 2, 4 or 8 times")
    return net


def _compact(found: Mapping[str, Shape]) -> Compact:
    features, *_ = _sides(found, "body.0.weight", 4)
    last = max(int(name.split(".")[1]) for name in found if re.fullmatch(r"body\.\d{1,6}\.weight", name))
    pixels, *_ = _sides(found, f"body.{last}.weight", 4)
    scale = math.isqrt(pixels // 3)
    if pixels != 3 * scale**2 or not 1 <= scale <= 8:
        raise ValueError(f"its last convolution gives {pixels} channels, which are no square of RGB pixels")
    if f"body.{1}.weight" not in found:
        raise ValueError("it has no PReLUs: the file does not tell which activation it was trained with")
    return Compact(features, min(last, len(found)) // 2 - 1, scale)


def _sides(found: Mapping[str, Shape], name: str, count: int) -> Shape:
    if len(found.get(name, ())) != count:
        raise ValueError(f'"{name}" is {list(found[name])}' if name in found else f'"{name}" is lacking')
    return found[name]


def _compare(found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> None:
    for name, shape in wanted.items():
        if found.get(name) != shape:
            is_so = f"is {list(found[name])}" if name in found else "is lacking"
            raise ValueError(f'is damaged, or of an unknown kind: "{name}" {is_so}, where {list(shape)} is expected')
    if over := next((name for name in found if name not in wanted), ""):
        raise ValueError(f'{_looks([over])}: "{over:.{MOST_SHOWN}}" has no place in the nets that run here')


def _looks(names: Iterable[str]) -> str:
    """What a file with these weights seems to be."""
    for part, what in LOOKS.items():
        if any(part in name for name in names):
            return f"looks like {what}"
    first = ", ".join(f'"{name:.{MOST_SHOWN}}"' for name in itertools.islice(names, 3))
    return f"is of an unknown kind; its weights begin with {first}" if first else "holds no weights"
