"""A tensor at rest holds the very bits of a tensor at work."""

from __future__ import annotations

import pytest
import torch

from nodes.sd.tensors import DTYPES, channels_last, freeze, in_layout, thaw


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3, 4, 5)])
def test_every_dtype_and_shape_comes_back_bit_for_bit(name: str, shape: tuple[int, ...]) -> None:
    bits = torch.randint(0, 2 if name == "BOOL" else 256, (*shape, DTYPES[name].itemsize), dtype=torch.uint8)
    tensor = bits.view(DTYPES[name]).reshape(shape)

    back = thaw(freeze(tensor))

    assert (tensor.dtype, tensor.shape) == (back.dtype, back.shape)
    assert freeze(tensor) == freeze(back)


def test_a_thawed_tensor_is_aligned_contiguous_and_its_own() -> None:
    frozen = freeze(torch.ones(1, 3, 5, 7).to(memory_format=torch.channels_last)[..., 1:])

    first, second = thaw(frozen), thaw(frozen)
    first.zero_()

    assert first.is_contiguous()
    assert first.data_ptr() % 64 == 0
    assert bool(second.all())


def test_the_layout_is_told_and_given_back() -> None:
    tensor = torch.rand(2, 4, 8, 8).to(memory_format=torch.channels_last)

    assert channels_last(tensor)
    assert not channels_last(thaw(freeze(tensor)))
    assert in_layout(thaw(freeze(tensor)), True).stride() == tensor.stride()
