"""What values are made for, followed through a graph before anything is loaded: a prompt of one family of models
cannot steer a model of another.

A file that a parameter names says what it is for, by traits: {"latents": "sdxl"}. The outputs of its node carry
those that their types do (`Value.carries`), and so on from node to node. Two inputs of one node that are made for
different things are a mistake. What is not known yet (a file that another node names) is no mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from graph.errors import Mistake
from graph.fields import file_parameters
from graph.filerefs import FileRef
from graph.node import Node, outputs
from graph.sources import Choice, From, Gather, Source
from graph.steps import Step


@dataclass(frozen=True, slots=True)
class Said:
    """A trait, and who says it first."""

    word: str
    step: str
    file: FileRef
    taker: str = ""
    """The port by which it left that step, on the way that is looked at."""
    source: From | None = None
    """What that port takes."""

    def __str__(self) -> str:
        return f'{self.word} ("{self.file.written[-80:]}" in {self.step})'


Traits = Mapping[str, Said]
Known = dict[str, Traits]
"""By step, what is known of all its outputs together."""


@dataclass(frozen=True, slots=True)
class End:
    """One of the things that meet in a step."""

    name: str
    """Of the port or parameter."""
    shown: str
    """What arrives there, as the user wrote it."""
    traits: Traits


def disagreements(steps: Mapping[str, Step], order: Iterable[str]) -> Iterator[Mistake]:
    """Tell where things made for different models meet. order: of the steps, each after those that it needs."""
    known: Known = {}
    for name in order:
        step = steps[name]
        if known.keys().isdisjoint(step.needs) and not file_parameters(step.node):
            continue
        met: dict[str, tuple[End, Said]] = {}
        for end in _ends(step, steps, known):
            wrong = [trait for trait, said in end.traits.items() if trait in met and met[trait][1].word != said.word]
            if wrong:
                yield _mistake(step, wrong[0], met[wrong[0]], end, steps)
            for trait, said in end.traits.items():
                met.setdefault(trait, (end, said))
        if met:
            known[name] = {trait: said for trait, (_, said) in met.items()}


def _ends(step: Step, steps: Mapping[str, Step], known: Known) -> Iterator[End]:
    """What meets in a step: the ports in their order, then the files. Traits that it converts are left out."""
    for name, source in step.inputs.items():
        for part in source.items if isinstance(source, Gather) else (source,):
            if traits := _without(step.node.converts, _arriving(part, f"{step.name}.{name}", steps, known)):
                yield End(name, part.name if isinstance(part, From) else "what is chosen", traits)
    for name in file_parameters(step.node):
        file = step.fixed.get(name)
        if isinstance(file, FileRef):
            said = {trait: Said(word, step.name, file) for trait, word in file.traits().items()}
            yield End(name, f"the {file.what}", _without(step.node.converts, said))


def _arriving(source: Source, taker: str, steps: Mapping[str, Step], known: Known) -> Traits:
    """What is known of a source. Of a choice, what all of it agree on."""
    if isinstance(source, From) and source.step in known:
        carried = _carried(steps[source.step].node)[source.output]
        here = ((trait, said) for trait, said in known[source.step].items() if trait in carried)
        return {trait: said if said.taker else replace(said, taker=taker, source=source) for trait, said in here}
    if isinstance(source, Choice):
        first, *others = (_arriving(option, taker, steps, known) for option in source.options)
        return {
            trait: said
            for trait, said in first.items()
            if all(trait in other and other[trait].word == said.word for other in others)
        }
    return {}


def _without(left_out: Collection[str], traits: Traits) -> Traits:
    return {trait: said for trait, said in traits.items() if trait not in left_out} if left_out else traits


@cache
def _carried(node: type[Node]) -> tuple[tuple[str, ...], ...]:
    """Which traits each output carries."""
    return tuple(getattr(output.type, "carries", ()) for output in outputs(node).values())


def _mistake(step: Step, trait: str, before: tuple[End, Said], end: End, steps: Mapping[str, Step]) -> Mistake:
    first, right = before
    wrong = end.traits[trait]
    message = f"{step.name}.{end.name}: the {trait} of {end.shown} is for {wrong}, "
    message += f"but that of {first.shown} is for {right}"
    hint = _offer(wrong, right, steps) or f"Name another {wrong.file.what} in {wrong.step}, one for {right.word}."
    return Mistake("wrong-family", message, step.place_of(end.name), hint)


def _offer(wrong: Said, right: Said, steps: Mapping[str, Step]) -> str:
    """Where the trait left its first step, the same output of the step that says what is wanted."""
    if wrong.source is None or steps[wrong.step].node is not steps[right.step].node:
        return ""
    return f"For {wrong.taker}, take ${right.step}.{list(outputs(steps[right.step].node))[wrong.source.output]}."
