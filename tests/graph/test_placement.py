"""Steps run where the user asks, in what the device does well, and the reason is told."""

from __future__ import annotations

import pytest

from graph.errors import UsageError
from graph.placement import Device, must_have, place, survey

FAST = frozenset({"fp32", "fp16", "bf16"})
GPU = Device("cuda:0", "a GPU", 8 << 30, "fp16", FAST, "fp16: tensor cores")
SECOND = Device("cuda:1", "a GPU", 8 << 30, "fp16", FAST, "fp16: tensor cores")
CPU = Device("cpu", "a CPU", 16 << 30, "fp32", frozenset({"fp32"}), "fp32 on a CPU")
ALL = (GPU, SECOND, CPU)


def test_the_survey_ends_with_the_cpu() -> None:
    assert "cpu" == survey()[-1].name


@pytest.mark.parametrize(
    ("asked", "device"), [("auto", "cuda:0"), ("", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]
)
def test_a_step_runs_on_the_device_that_is_asked_for(asked: str, device: str) -> None:
    assert device == place(ALL, asked, "auto").device


def test_a_device_that_a_file_asks_for_in_vain_is_replaced_with_the_reason() -> None:
    placed = place((CPU,), "cuda", "auto")

    assert ("cpu", "fp32") == (placed.device, placed.precision)
    assert "there is no cuda on this machine" in placed.why


def test_a_device_that_the_user_asks_for_in_vain_is_an_error() -> None:
    with pytest.raises(UsageError, match='there is no device "cuda" here; this machine has cpu'):
        must_have((CPU,), "cuda")


@pytest.mark.parametrize(
    ("asked", "wish", "precision"),
    [("cuda", "auto", "fp16"), ("cuda", "bf16", "bf16"), ("cuda", "fp32", "fp32"), ("cpu", "auto", "fp32")],
)
def test_precision_is_what_is_asked_for_where_the_device_does_it(asked: str, wish: str, precision: str) -> None:
    assert precision == place(ALL, asked, wish).precision


def test_half_precision_on_a_cpu_becomes_full_with_the_reason() -> None:
    placed = place(ALL, "cpu", "fp16")

    assert "fp32" == placed.precision
    assert "fp32 though load_model asks for fp16" in placed.why
