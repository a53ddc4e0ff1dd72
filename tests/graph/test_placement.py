"""Steps run where the user asks, in what the device does well, and the reason is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from graph.errors import UsageError
from graph.forecast import Forecast
from graph.node import Context, Node
from graph.placement import Device, must_have, place, survey
from graph.registry import Registry
from graph.values import Picture, SuperResolution
from graph.views import plan_json
from tests.graph.lab import REGISTRY, Lab

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


class Net(Node, kind="net", version=1):
    """Name a model."""

    def run(self, ctx: Context) -> SuperResolution:
        return SuperResolution("0", "upscaler", "compact")


class Polish(Node, kind="polish", version=1, accelerated=True):
    """Something that a model may help with."""

    def run(self, ctx: Context, image: Picture, model: SuperResolution | None = None) -> Picture:
        return image


def test_a_node_that_is_given_none_of_its_models_needs_no_device(tmp_path: Path) -> None:
    """Or its results would have other keys on a machine that computes in another precision."""
    text = """
        nodes:
          net:   {use: net}
          plain: {use: paint}
          bare:  {use: polish, image: $plain}
          whole: {use: polish, image: $plain, model: $net}
        outputs: {bare: $bare, whole: $whole}
        """
    gpu = replace(CPU, name="cuda:0", best="fp16", fast=FAST)
    kinds = Registry(MappingProxyType({**REGISTRY.kinds, "net": Net, "polish": Polish}))
    here, there = (Lab(tmp_path, kinds, devices=devices) for devices in ((CPU,), (gpu, CPU)))
    here.run(text)
    keys = [{part.step.name: part.key for part in lab.plan(text).steps} for lab in (here, there)]

    assert keys[0]["bare"] == keys[1]["bare"]
    assert keys[0]["whole"] != keys[1]["whole"]
    unmeasured = Forecast({}, 0.0, 0.0, 0, 0)
    assert ["", "cuda:0"] == [
        told["device"] for told in plan_json(there.plan(text), unmeasured)["nodes"] if told["kind"] == "polish"
    ]
