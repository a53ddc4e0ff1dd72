"""Models are found, and refused before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from graph.errors import MissingError
from graph.node import Context
from nodes.load_model import LoadModel
from nodes.sd.files import ModelFile


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(MissingError) as caught:
        ModelFile.find(str(folder), folder)
    return str(caught.value)


def test_a_model_is_found_beside_the_workflow_by_path_and_on_the_search_path(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_MODELS", os.pathsep.join([str(tmp_path), str(whole.folder.parent)]))

    by_name = ModelFile.find("small", tmp_path)
    relative = ModelFile.find("small", whole.folder.parent)
    absolute = ModelFile.find(str(whole.folder), tmp_path)

    assert whole.folder == by_name.path == relative.path == absolute.path


def test_the_built_in_model_lies_beside_the_code(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(whole.folder, tmp_path / "tiny")
    monkeypatch.setattr("nodes.sd.files.__file__", str(tmp_path / "files.py"))

    assert tmp_path / "tiny" == ModelFile.find("builtin:tiny", whole.folder).path


def test_a_missing_model_says_where_it_was_looked_for_and_what_is_near(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_MODELS", str(whole.folder.parent))

    with pytest.raises(MissingError, match='model "smal" is not there') as caught:
        ModelFile.find("smal", tmp_path)

    assert 'Did you mean "small"?' in caught.value.hint
    assert str(tmp_path / "smal") in caught.value.hint


@pytest.mark.parametrize("written", ["", "a\0b", "builtin:large"])
def test_a_name_that_no_model_can_have_is_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        ModelFile.find(written, tmp_path)


def test_the_digest_is_of_the_content_alone(spoiled: Path, whole: Any, ctx: Context) -> None:
    (spoiled / "README.md").write_text("about")
    (spoiled / "preview.png").write_bytes(b"x")
    same = ctx.digest(ModelFile.find(str(spoiled), spoiled))
    edit(spoiled / "scheduler" / "scheduler_config.json", beta_end=0.013)
    other = ctx.digest(ModelFile.find(str(spoiled), spoiled))

    assert same == ctx.digest(ModelFile.find(str(whole.folder), spoiled))
    assert same != other


def test_every_file_that_matters_is_a_member(whole: Any) -> None:
    assert {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    } == {name for name, _ in ModelFile.find(str(whole.folder), whole.folder).members()}


def test_load_model_describes_three_parts_and_loads_none(whole: Any, ctx: Context, fresh: Any) -> None:
    parts = LoadModel(path=ModelFile.find(str(whole.folder), whole.folder), precision="fp16").run(ctx)

    assert ["unet", "text_encoder", "vae"] == [part.component for part in parts]
    assert {("sd1", "fp16", parts.model.digest)} == {(part.family, part.precision, part.digest) for part in parts}
    assert fresh.loads == 0


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_missing_config_is_named(name: str, spoiled: Path) -> None:
    (spoiled / name).unlink()

    assert f'model "spoiled" has no "{name}"' in refused(spoiled)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "\udcff"])
def test_a_config_that_is_no_json_object_is_named(content: str, spoiled: Path) -> None:
    (spoiled / "unet" / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))

    assert '"unet/config.json" of model "spoiled" is no' in refused(spoiled)


def test_a_missing_tokenizer_is_an_error(spoiled: Path) -> None:
    (spoiled / "tokenizer" / "merges.txt").unlink()

    assert 'model "spoiled" has no tokenizer' in refused(spoiled)


def test_missing_weights_are_named(spoiled: Path) -> None:
    (spoiled / "vae" / "diffusion_pytorch_model.safetensors").unlink()

    assert 'model "spoiled" has no weights of "vae"' in refused(spoiled)


def test_a_pickle_in_a_folder_that_is_none_of_torch_is_refused(spoiled: Path) -> None:
    weights = spoiled / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(b"cos\nsystem\n(Vexit 1\ntR.")

    assert '"vae/diffusion_pytorch_model.bin" is not a good safetensors file' in refused(spoiled)


def test_truncated_weights_are_found_by_check(spoiled: Path) -> None:
    weights = spoiled / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])

    assert '"unet/diffusion_pytorch_model.safetensors" is not a good safetensors file' in refused(spoiled)


@pytest.mark.parametrize("name", ["pipeline.py", "unet/modeling.py", "unet/fast.so"])
def test_a_folder_with_code_is_refused_and_nothing_imported(name: str, spoiled: Path) -> None:
    (spoiled / name).write_text("raise SystemExit('was run')")

    assert f'"{name}" of model "spoiled" is code' in refused(spoiled)
    assert not [module for module in sys.modules if module in ("pipeline", "modeling", "fast")]


def test_a_custom_pipeline_is_refused(spoiled: Path) -> None:
    edit(spoiled / "model_index.json", _class_name=["my_pipeline", "MyPipeline"])

    assert "names the custom pipeline ['my_pipeline', 'MyPipeline']" in refused(spoiled)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_a_config_that_asks_for_code_is_refused(name: str, spoiled: Path) -> None:
    edit(spoiled / name, auto_map={"AutoModel": "modeling.Model"})

    assert 'asks by "auto_map" for code' in refused(spoiled)


def test_a_component_of_an_unknown_library_is_refused(spoiled: Path) -> None:
    edit(spoiled / "model_index.json", unet=["my_library", "MyUNet"])

    assert """says that its "unet" is ['my_library', 'MyUNet']""" in refused(spoiled)


@pytest.mark.parametrize("pipeline", ["StableCascadeDecoderPipeline", "FluxPipeline", "LatentConsistencyModelPipeline"])
def test_another_family_is_refused_by_name(pipeline: str, spoiled: Path) -> None:
    edit(spoiled / "model_index.json", _class_name=pipeline)

    assert f'is for "{pipeline}", which this version cannot run' in refused(spoiled)


def test_a_model_for_another_task_is_refused_by_its_channels(spoiled: Path) -> None:
    edit(spoiled / "unet" / "config.json", in_channels=8)

    assert "takes 8 channels" in refused(spoiled)


def test_another_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Buy milk, and more of it.")

    with pytest.raises(MissingError, match=r'notes\.txt" is not a good safetensors file'):
        ModelFile.find("notes.txt", tmp_path)


def test_an_index_of_weights_cannot_point_elsewhere(spoiled: Path) -> None:
    weights = spoiled / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    (spoiled / "vae" / f"{weights.name}.index.json").write_text('{"weight_map": {"w": "../../x.safetensors"}}')

    assert "which is no file of weights" in refused(spoiled)
