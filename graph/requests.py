"""From the words of a command to a workflow with its params set."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from graph.errors import UsageError
from graph.events import SavedOutput
from graph.provenance import Origin
from graph.rerun import compare, workflow_of
from graph.signatures import STARTS
from graph.workflow import Workflow, load, set_params

Say = Callable[[str], None]
Note = Callable[[Sequence[SavedOutput], bool], None]
"""Told of what was saved, and whether anything was computed for it."""


def workflow(request: argparse.Namespace, say: Say) -> Workflow:
    """Load the workflow that a command names, or the one inside the picture that it names, with what --set says."""
    return picture_workflow(request, say)[0] if is_picture(request.file) else _set(load(request.file), request, say)


def picture_workflow(request: argparse.Namespace, say: Say) -> tuple[Workflow, Origin]:
    """Load the workflow inside a picture, with what --set says, and how the picture was made."""
    inside, origin = workflow_of(Path(request.file))
    return _set(inside, request, say), origin


def noted_picture(request: argparse.Namespace, say: Say) -> tuple[Workflow, Note]:
    """The same, with a note that says whether the pixels came out the same."""
    inside, origin = picture_workflow(request, say)

    def note(saved: Sequence[SavedOutput], computed: bool) -> None:
        say(compare(Path(request.file), origin, saved, changed=bool(request.set), computed=computed))

    return inside, note


def is_picture(name: str) -> bool:
    """Whether a file may be a picture that a run has left its workflow in."""
    try:
        if name == "-" or not Path(name).is_file():
            return False
        with open(name, "rb") as file:
            return file.read(8).startswith(STARTS)
    except (OSError, ValueError):
        return False


def refuse_sweep(request: argparse.Namespace) -> None:
    """Raise UsageError where a sweep is asked for."""
    if request.sweep:
        raise UsageError("--sweep is not in this version yet", hint="Run the workflow once for each value, with --set.")


def _set(workflow: Workflow, request: argparse.Namespace, say: Say) -> Workflow:
    """Set the params, and tell the numbers that were drawn, so that they can be asked for again."""
    settings = _settings(request)
    filled = set_params(workflow, settings, Path.cwd())
    for name, text in settings.items():
        if text == "random" and filled.params[name].type == "integer":
            say(f"{name} is {filled.params[name].value.value}")
    return filled


def _settings(request: argparse.Namespace) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in request.set]
    for name, sign, _ in pairs:
        if not sign:
            raise UsageError(f'--set takes name=value, not "{name}"', hint="For example --set seed=7")
    return {name: value for name, _, value in pairs}
