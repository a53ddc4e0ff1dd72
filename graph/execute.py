"""Running a plan: every step in its order, each value kept until its last taker, every result remembered.

One failed step does not stop the others: what needs it is skipped, the rest goes on, and the end says what failed.
A step that waited is asked again when its inputs are known; if its key turns out to be in the cache it is a hit.
Where a step takes a value whose bytes were evicted, the step that gave it is run again first; if that gives other
bytes (it is not deterministic), what was planned on the old ones is planned anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from graph.cache import Cache, Result
from graph.context import Running, Stop
from graph.deliver import Courier, Delivery
from graph.errors import StepError, Stopped
from graph.events import (
    Action,
    NodeFinished,
    NodeStarted,
    OutputFailed,
    RunFinished,
    RunStarted,
    SavedOutput,
    Sink,
    Warned,
)
from graph.failures import Failure, told
from graph.fields import file_parameters
from graph.files import digest_of
from graph.findings import Findings, findings
from graph.ladder import at_foot, can_be_had, climb, prepared
from graph.loaded import Loaded
from graph.made import encoded, holds_file, is_known
from graph.node import outputs, returned
from graph.pace import over_many_objects
from graph.plan import Plan, Planned, Value, find, why_run
from graph.ready import Done, Off, Outcome, Ready, Wait, World, prepare, takes, value_of
from graph.sources import From
from graph.steps import Step
from graph.values import Blob, ModelHandle, SavedFile


@dataclass(frozen=True, slots=True)
class Results:
    """What a run gave."""

    ok: bool
    actions: Mapping[str, Action]
    """How each node ended."""
    saved: tuple[SavedOutput, ...]
    """What was saved, as events tell it."""
    outputs: Mapping[str, Any]
    """By the names of the outputs: the values themselves, where they were asked for."""
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    finished: Mapping[str, NodeFinished] = field(default_factory=dict)
    """What was told of each node last."""
    digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the outputs of each node that has some."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """By digest: the files and models that parameters named."""
    files_saved: tuple[SavedFile, ...] = ()
    """The files of the pictures that were saved or kept."""


@over_many_objects
def execute(
    plan: Plan,
    cache: Cache,
    sink: Sink,
    world: World,
    *,
    stop: Stop | None = None,
    release: Callable[[ModelHandle], None] = lambda handle: None,
    keep_values: bool = False,
    save: bool = True,
) -> Results:
    """Run a plan and give what is wanted of it.

    release: called with a model handle when no step takes it any more.
    keep_values: give the values of the outputs back. save: write wanted pictures to files.
    Raises Stopped after what is finished was kept; everything else that goes wrong is in the results.
    """
    start = time.perf_counter()
    steps = tuple((planned.step.name, planned.step.kind) for planned in plan.steps)
    sink.emit(RunStarted(plan.graph.workflow.name, len(steps), 1, steps))
    cache.touch(digest for planned in plan.steps if planned.result for digest in planned.result.outputs)
    run = _Run(plan, cache, sink, world, stop or Stop(), Loaded(release))
    courier = Courier(plan.graph, cache, world, run.obtain, run.found)
    stopped: Stopped | None = None
    try:
        for planned in plan.steps:
            run.settle(planned)
    except Stopped as error:
        stopped = error
    delivery = courier.deliver(run.outcomes, keep_values=keep_values and not stopped, save=save)
    stopped = stopped or next((why for _, why in delivery.failures if isinstance(why, Stopped)), None)
    run.loaded.let_go_of_all()
    cache.note_latest(plan.graph.workflow.name, run.keys)
    cache.flush()
    for name, failure in delivery.failures:
        if not isinstance(failure, Stopped):
            sink.emit(OutputFailed(name, str(failure)))
    results = _results(run, delivery, time.perf_counter() - start, stopped=stopped is not None)
    sink.emit(_finished(results))
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
        failures,
        seconds,
        run.finished,
        {name: outcome.digests for name, outcome in run.outcomes.items() if isinstance(outcome, Done)},
        run.files,
        delivery.files,
    )


def _finished(results: Results) -> RunFinished:
    count = list(results.actions.values()).count
    failed = len(results.failures)
    return RunFinished(results.ok, count("run"), count("hit"), results.seconds, results.saved, failed, count("skipped"))


@dataclass
class _Run:
    """The state of one run: how each step ended, and the bytes that are still needed."""

    plan: Plan
    cache: Cache
    sink: Sink
    world: World
    stop: Stop
    loaded: Loaded
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    finished: dict[str, NodeFinished] = field(default_factory=dict)
    held: dict[Value, Blob] = field(default_factory=dict)
    """The values of steps that ran, each until the last step that takes it is settled."""
    fetched: dict[str, bytes] = field(default_factory=dict)
    """By digest: what was read from the cache for the step at hand."""
    over: set[Value] = field(default_factory=set)
    """Values whose last taker is settled: those that are made again are let go of at once."""
    again: list[Value] = field(default_factory=list)
    """Values that were made again for the step at hand."""
    gone: set[str] = field(default_factory=set)
    """Steps whose values are lost and could not be made again."""
    moved: bool = False
    """A step that was run again gave other bytes than before."""
    files: dict[str, Path] = field(default_factory=dict)
    """By digest: where the files and models lie that the settled steps name."""
    keys: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

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
        except _Gone as gone:
            self.outcomes[step.name] = Off(gone.message)
            self._finish(step, "skipped", why=gone.message)
        except BaseException as error:  # a node may call sys.exit
            self._fail(step, error)
            self.outcomes[step.name] = Off("failed")
        self.fetched.clear()
        released = self.plan.releases.get(step.name, ())
        self.over.update(released)
        for value in (*released, *(value for value in self.again if value in self.over)):
            self.held.pop(value, None)
            self.loaded.let_go(value, self.outcomes, self.over)
        self.again.clear()

    def _fail(self, step: Step, error: BaseException) -> None:
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
        return not self._bring(step) and not self.moved and not _reads_files(ready)

    def _settle_unknown(self, step: Step) -> None:
        ready = self._prepared(step)
        if isinstance(ready, Off):
            self.outcomes[step.name] = ready
            self._finish(step, "skipped", why=ready.why)
            return
        forced = step.name in self.plan.forced
        found = find(step, ready, self.cache, forced=forced)
        if found:
            self.cache.touch(found.outputs)
            self._hit(step, ready, found)
        elif self._bring(step):
            self._settle_unknown(step)
        else:
            self._run(step, ready, why_run(step, ready, self.cache, self._latest, forced=forced))

    def _prepared(self, step: Step) -> Ready | Off:
        """Ask what a step is made from; texts, numbers and handles that were evicted are made again for it."""
        asked = (step, self.outcomes, self.read, self.world)
        forced = step.name in self.plan.forced
        while isinstance(ready := prepare(*asked) if forced else prepared(*asked, self.cache), Wait):
            for name in ready.steps:
                self._remake(self.plan.graph.steps[name])
        return ready

    @cached_property
    def _latest(self) -> dict[str, str]:
        return self.cache.latest(self.plan.graph.workflow.name)

    def _hit(self, step: Step, ready: Ready, result: Result) -> None:
        self.outcomes[step.name] = Done(result.outputs)
        self._finish(step, "hit", result.seconds, ready=ready)

    def _finish(
        self, step: Step, action: Action, seconds: float = 0.0, *, ready: Ready | None = None, why: str = ""
    ) -> None:
        device, key = "", ""
        if ready:
            self._note_files(ready)
            self.keys[step.name] = key = ready.key
            device = ready.placed.device if step.accelerated else ""
        event = self.finished[step.name] = NodeFinished(step.name, step.kind, action, seconds, device, key, why)
        self.sink.emit(event)

    def _run(self, step: Step, ready: Ready, why: str) -> None:
        self.sink.emit(NodeStarted(step.name, step.kind, ready.placed.device if step.accelerated else "", why))

        def work(at: Ready) -> None:
            found = None if at.key == ready.key else find(step, at, self.cache, forced=step.name in self.plan.forced)
            if found and can_be_had(found, self.cache):
                self._hit(step, at, found)
            else:
                self._finish(step, "run", self._compute(step, at), ready=at, why=why)

        climb(step, ready, self.world, self.cache, work, self.sink)

    def _compute(self, step: Step, ready: Ready) -> float:
        """Run a node and keep what it gives. Gives the seconds of its own work."""
        arguments = {name: value_of(source, self.outcomes, self.read) for name, source in step.inputs.items()}
        self.loaded.note(arguments)
        self._note_files(ready)
        context = Running(step, ready.placed, self.world, self.stop, self.sink, self.plan.graph, self.files, self.found)
        start = time.perf_counter()
        result = ready.node.run(context, **arguments)  # type: ignore[attr-defined]  # the registry saw to it
        seconds = time.perf_counter() - start
        if _reads_files(ready) and at_foot(self._prepared(step)) != at_foot(ready):
            raise StepError(f"{step.name}: its file was changed while it was read", hint="Run it again.")
        self._keep(step, ready, encoded(step, returned(step.node, result)), seconds)
        return seconds

    def _keep(self, step: Step, ready: Ready, blobs: tuple[Blob, ...], seconds: float) -> None:
        again = step.name in self.plan.forced or step.name in self.finished
        digests = tuple(blob.digest for blob in blobs)
        self.held |= {(step.name, at): blob for at, blob in enumerate(blobs)}
        self.outcomes[step.name] = Done(digests)
        if not step.cache:
            return
        known = self.cache.result(ready.key) if again else None
        if known and known.outputs != digests and not holds_file(blobs):
            message = f"a {step.kind} gave other values for the same inputs than before: it is not deterministic"
            self.sink.emit(Warned(message, step.name))
        self.cache.remember(Result(ready.key, digests, ready.recipe, seconds, time.time()), blobs)

    # Values

    def found(self, step: str) -> Findings:
        """What a step and those before it told beside pictures."""
        return findings(self.plan.graph, step, self.outcomes, self.read)

    def obtain(self, origin: From) -> bytes:
        """The bytes of an output of a settled step; the step is run again if they were evicted.

        Raises Stopped if it would have to be, and the user asked to stop; StepError where that fails.
        """
        self.fetched.clear()
        data = self.read(origin)
        if data is None:
            self.stop.check()
            self._remake(self.plan.graph.steps[origin.step])
            data = self.held[origin.step, origin.output].data
        return data

    def read(self, origin: From) -> bytes | None:
        """The bytes of an output of a settled step, from memory or from the cache."""
        held = self.held.get((origin.step, origin.output))
        if held:
            return held.data
        outcome = self.outcomes[origin.step]
        if not isinstance(outcome, Done):
            return None
        digest = outcome.digests[origin.output]
        if digest not in self.fetched:
            data = self.cache.blob(digest)
            if data is None or not is_known(data):
                return None
            self.fetched[digest] = data
        return self.fetched[digest]

    def _remake(self, step: Step) -> None:
        """Run a step again whose values are lost."""
        self._bring(step)
        self._again(step)

    def _bring(self, step: Step) -> bool:
        """Make sure that every value a step takes can be read; tell whether one had to be made again.

        Evicted chains may be long: this keeps a stack of its own, and of what it makes no more than is taken next.
        """
        open_ = [(step, self._taken(step))]
        remade = False
        while open_:
            last, taken = open_[-1]
            lost = next((origin.step for origin in taken if self.read(origin) is None), None)
            if lost:
                if lost in self.gone:
                    raise _Gone(lost)
                need = self.plan.graph.steps[lost]
                open_.append((need, self._taken(need)))
                continue
            open_.pop()
            if open_:
                self._again(last)
                self._put_down(last)
                remade = True
        return remade

    def _again(self, step: Step) -> None:
        """Run a step again. If that fails it is told as its own failure, and what takes its values is skipped."""
        if step.name in self.gone:
            raise _Gone(step.name)
        before = self.outcomes[step.name]
        try:
            ready = self._prepared(step)
            if not isinstance(ready, Ready):
                raise StepError(f"{step.name} cannot be made again: {ready.why}")
            self._run(step, ready, "its result is no longer in the cache")
        except (Stopped, KeyboardInterrupt, _Gone):
            raise
        except BaseException as error:
            self.gone.add(step.name)
            self._fail(step, error)
            raise _Gone(step.name) from error
        self.moved = self.moved or self.outcomes[step.name] != before
        self.again += [(step.name, at) for at in range(len(outputs(step.node)))]

    def _put_down(self, step: Step) -> None:
        """Keep no longer in memory what a step took that was made again, if the cache has it now."""
        for origin in self._taken(step):
            value = origin.step, origin.output
            if value in self.over and value in self.held and self.cache.holds(self.held[value].digest):
                del self.held[value]

    def _taken(self, step: Step) -> Iterator[From]:
        for source in (*step.inputs.values(), *step.linked.values()):
            yield from takes(source, self.outcomes)

    def _note_files(self, ready: Ready) -> None:
        for name in file_parameters(type(ready.node)):
            file = getattr(ready.node, name)
            if file is not None:
                self.files[digest_of(file, self.world.files)] = file.path


class _Gone(StepError):
    """A value is lost, and the step that gave it failed when it was run again: told there, not here."""

    def __init__(self, step: str) -> None:
        super().__init__(f"{step} failed")


def _reads_files(ready: Ready) -> bool:
    return any(getattr(ready.node, name) is not None for name in file_parameters(type(ready.node)))
