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

from edgeexport.commands.build import build
from edgeexport.errors import CheckpointError, RecipeError
from edgeexport.fixed.weights import model_from_recipe
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


@pytest.mark.slow  # 2.4 GB of weights
def test_a_model_beyond_the_limit_of_onnx_files_keeps_its_weights_beside_the_graph(tmp_path: Path) -> None:
    result = build(shared_case("model-over-2gb") / "big.py", "cpu", work_dir=tmp_path / "big", local_engine=False)
    folder = result.bundle.path
    assert (folder / "weights.bin").stat().st_size > 2**31
    assert (folder / "model.onnx").stat().st_size < 2**20
    assert all(item.status == "passed" for item in result.comparisons)


# --- timm-names.txt ---

NO_PLACE = "a merged token lies nowhere"
SIDE_BY_SIDE = "no place between them to merge"
STAGES = "it works in windows or in stages of fewer tokens"
CONVOLVED = "its patches come out of a convolutional network"
REFUSED = {
    "beit_base_patch16_224": NO_PLACE,
    "beitv2_base_patch16_224": NO_PLACE,
    "cait_xxs24_224": "the class token joins late",
    "convit_tiny": NO_PLACE,
    "deepseek_vit_412m": "its blocks are not timm's plain ones",
    "hf_hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k": "nothing is fetched",
    "hiera_tiny_224": STAGES,
    "mvitv2_tiny": STAGES,
    "naflexvit_base_patch16_gap": "its patches differ in number from image to image",
    "samvit_base_patch16_224": STAGES,
    "swin_tiny_patch4_window7_224": STAGES,
    "vit_base_mci_224": CONVOLVED,
    "vit_base_patch16_22": "did you mean 'vit_base_patch16_224'",
    "vit_base_patch16_xp_224": SIDE_BY_SIDE,
    "vit_base_r50_s16_224": CONVOLVED,
    "vit_dlittle_patch16_reg1_gap_256": "blocks.0.attn is a DiffAttention",
    "vit_pwee_patch16_reg1_gap_256": SIDE_BY_SIDE,
    "vit_relpos_base_patch16_224": NO_PLACE,
    "vit_srelpos_small_patch16_224": NO_PLACE,
    "vit_tiny_r_s16_p8_224": CONVOLVED,
    "vitamin_small_224": STAGES,
    "xcit_nano_12_p16_224": "its attention is between channels",
}


@pytest.mark.slow
def test_names_that_people_tried_become_recipes_and_the_others_say_what_is_in_the_way() -> None:
    names = shared_case("timm-names.txt").read_text().split()
    reasons = {}
    for name in names:
        try:
            load_recipe(f"timm:{name}")
        except RecipeError as error:
            reasons[name] = str(error)
    assert reasons.keys() == REFUSED.keys() and len(names) - len(reasons) >= 54
    assert [name for name, reason in reasons.items() if REFUSED[name] not in reason] == []
