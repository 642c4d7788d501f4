"""Checkpoints and names that people tried (shared/cases): each works, or is told the true cause and what to set."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_cases import shared_case
from timm.models import load_state_dict
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from edgeexport.config.place import Place
from edgeexport.errors import CheckpointError, EdgeExportError, RecipeError
from edgeexport.fixed.weights import check_weights_fit_a_file, model_from_recipe
from edgeexport.hosts.timm_vit.config import timm_from_config
from edgeexport.recipe.loading import load_recipe

BASE = dict(img_size=64, patch_size=16, embed_dim=32, depth=3, num_heads=2, num_classes=10)


def weights(**changes: object) -> dict[str, Tensor]:
    return VisionTransformer(**{**BASE, **changes}).state_dict()


def made(case: str, script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs a case's script in ``folder``; the case's own folder."""
    source = shared_case(case)
    monkeypatch.chdir(folder)
    runpy.run_path(str(source / script), run_name="__main__")
    return source


# --- checkpoint-messages ---

MESSAGES = {
    "LayerScale": (lambda: weights(init_values=1e-5), "model.init_values=1e-5"),
    "LayerScale and mask_token": (
        lambda: {**weights(init_values=1e-5), "mask_token": torch.zeros(1, 32)},
        "model.init_values=1e-5",
    ),
    "qk_norm": (lambda: weights(qk_norm=True), "model.qk_norm=True"),
    "map pooling": (
        lambda: weights(global_pool="map", class_token=False),
        "model.global_pool='map', model.class_token=False",
    ),
    "pre_norm": (lambda: weights(pre_norm=True), "model.pre_norm=True"),
    "no qkv bias": (lambda: weights(qkv_bias=False), "model.qkv_bias=False"),
    "Hugging Face": (
        lambda: {
            **{f"vit.encoder.layer.{i}.attention.attention.query.weight": torch.zeros(32, 32) for i in range(3)},
            "vit.embeddings.cls_token": torch.zeros(1, 1, 32),
            "classifier.weight": torch.zeros(10, 32),
        },
        "key names of Hugging Face transformers",
    ),
}


@pytest.mark.parametrize("name", list(MESSAGES))
def test_a_checkpoint_that_does_not_fit_is_told_what_to_set(name: str, tmp_path: Path) -> None:
    content, words = MESSAGES[name]
    torch.save(content(), tmp_path / "case.pth")
    recipe = load_recipe(shared_case("checkpoint-messages") / "vit.py", checkpoint=tmp_path / "case.pth")
    with pytest.raises(CheckpointError) as caught:
        model_from_recipe(recipe)
    assert caught.value.exit_code == 2 and words in str(caught.value)


@pytest.mark.parametrize("name", ["teacher", "model_state_dict"])
def test_wrapped_weights_load(name: str, tmp_path: Path) -> None:
    torch.save({name: weights(), "student": weights()}, tmp_path / "case.pth")
    recipe = load_recipe(shared_case("checkpoint-messages") / "vit.py", checkpoint=tmp_path / "case.pth")
    assert f"the weights under '{name}'" in model_from_recipe(recipe)[1].statement


def test_archives_are_named(tmp_path: Path) -> None:
    folder = shared_case("checkpoint-messages")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "case.pth"))
    with pytest.raises(CheckpointError, match="is a TorchScript archive"):
        model_from_recipe(load_recipe(folder / "vit.py", checkpoint=tmp_path / "case.pth"))
    arrays = {"cls": np.zeros((1, 1, 32), np.float32), "embedding/kernel": np.zeros((16, 16, 3, 32), np.float32)}
    np.savez(tmp_path / "case.npz", **arrays)
    with pytest.raises(CheckpointError, match="arrays of the original ViT"):
        model_from_recipe(load_recipe(folder / "vit.py", checkpoint=tmp_path / "case.npz"))


# --- ema-weights-ignored ---


@pytest.mark.parametrize("file", ["timm.pth", "deit.pth", "only_ema.pth"])
def test_averaged_weights_are_taken_as_timm_takes_them(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made("ema-weights-ignored", "make.py", tmp_path, monkeypatch)
    model, origin = model_from_recipe(load_recipe(folder / "vit.py", checkpoint=tmp_path / file))
    assert torch.equal(model.head.weight.data, load_state_dict(file)["head.weight"])
    assert "_ema'" in origin.statement


# --- timm-other-image-size ---


def test_a_checkpoint_runs_at_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made("timm-other-image-size", "make.py", tmp_path, monkeypatch)
    model, origin = model_from_recipe(load_recipe(folder / "vit.py", checkpoint=tmp_path / "trained96.pth"))
    assert model.pos_embed.shape == (1, 17, 32)
    assert "position embedding resampled from 6x6 to 4x4 patches" in origin.statement


# --- model-over-2gb ---


def test_a_model_beyond_the_limit_of_onnx_files_is_refused_before_anything_is_computed() -> None:
    recipe = load_recipe(shared_case("model-over-2gb") / "big.py")
    with pytest.raises(EdgeExportError, match="protobuf") as caught:
        check_weights_fit_a_file(recipe)
    assert caught.value.exit_code == 5
    check_weights_fit_a_file(load_recipe(shared_case("checkpoint-messages") / "vit.py"))


# --- timm-names.txt ---


@pytest.mark.slow
def test_most_names_that_people_tried_are_accepted_and_the_others_say_which_part() -> None:
    names = shared_case("timm-names.txt").read_text().split()
    refused = {}
    for name in names:
        try:
            timm_from_config({"type": "timm", "name": name, "num_classes": 10}, Place("x.py", "model"))
        except RecipeError as error:
            refused[name] = str(error)
    assert len(names) == 78 and len(names) - len(refused) >= 54, refused
    assert all(" | " in reason for reason in refused.values())
