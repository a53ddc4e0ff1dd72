"""Values that were evicted, made again when something takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from graph.context import Stop
from graph.errors import StepError, Stopped
from graph.failures import Gone
from graph.held import Held
from graph.node import outputs
from graph.ready import Done, Outcome, taken_by
from graph.sources import From
from graph.steps import Step, values_of


@dataclass
class Remaking:
    """Makes values again for one run."""

    steps: Mapping[str, Step]
    held: Held
    outcomes: Mapping[str, Outcome]
    stop: Stop
    work: Callable[[Step], None]
    """Runs a settled step again. Raises Stopped, Gone where it lacks something, and whatever else goes wrong."""
    fail: Callable[[Step, BaseException], None]
    """Told of a step for which that went wrong."""
    gone: set[str] = field(default_factory=set)
    """Steps whose values are lost and could not be made again."""
    moved: bool = False
    """A step that was run again gave other bytes than before."""

    def obtain(self, origin: From) -> bytes:
        """The bytes of an output of a settled step; the step is run again if they were evicted.

        Raises Stopped if it would have to be, and the user asked to stop; StepError where that fails.
        """
        self.held.fetched.clear()
        data = self.held.read(origin)
        if data is None:
            self.stop.check()
            self.remake(self.steps[origin.step])
            data = self.held.read(origin)
        if data is None:
            raise StepError(f"{origin.step} was made again, and evicted at once", hint="Run it again.")
        return data

    def remake(self, step: Step) -> None:
        """Run a step again whose values are lost."""
        self._bring(step)
        self._again(step)

    def bring(self, step: Step) -> bool:
        """Make sure that all a step takes that is not settled yet can be read; tell whether something had to be made.

        Raises Gone where that fails, Stopped.
        """
        return not self.held.has_all(step) and self._bring(step)

    def _bring(self, step: Step) -> bool:
        """Evicted chains may be long: this keeps a stack of its own, and of what it makes no more than what is next."""
        if not self.held.lost(taken := taken_by(step, self.outcomes)):
            return False
        open_ = [(step, taken)]
        remade = False
        while open_:
            last, taken = open_[-1]
            if lost := self.held.lost(taken):
                if lost in self.gone:
                    raise Gone(lost)
                need = self.steps[lost]
                open_.append((need, taken_by(need, self.outcomes)))
                continue
            open_.pop()
            if open_:
                self._again(last)
                self.held.put_down(taken_by(last, self.outcomes))
                remade = True
        return remade

    def _again(self, step: Step) -> None:
        """Run a step again. If that fails it is told as its own failure, and what takes its values is skipped."""
        if step.name in self.gone:
            raise Gone(step.name)
        before = self.outcomes[step.name]
        try:
            self.work(step)
        except (Stopped, KeyboardInterrupt, Gone):
            raise
        except BaseException as error:
            self.gone.add(step.name)
            self.fail(step, error)
            raise Gone(step.name) from error
        self.moved = self.moved or _values(step, self.outcomes[step.name]) != _values(step, before)
        self.held.again += [(step.name, at) for at in range(len(outputs(step.node)))]


def _values(step: Step, outcome: Outcome) -> object:
    return values_of(step, outcome.digests) if isinstance(outcome, Done) else outcome
