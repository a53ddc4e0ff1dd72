"""The words of the command line: commands, their options, and what is said to a word that is none of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from graph.errors import UsageError, suggest

Command = Callable[[argparse.Namespace], int]
Options = Callable[[argparse.ArgumentParser], None]


def parse(words: list[str], commands: Sequence[Command]) -> argparse.Namespace:
    """Read a command line. `commands` are functions; name and help of each are those of the function.

    Raises UsageError; leaves with SystemExit after --help and --version.
    """
    meant = _with_command(words)
    return _parser(commands, meant[0]).parse_args(meant)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in the words of the other errors."""

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help tells more."
        if message.startswith("unrecognized arguments"):
            hint = f"A param takes --set name=value; options stand behind the command. {hint}"
        raise UsageError(message, hint=hint)


def _parser(commands: Sequence[Command], meant: str) -> argparse.ArgumentParser:
    """meant: the command whose options will be read; those of others would cost time at every start."""
    parser = _Parser(
        prog="darkroom",
        description="Turn a YAML workflow into pictures; compute nothing twice.",
        epilog="`darkroom FILE` is short for `darkroom run FILE`. Begin with: darkroom run workflows/txt2img.yaml",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and leave")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for command in commands:
        help_ = (command.__doc__ or "").splitlines()[0]
        sub = subparsers.add_parser(command.__name__, help=help_, description=help_, epilog="--debug shows tracebacks.")
        for options in OPTIONS[command.__name__] if command.__name__ == meant else ():
            options(sub)
        sub.set_defaults(command=command)
    return parser


def _file_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help='a workflow; "-" is standard input')
    parser.add_argument("--set", action="append", default=[], metavar="K=V", help="give a param another value")
    _nodes_option(parser)


def _place_options(parser: argparse.ArgumentParser) -> None:
    _cache_option(parser)
    device = os.environ.get("DARKROOM_DEVICE") or "auto"
    parser.add_argument("--device", default=device, metavar="D", help="auto, cpu, cuda, cuda:1, mps, xpu")
    parser.add_argument("--out", default="outputs", metavar="DIR", help="where pictures are saved (outputs)")


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sweep", action="append", default=[], metavar="K=...", help="(not in this version yet)")
    parser.add_argument("--only", metavar="NODE", help="no further than this node")
    parser.add_argument("--force", action="append", default=[], metavar="NODE", help="run it whatever is cached")


def _lock_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(lock="held")
    either = parser.add_mutually_exclusive_group()
    strict = "refuse what darkroom.lock does not name, too"
    either.add_argument("--locked", dest="lock", action="store_const", const="required", help=strict)
    either.add_argument("--no-lock", dest="lock", action="store_const", const="ignored", help="ignore darkroom.lock")


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs: JSON on standard output, nothing else")


def _nodes_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", action="append", default=[], metavar="DIR", help="a folder with nodes of your own")


def _cache_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", default="", metavar="DIR", help='where results are kept; "none" keeps none')


def _history_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", default="", metavar="WHAT", help="a run's number, a workflow, or a picture")
    parser.add_argument("--most", type=int, default=20, help="how many runs")


def _diff_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--out", default="outputs", metavar="FILE", help="where the difference is shown (outputs)")


def _remote_option(parser: argparse.ArgumentParser) -> None:
    remote = os.environ.get("DARKROOM_REMOTE", "")
    parser.add_argument("--remote", default=remote, metavar="URL", help='a cache that machines share; "none": none')


def _cache_words(parser: argparse.ArgumentParser) -> None:
    actions = ("ls", "size", "verify", "gc", "clear", "pin", "unpin", "pins", "export", "import")
    parser.add_argument("action", choices=actions, metavar="ACTION", help=", ".join(actions))
    told = "pin: a workflow or the beginning of a key; unpin: a name; export: a workflow, the file; import: the file"
    parser.add_argument("names", nargs="*", metavar="WHAT", help=told)
    parser.add_argument("--set", action="append", default=[], metavar="K=V", help="pin, export: give a param a value")
    parser.add_argument("--name", default="", help="pin: by what name to let go of it again")
    parser.add_argument("--max-size", metavar="SIZE", help="gc: down to this, e.g. 10GB")
    parser.add_argument("--older-than", metavar="AGE", help="gc: what was not used for so long, e.g. 30d")
    parser.add_argument("--most", type=int, default=50, help="ls: how many entries")
    parser.add_argument("--yes", action="store_true", help="clear: do not ask")
    _json_option(parser)


def _models_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--digest", action="store_true", help="hash files whose sha256 is not known yet (slow)")


def _watermark_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("read",))
    parser.add_argument("picture", metavar="PICTURE")
    parser.add_argument("--method", choices=("dwt_dct", "dwt_dct_svd"), default="")
    parser.add_argument("--expect", default="", help="the text to look for")
    parser.add_argument("--length", type=int, help="bytes to read")


def _c2pa_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("verify", "certificate"))
    parser.add_argument("file", metavar="FILE", help="the picture; of certificate, the file to make")
    parser.add_argument("--trust", metavar="FILE", help="verify: a PEM file with certificates to believe")
    parser.add_argument("--name", default="Darkroom user", help="certificate: who signs")


def _run_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", "-q", action="store_true", help="print the paths of the outputs and nothing else")


def _plan_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--defaults", action="store_true", help="show every parameter and where its value is from")


def _why_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE")


def _nodes_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", default="", metavar="KIND")
    parser.add_argument("--markdown", action="store_true", help=argparse.SUPPRESS)


def _graph_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("mermaid", "dot", "svg"), default="mermaid")


OPTIONS: Mapping[str, tuple[Options, ...]] = {
    "run": (_file_options, _place_options, _remote_option, _run_options, _run_words, _lock_options, _json_option),
    "check": (_file_options, _lock_options, _json_option),
    "plan": (_file_options, _place_options, _remote_option, _run_options, _plan_words, _lock_options, _json_option),
    "why": (_file_options, _place_options, _remote_option, _why_words, _json_option),
    "lock": (_file_options, _json_option),
    "history": (_cache_option, _history_words, _json_option),
    "diff": (_diff_words, _json_option),
    "nodes": (_nodes_option, _nodes_words),
    "schema": (_nodes_option,),
    "graph": (_file_options, _graph_words),
    "cache": (_cache_words, _place_options, _nodes_option),
    "models": (_nodes_option, _models_words, _json_option),
    "watermark": (_watermark_words, _json_option),
    "c2pa": (_c2pa_words, _json_option),
    "doctor": (_cache_option, _remote_option, _json_option),
}


def _with_command(words: list[str]) -> list[str]:
    """`darkroom FILE` is short for `darkroom run FILE`."""
    first = words[0] if words else "--help"
    if first in OPTIONS or first in ("-h", "--help", "--version"):
        return words or ["--help"]
    if first == "help":
        return [*words[1:2], "--help"]
    if first == "-" or "." in first or "/" in first or first.startswith("--") or Path(first).exists():
        return ["run", *words]
    raise UsageError(f'there is no command, and no file, "{first}"', hint=suggest(first, OPTIONS))


class _Version(argparse.Action):
    """Looks for the version only where it is asked for: that takes as long as all the rest of a cached run."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> NoReturn:
        import importlib.metadata

        try:
            version = importlib.metadata.version("darkroom")
        except importlib.metadata.PackageNotFoundError:
            version = "(from a checkout)"
        print(f"darkroom {version}")
        parser.exit()
