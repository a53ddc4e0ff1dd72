"""Prompts that change while they are sampled: which of its variants a prompt is at a step."""

from __future__ import annotations


def variant_at(script: str, step: int, steps: int) -> int:
    """Which variant a prompt with this script is at step `step` (from 0) of `steps`."""
    if not script:
        return 0
    raise NotImplementedError("prompts do not change by step yet")
