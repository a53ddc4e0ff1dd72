"""What `darkroom models` lists."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import runner

ROOT = Path(runner.__file__).parent


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, dict[str, Any]]:
    """What is told of each model, by its name."""
    assert 0 == runner.main(["models", "--json", *options])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row["name"]: row for row in rows}


@pytest.fixture
def root(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search path with a model, and one that is cut short."""
    folder = tmp_path / "root"
    shutil.copytree(whole.folder, folder / "diffusers" / "small")
    shutil.copytree(whole.folder, folder / "models" / "checkpoints" / "cut")
    weights = folder / "models" / "checkpoints" / "cut" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    monkeypatch.setenv("DARKROOM_MODELS", str(folder))
    return folder


def test_a_model_is_listed_with_its_kind_family_precision_size_and_place(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listed(capsys)

    path = root / "diffusers" / "small"
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert {
        "kind": "model",
        "name": "small",
        "family": "sd1",
        "precision": "fp32",
        "size": size,
        "digest": "",
        "path": str(path),
        "found_in": str(root / "diffusers"),
        "problem": "",
    } == found["small"]
    assert ("sd1", "fp16") == (found["builtin:tiny"]["family"], found["builtin:tiny"]["precision"])


def test_a_model_that_cannot_be_used_is_listed_with_why(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert '"unet/diffusion_pytorch_model.safetensors" is not a good' in listed(capsys)["cut"]["problem"]

    assert 0 == runner.main(["models"])
    lines = capsys.readouterr().out.splitlines()
    assert f"cannot be used: {root / 'models' / 'checkpoints' / 'cut'}" == lines[-2]


def test_files_are_hashed_when_asked_for_and_the_digest_is_remembered(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in root.rglob("*"):
        os.utime(file, (1e9, 1e9))
    shutil.copytree(ROOT / "nodes" / "sd" / "tiny", root / "tiny")

    hashed = listed(capsys, "--digest")

    assert 64 == len(hashed["small"]["digest"])
    assert hashed["builtin:tiny"]["digest"] == hashed["tiny"]["digest"]
    assert "" == hashed["cut"]["digest"]
    assert hashed["builtin:tiny"]["digest"] == listed(capsys)["builtin:tiny"]["digest"]


def test_a_model_lying_about_is_told_by_its_content(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = ROOT / "nodes" / "sd" / "tiny" / "upscaler" / "model.safetensors"
    shutil.copy(net, root / "unsorted.safetensors")

    found = listed(capsys)["unsorted.safetensors"]

    assert ("upscaler", "compact") == (found["kind"], found["family"])


def test_what_no_node_takes_is_listed_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "odd.safetensors").write_bytes(b"")

    found = listed(capsys)["odd.safetensors"]

    assert ("", True) == (found["kind"], bool(found["problem"]))


def test_a_bad_extra_model_paths_is_told(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_EXTRA_MODEL_PATHS", str(root / "nowhere.yaml"))

    assert 0 == runner.main(["models"])
    assert "nowhere.yaml" in capsys.readouterr().err
