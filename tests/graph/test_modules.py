"""What a module says: its code, and nothing of how it is written down."""

from __future__ import annotations

import textwrap

import pytest

from graph.modules import Module, module

SOURCE = '''
from a.b import C


class D(C):
    """Say what D is."""

    x: int = 1

    def run(self, y):
        return f"{y}" + 'z'
'''


def read(source: str, name: str = "pack.here", *, is_package: bool = False) -> Module:
    return module(textwrap.dedent(source).encode("utf-8", "surrogatepass"), name, is_package=is_package)


def imports(source: str, name: str = "pack.here", *, is_package: bool = False) -> set[str]:
    return set(read(source, name, is_package=is_package).imports)


@pytest.mark.parametrize(
    "written",
    [
        SOURCE + "\n# a comment\n",
        SOURCE.replace("what D is", "something else"),
        SOURCE.replace('    """Say what D is."""\n\n', ""),
        SOURCE.replace("x: int = 1", 'x: int = 1\n    """What x is."""'),
        SOURCE.replace("    def run", "\n\n    def run"),
        SOURCE.replace("'z'", '("z")'),
        SOURCE.replace("return f", "return (\n            f").replace("'z'", "'z'\n        )"),
        SOURCE.replace("\n", "\r\n"),
    ],
    ids=["comment", "docstring", "no docstring", "attribute", "blank lines", "quotes", "line breaks", "line ends"],
)
def test_what_is_for_readers_is_no_code(written: str) -> None:
    assert read(SOURCE).digest == read(written).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 1", "x = '1'"),
        ("x = 'a'", "x = b'a'"),
        ("x = None", "x = ..."),
        ("x = 0.0", "x = -0.0"),
        ("x = 'a) x=(b'", "x = 'a) x=[b'"),
        ("f(a, b)", "f(b, a)"),
        ("f(a)", "f(*a)"),
        ("f(a=1)", "f(b=1)"),
        ("def f(a): return a", "def f(a, /): return a"),
        ("def f(a): return a", "async def f(a): return a"),
        ("x = [a, b]", "x = (a, b)"),
        ("x = a.b", "x = a['b']"),
        ("from a import b", "from .a import b"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a}'", "x = f'{a:3}'"),
        ("x = 'doc'", "'doc'"),
        ("if a:\n  f()\ng()", "if a:\n  f()\n  g()"),
        ("try:\n  f()\nfinally:\n  g()", "try:\n  f()\nexcept E:\n  g()"),
    ],
)
def test_what_does_something_else_is_other_code(one: str, other: str) -> None:
    assert read(one).digest != read(other).digest


def test_every_python_reads_the_same() -> None:
    source = """
    type = match = None

    @decorator(1)
    async def f(a: int, /, b=1_000, *args, c: str = "x" "y", **kw) -> "T":
        async with a as b, c: yield [x async for x in y if (z := x)]
        return f"{a!r:>{b}} {a:.{c}} {{}} {f'{a}'}" f"" if a < b <= 1e3 else lambda: (1j, b"\\0", ..., -0.0)

    match a:
        case {"k": [1, *rest], **more} if rest: pass
        case C(x=1 | 2) as d: raise E from None
    """

    assert "8cb3d01df1ae15389baab960a66f4ab91a37b1723414c1bc5d48adc6990a52a6" == read(source).digest


def test_imports_are_found_wherever_they_stand() -> None:
    found = imports("""
        import a, b.c as d
        from e.f import G, H
        from i import *

        def run():
            from j import k

            if x:
                import l.m
        """)

    assert {"a", "b.c", "e.f.G", "e.f.H", "i", "j.k", "l.m"} == found


def test_relative_imports_are_made_whole() -> None:
    source = "from . import a\nfrom .b import c\nfrom ..d import e"

    assert {"top.pack.a", "top.pack.b.c", "top.d.e"} == imports(source, "top.pack.here")
    assert {"top.pack.a", "top.pack.b.c", "top.d.e"} == imports(source, "top.pack", is_package=True)


def test_what_only_type_checkers_import_does_not_count() -> None:
    assert {"typing.TYPE_CHECKING", "c"} == imports("""
        from typing import TYPE_CHECKING

        if TYPE_CHECKING:
            import a
        else:
            import c
        """)


def test_imports_by_a_name_in_the_source_are_seen() -> None:
    source = 'import_module("a.b")\nimportlib.import_module("c")\n__import__("d")\nimportlib.import_module(name)'

    assert {"a.b", "c", "d"} == imports(source)


def test_a_package_that_lists_itself_imports_all_its_modules() -> None:
    assert {"pkgutil", "top.pack.*"} == imports(
        "import pkgutil\nnames = [*pkgutil.iter_modules(__path__)]", "top.pack", is_package=True
    )


@pytest.mark.parametrize("source", ["def broken(:", "x = '\0'", "(" * 100_000, "x = " + "-" * 5_000 + "1"])
def test_of_what_is_no_python_every_byte_counts(source: str) -> None:
    assert read(source).digest == read(source).digest
    assert read(source).digest != read(source + " ").digest


def test_warnings_of_the_compiler_are_not_ours() -> None:
    assert read(r"x = '\d'").digest == read(r"x = '\d' # again").digest
