"""Running a plan: every step in its order, each value kept until its last taker, every result remembered.

One failed step does not stop the others: what needs it is skipped, the rest goes on, and the end says what failed.
A step that waited is asked again when its inputs are known; if its key turns out to be in the cache it is a hit.
Where a step takes a value whose bytes were evicted, the step that gave it is run again first; if that gives other
bytes (it is not deterministic), what was planned on the old ones is planned anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path

from graph.ages import NEVER
from graph.asking import asked_of
from graph.cache import Cache, Result
from graph.codec import Blob, encode
from graph.context import Running, Shared, Stop
from graph.costs import Meter
from graph.deliver import Courier, Delivery
from graph.errors import StepError, Stopped
from graph.events import (
    Action,
    NodeFinished,
    NodeStarted,
    OutputFailed,
    RunStarted,
    Sink,
    Warned,
)
from graph.explain import NAMED, Reasons
from graph.failures import Failure, Gone, told
from graph.files import digest_of
from graph.findings import Findings, findings
from graph.gauge import Watch, unwatched, watch
from graph.held import Held
from graph.history import note
from graph.ladder import at_foot, can_be_had, climb, prepared
from graph.loaded import Loaded
from graph.made import QUICK, encoded, remarks, surprise
from graph.node import returned, run_apart
from graph.pace import over_many_objects
from graph.plan import Plan, Planned, find
from graph.provenance import versions
from graph.ready import Done, Off, Outcome, Ready, Wait, World, prepare, value_of
from graph.remaking import Remaking
from graph.results import Results, finished
from graph.steps import Step, values_of
from graph.turns import Turns
from graph.values import ModelHandle

__all__ = ["Results", "execute"]

_DIGEST = attrgetter("digest")


@over_many_objects
def execute(
    plan: Plan,
    cache: Cache,
    sink: Sink,
    world: World,
    *,
    stop: Stop | None = None,
    release: Callable[[ModelHandle], None] = lambda handle: None,
    watch: Watch = watch,
    keep_values: bool = False,
    save: bool = True,
) -> Results:
    """Run a plan and give what is wanted of it.

    release: called with a model handle when no step takes it any more. watch: says what accelerated steps spend.
    keep_values: give the values of the outputs back. save: write wanted pictures to files.
    Raises Stopped after what is finished was kept; everything else that goes wrong is in the results.
    """
    start = time.perf_counter()
    steps = tuple((planned.step.name, planned.step.kind) for planned in plan.steps)
    sink.emit(RunStarted(plan.graph.workflow.name, len(steps), 1, steps))
    cache.touch(digest for planned in plan.steps if planned.result for digest in planned.result.outputs)
    stop, loaded, outcomes = stop or Stop(), Loaded(plan.graph.steps, release), dict[str, Outcome]()
    held, turns = Held(cache, loaded, outcomes, plan.releases), Turns(plan, cache, sink, stop)
    run = _Run(plan, cache, sink, world, stop, held, turns, watch, outcomes)
    courier = Courier(plan.graph, cache, world, run.remaking.obtain, run.found)
    stopped: Stopped | None = None
    try:
        for planned in plan.steps:
            run.settle(planned)
    except Stopped as error:
        stopped = error
    delivery = courier.deliver(run.outcomes, keep_values=keep_values and not stopped, save=save)
    stopped = stopped or next((why for _, why in delivery.failures if isinstance(why, Stopped)), None)
    loaded.let_go_of_all()
    run.meter.keep()
    results = _results(run, delivery, time.perf_counter() - start, stopped=stopped is not None)
    ended = finished(results)
    keys = run.lost | {name: event.key for name, event in run.finished.items() if event.key}
    cache.note_latest(plan.graph.workflow.name, keys)
    note(cache, results.asked, run.finished.values(), ended, time.time(), versions, stopped=stopped is not None)
    cache.flush()
    for name, failure in delivery.failures:
        if not isinstance(failure, Stopped):
            sink.emit(OutputFailed(name, str(failure)))
    sink.emit(ended)
    if stopped:
        raise stopped
    return results


def _results(run: _Run, delivery: Delivery, seconds: float, *, stopped: bool) -> Results:
    failures = (*run.failures, *(Failure(name, error) for name, error in delivery.failures))
    return Results(
        not failures and not stopped,
        {name: event.action for name, event in run.finished.items()},
        delivery.saved,
        delivery.values,
        asked_of(run.plan.graph, run.world),
        failures,
        seconds,
        run.finished,
        {name: outcome.digests for name, outcome in run.outcomes.items() if isinstance(outcome, Done)},
        run.files,
        run.remarks,
    )


@dataclass
class _Run:
    """The state of one run: how each step ended."""

    plan: Plan
    cache: Cache
    sink: Sink
    world: World
    stop: Stop
    held: Held
    turns: Turns
    watch: Watch
    outcomes: dict[str, Outcome]
    finished: dict[str, NodeFinished] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    """By digest: where the files and models lie that the settled steps name."""
    failures: list[Failure] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Keys of steps that were known, and failed when they were made again."""
    remarks: dict[str, Sequence[str]] = field(default_factory=dict)
    """What nodes warned of, now or when they made what is known."""

    def settle(self, planned: Planned) -> None:
        """Bring one step to its end, whatever that is, and let go of what nobody takes any more.

        Raises Stopped if the user asked to stop.
        """
        self.stop.check()
        step = planned.step
        try:
            self._settle(planned)
        except (Stopped, KeyboardInterrupt):
            raise
        except Gone as gone:
            self.outcomes[step.name] = Off(gone.message)
            self._finish(step, "skipped", why=gone.message)
        except BaseException as error:  # a node may call sys.exit
            self._fail(step, error)
            self.outcomes[step.name] = Off("failed")
        self.held.let_go(step.name)

    def _fail(self, step: Step, error: BaseException) -> None:
        if (before := self.finished.get(step.name)) and before.key:
            self.lost[step.name] = before.key
        self.failures.append(Failure(step.name, error))
        self._finish(step, "failed", why=told(error, step))

    def _settle(self, planned: Planned) -> None:
        if planned.action == "hit" and planned.ready and planned.result:
            self._hit(planned.step, planned.ready, planned.result)
        elif planned.action == "run" and planned.ready and self._still_holds(planned.step, planned.ready):
            self._run(planned.step, planned.ready, planned.why)
        else:
            self._settle_unknown(planned.step)

    def _still_holds(self, step: Step, ready: Ready) -> bool:
        """Whether what was planned is so now: no input came out otherwise when made again, no file can have changed."""
        return not self.remaking.bring(step) and not self.remaking.moved and not ready.files

    def _settle_unknown(self, step: Step) -> None:
        ready = self._prepared(step)
        if isinstance(ready, Off):
            self.outcomes[step.name] = ready
            self._finish(step, "skipped", why=ready.why)
            return
        if self._reasons.compares:
            self.ready[step.name] = ready
        forced = step.name in self.plan.forced
        found = find(step, ready, self.cache, forced=forced)
        if found:
            self.cache.touch(found.outputs)
            self._hit(step, ready, found)
        elif self.remaking.bring(step):
            self._settle_unknown(step)
        else:
            self._run(step, ready, self._reasons.why(step, ready, forced=forced))

    def _prepared(self, step: Step) -> Ready | Off:
        """Ask what a step is made from; texts, numbers and handles that were evicted are made again for it."""
        asked = (step, self.outcomes, self.held.read, self.world)
        forced = step.name in self.plan.forced
        while isinstance(ready := prepare(*asked) if forced else prepared(*asked, self.cache), Wait):
            for name in ready.steps:
                self.remaking.remake(self.plan.graph.steps[name])
        return ready

    @cached_property
    def ready(self) -> dict[str, Ready]:
        """What steps are made from: as planned, then as found out."""
        return {part.step.name: part.ready for part in self.plan.steps if part.ready}

    @cached_property
    def shared(self) -> Shared:
        return Shared(
            self.plan.graph, self.cache, self.sink, self.world, self.stop, self.files, self.found, self.remarks
        )

    @cached_property
    def meter(self) -> Meter:
        return Meter(self.plan.graph, self.cache, self.ready, self.outcomes, self.held.read)

    @cached_property
    def _reasons(self) -> Reasons:
        return Reasons(self.plan.graph, self.cache, self.ready)

    def _hit(self, step: Step, ready: Ready, result: Result) -> None:
        self.outcomes[step.name] = Done(result.outputs)
        if said := remarks(step, result.outputs, self.cache.blob):
            self.remarks[step.name] = said
            for message in said:
                self.sink.emit(Warned(message, step.name))
        self._finish(step, "hit", result.seconds, ready=ready)

    def _finish(
        self, step: Step, action: Action, seconds: float = 0, ready: Ready | None = None, why: str = "", after: int = 0
    ) -> None:
        device, key = "", ""
        if ready:
            self.turns.note(step.kind, seconds)
            if ready.files:
                self._note_files(ready)
            key, device = ready.key, ready.placed.device if step.accelerated else ""
        event = NodeFinished(step.name, step.kind, action, seconds, device, key, why, resumed=after)
        self.finished[step.name] = event
        self.sink.emit(event)

    def _run(self, step: Step, ready: Ready, why: str) -> None:
        """Compute a step, where its memory is enough."""
        if not step.accelerated:
            self._attempt(step, ready, ready, why)
            return
        climb(step, ready, self.world, self.cache, lambda at: self._attempt(step, ready, at, why), self.sink)

    def _attempt(self, step: Step, ready: Ready, at: Ready, why: str) -> None:
        """Compute a step in one way; if that is known, or another process does so just now, take what it gives."""
        found = None if at.key == ready.key else find(step, at, self.cache, forced=step.name in self.plan.forced)
        if found and can_be_had(step, found, self.cache):
            self._hit(step, at, found)
        elif not self.turns.is_costly(step):
            self._start(step, at, why)
        else:
            with self.turns.claimed(step, at) as known:
                if known:
                    self._hit(step, at, known)
                else:
                    self._start(step, at, why)

    def _start(self, step: Step, ready: Ready, why: str) -> None:
        device = ready.placed.device if step.accelerated else ""
        self.sink.emit(NodeStarted(step.name, step.kind, device, why))
        context = Running(step, ready, self.shared, anew=step.fresh != NEVER or step.name in self.plan.forced)
        seconds = self._compute(step, ready, context)
        after = context.bookmark.finish() if context.bookmark else 0
        self._finish(step, "run", seconds, ready=ready, why=why, after=after)

    def _compute(self, step: Step, ready: Ready, context: Running) -> float:
        """Run a node and keep what it gives. Gives the seconds of its own work."""
        arguments = {}
        for name, source in step.inputs.items():
            arguments[name] = value_of(source, self.outcomes, self.held.read)
        self.held.loaded.note(arguments)
        if ready.files:
            self._note_files(ready)
        start = time.perf_counter()
        spent = self.watch(step.node, ready.placed.device) if step.accelerated else unwatched
        result = run_apart(ready.node, context, arguments)
        seconds = time.perf_counter() - start
        if ready.files and at_foot(self._prepared(step)) != at_foot(ready):
            raise StepError(f"{step.name}: its file was changed while it was read", hint="Run it again.")
        used, blobs = spent(), encoded(step, returned(step.node, result))
        bookmark = context.bookmark
        if not bookmark or not bookmark.steps:
            self.meter.note(step, ready, seconds, used, blobs)
        whole = bookmark.whole(seconds) if bookmark else seconds
        self._keep(step, ready, blobs, tuple(context.remarks), whole, used.memory)
        return seconds

    def _keep(
        self, step: Step, ready: Ready, blobs: tuple[Blob, ...], said: tuple[str, ...], seconds: float, memory: int
    ) -> None:
        every = (*blobs, encode(said)) if said else blobs
        digests = tuple(map(_DIGEST, every))
        before = self._expected(step, ready, seconds)
        is_other = before and values_of(step, before) != values_of(step, digests)
        if is_other and (word := surprise(step, blobs)):
            self.sink.emit(Warned(word, step.name))
        self.held.keep(step.name, blobs)
        if said:
            self.remarks[step.name] = said
        self.outcomes[step.name] = Done(digests)
        if step.cache:
            self.cache.remember(Result(ready.key, digests, ready.recipe, seconds, time.time(), memory), every)

    def _expected(self, step: Step, ready: Ready, seconds: float) -> tuple[str, ...]:
        """What this key gave before, in this run or whenever it was; in another process meanwhile, if it took long."""
        ended = self.finished.get(step.name)
        if ended and ended.key == ready.key and isinstance(outcome := self.outcomes.get(step.name), Done):
            return outcome.digests
        is_new = not ended and step.cache and step.name not in self.plan.forced
        known = None if is_new and seconds < QUICK else self.cache.result(ready.key)
        return known.outputs if known else ()

    # Values

    def found(self, step: str) -> Findings:
        """What a step and those before it told beside pictures."""
        return findings(self.plan.graph, step, self.outcomes, self.held.read)

    @cached_property
    def remaking(self) -> Remaking:
        return Remaking(self.plan.graph.steps, self.held, self.outcomes, self.stop, self._again, self._fail)

    def _again(self, step: Step) -> None:
        ready = self._prepared(step)
        if not isinstance(ready, Ready):
            raise StepError(f"{step.name} cannot be made again: {ready.why}")
        self._run(step, ready, "its result is no longer in the cache")

    def _note_files(self, ready: Ready) -> None:
        for file in ready.files:
            self.files[digest := digest_of(file, self.world.files)] = file.path
            self.cache.note(NAMED, digest, file.written.encode("utf-8", "surrogatepass"))
