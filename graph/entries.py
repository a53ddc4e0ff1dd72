"""One node of a workflow document: its kind, its inputs, and what the reserved keys say."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern

from graph.ages import TAKES, lasts
from graph.conditions import Condition, Truth, parse_condition
from graph.document import Branch, Items, Scalar, Table
from graph.errors import Mistake, Place, WorkflowError
from graph.records import record
from graph.references import Expression, Link, Literal, described, expression, first_character, reference
from graph.syntax import named


@record
class Input:
    """One `port_or_param: value` of a node, or of the defaults of a kind."""

    name: str
    place: Place
    """The place of the key."""
    value: Expression


@record
class Entry:
    """One node as the file has it, its kind not yet looked up."""

    name: str
    place: Place
    kind: str
    kind_place: Place
    inputs: Mapping[str, Input]
    """In the order of the file."""
    when: Condition | None
    doc: str
    device: str | None
    cache: bool
    after: tuple[Link, ...]
    fresh: str | None = None
    """How old a result may be; None: as the kind has it."""
    unreadable: frozenset[str] = frozenset()
    """Keys left out because of a mistake that is already told: not to be told again as missing."""


RESERVED = ("use", "when", "each", "device", "cache", "fresh", "doc", "after")
"""Keys of a node that are never names of ports."""
NO_MERGE = 'YAML 1.2 has no merge keys. Put what nodes share under "defaults".'


def read_entry(name: Scalar, branch: Branch, mistakes: list[Mistake]) -> Entry | None:
    """Read one entry of `nodes:`. None where its kind cannot be told; `mistakes` then says why."""
    if not isinstance(branch, Table):
        message = f"{name.text} takes a table, but got {described(branch)}"
        _tell(mistakes, "syntax", message, branch.place, f"Write {name.text}: {{use: kind, ...}}.")
        return None
    reserved = {key.text: value for key, value in branch.entries if key.text in RESERVED}
    if "each" in reserved:
        place = next(key.place for key, _ in branch.entries if key.text == "each")
        hint = "Until then, write one node for each picture."
        _tell(mistakes, "not-yet", '"each" is not in this version of Darkroom yet', place, hint)
    inputs, unreadable = _inputs(branch, mistakes)
    kind = _kind(name, branch, reserved, mistakes)
    if kind is None:
        return None
    return Entry(
        name=intern(name.text),  # looked up again and again, by those who refer to it too
        place=name.place,
        kind=intern(kind.text),
        kind_place=first_character(kind.text, kind.place) or kind.place,
        inputs=inputs,
        when=_when(reserved, mistakes),
        doc=text_of("doc", reserved, mistakes),
        device=_device(reserved, mistakes),
        cache=_cache(reserved, mistakes),
        after=_after(reserved, mistakes),
        fresh=_fresh(reserved, mistakes),
        unreadable=unreadable,
    )


def _inputs(branch: Table, mistakes: list[Mistake]) -> tuple[dict[str, Input], frozenset[str]]:
    inputs, unreadable = {}, set()
    for key, value in branch.entries:
        if key.text == "<<":
            _tell(mistakes, "unknown-key", "merge keys are not read", key.place, NO_MERGE)
        elif key.text not in RESERVED:
            if read_value := expression(value, mistakes):
                name = intern(key.text)
                inputs[name] = Input(name, key.place, read_value)
            else:
                unreadable.add(key.text)
    return inputs, frozenset(unreadable)


def _kind(name: Scalar, branch: Table, reserved: Mapping[str, Branch], mistakes: list[Mistake]) -> Scalar | None:
    use = reserved.get("use")
    if use is None:
        others = [key.text for key, _ in branch.entries]
        near = next((word for word in ("uses", "kind", "type", "class_type", "node") if word in others), "")
        hint = f'Did you mean "use" instead of "{near}"?' if near else "Write use: and the kind of the node."
        _tell(mistakes, "syntax", f'{name.text} has no "use"', name.place, hint)
        return None
    if not isinstance(use, Scalar) or use.value is None or not use.text:
        hint = "Write use: and the kind of the node."
        _tell(mistakes, "syntax", f"use takes a kind of node, but got {described(use)}", use.place, hint)
        return None
    if use.text.startswith("$"):
        hint = "A kind is always written out."
        _tell(mistakes, "bad-reference", f"use takes a kind of node, but got {named(use.text)}", use.place, hint)
        return None
    if use.text.startswith(("./", "../")) or use.text.endswith((".yaml", ".yml")):
        message = f"subworkflows ({named(use.text)}) are not in this version of Darkroom yet"
        _tell(mistakes, "not-yet", message, use.place, "Until then, copy its nodes into this file.")
        return None
    return use


def _when(reserved: Mapping[str, Branch], mistakes: list[Mistake]) -> Condition | None:
    branch = reserved.get("when")
    if branch is None:
        return None
    if not isinstance(branch, Scalar) or branch.value is None:
        message = f"when takes a condition, but got {described(branch)}"
        _tell(mistakes, "bad-condition", message, branch.place, "Write for example: when: $flag.")
        return None
    if isinstance(branch.value, bool):
        return Truth(Literal(branch.value, branch.text, branch.quoted, branch.place))
    try:
        return parse_condition(branch.text, first_character(branch.text, branch.place) or branch.place)
    except WorkflowError as error:
        mistakes += error.mistakes
        return None


def _device(reserved: Mapping[str, Branch], mistakes: list[Mistake]) -> str | None:
    branch = reserved.get("device")
    if branch is None:
        return None
    if isinstance(branch, Scalar) and branch.value is not None and branch.text and "$" not in branch.text:
        return branch.text
    hint = "Write for example: device: cpu, or device: cuda:0."
    _tell(
        mistakes,
        "syntax",
        f"device takes the name of a device, but got {described(branch)}",
        branch.place,
        hint,
    )
    return None


def _cache(reserved: Mapping[str, Branch], mistakes: list[Mistake]) -> bool:
    branch = reserved.get("cache")
    if branch is None:
        return True
    if isinstance(branch, Scalar) and isinstance(branch.value, bool):
        return branch.value
    message = f"cache takes true or false, but got {described(branch)}"
    _tell(mistakes, "syntax", message, branch.place, "Write cache: false to compute the node at every run.")
    return True


def _fresh(reserved: Mapping[str, Branch], mistakes: list[Mistake]) -> str | None:
    branch = reserved.get("fresh")
    if branch is None:
        return None
    try:
        if isinstance(branch, Scalar) and lasts(branch.text) >= 0:
            return branch.text
    except ValueError:
        pass
    hint = "Write its unit too." if isinstance(branch, Scalar) and type(branch.value) in (int, float) else ""
    _tell(mistakes, "syntax", f"fresh takes {TAKES}, but got {described(branch)}", branch.place, hint)
    return None


def _after(reserved: Mapping[str, Branch], mistakes: list[Mistake]) -> tuple[Link, ...]:
    branch = reserved.get("after")
    if branch is None:
        return ()
    items = branch.items if isinstance(branch, Items) else (branch,)
    links = [reference(item, "after", mistakes) for item in items]
    return tuple(link for link in links if link)


def text_of(name: str, keys: Mapping[str, Branch], mistakes: list[Mistake]) -> str:
    """Read a key that takes a text; "" where it is not there."""
    branch = keys.get(name)
    if branch is None or isinstance(branch, Scalar):
        return branch.text if branch else ""
    _tell(mistakes, "syntax", f"{name} takes a text, but got {described(branch)}", branch.place)
    return ""


def _tell(mistakes: list[Mistake], code: str, message: str, place: Place, hint: str = "") -> None:
    mistakes.append(Mistake(code, message, place, hint))
