"""Which devices there are, and where and in which precision a step runs.

The survey asks the operating system and the driver, not torch: it takes milliseconds, so that `plan` can say what
would run where without loading anything heavy.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from graph.errors import UsageError, suggest

PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, slots=True)
class Device:
    """Something that computes."""

    name: str
    """As torch calls it: cpu, cuda:0, mps, xpu."""
    label: str
    """What it is, for people."""
    total_bytes: int
    """Its memory; 0 where that is not known."""
    best: str
    """The precision that serves diffusion models best here."""
    fast: frozenset[str]
    """The precisions that it computes well in."""
    why: str
    """The reason for `best`."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a step runs, and in what."""

    device: str
    precision: str
    why: str
    saving: str = ""
    """How memory is saved, where it was not enough otherwise: a rung of graph/ladder.py."""


@cache
def survey() -> tuple[Device, ...]:
    """The devices of this machine that the installed torch can use, the best first, the CPU last."""
    return (*_cuda(), *_metal(), *_xpu(), _cpu())


def pick(devices: Sequence[Device], asked: str) -> Device | None:
    """The device of this name; "cuda" is the first of its kind, "auto" the best. None if there is none."""
    if asked in ("", "auto"):
        return devices[0]
    return next((device for device in devices if asked in (device.name, device.name.partition(":")[0])), None)


def must_have(devices: Sequence[Device], asked: str) -> str:
    """Give back the device that the user asks for, or raise UsageError if this machine lacks it."""
    if pick(devices, asked):
        return asked or "auto"
    names = [device.name for device in devices]
    hint = missing_reason(asked) or suggest(asked, [*names, "auto"])
    raise UsageError(f'there is no device "{asked}" here; this machine has {", ".join(names)}', hint=hint)


def place(devices: Sequence[Device], asked: str, wish: str) -> Placed:
    """Choose the device and precision of a step that computes with weights.

    asked: a device, or "auto"; where this machine lacks it the best one serves, and the reason says so.
    wish: auto, fp32, fp16 or bf16, as load_model says.
    """
    device = pick(devices, asked)
    if device is None:
        rest = place(devices, "auto", wish)
        return Placed(rest.device, rest.precision, f"{rest.why}; there is no {asked} on this machine")
    if wish in ("", "auto"):
        return Placed(device.name, device.best, device.why)
    if wish == "fp32" or wish in device.fast:
        return Placed(device.name, wish, f"{wish}, as load_model asks")
    return Placed(device.name, "fp32", f"fp32 though load_model asks for {wish}: {_slow(device, wish)}")


def missing_reason(asked: str) -> str:
    """Why a device that is asked for is not there, as far as can be told."""
    kind = asked.partition(":")[0]
    if kind == "cuda" and _driver() is None:
        return "There is no NVIDIA driver on this machine."
    if kind == "cuda" and not _torch_has("cuda"):
        return "There is an NVIDIA driver, but the installed torch is built without CUDA."
    return "Only Macs with Apple silicon have it." if kind == "mps" else ""


def _slow(device: Device, wish: str) -> str:
    if device.name == "cpu":
        return f"this CPU has no {wish} arithmetic of its own and would take some 100 times as long"
    return f"{device.label} does not compute in {wish}"


def _cpu() -> Device:
    flags = _cpu_flags()
    fast = frozenset({"fp32"} | ({"bf16"} if flags & {"avx512_bf16", "amx_bf16"} else set()))
    return Device(
        "cpu",
        _cpu_label(),
        _memory(),
        "fp32",
        fast,
        "fp32 on a CPU: half precision is slower there or changes pictures",
    )


@cache
def _cpu_flags() -> frozenset[str]:
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _proc("cpuinfo"), re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def _cpu_label() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", _proc("cpuinfo"), re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _proc(name: str) -> str:
    try:
        return Path("/proc", name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _metal() -> list[Device]:
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return []
    half = frozenset({"fp32", "fp16"})
    return [Device("mps", "Apple silicon", _memory(), "fp16", half, "fp16: twice as fast on this device")]


def _xpu() -> list[Device]:
    if not _torch_has("xpu") or not Path("/dev/dri").is_dir():
        return []
    return [Device("xpu", "Intel GPU", 0, "bf16", frozenset(PRECISIONS), "bf16: twice as fast on this device")]


def _cuda() -> list[Device]:
    driver = _driver()
    if driver is None or not _torch_has("cuda"):
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [_cuda_device(driver, at) for at in range(count.value)]


def _cuda_device(driver: ctypes.CDLL, at: int) -> Device:
    handle, size, label = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(128)
    driver.cuDeviceGet(ctypes.byref(handle), at)
    driver.cuDeviceGetName(label, len(label), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
    major = _attribute(driver, handle, 75)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    fast = frozenset(("fp32", "fp16", "bf16") if major >= 8 else ("fp32", "fp16") if major == 7 else ("fp32",))
    best = "fp16" if major >= 7 else "fp32"
    why = f"fp16: compute capability {major}.x has tensor cores" if major >= 7 else "fp32: half precision is slow here"
    return Device(f"cuda:{at}", label.value.decode(errors="replace"), size.value, best, fast, why)


def _attribute(driver: ctypes.CDLL, handle: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
    return value.value


@cache
def _driver() -> ctypes.CDLL | None:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


@cache
def _torch_has(backend: str) -> bool:
    """Whether the installed torch is built for a backend, read from its version file without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(rf"^{backend}\b[^=]*=\s*['\"]", text, re.MULTILINE) is not None
