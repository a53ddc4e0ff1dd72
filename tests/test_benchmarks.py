"""Every benchmark runs, at its smallest size; what they find is no business of the tests."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.report import Bound, Report, Table


def test_the_engine_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--quick", "engine"])

    assert "| chain of 10 | cached |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BENCHMARKS.keys() - {"engine"}))
def test_a_benchmark_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--quick", name])

    assert f"# {name}\n" in capsys.readouterr().out


def test_an_unknown_benchmark_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["enigne"])

    assert 'there is no benchmark "enigne"; there are cached_run, engine' in capsys.readouterr().err


def test_a_report_says_what_was_missed() -> None:
    table = Table("Figures", ("", "CPU, s"), (("a run", "0.6"),))
    bounds = (Bound("a run", "at most 0.5 s", "0.6 s", False), Bound("a look", "at most 1 s", "0.2 s", True))

    lines = Report("speed", "How fast?", (table,), bounds).markdown().splitlines()

    assert "| a run | at most 0.5 s | 0.6 s | **missed** |" in lines
    assert "| a look | at most 1 s | 0.2 s | met |" in lines
    assert "| a run | 0.6 |" in lines
