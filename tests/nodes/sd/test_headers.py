"""Safetensors headers that lie are refused, and the file is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from graph.errors import MissingError
from nodes.sd.headers import read_header


def written(path: Path, header: object, body: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def test_a_good_file_says_where_each_tensor_lies(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, tmp_path / "good.safetensors")

    entries = read_header(tmp_path / "good.safetensors").entries

    assert {"a": ("F32", (2, 3), 24), "b": ("F16", (4,), 8)} == {
        name: (entry.dtype, entry.shape, entry.size) for name, entry in entries.items()
    }


BAD: dict[str, tuple[object, bytes, str]] = {
    "json": (b"{not json", b"", "Expecting property name"),
    "list": ([], b"", "no JSON object"),
    "deep": (b"[" * 100_000, b"", "nested too deep"),
    "twice": (b'{"w": {}, "w": {}}', b"", '"w" is there twice'),
    "no-offsets": ({"w": {"dtype": "F32", "shape": [2]}}, bytes(8), "does not say its dtype"),
    "dtype": ({"w": entry(dtype="F7")}, bytes(8), 'unknown dtype "F7"'),
    "negative": ({"w": entry(shape=[-2])}, bytes(8), "impossible shape"),
    "boolean-side": ({"w": entry(shape=[True, 2])}, bytes(8), "impossible shape"),
    "backwards": ({"w": entry(data_offsets=[8, 0])}, bytes(8), "impossible shape or place"),
    "shape": ({"w": entry(shape=[3])}, bytes(8), "is F32 [3], but has 8 bytes"),
    "overflow": ({"w": entry(shape=[2**62, 4])}, bytes(8), "but has 8 bytes"),
    "out-of-range": ({"w": entry(data_offsets=[0, 8])}, bytes(4), "speaks of"),
    "left-over": ({"w": entry()}, bytes(9), "speaks of"),
    "overlap": ({"v": entry(), "w": entry(data_offsets=[4, 12])}, bytes(12), "overlap"),
    "gap": ({"v": entry(), "w": entry(data_offsets=[12, 20])}, bytes(20), "gap"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_header_is_refused_and_the_file_named(name: str, tmp_path: Path) -> None:
    header, body, reason = BAD[name]

    with pytest.raises(MissingError) as caught:
        read_header(written(tmp_path / "bad.safetensors", header, body))

    assert "bad.safetensors" in caught.value.message
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"abc", "it ends in its first 8 bytes"),
        ((2**63).to_bytes(8, "little") + b"{}", "header has 9223372036854775808 bytes"),
        ((99).to_bytes(8, "little") + b"{}", "the whole file has 10"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs pointer"),
    ],
)
def test_what_is_no_safetensors_file_is_told_by_its_content(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(MissingError, match="not a good safetensors file") as caught:
        read_header(tmp_path / "model.safetensors")

    assert reason in caught.value.message
