"""Methods and schedules by name, and what does not go together: known before anything loads."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from graph.fields import checked
from nodes.sampler import Sampler
from nodes.sd import settings
from nodes.sd.methods import ALIASES, METHODS, SCHEDULE_ALIASES, SCHEDULES, method_schema, schedule_schema
from tests.nodes.sd.lab import Lab

A1111 = {
    "DPM++ 2M Karras": ("dpmpp_2m", "karras"),
    "DPM++ SDE Karras": ("dpmpp_sde", "karras"),
    "DPM++ 2M SDE Exponential": ("dpmpp_2m_sde", "exponential"),
    "DPM++ 2M SDE Heun Karras": ("dpmpp_2m_sde_heun", "karras"),
    "DPM++ 3M SDE": ("dpmpp_3m_sde", "normal"),
    "Euler a": ("euler_a", "normal"),
    "DPM2 a Karras": ("kdpm2_a", "karras"),
    "LMS Karras": ("lms", "karras"),
    "PLMS": ("plms", "normal"),
    "UniPC": ("unipc", "normal"),
}
COMFYUI = {
    "euler_ancestral": ("euler_a", "normal"),
    "dpm_2": ("kdpm2", "normal"),
    "dpm_2_ancestral": ("kdpm2_a", "normal"),
    "uni_pc": ("unipc", "normal"),
    "dpmpp_2m_sde_gpu": ("dpmpp_2m_sde", "normal"),
}
OURS = {"dpmpp_2m_karras": ("dpmpp_2m", "karras"), "dpmpp_2m_sde_karras": ("dpmpp_2m_sde", "karras")}
NAMES = A1111 | COMFYUI | OURS


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_people_know_is_the_same_sampler(name: str) -> None:
    method, schedule = NAMES[name]

    assert Sampler.model_validate({"method": method, "schedule": schedule}) == Sampler.model_validate({"method": name})
    assert (method, schedule) == _names({"method": name.upper()})


@pytest.mark.parametrize(
    ("name", "schedule"), [("simple", "sgm_uniform"), ("SGM Uniform", "sgm_uniform"), ("ddim_uniform", "leading")]
)
def test_schedules_have_the_names_that_people_know(name: str, schedule: str) -> None:
    assert ("euler", schedule) == _names({"method": "euler", "schedule": name})


def test_a_name_with_a_schedule_contradicts_another() -> None:
    assert ("dpmpp_2m", "karras") == _names({"method": "DPM++ 2M Karras", "schedule": "Karras"})
    assert (
        'method "DPM++ 2M Karras" carries the schedule "karras", but schedule is "beta"',
        "Write method: dpmpp_2m, and the schedule that you mean.",
    ) == complaint(method="DPM++ 2M Karras", schedule="beta")


@pytest.mark.parametrize(("method", "near"), [("eular", "euler"), ("dpmpp_4m", "dpmpp_")])
def test_an_unknown_name_gets_the_nearest(method: str, near: str) -> None:
    message, hint = complaint(method=method)

    assert message.startswith("takes one of ddim, ddpm")
    assert f'Did you mean "{near}' in hint


@hypothesis.settings(deadline=None)
@given(st.sampled_from(sorted({*METHODS, *ALIASES})), st.sampled_from(["", *SCHEDULES, *SCHEDULE_ALIASES]), st.data())
def test_the_schema_takes_every_spelling(method: str, schedule: str, data: st.DataObject) -> None:
    written = f"{method}_{schedule}" if schedule else method
    written = written.replace("dpmpp", data.draw(st.sampled_from(["dpmpp", "dpm++"])))
    spelled = "".join(data.draw(st.sampled_from([*"_- "] if letter == "_" else [letter, letter.upper()]))
                      for letter in written)  # fmt: skip

    assert re.search(_pattern(method_schema()), spelled)
    assert not schedule or re.search(_pattern(schedule_schema()), schedule.upper())
    assert not re.search(_pattern(method_schema()), f"{spelled}x")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "schedule": ({"method": "ddim", "schedule": "karras"}, 'ddim cannot take the schedule "karras"'),
    "lu": ({"method": "unipc", "schedule": "lu"}, 'unipc cannot take the schedule "lu"'),
    "both": ({"strength": 0.5, "start_step": 3}, "strength 0.5 and start_step 3 both say where to begin"),
    "nothing": ({"start_step": 20, "end_step": 20}, "start_step 20 leaves nothing to do of the steps up to 20"),
    "behind": ({"start_step": 30}, "start_step 30 leaves nothing to do of the steps up to 30"),
    "end": ({"end_step": 31}, "end_step 31 is behind the last of 30 steps"),
    "compvis": ({"method": "euler", "compat": "compvis"}, "compat: compvis knows ddim, plms, dpmpp_2m, not euler"),
    "compvis karras": ({"schedule": "karras", "compat": "compvis"}, "compat: compvis has no schedule karras"),
    "compvis part": ({"end_step": 3, "compat": "compvis"}, "compat: compvis runs all steps"),
    "compvis img2img": ({"strength": 0.5, "compat": "compvis"}, "repaints pictures with ddim alone, not dpmpp_2m"),
    "compvis plms": ({"method": "plms", "steps": 1, "compat": "compvis"}, "cannot do plms in 1 step"),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_do_not_go_together_are_told_when_checking(case: str) -> None:
    given, told = WRONG[case]
    message, hint = complaint(**given)

    assert told in message
    assert hint


def test_a_schedule_that_is_refused_names_the_methods_that_take_it() -> None:
    assert (
        "Methods that take lu: dpmpp_2m, dpmpp_2m_sde, dpmpp_2m_sde_heun, dpmpp_3m, dpmpp_3m_sde."
        == complaint(method="euler", schedule="lu")[1]
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "lms"}, "lms needs the package scipy, which is not installed"),
        ({"method": "dpmpp_sde"}, "dpmpp_sde needs the package torchsde, which is not installed"),
        ({"schedule": "beta"}, "schedule: beta needs the package scipy, which is not installed"),
    ],
)
def test_a_package_that_is_missing_is_named_when_checking(
    given: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda _name: None)

    assert (told, "Run: pip install darkroom[samplers]") == complaint(**given)
    assert Sampler(method="euler_a")


@pytest.mark.parametrize("wrong", [{"start_step": -1}, {"end_step": 0}, {"start_step": 1.5}, {"compat": "comfy"}])
def test_parts_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Sampler(**wrong)


def complaint(**values: Any) -> tuple[str, str]:
    """What `check` says of these settings."""
    node, complaints = checked(Sampler, values)
    assert node is None
    return complaints[0].message, complaints[0].hint


def _names(values: dict[str, Any]) -> tuple[str, str]:
    sampler = Sampler.model_validate(values)
    return sampler.method, sampler.schedule


def _pattern(schema: dict[str, Any]) -> str:
    assert json.loads(json.dumps(schema)) == schema
    return str(schema["anyOf"][1]["pattern"])


class Heard(logging.Handler):
    """What a library says to whoever looks at the standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def heard() -> Iterator[Heard]:
    ear, library = Heard(), logging.getLogger("diffusers")
    library.addHandler(ear)
    yield ear
    library.removeHandler(ear)


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_diffusers_says_nothing_of_its_own(method: str, steps: int, lab: Lab, heard: Heard) -> None:
    lab.sample(lab.noise, method=method, steps=steps)

    assert [] == heard.said
