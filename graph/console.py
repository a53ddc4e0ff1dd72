"""What people and programs see of a run. Each class is a sink of events.

    Json      one JSON object a line, for programs
    Plain     a line for every node that is finished, for pipes and logs
    Live      a table of the whole graph that changes in place, for terminals
    Paths     where the outputs lie, and nothing else (--quiet)
    Problems  warnings at once, failures explained at the end; the other sinks for people contain it

Nothing here ever breaks a run: a closed pipe, a letter that the terminal's encoding lacks or a mistake of ours
while drawing ends the showing, not the work.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from graph.events import (
    Event,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    OutputFailed,
    RunFinished,
    RunStarted,
    Warned,
)
from graph.report import Row, closing, duration, explained, final_table, frame, label, lines, widths
from graph.tables import clean, pad

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Both", "Display", "Json", "Live", "Paths", "Plain", "Problems", "choose_sink"]

_LOOKALIKES = str.maketrans("…·█░", "~.#-")
"""For terminals whose encoding lacks our own letters."""
_FRAMES_A_SECOND = 8

Say = Callable[[str], None]


def choose_sink(*, json: bool, quiet: bool, stream: TextIO | None = None, errors: TextIO | None = None) -> Display:
    """Choose how a run is shown. Whoever runs calls `close` at the end.

    stream: gets what the user asked for; standard output unless given.
    errors: gets warnings and failures, and with `json` everything for people; standard error unless given.
    """
    stream, errors = stream or sys.stdout, errors or sys.stderr
    if json:
        return Both(Json(stream), Problems(lines_to(errors)) if quiet else _for_people(errors, errors, other=stream))
    return Paths(stream, errors) if quiet else _for_people(stream, errors)


def _for_people(stream: TextIO, errors: TextIO, other: TextIO | None = None) -> Display:
    """A live table on a terminal that nothing else writes to, lines elsewhere."""
    shared = other is not None and other.isatty()
    live = stream.isatty() and os.environ.get("TERM") != "dumb" and not shared
    return Live(stream, errors) if live else Plain(stream, errors)


def lines_to(stream: TextIO) -> Say:
    """Make a function that writes lines to a stream at once, and goes silent when nobody reads them any more."""

    def say(text: str) -> None:
        try:
            stream.write(_encodable(text, stream) + "\n")
            stream.flush()
        except BrokenPipeError:
            _drop(stream)
        except (OSError, ValueError):  # a full disk; a stream that was closed
            return

    return say


class Display:
    """Base of the sinks here: a mistake of ours while showing an event is told once and breaks nothing."""

    _broken = False

    def emit(self, event: Event) -> None:
        """Show an event."""
        if self._broken:
            return
        try:
            self.show(event)
        except Exception as error:
            self._broken = True
            self.give_up(error)

    def show(self, event: Event) -> None:
        """Show an event; may fail."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave the terminal as it was. Called when a run is over, also when it ended without RunFinished."""

    def give_up(self, error: Exception) -> None:
        """Say that nothing more will be shown."""
        lines_to(sys.stderr)(f"the run goes on, but cannot be shown: {error!r}")


class Json(Display):
    """Print the events that programs are promised, one JSON object a line."""

    PROMISED = (RunStarted, NodeFinished, OutputFailed, RunFinished)

    def __init__(self, stream: TextIO) -> None:
        self._say = lines_to(stream)

    def show(self, event: Event) -> None:
        """Print an event, if it is one of those promised."""
        if isinstance(event, self.PROMISED):
            self._say(json.dumps(event.as_json(), separators=(",", ":"), default=str))


class Problems(Display):
    """Say what went wrong: warnings at once, failures when the run is finished."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._unfinished: list[NodeFinished] = []
        self._said: set[Warned] = set()

    def show(self, event: Event) -> None:
        """Say a warning, one of no node only once; remember a failure; explain all failures at the end."""
        if isinstance(event, Warned) and not event.node:
            if event not in self._said:  # a run that cannot be followed opens its cache twice
                self._said.add(event)
                self._say(lines(f"warning: {event.message}"))
        elif isinstance(event, Warned):
            self._say(lines(f"warning: {event.node}: {event.message}"))
        elif isinstance(event, NodeFinished) and event.action in ("failed", "skipped"):
            self._unfinished.append(event)
        elif isinstance(event, OutputFailed):
            self._say(lines(f"{event.output} could not be saved: {event.why}"))
        elif isinstance(event, RunFinished):
            self.close()

    def close(self) -> None:
        """Explain the failures that nobody was told of yet."""
        told, self._unfinished = explained(self._unfinished), []
        for line in told:
            self._say(line)


class Paths(Display):
    """Print the path or the value of every output, one a line."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._say = lines_to(stream)
        self._problems = Problems(lines_to(errors))

    def show(self, event: Event) -> None:
        """Print the outputs at the end."""
        if isinstance(event, RunFinished):
            for output in event.outputs:
                self._say(clean(output.path or str(output.value)))
        self._problems.show(event)

    def close(self) -> None:
        """Explain what failed."""
        self._problems.close()


class Plain(Display):
    """Print a line for every finished node, then a summary and the outputs."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._say = lines_to(stream)
        self._problems = Problems(lines_to(errors))
        self._widths = (0, 0)

    def show(self, event: Event) -> None:
        """Print a line, if an event deserves one."""
        if isinstance(event, RunStarted):
            self._widths = widths(event.steps)
        elif isinstance(event, NodeWaiting):
            row = Row(event.node, event.kind).waiting(event)
            self._say("  ".join([*self._columns(event), row.state()]))
        elif isinstance(event, NodeFinished):
            self._say(self._line(event))
        elif isinstance(event, RunFinished):
            self._say(closing(event))
        self._problems.show(event)

    def close(self) -> None:
        """Explain what failed."""
        self._problems.close()

    def _line(self, event: NodeFinished) -> str:
        row = Row(event.node, event.kind).finished(event)
        columns = [*self._columns(event, label(event.cell)), row.state()]
        if event.action in ("run", "failed"):
            columns[2:] = [pad(row.state(), 6), duration(event.seconds), event.device]
        return "  ".join(columns).rstrip()

    def _columns(self, event: NodeWaiting | NodeFinished, cell: str = "") -> list[str]:
        return [pad(clean(event.node) + cell, self._widths[0]), pad(clean(event.kind), self._widths[1])]


class Both(Display):
    """Hand every event to several displays."""

    def __init__(self, *displays: Display) -> None:
        self._displays = displays

    def show(self, event: Event) -> None:
        """Hand on an event."""
        for display in self._displays:
            display.emit(event)

    def close(self) -> None:
        """Close all of them."""
        for display in self._displays:
            display.close()


class Live(Display):
    """Show the whole graph as a table that changes in place, and leave a final one.

    The drawing library is loaded when the first node truly runs; a run that finds everything in the cache draws
    its final table without it.
    """

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream, self._errors = stream, errors
        self._colour = not os.environ.get("NO_COLOR")
        self._say = lines_to(stream)
        self._problems = Problems(self._say_above)
        self._rows: dict[str, Row] = {}
        self._animation: Animation | None = None
        self._is_closed = True

    def show(self, event: Event) -> None:
        """Bring the table up to date."""
        if isinstance(event, RunStarted):
            times = Counter(event.steps)
            self._rows = {node: Row(node, kind, times[node, kind]) for node, kind in event.steps}
            self._is_closed = False
        elif isinstance(event, NodeStarted):
            self._rows[event.node] = self._row(event.node, event.kind).started(event)
            self._animate()
        elif isinstance(event, NodeWaiting):
            self._rows[event.node] = self._row(event.node, event.kind).waiting(event)
            self._animate()
        elif isinstance(event, NodeProgress):
            self._rows[event.node] = replace(self._row(event.node), step=event.step, total=event.total)
        elif isinstance(event, NodeFinished):
            self._rows[event.node] = self._row(event.node, event.kind).finished(event)
        elif isinstance(event, RunFinished):
            self._leave_table()
            self._say(closing(event))
        self._problems.show(event)

    def close(self) -> None:
        """Stop the animation and leave the final table on the screen. A second call does nothing."""
        self._leave_table()
        self._problems.close()

    def give_up(self, error: Exception) -> None:
        """Clear the table and go on with plain lines."""
        self._is_closed = True
        try:
            self._stop()
        finally:
            super().give_up(error)
        self.emit = Plain(self._stream, self._errors).emit  # type: ignore[method-assign]  # for the rest of the run

    def _leave_table(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._stop()
            rows = [row.stopped() for row in self._rows.values()]
            self._say(final_table(rows, _terminal(self._stream), self._colour))

    def _row(self, node: str, kind: str = "") -> Row:
        return self._rows.get(node) or Row(node, kind)

    def _animate(self) -> None:
        if self._animation is None:
            self._animation = Animation(self._stream, self._frame)
            atexit.register(self.close)  # the cursor comes back however the program ends

    def _stop(self) -> None:
        if self._animation is not None:
            animation, self._animation = self._animation, None
            atexit.unregister(self.close)
            animation.stop()

    def _frame(self) -> str:
        return _encodable(frame(list(self._rows.values()), _terminal(self._stream), self._colour), self._stream)

    def _say_above(self, text: str) -> None:
        if self._animation is not None and self._errors.isatty():
            self._animation.say(_encodable(text, self._stream))
        else:
            lines_to(self._errors)(text)


class Animation:
    """A text at the bottom of a terminal that is drawn anew several times a second, from a thread of its own."""

    def __init__(self, stream: TextIO, draw: Callable[[], str]) -> None:
        import rich.console
        import rich.live

        self._draw = draw
        self._console = rich.console.Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = rich.live.Live(
            console=self._console,
            get_renderable=self._text,
            refresh_per_second=_FRAMES_A_SECOND,
            transient=True,
            redirect_stdout=stream is sys.stdout,  # what a library prints appears above, not across
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start(refresh=True)

    def say(self, text: str) -> None:
        """Print something above."""
        from rich.text import Text

        self._console.print(Text(text))

    def stop(self) -> None:
        """Clear the text and give the cursor back."""
        self._live.stop()

    def _text(self) -> Text:
        from rich.text import Text

        try:
            return Text.from_ansi(self._draw(), no_wrap=True, overflow="crop")
        except Exception as error:  # in the drawing thread nobody could catch it
            return Text(f"cannot be drawn: {error!r}", no_wrap=True, overflow="crop")


def _terminal(stream: TextIO) -> os.terminal_size:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    return os.terminal_size((size.columns or 80, size.lines or 24))


def _encodable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_LOOKALIKES).encode(encoding, "replace").decode(encoding)
    return text


def _drop(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, or Python complains about it when it exits.

    Source: the note on SIGPIPE in the documentation of Python's signal module.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
