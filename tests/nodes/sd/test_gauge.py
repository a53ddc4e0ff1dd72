"""What a step with weights is said to have spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from graph.gauge import Spent
from nodes.sampler import Sampler
from nodes.sd import gauge
from nodes.sd.residency import weights


def test_seconds_of_reading_weights_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = gauge.watch(Sampler, "cpu")
    monkeypatch.setattr(weights, "seconds", weights.seconds + 2.5)

    assert 2.5 == pytest.approx(spent().loading)


def test_memory_of_a_gpu_is_what_torch_says_beyond_the_weights_that_were_there(monkeypatch: pytest.MonkeyPatch) -> None:
    allocated: Iterator[int] = iter((1000, 1600))
    told: dict[str, Callable[[str], object]] = {
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: next(allocated),
        "max_memory_allocated": lambda device: 5000,
    }
    for name, answer in told.items():
        monkeypatch.setattr(torch.cuda, name, answer)

    assert Spent(memory=4000, stays=600) == gauge.watch(Sampler, "cuda:0")()
