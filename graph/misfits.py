"""What a node cannot do with what arrives at its ports, where the file alone says what that is.

A kind of node says in a word what it `gives`; a node whose parameters are all known is asked about the words at its
ports. What is not known yet (a linked parameter, a choice of different things) is no mistake: the node tells it itself
when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graph.errors import Mistake
from graph.node import Node, outputs
from graph.sources import Choice, From, Source
from graph.steps import Step


def misfits(steps: Mapping[str, Step]) -> Iterator[Mistake]:
    """Ask every node that will run for certain what of its inputs and parameters does not go together."""
    for step in steps.values():
        if step.node.misfits is Node.misfits or step.instance is None or step.off or step.when:
            continue
        arriving = {port: word for port, source in step.inputs.items() if (word := _word(source, steps))}
        for name, message, hint in step.instance.misfits(arriving):
            yield Mistake("bad-value", f"{step.name}: {message}", step.place_of(name), hint)


def _word(source: Source, steps: Mapping[str, Step]) -> str:
    """What is known of a source; of a choice, what all of it are; "" where that is nothing."""
    if isinstance(source, Choice):
        words = {_word(option, steps) for option in source.options}
        return words.pop() if len(words) == 1 else ""
    if not isinstance(source, From) or source.step not in steps:
        return ""
    node = steps[source.step].node
    return node.gives.get(list(outputs(node))[source.output], "")
