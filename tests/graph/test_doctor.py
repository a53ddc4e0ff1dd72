"""What doctor says of this machine, and of machines where something is wrong."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from graph import doctor
from graph.cache import open_cache
from graph.doctor import Finding, Report, examine
from graph.placement import Device

SOUND = {"end": "", "torch": "", "transformers": "", "diffusers": "", "cuda": "False"}
CPU = Device("cpu", "a CPU", 8 * 10**9, "fp32", frozenset({"fp32"}), "fp32 on a CPU")
GPU = Device("cuda:0", "a GPU", 8 * 10**9, "fp16", frozenset({"fp32", "fp16"}), "fp16: tensor cores")


PROBE = doctor._probe


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where all is well; importing torch in every test would take minutes."""
    has(monkeypatch, SOUND)
    devices(monkeypatch, CPU)


def has(monkeypatch: pytest.MonkeyPatch, probe: Mapping[str, str]) -> None:
    monkeypatch.setattr(doctor, "_probe", lambda: dict(probe))


def devices(monkeypatch: pytest.MonkeyPatch, *there: Device) -> None:
    monkeypatch.setattr(doctor, "survey", lambda: there)


def found(topic: str, cache: Path | None = None, remote: str = "") -> Finding:
    return next(finding for finding in examine(cache, remote).findings if finding.topic == topic)


def test_a_sound_machine_has_no_problem() -> None:
    assert [] == [finding for finding in examine(None).findings if finding.state == "problem"]


def test_every_package_that_darkroom_needs_is_named_with_its_version() -> None:
    assert importlib.metadata.version("pillow") == found("pillow").found


def test_a_package_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_requirements", lambda: ["no-such-package>=1.0"])

    assert Finding("no-such-package", "problem", "not installed", 'pip install "no-such-package>=1.0"') == found(
        "no-such-package"
    )


def test_a_package_that_is_too_old_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_requirements", lambda: ["pillow>=999.1"])

    assert ("problem", True) == (found("pillow").state, "and 999.1 is needed at least" in found("pillow").found)


def test_a_torchvision_that_does_not_fit_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "ModuleNotFoundError: Could not import; from RuntimeError: operator torchvision::nms does not exist"
    has(monkeypatch, SOUND | {"transformers": error, "diffusers": error})
    finding = found("torchvision")

    assert "keeps transformers and diffusers from loading: RuntimeError: operator torchvision::nms" in finding.found
    assert ("problem", True) == (finding.state, finding.way_out.startswith("pip uninstall torchvision"))


def test_a_package_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, SOUND | {"diffusers": "ImportError: libfoo.so is not there"})

    assert "ImportError: libfoo.so is not there" == found("import diffusers").found


def test_imports_that_never_come_back_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, {"torch": "", "end": "it took more than 300 s"})

    assert "did not come back: it took more than 300 s" == found("import transformers").found


def test_half_precision_on_a_cpu_is_explained() -> None:
    assert found("fp16 on cpu").found.startswith("fp32 instead: this CPU has no fp16 arithmetic")


def test_a_driver_without_a_torch_for_it_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "There is an NVIDIA driver, but the installed torch is built without CUDA."
    monkeypatch.setattr(doctor, "missing_reason", lambda kind: reason)

    assert ("warning", reason) == (found("cuda").state, found("cuda").found)


def test_a_device_that_torch_cannot_use_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    devices(monkeypatch, GPU, CPU)
    monkeypatch.setattr(doctor, "missing_reason", lambda kind: "")

    assert ("problem", "the driver lists a device, but torch cannot use it") == (
        found("cuda").state,
        found("cuda").found,
    )


def test_a_wished_device_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_DEVICE", "mps")

    assert "problem" == found("DARKROOM_DEVICE").state


def test_a_cache_that_is_not_there_yet_is_no_problem_and_is_not_made(tmp_path: Path) -> None:
    assert "ok" == found("cache", tmp_path / "new" / "cache").state
    assert [] == list(tmp_path.iterdir())


def test_a_cache_is_measured(tmp_path: Path) -> None:
    open_cache(tmp_path / "kept", pytest.fail).close()

    assert f"{tmp_path / 'kept'}: 0 results" in found("cache", tmp_path / "kept").found


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "problem" == found("cache", tmp_path / "file").state


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SCARCE", 10**18)

    assert "warning" == found("cache", tmp_path).state


def test_a_remote_that_answers_is_named_without_its_password() -> None:
    finding = found("remote", remote="memory://me:secret@share")

    assert ("ok", True) == (finding.state, finding.found.startswith("memory://share can be written and read"))


def test_a_remote_that_does_not_answer_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = found("remote", remote=f"file://{tmp_path}/file/below")

    assert ("problem", True) == (finding.state, "does not answer" in finding.found)


def test_a_remote_that_nobody_understands_is_a_problem() -> None:
    assert "problem" == found("remote", remote="nosuch://x").state


def test_no_remote_is_no_problem() -> None:
    assert "ok" == found("remote").state


def test_a_model_folder_that_is_not_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_MODELS", str(tmp_path / "models"))

    assert ("warning", f"{tmp_path / 'models'} is no folder") == (found("models").state, found("models").found)


def test_a_folder_of_models_is_named_with_what_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not counted: what is a model, checkpoints in one file too, only the nodes can tell."""
    monkeypatch.setenv("DARKROOM_MODELS", str(tmp_path))

    assert f"{tmp_path} is looked in; darkroom models lists what is found" == found("models").found


def test_a_report_with_a_warning_alone_is_ok() -> None:
    assert Report((Finding("a", "warning", "b"),)).ok


def test_a_report_with_a_problem_is_not_ok() -> None:
    report = Report((Finding("a", "ok", "b"), Finding("c", "problem", "d", "e")))

    assert not report.ok
    assert {"topic": "c", "state": "problem", "found": "d", "way_out": "e"} == report.as_json()["findings"][1]


def test_a_report_says_the_way_out_below_what_is_wrong() -> None:
    told = Report((Finding("disk", "problem", "full", "Make room."),)).text(80, colour=False)

    assert "problem  disk  full\n               Make room.\n\n1 problem" == told


def test_a_report_fits_the_terminal() -> None:
    assert max(map(len, examine(None).text(60, colour=False).splitlines())) <= 60


def test_a_report_is_json() -> None:
    assert json.loads(json.dumps(examine(None).as_json()))["ok"]


def test_another_process_tells_what_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("Tensor = 1\nclass cuda:\n    is_available = staticmethod(lambda: True)")
    (tmp_path / "transformers.py").write_text("raise ImportError('no') from ZeroDivisionError('by 0')")
    (tmp_path / "diffusers.py").write_text("UNet2DConditionModel = 1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = PROBE()

    assert ("", "", "True") == (told["torch"], told["diffusers"], told["cuda"])
    assert "ImportError: no; from ZeroDivisionError: by 0" == told["transformers"]


def test_another_process_may_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import os\nos._exit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert {"end": "the process ended with code 7"} == PROBE()


def test_another_process_may_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)

    assert {"end": "it took more than 0 s"} == PROBE()
