"""What people and programs see of a run: in a log, on a terminal, as JSON."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graph.console import Both, Display, Json, Live, Paths, Plain, choose_sink
from graph.events import (
    Event,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    SavedOutput,
    Silent,
    Warned,
)
from graph.report import Row, duration, final_table, frame
from graph.tables import seen_width

ROOT = Path(__file__).parents[2]
STEPS = (("words", "text_encode"), ("painted", "sampler"), ("signed", "watermark"))
PICTURE = SavedOutput("print", "outputs/bird-00001.png", "sha256:ab")
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _run(*, fails: bool = False) -> list[Event]:
    """The events of a run: one node cached, one that runs or fails, one that follows it."""
    why = "cpu had 0.1 GB free, 2.0 GB were needed\n  Set tile: 64."
    last = ("skipped", 0.0, '"painted" failed') if fails else ("run", 0.02, "")
    return [
        RunStarted("bird", 3, 1, STEPS),
        NodeFinished("words", "text_encode", "hit", 1.9, "cpu", "k1"),
        NodeStarted("painted", "sampler", "cpu"),
        Warned("seed 7 was drawn", "painted"),
        NodeProgress("painted", 1, 2),
        NodeFinished("painted", "sampler", "failed" if fails else "run", 1.93, "cpu", "k2", why if fails else "new"),
        NodeFinished("signed", "watermark", last[0], last[1], "", "k3", last[2]),  # type: ignore[arg-type]  # literals
        RunFinished(False, 0, 1, 2.4, (), 1, 1) if fails else RunFinished(True, 2, 1, 2.4, (PICTURE,)),
    ]


def _cached() -> list[Event]:
    hits: list[Event] = [NodeFinished(node, kind, "hit", 0.5) for node, kind in STEPS]
    return [RunStarted("bird", 3, 1, STEPS), *hits, RunFinished(True, 0, 3, 0.08, (PICTURE,))]


def _show(events: list[Event], make: Callable[[io.StringIO, io.StringIO], Display]) -> tuple[str, str]:
    stream, errors = io.StringIO(), io.StringIO()
    display = make(stream, errors)
    for event in events:
        display.emit(event)
    display.close()
    return stream.getvalue(), errors.getvalue()


def test_a_log_gets_a_line_for_every_finished_node() -> None:
    expected = """\
words    text_encode  cached (saved 1.9 s)
painted  sampler      done    1.9 s  cpu
signed   watermark    done    0.02 s
ran 2, cached 1, 2.4 s
print  outputs/bird-00001.png  (saved)
"""

    assert (expected, "warning: painted: seed 7 was drawn\n") == _show(_run(), Plain)


def test_what_another_process_computes_is_told() -> None:
    waiting = NodeWaiting("painted", "sampler", "4711")
    shown, _ = _show([*_run()[:2], waiting, NodeFinished("painted", "sampler", "hit", 1.9)], Plain)

    assert ["painted  sampler      waits for process 4711", "painted  sampler      cached (saved 1.9 s)"] == (
        shown.splitlines()[1:]
    )
    assert "stopped" in _show([*_run()[:2], waiting], Live)[0]


def test_a_failure_is_explained_at_the_end_with_what_it_took_along() -> None:
    shown = """\
words    text_encode  cached (saved 1.9 s)
painted  sampler      failed  1.9 s  cpu
signed   watermark    skipped
ran 0, cached 1, skipped 1, failed 1, 2.4 s
"""
    told = """\
warning: painted: seed 7 was drawn
painted (sampler) failed: cpu had 0.1 GB free, 2.0 GB were needed
  Set tile: 64.
skipped ("painted" failed): signed
"""

    assert (shown, told) == _show(_run(fails=True), Plain)


def test_a_failure_is_explained_even_if_the_run_is_stopped() -> None:
    assert "painted (sampler) failed" in _show(_run(fails=True)[:-1], Plain)[1]
    assert "painted (sampler) failed" in _show(_run(fails=True)[:-1], Live)[1]


def test_quiet_gives_paths_and_values_alone() -> None:
    outputs = (PICTURE, SavedOutput("read", value="StableDiffusionV1"))

    assert ("outputs/bird-00001.png\nStableDiffusionV1\n", "") == _show([RunFinished(True, 0, 3, 0.1, outputs)], Paths)


def test_cells_of_a_sweep_are_told_apart() -> None:
    cell = {"seed": 42, "strength": 0.3}
    outputs = (SavedOutput("print", "a.png", cell=cell, action="kept"),)
    shown, _ = _show([NodeFinished("a", "noise", "run", 1, cell=cell), RunFinished(True, 1, 0, 1, outputs)], Plain)

    assert shown == "a [seed=42, strength=0.3]  noise  done    1.0 s\nran 1, cached 0, 1.0 s\n" + (
        "print [seed=42, strength=0.3]  a.png  (kept)\n"
    )


def test_programs_get_the_promised_events_with_the_promised_fields() -> None:
    stream, people = io.StringIO(), io.StringIO()
    sink = choose_sink(json=True, quiet=False, stream=stream, errors=people)
    for event in _run():
        sink.emit(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    fields = {
        "run_started": {"event", "workflow", "nodes", "cells"},
        "node_finished": {"event", "cell", "node", "kind", "action", "seconds", "device", "key"},
        "run_finished": {"event", "ok", "ran", "hits", "seconds", "outputs"},
    }
    added = {"node_finished": {"why", "resumed"}, "run_finished": {"failed", "skipped"}}

    assert [line["event"] for line in lines] == ["run_started", *["node_finished"] * 3, "run_finished"]
    assert all(set(line) == fields[line["event"]] | added.get(line["event"], set()) for line in lines)
    assert lines[0] == {"event": "run_started", "workflow": "bird", "nodes": 3, "cells": 1}
    assert {"action": "run", "seconds": 1.93, "device": "cpu", "key": "k2", "cell": {}}.items() <= lines[2].items()
    assert set(lines[-1]["outputs"][0]) == {"name", "cell", "path", "digest"} | {"value", "action", "file"}
    assert stream.getvalue().startswith('{"event":"run_started",')
    assert "painted  sampler" in people.getvalue()


def test_json_and_quiet_leave_problems_alone_to_people() -> None:
    stream, people = io.StringIO(), io.StringIO()
    sink = choose_sink(json=True, quiet=True, stream=stream, errors=people)
    for event in _run():
        sink.emit(event)

    assert people.getvalue() == "warning: painted: seed 7 was drawn\n"


def test_the_display_fits_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def kind(stream: io.StringIO, errors: io.StringIO, *, quiet: bool = False) -> type[Display]:
        return type(choose_sink(json=False, quiet=quiet, stream=stream, errors=errors))

    assert kind(Terminal(), Terminal()) is Live
    assert kind(io.StringIO(), Terminal()) is Plain
    assert kind(Terminal(), Terminal(), quiet=True) is Paths
    monkeypatch.setenv("TERM", "dumb")
    assert kind(Terminal(), Terminal()) is Plain


def test_a_final_table_tells_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    expected = """\
node     kind         state                 seconds  device
words    text_encode  cached (saved 0.5 s)
painted  sampler      cached (saved 0.5 s)
signed   watermark    cached (saved 0.5 s)
ran 0, cached 3, 0.08 s
print  outputs/bird-00001.png  (saved)
"""

    assert (expected, "") == _show(_cached(), Live)


def _rows(count: int) -> list[Row]:
    rows = [Row(f"node{number}", "resize") for number in range(count)]
    return [row.finished(NodeFinished(row.node, row.kind, "hit")) for row in rows[:50]] + rows[50:]


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 4), (1, 1)])
def test_a_running_graph_fits_the_terminal_whatever_its_size(size: tuple[int, int]) -> None:
    rows = _rows(100)
    rows[50] = rows[50].started(NodeStarted("node50", "resize", "cpu"))
    lines = frame(rows, os.terminal_size(size), colour=False).split("\n")

    assert len(lines) <= max(3, size[1])
    assert all(seen_width(line) <= max(1, size[0]) for line in lines)


def test_a_long_graph_shows_a_window_around_what_runs() -> None:
    rows = _rows(100)
    rows[50] = rows[50].started(NodeStarted("node50", "resize", "cpu"))
    shown = frame(rows, os.terminal_size((60, 10)), colour=False)

    assert "node50  resize  running" in shown
    assert "node3 " not in shown
    assert shown.endswith("50 cached, 1 running, 49 waiting")


def test_a_final_table_higher_than_the_terminal_only_counts_what_was_cached() -> None:
    shown = final_table(_rows(52), os.terminal_size((60, 10)), colour=False).split("\n")

    assert shown[1:] == ["node50  resize  waiting", "node51  resize  waiting", "and 50 more, cached"]


def test_the_state_of_a_node_is_told_in_words() -> None:
    row = Row("a", "sampler", times=3)
    running = row.started(NodeStarted("a", "sampler"))
    twice = row.finished(NodeFinished("a", "sampler", "run", 2)).finished(NodeFinished("a", "sampler", "hit", 4))

    assert row.state() == "waiting"
    assert running.state() == "running"
    assert twice.state() == "done 1, cached 1 (saved 4.0 s)"
    assert running.stopped().state() == "stopped"


def test_a_node_that_waits_for_a_process_says_so_until_it_starts_or_ends() -> None:
    waits = Row("a", "sampler").waiting(NodeWaiting("a", "sampler", "4711"))
    after = [waits.started(NodeStarted("a", "sampler")), waits.finished(NodeFinished("a", "sampler", "hit"))]

    assert "waits for process 4711" == waits.state()
    assert ["running", "cached", "stopped"] == [row.state() for row in (*after, waits.stopped())]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.004, "0.00 s"),
        (0.03, "0.03 s"),
        (1.93, "1.9 s"),
        (59.97, "1 min 00 s"),
        (192, "3 min 12 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_a_time_is_told_with_its_unit(seconds: float, told: str) -> None:
    assert told == duration(seconds)


def test_an_encoding_without_our_letters_gets_others() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Plain(stream, stream).emit(NodeFinished("bär…\udc80", "grid", "hit"))

    assert raw.getvalue() == b"b?r~.  grid  cached\n"


def test_a_closed_pipe_ends_the_showing_and_not_the_run() -> None:
    script = "import sys; from tests.graph.test_console import _run; from graph.console import choose_sink\n"
    script += "sink = choose_sink(json=True, quiet=True)\n"
    script += "for event in _run() * 2000: sink.emit(event)\nsys.exit(7)"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()

    assert process.returncode == 7
    assert b"Traceback" not in told
    assert b"Broken" not in told


@pytest.mark.parametrize("make", [Plain, Live, Json, Paths])
def test_a_stream_that_is_closed_hurts_nobody(make: Callable[..., Display]) -> None:
    stream = io.StringIO()
    display = make(stream) if make is Json else make(stream, stream)
    stream.close()
    for event in _cached():
        display.emit(event)
    display.close()


def test_a_mistake_while_drawing_ends_in_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no drawing today")

    monkeypatch.setattr("graph.console.Animation", broken)
    shown, _ = _show(_run(), Live)

    assert "RuntimeError('no drawing today')" in capsys.readouterr().err
    assert shown.endswith("ran 2, cached 1, 2.4 s\nprint  outputs/bird-00001.png  (saved)\n")


def test_one_display_in_trouble_does_not_stop_the_other() -> None:
    class Broken(Display):
        def show(self, event: Event) -> None:
            raise RuntimeError(event.name)

    stream = io.StringIO()
    both = Both(Broken(), Json(stream))
    for event in _run():
        both.emit(event)

    assert len(stream.getvalue().splitlines()) == 5


def test_silence_is_a_sink_too() -> None:
    Silent().emit(Warned("nobody hears this"))


class Screen:
    """A program on a real pseudo-terminal."""

    def __init__(self, script: str, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self._master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (lines, columns))
        self.settings = termios.tcgetattr(self._slave)
        prepared = "import signal, sys\nfrom graph.console import choose_sink\nfrom graph.events import *\n"
        prepared += "from tests.graph.test_console import _cached, _run\nsink = choose_sink(json=False, quiet=False)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", prepared + script],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
        )
        self.text = ""

    def read(self, until: str = "\0", seconds: float = 60) -> str:
        """Everything that was shown, up to a word or to the program's end."""
        deadline = time.monotonic() + seconds
        while until not in self.text and time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.1)[0]:
                self.text += os.read(self._master, 65536).decode("utf-8", "replace")
            elif self.process.poll() is not None:
                break
        return self.text

    def close(self) -> bool:
        """Wait for the end; tell whether the terminal is as it was."""
        self.read()
        self.process.wait(60)
        same = termios.tcgetattr(self._slave) == self.settings
        os.close(self._master)
        os.close(self._slave)
        return same and self.text.rfind(SHOW) >= self.text.rfind(HIDE)


def test_a_terminal_shows_the_graph_while_it_runs_and_keeps_the_final_table() -> None:
    screen = Screen("for event in _run(): sink.emit(event)\nsink.close()")
    shown = screen.read()
    final = shown[shown.rfind(SHOW) :]

    assert screen.close()
    assert screen.process.returncode == 0
    assert HIDE in shown
    assert "waiting" in shown[: shown.rfind(SHOW)]
    assert "warning: painted: seed 7 was drawn" in shown
    assert "\x1b[32mdone" in final
    assert "cached (saved 1.9 s)" in final
    assert final.rstrip().endswith("(saved)")


def test_a_cached_run_on_a_terminal_does_not_load_the_drawing_library() -> None:
    screen = Screen("for event in _cached(): sink.emit(event)\nprint('rich' in sys.modules)")
    shown = screen.read()

    assert screen.close()
    assert shown.rstrip().endswith("False")
    assert HIDE not in shown
    assert "cached" in shown


def test_ctrl_c_gives_the_terminal_back() -> None:
    screen = Screen("for event in _run()[:5]: sink.emit(event)\nsignal.pause()")
    screen.read(until="step 1 of 2")
    screen.process.send_signal(signal.SIGINT)
    shown = screen.read()

    assert screen.close()
    assert screen.process.returncode != 0
    assert "stopped" in shown[shown.rfind(SHOW) :]


@pytest.mark.parametrize(
    "environment",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, {"TERM": "unheard-of"}],
    ids=str,
)
def test_an_unusual_terminal_gets_the_same_words(environment: dict[str, str]) -> None:
    screen = Screen("for event in _run(): sink.emit(event)\nsink.close()", columns=40, lines=6, **environment)
    shown = screen.read()

    assert screen.close()
    assert screen.process.returncode == 0
    assert "Traceback" not in shown
    assert "ran 2, cached 1, 2.4 s" in shown
    assert "NO_COLOR" not in environment or "\x1b[32m" not in shown
    assert environment.get("TERM") != "dumb" or "\x1b" not in shown


@pytest.mark.parametrize(
    "event", [NodeStarted("a", "say"), NodeFinished("a", "say", "run", 0.5, key="k", why="new"), Warned("slow", "a")]
)
def test_an_event_can_be_handed_to_another_process(event: Event) -> None:
    assert event == pickle.loads(pickle.dumps(event)) == copy.deepcopy(event)
    assert str(event) == "%s" % event  # noqa: UP031  # a named tuple would be taken apart
