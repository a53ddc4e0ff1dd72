"""What a plan will cost: the nearest measurements, their medians and lines, and what is not guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from graph.cache import Cache, Memory
from graph.costs import KEPT, START, Cost, Meter, known
from graph.forecast import Forecast, forecast
from graph.gauge import Spent, in_use, watch
from graph.node import Effort
from graph.plan import plan
from graph.registry import Registry
from graph.views import plan_json, plan_table
from tests.graph.lab import REGISTRY, Heard, Lab, Say

TEXT = "params: {who: you}\nnodes: {a: {use: say, text: $who}, b: {use: trim, text: $a}}"
PLAIN = Cost("cpu", "fp32", "", {}, 1.0, 1.0, 2.0, 0.0, 0, 0, (1000,))
"""Of a node that takes nothing."""
AFTER = replace(PLAIN, extent=1000.0)
"""Of a node that takes what it gave."""


def told(
    lab: Lab, text: str, costs: Mapping[str, Sequence[Cost]], force: Sequence[str] = (), **settings: str
) -> Forecast:
    """The forecast of a plan with these measurements known, and no others."""
    cache = lab.open()
    try:
        for kind, found in costs.items():
            keep(cache, kind, found)
        return forecast(plan(lab.graph(text, **settings), cache, lab.world(cache), force), cache, lab.world(cache))
    finally:
        cache.close()


def keep(cache: Cache, kind: str, costs: Sequence[Cost]) -> None:
    """Make these the only measurements of a kind."""
    cache.note("cost", kind, b"[1, []]")
    meter = Meter(None, cache, {}, {}, lambda origin: None)  # type: ignore[arg-type]  # asked for no weights
    for cost in costs:
        meter._add(kind, cost)
    meter.keep()


def seconds(found: Forecast) -> dict[str, float | None]:
    return {name: round(part.seconds, 3) if part else None for name, part in found.steps.items()}


# Which measurements count


def test_a_plan_of_what_was_measured_costs_the_median(lab: Lab) -> None:
    measured = [replace(PLAIN, seconds=value) for value in (1.0, 9.0, 2.0)]

    assert {"a": 2.0, "b": 2.0} == seconds(told(lab, TEXT, {"say": measured, "trim": [AFTER]}))


def test_what_was_never_measured_is_not_guessed(lab: Lab) -> None:
    found = told(lab, TEXT, {"say": [PLAIN]})

    assert {"a": 2.0, "b": None} == seconds(found)
    assert (("b",), 2.0) == (found.unknown, found.seconds)


def test_what_is_cached_costs_nothing(lab: Lab) -> None:
    lab.run(TEXT)
    found = told(lab, TEXT, {})

    assert ({}, 0.0, 0, 0) == (found.steps, found.seconds, found.memory, found.size)


def test_the_words_of_a_node_choose_what_it_is_compared_with(lab: Lab) -> None:
    cover, contain = (
        replace(PLAIN, words={"fit": word}, seconds=value) for word, value in (("cover", 1), ("contain", 5))
    )

    assert {"p": 5.0} == seconds(told(lab, "nodes: {p: {use: paint, fit: contain}}", {"paint": [contain, cover]}))


def test_a_step_that_waits_is_counted_and_said_to_be_unsure(lab: Lab) -> None:
    costs = {"say": [PLAIN], "trim": [AFTER]}

    assert (4.0, False) == ((found := told(lab, TEXT, costs)).seconds, found.is_sure)
    assert (2.0, True) == ((found := told(lab, "nodes: {a: {use: say, text: x}}", costs)).seconds, found.is_sure)


# How much there is to do


@pytest.mark.parametrize(
    ("measured", "size", "expected"),
    [
        ([(100, 2.0)], 100, 2.0),
        ([(100, 2.0)], 300, 6.0),
        ([(100, 2.0), (200, 3.0)], 400, 5.0),
        ([(100, 2.0), (200, 3.0), (200, 30.0), (300, 4.0)], 400, 5.0),
        ([(100, 2.0), (200, 2.0)], 400, 2.0),
        ([(100, 3.0), (200, 2.0)], 400, 2.5),
        ([(100, 1.0), (200, 9.0), (200, 2.0), (200, 2.2)], 200, 2.2),
    ],
    ids=["the-same", "in-proportion", "on-a-line", "outlier", "constant", "never-less-for-more", "median-of-the-same"],
)
def test_time_goes_with_what_there_is_to_do(
    lab: Lab, measured: list[tuple[float, float]], size: int, expected: float
) -> None:
    costs = {
        "say": [replace(PLAIN, sizes=(size,))],
        "trim": [replace(PLAIN, extent=extent, seconds=value) for extent, value in measured],
    }

    assert expected == pytest.approx(told(lab, TEXT, costs).steps["b"].seconds)  # type: ignore[union-attr]  # measured


def test_rounds_cost_time_and_no_memory_or_bytes(lab: Lab) -> None:
    once = replace(PLAIN, rounds=5, seconds=10.0, memory=50_000, sizes=(100,))
    often = replace(once, rounds=10, seconds=20.0)
    (step,) = told(lab, "nodes: {a: {use: say, text: x}}", {"say": [once, often]}).steps.values()

    assert step
    assert (2.0, 50_000, 100) == (step.seconds, step.memory, step.size)


def test_sizes_are_forecast_through_the_graph(lab: Lab) -> None:
    text = "nodes: {a: {use: say, text: x}, b: {use: trim, text: $a}, c: {use: trim, text: $b}}"
    costs = {
        "say": [replace(PLAIN, sizes=(300,))],
        "trim": [replace(PLAIN, extent=100, seconds=1.0, sizes=(200,))],
    }
    found = told(lab, text, costs)

    assert {"a": 2.0, "b": 3.0, "c": 6.0} == seconds(found)
    assert 300 + 600 + 1200 == found.size


def test_memory_is_what_stays_and_what_a_step_needs_at_its_peak(lab: Lab) -> None:
    costs = {
        "say": [replace(PLAIN, memory=500, stays=300, loading=1.0)],
        "trim": [replace(AFTER, memory=400)],
    }

    assert 700 == told(lab, TEXT, costs).memory


def test_memory_that_was_not_measured_does_not_count_as_none(lab: Lab) -> None:
    costs = {"say": [replace(PLAIN, memory=value) for value in (0, 500, 0)]}

    assert 500 == told(lab, "nodes: {a: {use: say, text: x}}", costs).memory


def test_a_value_that_was_evicted_is_counted_as_made_again(lab: Lab) -> None:
    text = "params: {w: x}\nnodes: {a: {use: paint}, b: {use: frame, image: $a}, c: {use: say, text: $w}}"
    lab.run(text)
    cache = lab.open()
    with cache._store.transaction() as index:  # type: ignore[attr-defined]  # as gc does
        index.execute("DELETE FROM blobs")
    cache.close()

    assert {"a"} == told(lab, text, {}, force=["b"]).again
    assert frozenset() == told(lab, text, {}, w="y").again


# What is measured


def test_a_run_is_measured_and_the_next_plan_knows_it(lab: Lab) -> None:
    lab.run(TEXT)
    cache = lab.open()
    (say,), (trim,) = known("say", cache), known("trim", cache)
    cache.close()

    assert ("cpu", {"upper": "False"}) == (say.device, say.words)
    assert trim.extent == say.sizes[0] > 0
    assert None not in seconds(told_as_is(lab, TEXT, who="me")).values()


def told_as_is(lab: Lab, text: str, **settings: str) -> Forecast:
    cache = lab.open()
    try:
        return forecast(plan(lab.graph(text, **settings), cache, lab.world(cache)), cache, lab.world(cache))
    finally:
        cache.close()


def test_of_each_kind_the_last_measurements_are_kept() -> None:
    cache = Memory()
    for value in range(KEPT + 8):
        keep_more(cache, replace(PLAIN, seconds=float(value)))

    assert list(map(float, range(8, KEPT + 8))) == [cost.seconds for cost in known("say", cache)]


def keep_more(cache: Cache, cost: Cost) -> None:
    meter = Meter(None, cache, {}, {}, lambda origin: None)  # type: ignore[arg-type]  # asked for no weights
    meter._add("say", cost)
    meter.keep()


def test_of_many_short_steps_a_few_are_measured(lab: Lab) -> None:
    nodes = ", ".join(f"n{at}: {{use: say, text: x{at}}}" for at in range(50))
    lab.run(f"nodes: {{{nodes}}}")
    cache = lab.open()

    assert 8 == len(known("say", cache))
    cache.close()


def test_measurements_of_another_version_are_none() -> None:
    cache = Memory()
    cache.note("cost", "say", b'[2, [["cpu"]]]')

    assert [] == known("say", cache)


class Unsure(Say, kind="unsure", version=1):
    """Give a text, and fail to say how much work that is."""

    def effort(self, sizes: Mapping[str, int]) -> Effort:
        return Effort(1 / len(sizes))


def test_a_node_that_fails_to_say_its_effort_runs(lab: Lab) -> None:
    kinds = Registry(MappingProxyType({**REGISTRY.kinds, "unsure": Unsure}))
    there = replace(lab, registry=kinds)

    assert {"a": "run"} == there.actions("nodes: {a: {use: unsure, text: x}}")
    assert ("a",) == tuple(told_as_is(there, "nodes: {a: {use: unsure, text: y}}").steps)


def test_a_failed_step_is_not_measured(lab: Lab) -> None:
    lab.run("nodes: {a: {use: say, text: x}, b: {use: fail, text: $a}}", Heard())
    cache = lab.open()

    assert ([], 1) == (known("fail", cache), len(known("say", cache)))
    cache.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells of memory in use")
def test_memory_is_measured_where_the_peak_grows() -> None:
    peak, now = in_use()
    spent = watch(Say, "cpu")
    block = bytearray(peak - now + (64 << 20))
    grown = spent()
    del block
    again = watch(Say, "cpu")

    assert 48 << 20 < grown.memory  # of 64; what else the process lets go of meanwhile counts against it
    assert Spent() == replace(again(), stays=0)


def test_memory_of_another_device_is_not_main_memory() -> None:
    assert Spent() == watch(Say, "mps")()


def test_starting_is_paid_once_and_no_work_of_a_step(lab: Lab) -> None:
    cache = Memory()
    graph = lab.graph("nodes: {a: {use: say, text: x}}")
    (step,) = graph.steps.values()
    ready = plan(graph, cache, lab.world(cache)).steps[0].ready
    assert ready
    meter = Meter(graph, cache, {}, {}, lambda origin: None)
    meter.note(step, ready, 10.0, Spent(loading=2.0, starting=5.0, base=77), ())
    meter.keep()
    (cost,), (start,) = known("say", cache), known(START, cache)

    assert (3.0, 2.0) == (cost.seconds, cost.loading)
    assert (5.0, 77) == (start.seconds, start.memory)


# What is shown


def shown(lab: Lab, text: str, costs: Mapping[str, Sequence[Cost]], width: int | None = None) -> list[str]:
    cache = lab.open()
    for kind, found in costs.items():
        keep(cache, kind, found)
    planned = plan(lab.graph(text), cache, lab.world(cache))
    try:
        return plan_table(planned, forecast(planned, cache, lab.world(cache)), width, False).splitlines()
    finally:
        cache.close()


def test_a_plan_shows_seconds_and_sums_up(lab: Lab) -> None:
    costs = {"say": [replace(PLAIN, memory=1_200_000_000)], "trim": [replace(AFTER, seconds=100.0)]}

    assert [
        "node  kind  action   takes       why",
        "a     say   run      2.0 s       never run before",
        "b     trim  unknown  1 min 40 s  waits for a",
        "",
        "1 run, 1 unknown",
        "at most about 1 min 42 s",
        "1.2 GB of memory at the peak, 2.0 kB more in the cache",
    ] == shown(lab, TEXT, costs)


def test_a_plan_says_what_it_cannot_tell(lab: Lab) -> None:
    assert "without b: nothing like it was measured" == shown(lab, TEXT, {"say": [PLAIN]})[-1]


def test_a_plan_of_a_fresh_cache_says_that_nothing_is_known(lab: Lab) -> None:
    assert "how long it takes is not known: nothing like it ran before" == shown(lab, TEXT, {})[-1]


def test_a_cached_plan_has_no_columns_of_nothing(lab: Lab) -> None:
    lab.run(TEXT)

    assert [
        "node  kind  action  why",
        "a     say   hit     computed just now",
        "b     trim  hit     computed just now",
        "",
        "2 hit",
    ] == shown(lab, TEXT, {})


def test_programs_are_told_of_each_node_and_in_all(lab: Lab) -> None:
    cache = lab.open()
    keep(cache, "say", [PLAIN])
    planned = plan(lab.graph(TEXT), cache, lab.world(cache))
    found = plan_json(planned, forecast(planned, cache, lab.world(cache)))
    cache.close()

    assert [(2.0, 0, 1000), (None, None, None)] == [
        tuple(node[name] for name in ("seconds", "memory", "bytes")) for node in found["nodes"]
    ]
    assert {
        "seconds": 2.0,
        "memory": 0,
        "bytes": 1000,
        "starting": 0.0,
        "is_sure": False,
        "unknown": ["b"],
    } == found["forecast"]
