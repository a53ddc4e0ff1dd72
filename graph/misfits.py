"""What a node cannot do with what arrives at its ports, where the file alone says what that is.

A kind of node says in a word what it `gives`; a node whose parameters are all known is asked about the words at its
ports. What is not known yet (a linked parameter, a choice of different things) is no mistake: the node tells it itself
when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graph.errors import Mistake
from graph.node import Node, outputs, source
from graph.sources import Choice, From, Source
from graph.steps import Step


def misfits(steps: Mapping[str, Step]) -> Iterator[Mistake]:
    """Ask every node that will run for certain what of its inputs and parameters does not go together."""
    for step in steps.values():
        if step.node.misfits is Node.misfits or step.instance is None or step.off or step.when:
            continue
        arriving = {port: word for port, taken in step.inputs.items() if (word := _word(taken, steps))}
        try:
            for name, message, hint in step.instance.misfits(arriving):
                yield Mistake("bad-value", f"{step.name}: {message}", step.place_of(name), hint)
        except Exception as error:  # of a node of the user's own
            what = f"{step.name}: a {step.kind} cannot say what fits it: {type(error).__name__}: {error}"
            yield Mistake("bad-value", what, step.place, f"This is a bug in {source(step.node)}.")


def _word(taken: Source, steps: Mapping[str, Step]) -> str:
    """What is known of a source; of a choice, what all of it are; "" where that is nothing."""
    if isinstance(taken, Choice):
        words = {_word(option, steps) for option in taken.options}
        return words.pop() if len(words) == 1 else ""
    if not isinstance(taken, From) or taken.step not in steps:
        return ""
    node = steps[taken.step].node
    return node.gives.get(list(outputs(node))[taken.output], "")
