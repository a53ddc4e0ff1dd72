"""From the bytes of a YAML file to a tree with places, whatever the bytes are.

The tree is built from the parser's events, one after the other, with a stack of its own: PyYAML's composer
recurses (100,000 brackets end the process) and its constructor calls what tags name. Limits are held while
events arrive, so that nothing after this ever meets a deep, endless or huge tree. Scalars follow the core
schema of YAML 1.2, except that only `true`, `false`, `null`, `~` and nothing are words of its own.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from graph.errors import Mistake, Place, WorkflowError
from graph.records import record
from graph.syntax import QUOTE_COMMENT, explain, named

MAX_BYTES = 8 * 2**20
MAX_BRANCHES = 1_000_000
"""Keys, scalars, lists and tables, what aliases stand for included. A node of a workflow has about eight."""
MAX_DEPTH = 64

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
"""What no text of a workflow may hold: control characters and halves of surrogate pairs."""

_COMMENT = re.compile(r"[ \t]+#")
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@record
class Scalar:
    """One value, or one key."""

    value: str | int | float | bool | None
    text: str
    """The source text of a plain scalar, the content of a quoted or block one."""
    quoted: bool
    place: Place


@record
class Items:
    """A YAML sequence."""

    items: tuple[Branch, ...]
    place: Place


@record
class Table:
    """A YAML mapping. No two keys have the same text."""

    entries: tuple[tuple[Scalar, Branch], ...]
    place: Place


Branch = Scalar | Items | Table


def read(data: bytes, file: str) -> tuple[Table, tuple[Mistake, ...], tuple[Mistake, ...]]:
    """Read a document: its tree, its mistakes, its warnings. `file` is the name that places show.

    Raises WorkflowError where there is no tree to speak of: broken syntax, a limit, no table at the top.
    """
    text = decode(data, file)
    composer = _Composer(text, file)
    tree = composer.compose()
    return tree, tuple(composer.mistakes), tuple(composer.warnings)


def decode(data: bytes, file: str) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 that begin with their mark.

    Raises WorkflowError for what is too large or no text.
    """
    if len(data) > MAX_BYTES:
        raise WorkflowError([too_large(file)])
    mark, encoding = next((pair for pair in _ENCODINGS if data.startswith(pair[0])), (b"", "utf-8"))
    data = data[len(mark) :]
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding)
        place = _place_after(before, file)
        message = f"the byte 0x{data[error.start]:02x} is no {encoding.upper()} text"
        raise WorkflowError([Mistake("encoding", message, place, "Save the file as UTF-8.")]) from None
    if wrong := NOT_TEXT.search(text):
        rest = LINE_BREAK.split(text[wrong.start() :], maxsplit=1)[0]
        place = _place_after(text[: wrong.start()], file, rest)
        hint = "Is it a binary file, or UTF-16 without a mark? Save it as UTF-8."
        raise WorkflowError([not_text(wrong[0], place, hint)])
    return text


def scalar_value(text: str) -> str | int | float | bool | None:
    """Tell what a plain scalar is by YAML 1.2: `017` is 17, `1e3` is 1000.0, `no` and `12:30` are texts."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST_NUMBER:
        return text
    for pattern, number in _NUMBERS:
        if pattern.fullmatch(text):
            return number(text)
    return text


def too_large(file: str) -> Mistake:
    """The mistake of a file beyond MAX_BYTES."""
    message = f"the file is larger than {MAX_BYTES // 2**20} MiB, more than any workflow needs"
    return Mistake("too-large", message, Place(file, 1, 1), "Is it a workflow?")


def not_text(character: str, place: Place, hint: str = "Remove it.") -> Mistake:
    """The mistake of a character that NOT_TEXT finds."""
    what = "half of a surrogate pair" if "\ud800" <= character <= "\udfff" else "a control character"
    return Mistake("encoding", f"U+{ord(character):04X} is {what}, no text", place, hint)


_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}
_LONGEST_NUMBER = 400  # characters; int() itself gives up at 4300 digits
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: -math.inf if text[0] == "-" else math.inf),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda text: math.nan),
)

_YAML_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "null": (type(None),),
}


_Event = Any
"""An event of the parser. Its stubs let marks be missing; those of a parser never are."""


class _Frame:
    """A list or table that is still open."""

    __slots__ = ("anchor", "children", "deepest", "key", "keys", "place", "size_before")

    def __init__(self, event: _Event, place: Place, depth: int, size_before: int) -> None:
        is_table = isinstance(event, yaml.MappingStartEvent)
        self.place = place
        self.anchor: str | None = event.anchor
        self.children: list[tuple[Branch | None, Branch]] = []
        self.keys: dict[str, Scalar] | None = {} if is_table else None
        """Of a table: each key by its text."""
        self.key: Branch | None = None
        self.deepest = depth
        self.size_before = size_before


class _Composer:
    """Builds the tree of one document."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []
        self._lines = LINE_BREAK.split(text)
        self._commented = {number for number, line in enumerate(self._lines) if "#" in line}
        self._loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Branch, int, int]] = {}
        """By anchor: what it names, how many branches that is, how deep."""
        self._size = 0
        self._root: Branch | None = None
        self._documents = 0
        self._cut: Place | None = None
        """Where the last plain scalar was cut short by a comment."""

    def compose(self) -> Table:
        handlers: dict[type, Callable[[_Event], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        get_event = self._loader.get_event
        try:
            while not isinstance(event := get_event(), yaml.StreamEndEvent):
                if handler := handlers.get(type(event)):
                    handler(event)
        except yaml.MarkedYAMLError as error:
            raise self._stop(explain(error, self._lines, self.file, self._cut)) from None
        except yaml.YAMLError as error:
            raise self._stop(Mistake("syntax", str(error), Place(self.file, 1, 1))) from None
        finally:
            self._loader.dispose()
        return self._top(self._root)

    def _top(self, root: Branch | None) -> Table:
        if isinstance(root, Table):
            return root
        if root is None or (isinstance(root, Scalar) and root.value is None):
            hint = "The smallest one is: darkroom: 1, and a node under nodes:."
            raise self._stop(Mistake("syntax", "there is no workflow in this file", self._at(0, 0), hint))
        what = "a list" if isinstance(root, Items) else "a single value"
        hint = "It begins with the line: darkroom: 1"
        raise self._stop(Mistake("syntax", f"a workflow is a table, but this is {what}", root.place, hint))

    def _stop(self, mistake: Mistake) -> WorkflowError:
        return WorkflowError([*self.mistakes, mistake])

    def _at(self, line: int, column: int) -> Place:
        text = self._lines[line] if line < len(self._lines) else ""
        return Place(self.file, line + 1, column + 1, text)

    def _start(self, event: _Event) -> Place:
        mark = event.start_mark
        return self._at(mark.line, mark.column)

    def _document(self, event: _Event) -> None:
        self._documents += 1
        if self._documents > 1:
            hint = "Put each workflow into a file of its own."
            raise self._stop(Mistake("syntax", "a second document begins here", self._start(event), hint))

    def _scalar(self, event: _Event) -> None:
        self._grow(1)
        text: str = event.value
        place = self._start(event)
        if event.tag is not None:
            scalar = self._tagged(event, place)
        elif event.style:
            if event.style == '"' and (wrong := NOT_TEXT.search(text)):
                self.mistakes.append(not_text(wrong[0], place))
                text = NOT_TEXT.sub("", text)
            scalar = Scalar(text, text, True, place)
        else:
            scalar = Scalar(scalar_value(text), text, False, place)
            if event.end_mark.line in self._commented:
                self._notice_comment(scalar, event)
        self._put(scalar, event.anchor, 1, 0)

    def _notice_comment(self, scalar: Scalar, event: _Event) -> None:
        """Warn where a comment looks like the rest of a text: a prompt with "#1" in it."""
        end = event.end_mark
        line = self._lines[end.line]
        if not (isinstance(scalar.value, str) or not scalar.text) or not (comment := _COMMENT.match(line, end.column)):
            return
        self._cut = self._at(end.line, comment.end() - 1)
        meant_as_comment = len(comment[0]) > 2 or " " not in scalar.text
        if meant_as_comment and line[comment.end() : comment.end() + 1] in (" ", "\t", ""):
            return
        message = f'what follows " #" is a comment, so {named(line[comment.start() :].strip())} is dropped'
        self.warnings.append(Mistake("syntax", message, self._cut, QUOTE_COMMENT))

    def _tagged(self, event: _Event, place: Place) -> Scalar:
        name = event.tag.removeprefix(_YAML_TAG)
        if name in ("!", "str"):
            return Scalar(event.value, event.value, True, place)
        value: Any = scalar_value(event.value)
        if name not in _SCALAR_TAGS:
            self._refuse_tag(event.tag, place)
        elif type(value) not in _SCALAR_TAGS[name]:
            self.mistakes.append(Mistake("tag", f"{named(event.value)} is no {name}, as its tag says", place))
        elif name == "float":
            value = float(value)
        return Scalar(value, event.value, False, place)

    def _refuse_tag(self, tag: str, place: Place) -> None:
        shown = "!!" + tag.removeprefix(_YAML_TAG) if tag.startswith(_YAML_TAG) else tag
        hint = "Remove it: a workflow holds plain values, and nothing is ever constructed from a tag."
        self.mistakes.append(Mistake("tag", f"the tag {named(shown)} is not read", place, hint))

    def _open(self, event: _Event) -> None:
        self._grow(1)
        place = self._start(event)
        self._check_depth(len(self._stack) + 1, place)
        own_tag = _YAML_TAG + ("map" if isinstance(event, yaml.MappingStartEvent) else "seq")
        if event.tag not in (None, "!", own_tag):
            self._refuse_tag(event.tag, place)
        self._stack.append(_Frame(event, place, len(self._stack) + 1, self._size))

    def _close(self, event: _Event) -> None:
        frame = self._stack.pop()
        branch: Branch
        if frame.keys is None:
            branch = Items(tuple(child for _, child in frame.children), frame.place)
        else:
            pairs = tuple((key, child) for key, child in frame.children if isinstance(key, Scalar))
            branch = Table(pairs, frame.place)
        height = frame.deepest - len(self._stack)
        self._put(branch, frame.anchor, self._size - frame.size_before + 1, height)

    def _alias(self, event: _Event) -> None:
        place = self._start(event)
        if event.anchor in self._anchors:
            branch, size, height = self._anchors[event.anchor]
            self._grow(size)
            self._check_depth(len(self._stack) + height, place)
            self._put(branch, None, size, height)
            return
        inside = any(frame.anchor == event.anchor for frame in self._stack)
        what = "stands inside what it names" if inside else "has no anchor before it"
        hint = "" if inside else f'An anchor is written &{event.anchor}. Quote a text that begins with "*".'
        self.mistakes.append(Mistake("syntax", f"the alias {named('*' + event.anchor)} {what}", place, hint))
        self._put(Scalar(None, "", False, place), None, 1, 0)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_BRANCHES:
            message = f"the file holds more than {MAX_BRANCHES:,} values, what its aliases stand for included"
            raise self._stop(Mistake("too-large", message, self._at(0, 0), "Split the workflow."))

    def _check_depth(self, depth: int, place: Place) -> None:
        if depth > MAX_DEPTH:
            message = f"lists and tables are nested more than {MAX_DEPTH} deep"
            hint = "A workflow needs four levels. Is a bracket left open?"
            raise self._stop(Mistake("too-deep", message, place, hint))

    def _put(self, branch: Branch, anchor: str | None, size: int, height: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (branch, size, height)
        if not self._stack:
            self._root = branch
            return
        frame = self._stack[-1]
        if height:
            frame.deepest = max(frame.deepest, len(self._stack) + height)
        if frame.keys is None:
            frame.children.append((None, branch))
        elif frame.key is None:
            frame.key = branch
            self._check_key(branch, frame, frame.keys)
        else:
            frame.children.append((frame.key, branch))
            frame.key = None

    def _check_key(self, key: Branch, frame: _Frame, keys: dict[str, Scalar]) -> None:
        if not isinstance(key, Scalar):
            self.mistakes.append(_not_a_key(key, frame.place))
            return
        first = keys.setdefault(key.text, key)
        if first is not key:
            frame.key = Items((), key.place)  # no key: its value is left out when the table closes
            lines = f"on line {first.place.line} and on line {key.place.line}"
            message = f"{named(key.text)} is there twice: {lines}"
            self.mistakes.append(Mistake("duplicate-key", message, key.place, "Rename or remove one."))


def _not_a_key(key: Items | Table, table: Place) -> Mistake:
    """Tell of a list or table where a key should be; `{{name}}` is one."""
    if found := re.match(r"\{\{\s*([^{}]*?)\s*\}\}", table.text[table.column - 1 :]):
        return Mistake("bad-reference", f"{named(found[0])} is no reference", table, f"Write ${found[1]}.")
    what = "a list" if isinstance(key, Items) else "a table"
    message = f"{what} stands where a name should be"
    return Mistake("syntax", message, key.place, "Quote a text with brackets in it.")


def _place_after(before: str, file: str, rest: str = "") -> Place:
    lines = LINE_BREAK.split(before)
    return Place(file, len(lines), len(lines[-1]) + 1, lines[-1] + rest)
