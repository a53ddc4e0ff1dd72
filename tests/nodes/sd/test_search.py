"""Where models are found by name, and what is said of one that is not there."""

from __future__ import annotations

import os
from pathlib import Path
from time import process_time

import pytest

from graph.errors import MissingError
from nodes.sd.search import find, listed
from nodes.sd.shelves import Kind


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models that DARKROOM_MODELS names."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv("DARKROOM_MODELS", str(folder))
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The workflow's folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def said(kind: Kind, written: str, folder: Path) -> str:
    with pytest.raises(MissingError) as caught:
        find(kind, written, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("checkpoint", "name.safetensors"),
        ("checkpoint", "checkpoints/name.ckpt"),
        ("checkpoint", "models/checkpoints/name.safetensors"),
        ("checkpoint", "models/Stable-diffusion/name.ckpt"),
        ("checkpoint", "diffusers/name/model_index.json"),
        ("lora", "loras/name.safetensors"),
        ("lora", "models/Lora/name.pt"),
        ("vae", "models/VAE/name.pt"),
        ("vae", "vae/name.safetensors"),
        ("controlnet", "models/ControlNet/name.pth"),
        ("controlnet", "controlnet/name/config.json"),
        ("upscaler", "models/ESRGAN/name.pth"),
        ("upscaler", "upscale_models/name.pth"),
        ("embedding", "embeddings/name.pt"),
        ("safety", "safety/name/config.json"),
    ],
)
def test_a_name_is_found_where_comfyui_and_a1111_keep_its_kind(kind: Kind, place: str, root: Path, here: Path) -> None:
    path = put(root / place)
    folder = path.name in ("model_index.json", "config.json")

    assert (path.parent if folder else path) == find(kind, "name", here)


def test_the_kind_decides_between_models_of_one_name(root: Path, here: Path) -> None:
    model, lora = put(root / "checkpoints" / "cat.safetensors"), put(root / "loras" / "cat.safetensors")

    assert (model, lora) == (find("checkpoint", "cat", here), find("lora", "cat", here))


def test_what_lies_beside_the_workflow_comes_first_and_folders_come_in_their_order(
    root: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_MODELS", os.pathsep.join([str(root), str(tmp_path / "second")]))
    last = put(tmp_path / "second" / "loras" / "cat.safetensors")
    assert last == find("lora", "cat.safetensors", here)
    middle = put(root / "cat.safetensors")
    assert middle == find("lora", "cat.safetensors", here)
    first = put(here / "cat.safetensors")
    assert first == find("lora", "cat.safetensors", here)


def test_a_name_may_have_folders_and_a_path_may_be_absolute(root: Path, here: Path) -> None:
    path = put(root / "loras" / "style" / "ink.v2.safetensors")

    assert path == find("lora", "style/ink.v2", here) == find("lora", str(path), here)


def test_a_folder_that_is_no_model_is_passed_over(root: Path, here: Path) -> None:
    (here / "cat").mkdir()
    path = put(root / "loras" / "cat.safetensors")

    assert path == find("lora", "cat", here)


@pytest.mark.parametrize("written", ["../secret", "loras/../../secret", "./secret", "~/secret", "a//secret"])
def test_a_path_is_no_name_on_the_search_path(written: str, root: Path, here: Path) -> None:
    put(root.parent / "secret.safetensors")
    put(root / "secret.safetensors")
    (root / "loras").mkdir()

    assert "is not there" in said("lora", written, here / "deeper")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Cat-V2", "cat-v2.safetensors"),
        ("cat_v2.ckpt", "cat-v2.safetensors"),
        ("ink", "style/ink.safetensors"),
        ("STYLE/inc", "style/ink.safetensors"),
    ],
)
def test_a_missing_one_is_suggested_whatever_its_case_suffix_and_folder(
    written: str, meant: str, root: Path, here: Path
) -> None:
    put(root / "loras" / "cat-v2.safetensors")
    put(root / "loras" / "style" / "ink.safetensors")

    message = said("lora", written, here)

    assert f'Did you mean "{meant}"?' in message
    assert "Darkroom downloads nothing." in message


def test_a_suffix_in_common_is_no_likeness(root: Path, here: Path) -> None:
    put(root / "loras" / "x.safetensors")

    assert "Did you mean" not in said("lora", "v1-5-pruned.safetensors", here)


def test_a_missing_one_says_where_it_was_looked_for(root: Path, here: Path) -> None:
    looked = f"Looked for {here / 'cat'}, in DARKROOM_MODELS ({root}), and in the Hugging Face cache."

    assert f'VAE "cat" is not there\n  Darkroom downloads nothing. {looked}' == said("vae", "cat", here)


def test_what_is_of_another_kind_is_not_suggested(root: Path, here: Path) -> None:
    put(root / "models" / "checkpoints" / "cat.safetensors")

    assert "mean" not in said("lora", "cat.pt", here)
    assert 'Did you mean "cat.safetensors"?' in said("checkpoint", "cat.pt", here)


def test_links_that_lead_nowhere_or_in_circles_are_passed_over(root: Path, here: Path) -> None:
    loras = root / "loras"
    path = put(loras / "deep" / "cat.safetensors")
    (loras / "gone.safetensors").symlink_to(root / "nowhere")
    (loras / "deep" / "round").symlink_to(loras)

    assert [path] == list(listed(loras))
    assert "is not there" in said("lora", "gone", here)


def test_a_search_path_of_files_and_of_nothing_is_passed_over(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [str(put(tmp_path / "file")), str(tmp_path / "nowhere"), "", "\udcff"]
    monkeypatch.setenv("DARKROOM_MODELS", os.pathsep.join(places))

    assert "is not there" in said("checkpoint", "x" * 5000, here)


def test_ten_thousand_models_are_looked_through_in_little_time(root: Path, here: Path) -> None:
    folder = root / "loras"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"some style of number {number:05}.safetensors").touch()
    begun = process_time()

    assert 'Did you mean "some style of number 07' in said("lora", "some style of number 07777x", here)
    assert process_time() - begun < 5


# The Hugging Face cache


def repository(hub: Path, name: str, revision: str = "0a1b") -> Path:
    """A repository as huggingface_hub lays it out: files are links to blobs."""
    folder = hub / name
    blob = put(folder / "blobs" / "f00d")
    snapshot = folder / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for file in ("model_index.json", "v1-5.safetensors"):
        (snapshot / file).symlink_to(os.path.relpath(blob, snapshot))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    return snapshot


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_a_repository_is_found_in_the_hugging_face_cache(
    variable: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}
    for name in below:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "place"))
    hub = tmp_path / "place" / below.get(variable, ".cache/huggingface/hub")
    snapshot = repository(hub, "models--runwayml--stable-diffusion-v1-5")

    assert snapshot == find("checkpoint", "runwayml/stable-diffusion-v1-5", here)
    assert snapshot / "v1-5.safetensors" == find("checkpoint", "runwayml/stable-diffusion-v1-5/v1-5", here)


@pytest.mark.parametrize("revision", ["../../..", "", "main", "0a1b\n0a1b"])
def test_a_cache_that_points_elsewhere_is_not_followed(
    revision: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository(tmp_path, "models--a--b")
    (tmp_path / "models--a--b" / "refs" / "main").write_text(revision)

    assert "is not there" in said("checkpoint", "a/b", here)


# extra_model_paths.yaml

COMFYUI = """\
# as ComfyUI's own example has it
a111:
    base_path: BASE/webui/

    checkpoints: models/Stable-diffusion
    configs: models/Stable-diffusion
    vae: models/VAE
    loras: |
         models/Lora
         models/LyCORIS
    upscale_models: |
                  models/ESRGAN
                  models/SwinIR
    embeddings: embeddings
    controlnet: models/ControlNet

comfyui:
    base_path: BASE/comfy
    is_default: true
    loras: models/loras/
    clip: models/clip/
    custom_nodes: custom_nodes

other:
    loras: $PLACE/loras
"""


def test_the_folders_of_extra_model_paths_are_searched(
    root: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path / "place"))
    (root / "extra_model_paths.yaml").write_text(COMFYUI.replace("BASE", str(tmp_path)))
    webui = tmp_path / "webui"
    found = {
        "checkpoint": put(webui / "models" / "Stable-diffusion" / "a.ckpt"),
        "lora": put(webui / "models" / "LyCORIS" / "a.safetensors"),
        "upscaler": put(webui / "models" / "SwinIR" / "a.pth"),
        "embedding": put(webui / "embeddings" / "a.pt"),
    }

    assert found == {kind: find(kind, "a", here) for kind in found}  # type: ignore[arg-type]  # the keys are kinds
    assert put(tmp_path / "place" / "loras" / "b.pt") == find("lora", "b", here)
    assert put(tmp_path / "comfy" / "models" / "loras" / "a.safetensors") == find("lora", "a", here), "the default"


@pytest.mark.parametrize("where", ["variable", "config"])
def test_extra_model_paths_may_be_named_or_be_the_users(
    where: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config" / "darkroom"
    file = put(folder / "extra_model_paths.yaml" if where == "config" else tmp_path / "mine.yaml")
    monkeypatch.setenv("DARKROOM_EXTRA_MODEL_PATHS", str(file) if where == "variable" else "")
    file.write_text("mine:\n  loras: loras\n")

    assert put(file.parent / "loras" / "a.safetensors") == find("lora", "a", here)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("mine: [1,", "is no YAML"),
        ("a: {loras: x, loras: y}", '"loras" is there twice'),
        ("&a [*a]", ""),
        (None, "cannot be"),
    ],
)
def test_a_bad_one_is_told_with_a_missing_model_and_stops_nothing(
    content: str | None, told: str, here: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    monkeypatch.setenv("DARKROOM_EXTRA_MODEL_PATHS", str(file))
    if content:
        file.write_text(content)
    path = put(root / "a.safetensors")

    assert path == find("lora", "a", here)
    assert told in said("lora", "b", here)
    assert str(file) in said("lora", "b", here)
