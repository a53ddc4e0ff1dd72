"""The command line: from words to a request, to the engine, to an exit code. Nothing else happens here."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom import Session
    from graph.console import Display
    from graph.plan import Plan
    from graph.steps import Graph
    from graph.values import Picture
    from graph.workflow import Workflow

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says. Gives the exit code: 0 done, 1 a step failed, 2 the workflow or the usage is
    wrong, 3 a file or model is missing, 130 and 143 for signals."""
    _own_folders()
    atexit.register(gc.freeze)  # Python's end looks for cycles: among half a million objects of libraries, for 0.7 s
    from graph.pace import spin_briefly
    from graph.streams import drop_output, mend

    mend()
    spin_briefly()
    if not _stands_somewhere():
        return 2
    from graph.errors import DarkroomError
    from graph.words import parse

    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or bool(os.environ.get("DARKROOM_DEBUG"))
    try:
        request = parse([word for word in words if word != "--debug"], COMMANDS)
        code: int = request.command(request)
        sys.stdout.flush()
        return code
    except DarkroomError as error:
        if debug and error.__cause__:
            raise
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        drop_output()
        return 141
    except Exception as error:
        if debug:
            raise
        _say(_last_words(error))
        drop_output()
        return 1


def _last_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"the system says: {error.strerror}" + (f": {error.filename}" if error.filename else "")
    return f"Darkroom itself failed: {type(error).__name__}: {error}\n  --debug shows where; please report it."


def run(request: argparse.Namespace) -> int:
    """Run a workflow, or the workflow inside a picture."""
    from graph.console import choose_sink
    from graph.streams import output
    from graph.trail import follow

    with output(programs=request.json) as stream:
        display = choose_sink(json=request.json, quiet=request.quiet, stream=stream)
        try:
            return 0 if follow(request, display, _warned) else _run(request, display)
        finally:
            display.close()


def _run(request: argparse.Namespace, display: Display) -> int:
    from graph.context import stoppable
    from graph.errors import MissingError
    from graph.laying import begun, lay
    from graph.requests import is_picture, noted_picture, refuse_sweep
    from graph.witness import Seen, watching

    refuse_sweep(request)
    beginning, seen = begun(request), Seen()
    with watching(seen):
        workflow, note = noted_picture(request, _say) if is_picture(request.file) else (_load(request), None)
    with stoppable() as stop, _session(request, display) as session:
        with watching(seen):
            graph = session.check(workflow, request.only)
            _warn(graph)
            planned = session.plan(graph, request.force)
        results = session.run(planned, stop=stop)
        warnings = [str(warning) for warning in graph.warnings]
        lay(request, beginning, graph, results, session.cache, seen, warnings)
    display.close()
    if note:
        note(results.saved, "run" in results.actions.values())
    missing = [isinstance(failure.error, MissingError) for failure in results.failures]
    return 0 if results.ok else 3 if all(missing) and missing else 1


def check(request: argparse.Namespace) -> int:
    """Check a workflow and tell every mistake of it."""
    import darkroom
    from graph.errors import WorkflowError
    from graph.views import mistakes_json

    try:
        graph = darkroom.check(_load(request), nodes=request.nodes, lock=request.lock)
    except WorkflowError as error:
        if not request.json:
            raise
        print(json.dumps({"ok": False, "errors": mistakes_json(request.file, error.mistakes)}, ensure_ascii=False))
        return error.exit_code
    if request.json:
        warnings = mistakes_json(request.file, graph.warnings)
        print(json.dumps({"ok": True, "errors": [], "warnings": warnings}, ensure_ascii=False))
    else:
        _warn(graph)
        warned = f"warnings: {len(graph.warnings)}" if graph.warnings else "nothing wrong"
        print(f"{request.file}: {_counted(len(graph.steps), 'node')}, {warned}")
    return 0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def plan(request: argparse.Namespace) -> int:
    """Show what a run would do, and why; run nothing."""
    from graph.errors import UsageError
    from graph.forecast import forecast
    from graph.requests import refuse_sweep
    from graph.views import defaults_table, plan_json, plan_table

    refuse_sweep(request)
    if request.defaults and request.json:
        raise UsageError("--defaults is a table for people, and --json prints none", hint="Leave one of them out.")
    with _session(request) as session:
        graph = session.check(_load(request), request.only)
        planned = session.plan(graph, request.force)
        cost = forecast(planned, session.cache, session.world)
    if request.json:
        print(json.dumps(plan_json(planned, cost), ensure_ascii=False))
        return 0
    _warn(graph)
    show = defaults_table(graph, *_terminal()) if request.defaults else plan_table(planned, cost, *_terminal())
    print(show)
    return 0


def why(request: argparse.Namespace) -> int:
    """Say what in a node's key changed since it ran last."""
    from graph.errors import UsageError, suggest
    from graph.inquiry import inquire
    from graph.views import why_json, why_text

    with _session(request) as session:
        graph = session.check(_load(request))
        planned = session.plan(graph)
        if request.node not in graph.steps:
            if request.node in graph.workflow.nodes:
                raise UsageError(f'the node "{request.node}" is not run: no output needs it')
            raise UsageError(f'there is no node "{request.node}"', hint=suggest(request.node, graph.steps))
        told = inquire(planned, request.node, session.cache)
    print(json.dumps(why_json(told)) if request.json else why_text(told))
    return 0


def lock(request: argparse.Namespace) -> int:
    """Pin the models and the versions of nodes that a workflow is made of."""
    import darkroom
    from graph.views import pinned_json, pinned_text

    pinned = darkroom.lock(_load(request), nodes=request.nodes)
    print(json.dumps(pinned_json(pinned), ensure_ascii=False) if request.json else pinned_text(pinned))
    return 0


def history(request: argparse.Namespace) -> int:
    """List the runs that were made, or tell all of one."""
    from graph.lookback import tell

    print(tell(request, _say, *_terminal()))
    return 0


def diff(request: argparse.Namespace) -> int:
    """Say what differs between two pictures and how they were made, and show where."""
    from graph.comparison import compare

    same, told = compare(request, _picture(request.a), _picture(request.b), *_terminal())
    print(told)
    return 0 if same else 1


def nodes(request: argparse.Namespace) -> int:
    """List the kinds of nodes, or explain one."""
    import darkroom
    from graph import reference

    registry = darkroom.kinds(request.nodes)
    if request.markdown:
        print(reference.markdown(registry))
    elif request.kind:
        print(reference.page(registry, request.kind, *_terminal()))
    else:
        print(reference.overview(registry, *_terminal()))
    return 0


def schema(request: argparse.Namespace) -> int:
    """Print the JSON Schema of the language, for editors."""
    import darkroom
    from graph.schema import json_schema

    print(json.dumps(json_schema(darkroom.kinds(request.nodes)), indent=2, ensure_ascii=False))
    return 0


def graph(request: argparse.Namespace) -> int:
    """Draw a workflow."""
    import darkroom
    from graph.drawing import draw

    print(draw(darkroom.check(_load(request), nodes=request.nodes, lock="ignored"), request.format))
    return 0


def cache(request: argparse.Namespace) -> int:
    """Look after the cache."""
    from graph import housekeeping

    folder = Path(request.cache) if request.cache else None
    print(housekeeping.tell(request.action, folder, request, *_terminal(), partial(_planned, request)))
    return 0


def models(request: argparse.Namespace) -> int:
    """List the models that can be named, and what is wrong with the others."""
    import darkroom
    from graph.cache import open_cache
    from graph.files import digest_of, known_digest
    from nodes.sd.inventory import inventory, shown
    from nodes.sd.shelves import troubles

    memo, hashed = open_cache(None, _say), digest_of if request.digest else known_digest
    nodes = darkroom.kinds(request.nodes).kinds.values()
    try:
        found = [*inventory(nodes, lambda file: hashed(file, memo))]
    finally:
        memo.close()
    for trouble in troubles():
        _say(f"warning: {trouble}")
    print("\n".join(json.dumps(model.as_json()) for model in found) if request.json else shown(found, *_terminal()))
    return 0


def watermark(request: argparse.Namespace) -> int:
    """Read the watermark of a picture."""
    import darkroom
    from graph.context import alone

    registry, picture = darkroom.kinds(), _picture(request.picture)
    given: dict[str, object] = {"expect": request.expect, "length": request.length}
    for method in [request.method] if request.method else ["dwt_dct_svd", "dwt_dct"]:
        text, found, _ = alone(registry["read_watermark"], _say, {**given, "method": method}, image=picture)
        if found:
            break
    told = json.dumps({"text": text, "found": found, "method": method})
    print(told if request.json else text if found else "no watermark is found in this picture")
    return 0 if found else 1


def c2pa(request: argparse.Namespace) -> int:
    """Verify a signed picture, or make a certificate to sign with."""
    from graph.credentials import tell

    code, told = tell(request)
    print(told)
    return code


def doctor(request: argparse.Namespace) -> int:
    """Say what this machine has and what is wrong with it."""
    from graph.doctor import examine

    report = examine(Path(request.cache) if request.cache else None, request.remote)
    print(json.dumps(report.as_json()) if request.json else report.text(*_terminal()))
    return 0 if report.ok else 1


# From words to values


def _load(request: argparse.Namespace) -> Workflow:
    from graph.requests import workflow

    return workflow(request, _say)


@contextmanager
def _session(request: argparse.Namespace, sink: Any = None) -> Iterator[Session]:
    import darkroom
    from graph.console import choose_sink

    session = darkroom.open_session(
        cache=request.cache or None,
        out=request.out,
        device=request.device,
        nodes=request.nodes,
        remote=request.remote,
        sink=sink or choose_sink(json=False, quiet=True),
        lock=getattr(request, "lock", "ignored"),
    )
    try:
        yield session
    finally:
        session.cache.close()


def _planned(request: argparse.Namespace, file: str) -> Plan:
    """What a run of a file would do, for commands that take more than a file."""
    request = argparse.Namespace(**{**vars(request), "file": file, "remote": "none"})
    with _session(request) as session:
        return session.plan(session.check(_load(request)))


def _picture(name: str) -> Picture:
    import darkroom
    from graph.context import alone

    path = darkroom.PictureFile.find(name, Path.cwd())
    picture: Picture = alone(darkroom.kinds()["load_image"], _say, {"path": path})[0]
    return picture


def _warn(graph: Graph) -> None:
    for warning in graph.warnings:
        _warned(str(warning))


def _warned(warning: str) -> None:
    _say(f"warning: {warning}")


def _say(text: str) -> None:
    encoding = sys.stderr.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


def _terminal() -> tuple[int | None, bool]:
    """(width, colour) for standard output."""
    if not sys.stdout.isatty():
        return None, False
    return shutil.get_terminal_size().columns, not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _stands_somewhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        _say("the current folder is gone\n  Change to one that is there.")
        return False
    return True


def _own_folders() -> None:
    """See that `graph` and `nodes` are ours: another program's folder of that name may come first on sys.path."""
    here = Path(__file__).resolve().parent
    for name in ("graph", "nodes"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parent != here / name:
            sys.path.insert(0, str(here))
            for loaded in [key for key in sys.modules if key == name or key.startswith(name + ".")]:
                del sys.modules[loaded]


COMMANDS: tuple[Command, ...] = (
    run, check, plan, why, lock, history, diff, nodes, schema, graph, cache, models, watermark, c2pa, doctor,
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
