"""Out of memory: a step climbs from rung to rung, a key keeps its one value, and the next run knows the way."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from graph.errors import OutOfMemory, TooLarge
from graph.forecast import Forecast
from graph.node import Context, Node
from graph.registry import Registry
from graph.values import SuperResolution
from graph.views import plan_json, plan_table
from tests.graph.lab import CPU, REGISTRY, Heard, Lab
from tests.graph.test_regressions import lose_all_blobs

GPU = replace(CPU, name="cuda:0", label="a GPU", total_bytes=8 << 30, best="fp16", fast=frozenset({"fp32", "fp16"}))
TEXT = """
    nodes:
      words:   {use: say, text: a cat}
      net:     {use: net}
      painted: {use: heavy, model: $net, text: $words}
      shown:   {use: join, a: $painted, b: x}
      apart:   {use: say, text: goes on}
    outputs: {shown: $shown, apart: $apart}
    """
UNCACHED = TEXT.replace("{use: heavy,", "{use: heavy, cache: false,")
FITS: set[tuple[str, str, str]] = set()
"""Where there is memory enough: (device, precision, saving)."""
TRIED: list[tuple[str, str, str]] = []

FREE = Forecast({}, 0.0, 0.0, 0, 0)


class Net(Node, kind="net", version=1):
    """Name a model."""

    def run(self, ctx: Context) -> SuperResolution:
        return SuperResolution("0", "upscaler", "compact")


class Heavy(Node, kind="heavy", version=1, accelerated=True, saves=("halves", "tiles")):
    """Something that takes much memory, and says where it ran."""

    def run(self, ctx: Context, model: SuperResolution, text: str) -> str:
        where = (ctx.device, ctx.precision, ctx.saving)
        TRIED.append(where)
        if where not in FITS:
            raise OutOfMemory(
                f"5.1 GiB asked for on {ctx.device}, which has 2.0 GiB free", hint="What lowers it: less."
            )
        return " ".join(where)


class Whole(Node, kind="heavy", version=1, accelerated=True):
    """The same without any way of saving memory."""

    def run(self, ctx: Context, model: SuperResolution, text: str) -> str:
        return Heavy().run(ctx, model, text)


class Huge(Node, kind="heavy", version=1, accelerated=True, saves=("halves", "tiles")):
    """Something that refuses what no device could hold."""

    def run(self, ctx: Context, model: SuperResolution, text: str) -> str:
        TRIED.append((ctx.device, ctx.precision, ctx.saving))
        raise TooLarge(
            f"sampling takes at least 99.0 GiB, and {ctx.device} has 8.0 GiB in all", hint="Make it smaller."
        )


AGAIN, OFFLOAD, HALVES = (("cuda:0", "fp16", saving) for saving in ("", "offload", "halves"))
ON_CPU, TILES = ("cpu", "fp32", ""), ("cuda:0", "fp16", "tiles")
LADDER = [AGAIN, AGAIN, OFFLOAD, HALVES, ON_CPU, TILES]


@pytest.fixture(autouse=True)
def _nothing_fits() -> Iterator[None]:
    FITS.clear()
    TRIED.clear()
    yield
    FITS.clear()
    TRIED.clear()


def lab(folder: Path, heavy: type[Node] = Heavy, *devices: object) -> Lab:
    kinds = Registry(MappingProxyType({**REGISTRY.kinds, "net": Net, "heavy": heavy}))
    return Lab(folder, kinds, devices=devices or (GPU, CPU))  # type: ignore[arg-type]  # devices are Devices


def test_the_rungs_come_in_order_and_each_is_said(tmp_path: Path) -> None:
    FITS.add(ON_CPU)
    heard = Heard()

    results = lab(tmp_path).run(TEXT, heard)

    assert results.ok
    assert "cpu fp32 -x" == results.outputs["shown"]
    assert LADDER[:5] == TRIED
    short = "5.1 GiB asked for on cuda:0, which has 2.0 GiB free; tried again"
    assert [
        f"{short} with everything idle moved out",
        f"{short} with its weights in main memory, a layer's at a time on the device",
        f"{short} with the halves of a batch one after the other, which changes the last bits",
        f"{short} on the CPU",
    ] == heard.warnings


def test_a_second_run_is_all_cached_and_the_plan_says_why_it_is_elsewhere(tmp_path: Path) -> None:
    FITS.add(ON_CPU)
    bench = lab(tmp_path)
    bench.run(TEXT)
    TRIED.clear()

    planned = bench.plan(TEXT)

    assert {"hit"} == {part.action for part in planned.steps}
    assert "cpu: cuda:0 had not enough memory for this" in plan_table(planned, FREE, None, False)
    assert {"hit"} == set(bench.run(TEXT).actions.values())
    assert [] == TRIED


@pytest.mark.parametrize("rung", range(2, 6))
def test_what_is_run_again_begins_on_the_rung_that_worked(tmp_path: Path, rung: int) -> None:
    FITS.add(LADDER[rung])
    bench = lab(tmp_path)
    first = bench.run(TEXT)
    TRIED.clear()

    again = bench.run(UNCACHED.replace("b: x", "b: y"))

    assert [LADDER[rung]] == TRIED
    assert first.outputs["shown"].replace("-x", "-y") == again.outputs["shown"]


def test_what_changes_bits_has_a_key_of_its_own_and_what_does_not_has_none(tmp_path: Path) -> None:
    keys = {}
    for number, rung in enumerate([AGAIN, *LADDER[2:]]):
        FITS.clear()
        FITS.add(rung)
        bench = lab(tmp_path / str(number))
        keys[rung] = bench.run(TEXT).finished["painted"].key
    FITS.add(ON_CPU)
    there = lab(tmp_path / "there", Heavy, CPU).run(TEXT).finished["painted"].key

    assert keys[AGAIN] == keys[OFFLOAD]
    assert 4 == len(set(keys.values()))
    assert keys[ON_CPU] == there


def test_what_the_cpu_made_before_is_taken_from_the_cache(tmp_path: Path) -> None:
    FITS.add(ON_CPU)
    lab(tmp_path, Heavy, CPU).run(TEXT)
    TRIED.clear()

    assert "hit" == lab(tmp_path).run(TEXT).actions["painted"]
    assert LADDER[:4] == TRIED


def test_a_step_that_is_made_from_the_same_is_not_tried_twice(tmp_path: Path) -> None:
    FITS.add(HALVES)
    twins = TEXT.replace("  shown:", "  twin: {use: heavy, model: $net, text: $words}\n      shown:").replace(
        "b: x", "b: $twin"
    )

    results = lab(tmp_path).run(twins)

    assert ("run", "hit") == (results.actions["painted"], results.actions["twin"])
    assert LADDER[:4] == TRIED


def test_where_nothing_helps_the_node_fails_with_all_that_was_tried_and_the_rest_goes_on(tmp_path: Path) -> None:
    bench = lab(tmp_path)

    results = bench.run(TEXT)

    assert {"words": "run", "net": "run", "painted": "failed", "shown": "skipped", "apart": "run"} == results.actions
    assert str(results.failures[0].error).splitlines() == [
        "5.1 GiB asked for on cuda:0, which has 2.0 GiB free",
        "  What lowers it: less.",
        "  Tried in vain with everything idle moved out.",
        "  Tried in vain with its weights in main memory, a layer's at a time on the device.",
        "  Tried in vain with the halves of a batch one after the other, which changes the last bits.",
        "  Tried in vain on the CPU (5.1 GiB asked for on cpu, which has 2.0 GiB free).",
        "  Tried in vain in small tiles, whose seams may be seen.",
    ]
    FITS.add(AGAIN)
    assert {"words": "hit", "net": "hit", "painted": "run", "shown": "run", "apart": "hit"} == bench.run(TEXT).actions


def test_a_kind_that_cannot_save_memory_is_not_asked_to(tmp_path: Path) -> None:
    lab(tmp_path, Whole).run(TEXT)

    assert [AGAIN, AGAIN, OFFLOAD, ON_CPU] == TRIED


def test_on_a_machine_without_accelerator_only_what_can_help_is_tried(tmp_path: Path) -> None:
    lab(tmp_path, Heavy, CPU).run(TEXT)

    assert [("cpu", "fp32", saving) for saving in ("", "", "halves", "tiles")] == TRIED


def test_a_size_that_can_never_fit_is_not_tried_again_where_only_weights_are_out_of_the_way(tmp_path: Path) -> None:
    results = lab(tmp_path, Huge).run(TEXT)

    assert [AGAIN, HALVES, ON_CPU, TILES] == TRIED
    assert "99.0 GiB, and cuda:0 has 8.0 GiB" in str(results.failures[0].error)


def test_a_rung_that_is_no_longer_enough_leads_to_the_next(tmp_path: Path) -> None:
    FITS.add(OFFLOAD)
    bench = lab(tmp_path)
    bench.run(UNCACHED)
    TRIED.clear()
    FITS.clear()
    FITS.add(HALVES)

    bench.run(UNCACHED)
    bench.run(UNCACHED)

    assert [OFFLOAD, OFFLOAD, HALVES, HALVES] == TRIED


def test_a_forced_step_begins_at_the_foot_and_forgets_where_it_was(tmp_path: Path) -> None:
    FITS.add(ON_CPU)
    bench = lab(tmp_path)
    bench.run(TEXT)
    FITS.add(AGAIN)
    TRIED.clear()

    forced = bench.run(TEXT, force=["painted"])

    assert [AGAIN] == TRIED
    assert "cuda:0" == forced.finished["painted"].device
    assert ["cuda:0"] == [
        told["device"] for told in plan_json(bench.plan(TEXT), FREE)["nodes"] if told["kind"] == "heavy"
    ]
    assert {"hit"} == set(bench.run(TEXT).actions.values())


def test_another_device_of_the_same_name_begins_at_the_foot(tmp_path: Path) -> None:
    FITS.add(ON_CPU)
    lab(tmp_path).run(TEXT)
    FITS.add(AGAIN)

    larger = lab(tmp_path, Heavy, replace(GPU, total_bytes=24 << 30), CPU)

    assert "run" == larger.run(TEXT).actions["painted"]
    assert AGAIN == TRIED[-1]


def test_the_memory_of_a_try_is_free_at_the_next(tmp_path: Path) -> None:
    class Weight:
        pass

    alive: list[weakref.ref[Weight]] = []

    class Holding(Node, kind="heavy", version=1, accelerated=True):
        """Hold something, and fail the first time."""

        def run(self, ctx: Context, model: SuperResolution, text: str) -> str:
            if alive:
                return f"{alive[0]()}"
            held = Weight()
            alive.append(weakref.ref(held))
            try:
                raise RuntimeError("out of memory")
            except RuntimeError as error:
                raise OutOfMemory("none is left") from error

    results = lab(tmp_path, Holding).run(TEXT)

    assert "None-x" == results.outputs["shown"]


def test_errors_that_are_not_of_memory_are_not_tried_again(tmp_path: Path) -> None:
    class Broken(Node, kind="heavy", version=1, accelerated=True):
        """Fail."""

        def run(self, ctx: Context, model: SuperResolution, text: str) -> str:
            TRIED.append((ctx.device, ctx.precision, ctx.saving))
            raise ZeroDivisionError("a bug")

    lab(tmp_path, Broken).run(TEXT)

    assert [AGAIN] == TRIED


def test_python_running_out_of_memory_is_the_same(tmp_path: Path) -> None:
    class Large(Node, kind="heavy", version=1, accelerated=True):
        """Ask Python for too much, but not on the CPU."""

        def run(self, ctx: Context, model: SuperResolution, text: str) -> str:
            return str(len(bytearray(2**62 if ctx.device != "cpu" else 1)))

    heard = Heard()

    assert "1-x" == lab(tmp_path, Large).run(TEXT, heard).outputs["shown"]
    assert "there is not enough memory; tried again on the CPU" == heard.warnings[-1]


def test_values_that_are_lost_on_every_rung_are_made_again(tmp_path: Path) -> None:
    """Known at the foot and on the rung that is noted, but the bytes of neither are there."""
    bench = lab(tmp_path)
    FITS.add(AGAIN)
    bench.run(TEXT)
    FITS.clear()
    FITS.add(ON_CPU)
    bench.run(TEXT, force=["painted"])
    lose_all_blobs(bench)

    again = bench.run(TEXT.replace("b: x", "b: y"))

    assert "cpu fp32 -y" == again.outputs["shown"]
    assert "run" == again.actions["painted"]
