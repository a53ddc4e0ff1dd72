"""Between values at rest and torch's tensors, bit for bit."""

from __future__ import annotations

import numpy as np
import torch

from graph import values

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
"""torch's dtype, by the name in safetensors."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def freeze(tensor: torch.Tensor) -> values.Tensor:
    """Bring a tensor to rest: contiguous bytes in main memory.

    Raises KeyError for a dtype that values do not have.
    """
    # Not t.numpy().tobytes(): numpy has no bfloat16, and every dtype can be looked at as bytes.
    here = tensor.detach().to("cpu").contiguous()
    data = here.reshape(-1).view(torch.uint8).numpy().tobytes() if here.numel() else b""
    return values.Tensor(_NAMES[here.dtype], tuple(here.shape), data)


def thaw(tensor: values.Tensor) -> torch.Tensor:
    """Give a tensor of its own: on the CPU, contiguous, in memory that torch allocated and aligned itself.

    Unaligned memory, as a mapped file gives it, changes the last bit of what convolutions compute.
    """
    raw = torch.empty(len(tensor.data), dtype=torch.uint8)
    raw.numpy()[:] = np.frombuffer(tensor.data, np.uint8)
    return raw.view(DTYPES[tensor.dtype]).reshape(tensor.shape)


def channels_last(tensor: torch.Tensor) -> bool:
    """Whether a (count, channels, rows, columns) tensor lies in memory pixel by pixel, not plane by plane."""
    return not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def in_layout(tensor: torch.Tensor, is_channels_last: bool) -> torch.Tensor:
    """Lay a (count, channels, rows, columns) tensor out in memory pixel by pixel, or plane by plane."""
    wanted = torch.channels_last if is_channels_last else torch.contiguous_format
    return tensor.contiguous(memory_format=wanted)
