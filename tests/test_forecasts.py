"""What a plan forecasts, against what the run then costs: real models, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import runner

WORKFLOW = str(Path(__file__).parents[1] / "workflows" / "txt2img.yaml")
FACTOR = 3.0
"""How far time may be off: other processes share the machine, and steps of half a second feel it."""


class Shell:
    """The command line, with a cache of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._place = ("--cache", str(folder / "cache"), "--out", str(folder / "out"), "--json")

    def __call__(self, command: str, **params: object) -> list[dict[str, Any]]:
        settings = [word for name, value in params.items() for word in ("--set", f"{name}={value}")]
        runner.main([command, WORKFLOW, *settings, "--set", "size=64", *self._place])
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]

    def run(self, **params: object) -> dict[str, float]:
        """Seconds of each node that ran."""
        ended = [event for event in self("run", **params) if event.get("action") == "run"]
        return {event["node"]: event["seconds"] for event in ended}

    def plan(self, **params: object) -> dict[str, dict[str, Any]]:
        """What is forecast of each node, and in all under ""."""
        (told,) = self("plan", **params)
        return {node["node"]: node for node in told["nodes"]} | {"": told["forecast"]}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    return Shell(capsys, tmp_path)


@pytest.mark.slow  # it compares times, which tests beside it disturb; tests/graph/test_forecast.py holds the rules
def test_more_steps_are_forecast_from_fewer(shell: Shell) -> None:
    for steps in (10, 20):
        shell.run(steps=steps)
    forecast = shell.plan(steps=40)["painted"]["seconds"]
    measured = shell.run(steps=40)["painted"]

    assert 1 / FACTOR < forecast / measured < FACTOR


@pytest.mark.slow
def test_another_seed_is_forecast_to_cost_what_was_measured(shell: Shell) -> None:
    shell.run(steps=20)
    told = shell.plan(steps=20, seed=2)
    measured = shell.run(steps=20, seed=2)

    assert 1 / FACTOR < told["painted"]["seconds"] / measured["painted"] < FACTOR
    assert [] == told[""]["unknown"]


def test_what_the_cache_grows_by_is_forecast_to_the_byte(shell: Shell) -> None:
    """Latents and pictures of one size have one size in bytes, but for the digits of numbers in them."""
    shell.run(steps=2)
    told = shell.plan(steps=3)

    assert told["painted"]["bytes"] + told["decoded"]["bytes"] == told[""]["bytes"]
    assert 3 * 64 * 64 <= told["decoded"]["bytes"] / 2 < 3 * 64 * 64 + 500
