"""What the YAML parser could not read, in a user's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from graph.errors import Mistake, Place

QUOTE_COMMENT = "Quote the text if that belongs to it."


def named(text: str, most: int = 60) -> str:
    """Put a text of the user's in quotes, cut to `most` characters."""
    return f'"{text}"' if len(text) <= most else f'"{text[: most - 3]}..."'


def explain(error: yaml.MarkedYAMLError, lines: Sequence[str], file: str, cut: Place | None) -> Mistake:
    """Turn the parser's complaint into a mistake. `cut`: where a comment last cut a text short."""
    trouble = _trouble(error, lines, file)
    for rule in (_unclosed, _index, _template, _first_character, _known):
        if mistake := rule(trouble):
            break
    else:
        mistake = Mistake("syntax", f"this is no YAML: {trouble.problem}", trouble.place, _LOOK_ABOVE)
    if cut and error.problem_mark and 0 <= error.problem_mark.line + 1 - cut.line <= 1:
        dropped = named(cut.text[cut.column - 1 :].strip())
        hint = f'What follows " #" is a comment: {dropped} is dropped. {QUOTE_COMMENT}'
        return Mistake(mistake.code, mistake.message, mistake.place, hint)
    return mistake


@dataclass(frozen=True, slots=True)
class _Trouble:
    problem: str
    """What libyaml or PyYAML says."""
    place: Place
    at_end: bool
    """True where nothing is left of the file."""
    opened: Place | None
    """Where the bracket or quote stands that the parser was in."""

    @property
    def before(self) -> str:
        return self.place.text[: self.place.column - 1]

    @property
    def after(self) -> str:
        return self.place.text[self.place.column - 1 :]


def _trouble(error: yaml.MarkedYAMLError, lines: Sequence[str], file: str) -> _Trouble:
    def place(line: int, column: int) -> Place:
        return Place(file, line + 1, column + 1, lines[line] if line < len(lines) else "")

    mark, context = error.problem_mark or error.context_mark, error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    here = place(line, column)
    if not here.text.strip() and context:
        here = place(context.line, context.column)
    at_end = line >= len(lines) or not "".join((lines[line][column:], *lines[line + 1 :])).strip()
    opened = place(context.line, context.column) if context else None
    return _Trouble(error.problem or "", here, at_end, opened)


def _unclosed(trouble: _Trouble) -> Mistake | None:
    is_bracket_or_quote = re.search("end of stream|expected ',' or", trouble.problem)
    if not (trouble.at_end and trouble.opened and is_bracket_or_quote):
        return None
    message = f"this {trouble.opened.text[trouble.opened.column - 1]} is never closed"
    return Mistake("syntax", message, trouble.opened, "Close it, or quote the text it is part of.")


def _index(trouble: _Trouble) -> Mistake | None:
    name = re.search(r"\$[\w.-]+$", trouble.before)
    index = re.match(r"\[\s*(\w*)", trouble.after)
    if not (name and index):
        return None
    hint = f"Write {name[0]}.{index[1] or 0}."
    return Mistake("bad-reference", "an index takes a dot, not brackets", trouble.place, hint)


def _template(trouble: _Trouble) -> Mistake | None:
    if not (trouble.after.startswith("{") and trouble.before.endswith("$")):
        return None
    message = "a text with ${...} in it must be quoted inside of brackets"
    return Mistake("bad-reference", message, trouble.place, "Put quotes around the whole text.")


def _first_character(trouble: _Trouble) -> Mistake | None:
    if "cannot start any token" not in trouble.problem:
        return None
    if trouble.after[:1] == "\t":
        return Mistake("syntax", "a tab cannot indent", trouble.place, "Indent with spaces.")
    if name := re.match(r"@([^\W\d][\w.-]*)", trouble.after):
        hint = f"Write ${name[1]}, or quote the text if it is none."
        return Mistake("bad-reference", f"{named(name[0])} is no reference", trouble.place, hint)
    message = f"a value cannot begin with {named(trouble.after[:1])}"
    return Mistake("syntax", message, trouble.place, "Quote the text.")


_LOOK_ABOVE = "Look at the indentation, and at the quotes and brackets before it."
_CHARACTER = r"Write the character itself, or in the form \U0001F600."
_BACKSLASH = r"Write \\ for a backslash, or use single quotes."
_BLOCK = 'Quote a text that begins with ">" or "|".'
_KNOWN = (
    # A part of what libyaml or PyYAML says; our code; what we say; the way out.
    ("values are not allowed", "syntax", 'a ":" cannot stand here', 'Quote a text that has ": " in it.'),
    ("tab character", "syntax", "a tab cannot indent", "Indent with spaces."),
    ("Unicode character escape", "encoding", "this escape is no character", _CHARACTER),
    ("unknown escape", "syntax", "there is no such escape", _BACKSLASH),
    ("expected ',' or", "syntax", "a comma or a closing bracket is missing before this", _LOOK_ABOVE),
    ("expected ':'", "syntax", 'a ":" is missing here', _LOOK_ABOVE),
    ("undefined tag handle", "tag", "this tag is not read", "Remove it: a workflow holds plain values."),
    ("entries are not allowed", "syntax", "a list cannot begin here", 'Put "- " on a line of its own.'),
    ("comment or line break", "syntax", "this is no block of text", _BLOCK),
    ("incompatible YAML|unknown directive", "syntax", "this directive is not read", "Remove the line."),
    (
        "expected key|block end|'-' ind|document start",
        "syntax",
        "this does not fit the lines above",
        _LOOK_ABOVE,
    ),
)


def _known(trouble: _Trouble) -> Mistake | None:
    for pattern, code, message, hint in _KNOWN:
        if re.search(pattern, trouble.problem):
            return Mistake(code, message, trouble.place, hint)
    return None
