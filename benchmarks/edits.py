"""What is computed again after an edit of a workflow: run from the shell, one edit after the other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.processes import ROOT, python
from benchmarks.random_model import tiny
from benchmarks.report import Bound, Report, Table

WORKFLOW = ROOT / "workflows" / "img2img_upscale.yaml"
PROMPT = "a painting of a sunset over the sea with a boat on the left and the sun on the right"


class Edit(NamedTuple):
    """A change of the file, and the nodes that must run because of it."""

    what: str
    change: Callable[[str], str]
    runs: frozenset[str] = frozenset()


class Outcome(NamedTuple):
    """What a run did."""

    edit: Edit
    ran: frozenset[str]
    nodes: int
    cpu: float


def full() -> Report:
    """Try every edit on the workflow as it is shipped."""
    return measure(EDITS, steps="25")


def quick() -> Report:
    """Try those after which nothing may run, with few steps."""
    return measure([edit for edit in EDITS if not edit.runs], steps="3")


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder with the workflow, its sketch, and a cache."""

    folder: Path
    model: str
    steps: str

    def run(self, text: str) -> tuple[frozenset[str], int, float]:
        """Save the workflow with this text, and run it: (nodes that ran, all nodes, CPU seconds)."""
        path = self.folder / WORKFLOW.name
        path.write_text(text, encoding="utf-8")
        spent = python("runner.py", "run", path, "--json", "--cache", self.folder / "cache", "--out",
                       self.folder / "prints", "--set", f"model={self.model}", "--set",
                       f"steps={self.steps}")  # fmt: skip
        events = [json.loads(line) for line in spent.printed.splitlines()]
        ended = {event["node"]: event["action"] for event in events if event["event"] == "node_finished"}
        return frozenset(node for node, action in ended.items() if action == "run"), len(ended), spent.cpu


def measure(edits: list[Edit], steps: str) -> Report:
    """Run the workflow as it is, then edited: each edit starts from the workflow as it is."""
    text = WORKFLOW.read_text(encoding="utf-8")
    with TemporaryDirectory() as below:
        folder = Path(below)
        shutil.copytree(WORKFLOW.parent / "pictures", folder / "pictures")
        desk = Desk(folder, tiny(folder), steps)
        first = Outcome(Edit("the first run", str), *desk.run(text))
        outcomes = [Outcome(edit, *desk.run(_changed(edit, text))) for edit in edits]
    return _report(first, outcomes)


def _changed(edit: Edit, text: str) -> str:
    changed = edit.change(text)
    if changed == text:
        raise RuntimeError(f"the shipped workflow has nothing to try this edit on: {edit.what}")
    return changed


def _report(first: Outcome, outcomes: list[Outcome]) -> Report:
    rows = [_row(outcome) for outcome in (first, *outcomes)]
    wrong = [outcome.edit.what for outcome in outcomes if outcome.ran != outcome.edit.runs]
    measured = f"{len(outcomes) - len(wrong)} of {len(outcomes)}" + "".join(f"; not after: {what}" for what in wrong)
    return Report(
        "edits",
        f"What does an edit of `workflows/{WORKFLOW.name}` make Darkroom compute again? "
        "A script computes everything again after every one of them.",
        (Table("Edits", ("edit", "runs again", "nodes", "CPU, s"), tuple(rows), "CPU of one run each."),),
        (Bound("nodes that run", "those that the edit reaches", measured, not wrong),),
    )


def _row(outcome: Outcome) -> tuple[str, ...]:
    names = ", ".join(sorted(outcome.ran)) if len(outcome.ran) < outcome.nodes else "everything"
    return outcome.edit.what, names or "nothing", f"{len(outcome.ran)} of {outcome.nodes}", f"{outcome.cpu:.2f}"


def _reversed_nodes(text: str) -> str:
    before, header, rest = text.partition("\nnodes:\n")
    nodes, blank, after = rest.partition("\n\n")
    return before + header + "\n".join(reversed(nodes.split("\n"))) + blank + after


def _put(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


def _renamed(old: str, new: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"^(  |.*\$){old}\b", rf"\1{new}", text, flags=re.MULTILINE)


FROM_SAMPLER = frozenset({"painted", "decoded", "enlarged", "signed"})
EDITS = [
    Edit("nothing", lambda text: text + "\n"),
    Edit("a comment", lambda text: "# Made on a quiet evening.\n" + text),
    Edit("a node renamed", _renamed("painted", "repainted")),
    Edit("the nodes in reverse order", _reversed_nodes),
    Edit("a default written out", _put("use: sampler,", "use: sampler, eta: 0.0,")),
    Edit("a longer documentation", _put("doc: Repaint a sketch", "doc: At last, repaint a sketch")),
    Edit("the prompt, in its white space", _put(PROMPT, PROMPT.replace(" over ", "  over ")), frozenset({"positive"})),
    Edit("the prompt", _put(PROMPT, "a painting of a snowy night with a house"), FROM_SAMPLER | {"positive"}),
    Edit("the seed", _put("  seed:     8\n", "  seed:     2\n"), FROM_SAMPLER | {"start"}),
    Edit("the strength", _put("{default: 0.55,", "{default: 0.8,"), FROM_SAMPLER),
    Edit("the factor of enlargement", _put("factor: 4", "factor: 2"), frozenset({"enlarged", "signed"})),
    Edit("the text of the watermark", _put("default: darkroom,", "default: evening,"), frozenset({"signed"})),
]
"""After the prompt changed only in its white space the encoder runs, gives the same, and the rest is known."""
