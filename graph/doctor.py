"""What this machine has, what is wrong with it, and the way out of each.

The survey of devices and the versions of packages cost nothing. What only shows when torch is truly imported is asked
of another process: a broken installation can end a process, or never come back.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from graph import upkeep
from graph.cache import default_folder
from graph.errors import DarkroomError
from graph.index import FORMAT
from graph.mounts import network
from graph.placement import PRECISIONS, Device, missing_reason, must_have, place, survey
from graph.quantities import size_words
from graph.remote import shown
from graph.tables import clean, pad
from graph.tiered import answers

State = Literal["ok", "warning", "problem"]

PATIENCE = 300.0
"""Seconds that importing torch, transformers and diffusers may take; on a cold disk it can be a minute."""
SCARCE = 2 * 10**9
"""Bytes of free disk below which a cache soon fails: the results of some hundred pictures."""
_WIDTH = 110
_COLOURS = {"ok": "32", "warning": "33", "problem": "31"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    """A word or two: "torch", "device cpu", "cache"."""
    state: State
    found: str
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was looked at."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem; warnings are none."""
        return all(finding.state != "problem" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The report as `doctor --json` prints it."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}

    def text(self, width: int | None, colour: bool) -> str:
        """The report for people."""
        most = max((len(finding.topic) for finding in self.findings), default=0)
        lines = [line for finding in self.findings for line in _lines(finding, most, width or _WIDTH, colour)]
        counts = Counter(finding.state for finding in self.findings)
        parts = [f"{counts[state]} {state}{'s' * (counts[state] > 1)}" for state in ("problem", "warning")]
        return "\n".join([*lines, "", ", ".join(part for part in parts if part[0] != "0") or "nothing wrong"])


def examine(cache: Path | None, remote: str = "") -> Report:
    """Look at this machine.

    cache: the folder of results; the user's own unless given. remote: the URL of the shared cache; empty for none.
    """
    devices = survey()
    probe = _probe()
    findings = [_python(), *_packages(), *_imports(probe), *_devices(devices), *_wished_device(devices), *_cuda(probe)]
    return Report((*findings, _memory(devices), _cache(cache), _remote(remote), *_models(), *_builtin()))


def _lines(finding: Finding, most: int, width: int, colour: bool) -> Iterator[str]:
    state = pad(finding.state, 7)
    state = f"\x1b[{_COLOURS[finding.state]}m{state}\x1b[0m" if colour else state
    room = max(30, width - most - 11)
    first, *rest = textwrap.wrap(clean(finding.found), room) or [""]
    yield f"{state}  {pad(finding.topic, most)}  {first}"
    for line in (*rest, *textwrap.wrap(clean(finding.way_out), room)):
        yield " " * (most + 11) + line


# What is installed


def _python() -> Finding:
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    return Finding("python", "ok", found)  # an older one cannot even read Darkroom's source


def _packages() -> Iterator[Finding]:
    yield Finding("darkroom", "ok", _version("darkroom") or "from a checkout, not installed")
    for requirement in _requirements():
        yield _package(*re.split(r"\s*>=\s*", requirement, maxsplit=1))


def _package(name: str, least: str = "") -> Finding:
    version = _version(name)
    way_out = f'pip install "{name}>={least}"' if least else f"pip install {name}"
    if version is None:
        return Finding(name, "problem", "not installed", way_out)
    if least and _numbers(version) < _numbers(least):
        return Finding(name, "problem", f"{version}, and {least} is needed at least", way_out)
    return Finding(name, "ok", version)


def _requirements() -> list[str]:
    """What Darkroom needs, each as "name>=version": from its installation, or from the checkout."""
    try:
        found = importlib.metadata.requires("darkroom") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        found = (
            tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"] if project.exists() else []
        )
    return [requirement for requirement in found if "extra ==" not in requirement]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


# What only an import shows

_IMPORTS = {"torch": "Tensor", "transformers": "CLIPTextModel", "diffusers": "UNet2DConditionModel"}
"""Modules, and what to ask them for: some import their parts late."""
_SCRIPT = """
import importlib, json, sys
def told(caught):
    causes = []
    while caught is not None and len(causes) < 9:
        causes.append(f"{type(caught).__name__}: {caught}")
        caught = caught.__cause__ or caught.__context__
    return "; from ".join(causes)
for name, part in json.loads(sys.argv[1]).items():
    try:
        getattr(importlib.import_module(name), part)
        error = ""
    except BaseException as caught:
        error = told(caught)
    print(json.dumps([name, error]), flush=True)
if "torch" in sys.modules:
    print(json.dumps(["cuda", str(sys.modules["torch"].cuda.is_available())]), flush=True)
"""


def _probe() -> dict[str, str]:
    """Import what Darkroom computes with, in another process: the error of each, "" where there is none.

    "cuda" tells whether torch can use it ("True", "False"). What is missing was not reached; "end" says why.
    """
    command = [sys.executable, "-P", "-W", "ignore", "-c", _SCRIPT, json.dumps(_IMPORTS)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)
        output, end = done.stdout, f"the process ended with code {done.returncode}"
    except subprocess.TimeoutExpired as expired:
        output, end = expired.stdout or b"", f"it took more than {PATIENCE:.0f} s"
    except OSError as error:
        output, end = b"", str(error)
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.startswith('["')]
    return {"end": end} | dict(json.loads(line) for line in lines)


def _imports(probe: Mapping[str, str]) -> Iterator[Finding]:
    vision = _version("torchvision")
    broken = [name for name in _IMPORTS if "torchvision" in probe.get(name, "")]
    unreached = [name for name in _IMPORTS if name not in probe][:1]
    failed = {name: probe[name] for name in _IMPORTS if probe.get(name) and name not in broken}
    if broken:
        cause = probe[broken[0]].rpartition("; from ")[2]
        kept = f"keeps {_listed(broken)} from loading: {cause}"
        found = f"{vision or 'this build'} does not fit torch {_version('torch')} and {kept}"
        yield Finding("torchvision", "problem", _short(found), _WITHOUT)
    elif vision:
        yield Finding("torchvision", "ok", f"{vision}; Darkroom does not need it")
    for name, error in failed.items():
        yield Finding(f"import {name}", "problem", _short(error), f"pip install --force-reinstall --no-deps {name}")
    for name in unreached:
        way_out = f'Try it yourself: {Path(sys.executable).name} -c "import {name}"'
        yield Finding(f"import {name}", "problem", f"did not come back: {probe['end']}", way_out)
    if not (broken or failed or unreached):
        yield Finding("imports", "ok", f"{_listed(list(_IMPORTS))} load")


_WITHOUT = "pip uninstall torchvision (Darkroom does not need it), or install the build that belongs to your torch."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _short(text: str, most: int = 400) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most // 2] + " ... " + text[-most // 2 :]


# What computes


def _devices(devices: Sequence[Device]) -> Iterator[Finding]:
    for device in devices:
        memory = f", {device.total_bytes / 1e9:.1f} GB" if device.total_bytes else ""
        yield Finding(f"device {device.name}", "ok", f"{device.label}{memory}; {device.why}")
        placed = {wish: place(devices, device.name, wish) for wish in PRECISIONS}
        for wish, chosen in placed.items():
            if chosen.precision != wish:
                reason = chosen.why.partition(": ")[2]
                yield Finding(f"{wish} on {device.name}", "ok", f"{chosen.precision} instead: {reason}")


def _wished_device(devices: Sequence[Device]) -> Iterator[Finding]:
    wished = os.environ.get("DARKROOM_DEVICE", "")
    try:
        must_have(devices, wished)
    except DarkroomError as error:
        yield Finding("DARKROOM_DEVICE", "problem", error.message, f"{error.hint} Unset it, or name another.".strip())


def _cuda(probe: Mapping[str, str]) -> Iterator[Finding]:
    reason = missing_reason("cuda")
    listed = any(device.name.startswith("cuda") for device in survey())
    if listed and probe.get("cuda") == "False":
        found = "the driver lists a device, but torch cannot use it"
        yield Finding("cuda", "problem", found, "Update the NVIDIA driver, or install a torch built for it.")
    elif reason and not reason.startswith("There is no"):
        way_out = "Install a torch that is built with CUDA, if that device is to be used."
        yield Finding("cuda", "warning", reason, way_out)
    elif not listed:
        yield Finding("cuda", "ok", f"none. {reason or 'The driver lists no device.'}")


def _memory(devices: Sequence[Device]) -> Finding:
    total = next((device.total_bytes for device in devices if device.name == "cpu"), 0)
    available = _available()
    told = [f"{total / 1e9:.1f} GB"] if total else []
    told += [f"{available / 1e9:.1f} GB of it available now"] if available else []
    return Finding("memory", "ok", ", ".join(told) or "not known on this system")


def _available() -> int:
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


# What is kept


def _cache(asked: Path | None) -> Finding:
    if asked == Path("none"):
        return Finding("cache", "ok", "none is asked for")
    try:
        folder = (asked.expanduser() if asked else default_folder()).absolute()
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
        held = _held(folder) if folder.exists() else f"{folder}: not there yet, the first run makes it"
    except (OSError, RuntimeError, DarkroomError) as error:
        return Finding(
            "cache", "problem", f"cannot be written: {error}", "Name another folder: --cache, or DARKROOM_CACHE."
        )
    if free < SCARCE:
        way_out = "Make room: darkroom cache gc --max-size 1GB; or name a folder on another disk."
        return Finding("cache", "warning", f"{held}; only {free / 1e9:.1f} GB of disk free", way_out)
    if kind := network(there):
        way_out = "Name a folder on a disk of this machine: --cache, or DARKROOM_CACHE."
        return Finding("cache", "warning", f"{held}; on a network ({kind}), where its index can break", way_out)
    return Finding("cache", "ok", f"{held}; {free / 1e9:.1f} GB of disk free")


def _held(folder: Path) -> str:
    if not (folder / f"v{FORMAT}").is_dir():
        return f"{folder}: no results yet"
    size = upkeep.size(folder, lambda message: None)
    return f"{folder}: {size.results:,} results, {size_words(size.blob_bytes + size.index_bytes)}"


def _remote(url: str) -> Finding:
    if url in ("", "none"):
        return Finding("remote", "ok", "none is named: results are not shared with other machines")
    try:
        seconds = answers(url)
    except DarkroomError as error:
        return Finding("remote", "problem", error.message, error.hint)
    except Exception as error:  # whatever the library of that file system raises
        found = _short(f"{shown(url)} does not answer: {error or type(error).__name__}")
        return Finding("remote", "problem", found, "Runs go on without it. Correct --remote, or DARKROOM_REMOTE.")
    return Finding("remote", "ok", f"{shown(url)} can be written and read, in {seconds:.2f} s")


def _models() -> Iterator[Finding]:
    folders = [Path(folder) for folder in os.environ.get("DARKROOM_MODELS", "").split(os.pathsep) if folder]
    for folder in folders:
        if folder.is_dir():
            yield Finding("models", "ok", f"{folder} is looked in; darkroom models lists what is found")
        else:
            yield Finding("models", "warning", f"{folder} is no folder", "Correct DARKROOM_MODELS, or make the folder.")
    if not folders:
        yield Finding("models", "ok", "DARKROOM_MODELS is not set; darkroom models lists what is found elsewhere")


def _builtin() -> Iterator[Finding]:
    """The model that comes with the nodes. The engine knows its place, nothing else of it."""
    spec = importlib.util.find_spec("nodes.sd") if importlib.util.find_spec("nodes") else None
    if spec is None or spec.origin is None:
        return
    if (Path(spec.origin).parent / "tiny" / "model_index.json").is_file():
        yield Finding("builtin:tiny", "ok", "comes with this installation")
    else:
        yield Finding("builtin:tiny", "warning", "does not come with this installation", "Install Darkroom again.")
