"""Wiring, checking and planning know these nodes without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = "torch diffusers transformers numpy PIL"
NODES = ["load_model", "load_upscaler", "text_encode", "noise", "vae_encode", "sampler", "upscale", "vae_decode"]


def left_over(code: str) -> str:
    tell = f"{code}\nimport sys\nprint(*[name for name in {HEAVY.split()!r} if name in sys.modules])"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", tell], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", NODES)
def test_a_node_file_imports_nothing_heavy(name: str) -> None:
    assert left_over(f"import nodes.{name}") == ""


def test_a_model_is_found_and_checked_without_torch(whole: Any) -> None:
    folder = str(whole.folder)

    assert (
        left_over(
            "from pathlib import Path\nfrom nodes.sd.files import ModelFile\n"
            f"file = ModelFile.find({folder!r}, Path())\nassert file.members() and file.family == 'sd1'"
        )
        == ""
    )


def test_a_net_is_told_by_its_weights_without_torch() -> None:
    assert (
        left_over(
            "from pathlib import Path\nfrom nodes.sd.super_resolution import TINY, UpscalerFile\n"
            "assert UpscalerFile.find(TINY, Path()).family == 'compact'"
        )
        == ""
    )
