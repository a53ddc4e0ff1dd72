"""What a plan will cost: seconds, memory and bytes of each step that runs, from what its kind cost before.

For each step the nearest measurements of its kind are taken: on the same device, in the same precision, with weights
of the same file, and of these the ones that agree in the most parameters that are words. Where some had just as much
to do, their median is the forecast; where they had other amounts, it is read off the median line through them (Theil
1950, Sen 1968); where there is a single amount, it is taken in proportion. What a step will give is forecast too, and
tells how much the steps after it will have to do.

A step that waits for others may turn out to be cached; it is counted as if it ran, so a plan costs at most so much.
What was never measured is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from graph.cache import Cache
from graph.costs import START, Cost, choices, effort_of, known, weights_of
from graph.node import Effort, outputs
from graph.placement import place
from graph.plan import Plan, Planned
from graph.ready import World
from graph.sources import Choice, From, Gather, Source, origins
from graph.steps import Step, model_ports

_SAME = 0.02
"""How far two amounts may be apart that count as the same."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one step will cost."""

    seconds: float
    memory: int
    """Bytes at the peak, beyond those in use before; 0 where it was never measured."""
    sizes: tuple[int, ...]
    """Bytes of each output."""
    stays: int = 0
    """Bytes of memory that are still in use after it."""

    @property
    def size(self) -> int:
        """Bytes of all outputs."""
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a plan will cost."""

    steps: Mapping[str, Estimate | None]
    """Of the steps that run, or may: None where nothing like it was measured."""
    starting: float
    """Seconds in which the process imports what computes with weights; in `seconds`, and in no step."""
    seconds: float
    memory: int
    """Bytes at the peak, beyond those in use before, on the device where that is the most."""
    size: int
    """Bytes that the cache will grow by."""
    again: frozenset[str] = frozenset()
    """Steps that are known, but whose values were evicted and are taken by a step that runs."""
    is_sure: bool = True
    """Whether no step waits: then all of them run."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """The steps of which there is no forecast; the totals do without them."""
        return tuple(name for name, estimate in self.steps.items() if estimate is None)


def forecast(plan: Plan, cache: Cache, world: World) -> Forecast:
    """Say what a plan will cost in a process of its own."""
    return _Forecaster(plan, cache, world).forecast()


class _Forecaster:
    def __init__(self, plan: Plan, cache: Cache, world: World) -> None:
        self._plan = plan
        self._cache = cache
        self._world = world
        self._parts = {part.step.name: part for part in plan.steps}
        self._ready = {part.step.name: part.ready for part in plan.steps if part.ready}
        self._costs: dict[str, list[Cost]] = {}
        self._sizes: dict[str, Sequence[int]] = {}
        """Bytes of each output of the steps so far that run."""
        self._loaded: set[tuple[str, int]] = set()
        """Model handles that a step so far takes."""
        known = [part.result for part in plan.steps if part.result] if any(map(_runs, plan.steps)) else []
        self._there = cache.sizes(digest for result in known for digest in result.outputs)
        self._again = self._evicted()

    def forecast(self) -> Forecast:
        steps: dict[str, Estimate | None] = {}
        for part in self._plan.steps:
            name = part.step.name
            if name in self._again and part.result:
                result = part.result
                steps[name] = Estimate(result.seconds, result.memory, ())
            elif _runs(part):
                steps[name] = found = self._estimate(part)
                if found:
                    self._sizes[name] = found.sizes
        known = [(self._parts[name].step, found) for name, found in steps.items() if found]
        starting, base = self._start(any(step.accelerated for step, _ in known))
        return Forecast(
            steps,
            starting,
            starting + sum(found.seconds for _, found in known),
            _peak([(self._device(step), found) for step, found in known], base),
            sum(found.size for step, found in known if step.cache),
            self._again,
            all(part.action != "unknown" for part in self._plan.steps),
        )

    def _taken(self, step: Step) -> Iterator[From]:
        """The outputs of other steps that a step will take."""
        for source in (*step.inputs.values(), *step.linked.values()):
            yield from self._chosen(source)

    def _chosen(self, source: Source) -> Iterator[From]:
        if isinstance(source, Choice):
            yield from [option for option in source.options if self._parts[option.step].action != "skipped"][:1]
        elif isinstance(source, Gather):
            for item in source.items:
                yield from self._chosen(item)
        else:
            yield from origins(source)

    def _digest(self, origin: From) -> str:
        result = self._parts[origin.step].result
        return result.outputs[origin.output] if result else ""

    def _evicted(self) -> frozenset[str]:
        """Known steps that must be run again: one that runs takes a value of them that was evicted."""
        again: set[str] = set()
        for part in reversed(self._plan.steps):
            if _runs(part) or part.step.name in again:
                digests = ((origin.step, self._digest(origin)) for origin in self._taken(part.step))
                again.update(step for step, digest in digests if digest and digest not in self._there)
        return frozenset(again)

    def _estimate(self, part: Planned) -> Estimate | None:
        near = self._near(part)
        if not near:
            return None
        effort = self._effort(part.step) or Effort(near[-1].extent, near[-1].rounds)
        work = effort.extent * effort.rounds
        seconds = _at([(cost.extent * cost.rounds, cost.seconds) for cost in near], work)
        count = len(outputs(part.step.node))
        complete = [cost for cost in near if len(cost.sizes) == count]
        sizes = [_at([(cost.extent, cost.sizes[at]) for cost in complete], effort.extent) for at in range(count)]
        return Estimate(
            seconds + self._loading(part.step, near),
            self._memory([(cost.extent, cost.memory) for cost in near if cost.memory], effort.extent),
            tuple(map(round, sizes)) if complete else (),
            round(_median([cost.stays for cost in near if cost.loading])),
        )

    def _memory(self, points: Sequence[tuple[float, int]], extent: float) -> int:
        """Of one amount alone, no less for less to do: how much of it is weights is not known then."""
        if not points:
            return 0
        least = min(memory for _, memory in points) if len({amount for amount, _ in points}) == 1 else 0
        return round(max(least, _at(points, extent)))

    def _device(self, step: Step) -> str:
        if not step.accelerated:
            return "cpu"
        return place(self._world.devices, step.device or self._world.device, "auto").device

    def _near(self, part: Planned) -> list[Cost]:
        """The measurements of a kind that are most like a step, oldest first."""
        step = part.step
        if step.kind not in self._costs:
            self._costs[step.kind] = known(step.kind, self._cache)
        found = self._costs[step.kind]
        if step.accelerated:
            found = [cost for cost in found if cost.device == self._device(step)]
            weights = weights_of(step, self._plan.graph, self._ready)
            found = [cost for cost in found if not weights or cost.weights == weights]
        if part.ready:
            found = [cost for cost in found if cost.precision == part.ready.placed.precision]
        node = part.ready.node if part.ready else step.instance
        if not found or node is None:
            return found
        words = choices(node)
        others = [sum(cost.words.get(name) != word for name, word in words.items()) for cost in found]
        fewest = min(others)
        return [cost for cost, count in zip(found, others, strict=True) if count == fewest]

    def _effort(self, step: Step) -> Effort | None:
        """How much a step has to do, if that can be told before what it takes is there."""
        ready = self._ready.get(step.name)
        node = ready.node if ready else step.instance
        sizes = {name: self._arriving(source) for name, source in step.inputs.items()}
        told = {name: size for name, size in sizes.items() if size is not None}
        return effort_of(node, told) if node and len(told) == len(sizes) else None

    def _arriving(self, source: Source) -> int | None:
        """The bytes that come to an input; None where they cannot be told."""
        sizes = [self._size(origin) for origin in self._chosen(source)]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def _size(self, origin: From) -> int | None:
        """The bytes of an output: of the value that is there, or as forecast."""
        if digest := self._digest(origin):
            return self._there.get(digest)
        sizes = self._sizes.get(origin.step, ())
        return sizes[origin.output] if origin.output < len(sizes) else None

    def _loading(self, step: Step, near: Sequence[Cost]) -> float:
        """Seconds of reading weights: the first step that takes them pays for all."""
        for name in model_ports(step.node):
            for origin in origins(step.inputs[name]) if name in step.inputs else ():
                if (origin.step, origin.output) in self._loaded:
                    return 0.0
                self._loaded.add((origin.step, origin.output))
        return _median([cost.loading for cost in near if cost.loading])

    def _start(self, is_accelerated: bool) -> tuple[float, int]:
        """(seconds, bytes) of what a process needs before it computes with weights."""
        begun = known(START, self._cache) if is_accelerated else []
        return _median([cost.seconds for cost in begun]), round(_median([cost.memory for cost in begun]))


def _runs(part: Planned) -> bool:
    return part.action in ("run", "unknown")


def _peak(estimates: Iterable[tuple[str, Estimate]], base: int) -> int:
    """The most memory at one time on one device: what the steps before left in use there, and what a step needs.

    base: what is in use on the CPU before the first.
    """
    resident, peak = {"cpu": base}, base
    for device, estimate in estimates:
        before = resident.get(device, 0)
        peak = max(peak, before + estimate.memory)
        resident[device] = before + estimate.stays
    return peak


def _at(points: Sequence[tuple[float, float]], amount: float) -> float:
    """The value at an amount, from values at others; 0 from none."""
    same = [value for other, value in points if abs(other - amount) <= _SAME * max(abs(other), abs(amount))]
    if same:
        return _median(same)
    slopes = [(y - v) / (x - u) for (u, v), (x, y) in combinations(points, 2) if abs(x - u) > _SAME * max(x, u)]
    if not slopes:
        return _median([value * amount / other if other else value for other, value in points])
    slope = max(0.0, _median(slopes))
    return max(0.0, _median([value - slope * other for other, value in points])) + slope * amount


def _median(values: Sequence[float]) -> float:
    """The middle one; of an even number, the mean of both. (The module `statistics` takes longer to import.)"""
    ordered, half = sorted(values), len(values) // 2
    if not ordered:
        return 0.0
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
