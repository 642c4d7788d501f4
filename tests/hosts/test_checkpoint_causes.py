"""What a checkpoint that does not fit is told to be: real state dicts of other timm models against a tiny host."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from edgeexport.errors import CheckpointError
from edgeexport.hosts.checkpoint import load_weights
from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.hosts.sd_block.spec import SdBlockSpec

SMALL = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=7)


def state_of(**changes: object) -> dict[str, Tensor]:
    return VisionTransformer(**{**SMALL, **changes}).state_dict()


def cause(state: dict[str, Tensor], model: nn.Module | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_weights(VisionTransformer(**SMALL) if model is None else model, state, "w.pth")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("w.pth | keys do not fit the model; ")
    return caught.value.remedy.removeprefix("likely cause: ")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_classes": 5}, "another number of classes; set model.num_classes"),
        ({"img_size": 64}, "another training size; set model.img_size to the size it was trained at"),
        (
            {"img_size": 64, "num_classes": 5},
            "another training size; set model.img_size to the size it was trained at, and model.num_classes to its number "
            "of classes",
        ),
        (
            {"embed_dim": 48},
            "another model: the checkpoint has embed_dim 48, the model 24; choose model.name or set model.embed_dim to match",
        ),
        (
            {"patch_size": 16},
            "another model: the checkpoint has patch_size 16, the model 8; choose model.name or set model.patch_size to match",
        ),
        (
            {"in_chans": 1},
            "another model: the checkpoint has in_chans 1, the model 3; choose model.name or set model.in_chans to match",
        ),
        (
            {"depth": 3},
            "another model: the checkpoint has 3 blocks, the model 2; choose model.name or set model.depth to match",
        ),
        (
            {"depth": 1},
            "another model: the checkpoint has 1 blocks, the model 2; choose model.name or set model.depth to match",
        ),
        ({"reg_tokens": 4}, "the checkpoint has 4 register tokens; set model.reg_tokens=4"),
        ({"global_pool": "avg"}, "another pooling than at training; set model.global_pool='avg'"),
        ({"init_values": 1e-5}, "the checkpoint has LayerScale; set model.init_values=1e-5"),
        ({"qk_norm": True}, "the checkpoint has norms of queries and keys; set model.qk_norm=True"),
        ({"pre_norm": True}, "the checkpoint has a norm ahead of the blocks; set model.pre_norm=True"),
        (
            {"qkv_bias": False},
            "the checkpoint lacks biases of queries, keys and values; set model.qkv_bias=False",
        ),
        (
            {"global_pool": "map", "class_token": False},
            "the checkpoint has pooling by attention, the checkpoint lacks a class token; "
            "set model.global_pool='map', model.class_token=False",
        ),
        (
            {"init_values": 1e-5, "reg_tokens": 4},
            "the checkpoint has LayerScale, the checkpoint has 4 register tokens; "
            "set model.init_values=1e-5, model.reg_tokens=4",
        ),
        ({"mlp_ratio": 2}, "another size of the MLPs; set model.mlp_ratio=2"),
    ],
)
def test_other_vision_transformers(changes: dict[str, object], expected: str) -> None:
    assert cause(state_of(**changes)) == expected


def test_a_host_with_more_than_the_checkpoint() -> None:
    registers = VisionTransformer(**SMALL, reg_tokens=4)
    assert cause(state_of(), registers) == "the checkpoint has 0 register tokens; set model.reg_tokens=0"
    averaging = VisionTransformer(**SMALL, global_pool="avg")
    assert cause(state_of(), averaging) == "another pooling than at training; set model.global_pool='token'"


def test_distillation_token() -> None:
    names = ("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224")
    plain, distilled = (timm.create_model(name, depth=1) for name in names)
    found = cause(distilled.state_dict(), plain)
    assert found == "the checkpoint has a distillation token; choose model.name to match"
    found = cause(plain.state_dict(), distilled)
    assert found == "the checkpoint lacks a distillation token; choose model.name to match"


def test_pre_training_of_mae() -> None:
    encoder = {key: value for key, value in state_of().items() if not key.startswith("head")}
    assert cause(encoder) == (
        "a checkpoint without a classifier; give a fine-tuned one, or set model.num_classes=0 for features"
    )
    with_decoder = {**encoder, "mask_token": torch.zeros(1), "decoder_blocks.0.norm1.weight": torch.zeros(1)}
    assert "a pre-training checkpoint of MAE" in cause(with_decoder)


def test_keys_of_mmsegmentation() -> None:
    assert "an mmsegmentation checkpoint" in cause({"backbone.layers.0.ln1.weight": torch.zeros(24)})


def test_keys_with_something_ahead_of_them() -> None:
    found = cause({"net.vit." + key: value for key, value in state_of().items()})
    assert found == "the keys begin with 'net.vit.'; save those of this model without it"


def test_a_diffusion_block_is_found_in_its_network_and_told_from_other_models() -> None:
    block = SdBlock(SdBlockSpec("sd_block", (4, 4), 24, 3, 5, 10))
    prefix = "down_blocks.0.attentions.0.transformer_blocks.0."
    network = {prefix + key: value for key, value in block.state_dict().items()} | {"conv_in.weight": torch.zeros(1)}
    assert cause(network, block) == f"the keys begin with {prefix!r}; save those of this model without it"
    assert "not a Stable-Diffusion block" in cause(state_of(), block)
