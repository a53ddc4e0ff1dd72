"""What hostile files may make their readers do: work in proportion to the file, however it is written."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import pytest

from nodes.sd import archives, inert


class Counted(bytes):
    """Bytes that count how many of them are copied out."""

    copied = 0

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        self.copied += len(part) if isinstance(part, bytes) else 0
        return part


def test_the_extra_fields_of_a_zip_are_gone_through_without_copying_the_rest() -> None:
    extra = Counted(struct.pack("<2H", 2, 0) * 16_000 + struct.pack("<2HQ", 1, 8, 7))

    assert (7, 0) == archives._wide(extra, archives._LARGE, 0)
    assert extra.copied < 100


@pytest.mark.parametrize("kept", range(24))
def test_a_zip64_field_that_is_cut_short_gives_the_numbers_that_are_there(kept: int) -> None:
    extra = struct.pack("<2H2Q", 1, 24, 7, 9)[: 4 + kept]
    numbers = [7, 9][: kept // 8]

    assert (numbers[0] if numbers else archives._LARGE) == archives._wide(extra, archives._LARGE, 0)[0]


@pytest.mark.parametrize(
    ("key", "is_kept"),
    [(2**63, True), (-(2**64) + 1, True), (2**64, False), pytest.param(1 << 8_000, False, id="huge"), (True, True)],
)
def test_numbers_are_keys_only_where_hashing_them_costs_nothing(key: int, is_kept: bool) -> None:
    for tree in ({key: "x", "a": 1}, {"a": 1, key: "x"}):
        found = inert.read(pickle.dumps(tree)).tree

        assert ({key: "x"} if is_kept else {}) | {"a": 1} == found
