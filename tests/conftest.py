"""What every test may rely on: a cache of its own, no models of the user's, no network."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so before any test module is
LOCAL = ("127.", "::1", "localhost")
_connect = socket.socket.connect


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's settings, cache and models out of a test, and the test out of them."""
    for name in [name for name in os.environ if name.startswith("DARKROOM_")] + ["NO_COLOR", "FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(socket.socket, "connect", _connect_here)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Let several test processes share the cores. Does not import torch for tests that have no use for it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _connect_here(self: socket.socket, address: object) -> None:
    """Connect to this machine alone."""
    if isinstance(address, tuple) and not str(address[0]).startswith(LOCAL):
        raise OSError(f"a test asked for the network: {address}")
    _connect(self, address)  # type: ignore[arg-type]  # the kernel says what it is
