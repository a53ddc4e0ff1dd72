"""Content credentials: a picture signed by a run is verified offline, and an altered one is told."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import pytest
from PIL import Image

import runner
from graph import credentials
from graph.errors import StepError

WORKFLOW = """\
darkroom: 1
name: sign
nodes:
  picture: {use: load_image, path: photo.png}
  file: {use: save_image, image: $picture, certificate: mine.pem, path: "signed.FORMAT", origin: edited}
outputs: {file: $file}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").save("photo.png")
    return tmp_path


@pytest.fixture
def mine(folder: Path) -> Path:
    credentials.make_certificate(folder / "mine.pem", "Ann Example")
    return folder / "mine.pem"


def _signed(format: str) -> Path:
    Path("sign.yaml").write_text(WORKFLOW.replace("FORMAT", format))
    assert 0 == runner.main(["run", "sign.yaml", "--cache", "cache"])
    return Path("outputs") / f"signed.{format}"


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_a_signed_picture_is_verified_and_an_altered_one_is_told(
    mine: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = _signed(format)
    altered = bytearray(signed.read_bytes())
    altered[len(altered) * 3 // 4] ^= 1
    Path("altered.bin").write_bytes(altered)
    capsys.readouterr()

    assert 0 == runner.main(["c2pa", "verify", str(signed), "--trust", str(mine), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert ("trusted", "Ann Example", []) == (told["state"], told["signer"], told["why"])
    assert told["said"]["source"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert told["said"]["workflow"].startswith("sha256:")
    assert "valid" == credentials.verify(signed).state
    assert 1 == runner.main(["c2pa", "verify", "altered.bin"])
    assert "altered since it was signed" in capsys.readouterr().out


def test_a_signed_picture_still_runs_again(mine: Path) -> None:
    assert 0 == runner.main(["check", str(_signed("png"))])


def test_a_certificate_of_another_vouches_for_nothing(mine: Path) -> None:
    credentials.make_certificate(Path("other.pem"), "Ann Example")

    assert "valid" == credentials.verify(_signed("png"), Path("other.pem")).state


def test_a_picture_that_was_saved_again_is_unsigned(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open(_signed("png")) as picture:
        picture.save("again.png")

    assert 1 == runner.main(["c2pa", "verify", "again.png"])
    assert "not signed" in capsys.readouterr().out


def test_the_manifest_says_what_made_the_picture(mine: Path) -> None:
    import c2pa

    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "PNG")
    data = credentials.signed(stream.getvalue(), "workflow", mine, edited=False)
    with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
        told = json.loads(reader.json())
    manifest = told["manifests"][told["active_manifest"]]
    (action,) = next(one["data"]["actions"] for one in manifest["assertions"] if "actions" in one["label"])

    assert "Darkroom" == manifest["claim_generator_info"][0]["name"]
    assert ("c2pa.created", "Darkroom") == (action["action"], action["softwareAgent"]["name"])
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")


def test_a_key_is_for_its_owner_alone_and_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == runner.main(["c2pa", "certificate", "mine.pem", "--name", "Ann"])
    before = Path("mine.pem").read_bytes()

    assert 0o600 == Path("mine.pem").stat().st_mode & 0o777
    assert 2 == runner.main(["c2pa", "certificate", "mine.pem"])
    assert before == Path("mine.pem").read_bytes()
    assert "is there already" in capsys.readouterr().err


def test_a_missing_extra_is_named_when_checking(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sign.yaml").write_text(WORKFLOW.replace("FORMAT", "png"))
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "c2pa" else there(name))

    assert 3 == runner.main(["check", "sign.yaml"])
    assert 'pip install "darkroom[c2pa]"' in capsys.readouterr().err
    assert 3 == runner.main(["c2pa", "verify", "photo.png"])


def test_a_file_without_a_key_is_refused_when_checking(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    Path("sign.yaml").write_text(WORKFLOW.replace("FORMAT", "png"))

    assert 3 == runner.main(["check", "sign.yaml"])
    assert "has no private key" in capsys.readouterr().err


def test_a_certificate_that_does_not_go_is_named(folder: Path) -> None:
    Path("bad.pem").write_text("-----BEGIN PRIVATE KEY-----\nAA\n-----BEGIN CERTIFICATE-----\nAA\n")
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "PNG")

    with pytest.raises(StepError, match=r'cannot be signed with "bad\.pem"'):
        credentials.signed(stream.getvalue(), "", Path("bad.pem"), edited=False)


@pytest.mark.parametrize("name", ["no.png", "sign.txt"])
def test_what_is_no_picture_cannot_be_verified(folder: Path, name: str) -> None:
    Path("sign.txt").write_text("no picture")

    assert 3 == runner.main(["c2pa", "verify", name])
