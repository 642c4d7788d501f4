# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import inspect

import pytest
from recipe_cases import ABSENT, TINY_ATM

from edgeexport.config.place import Place
from edgeexport.hosts.segmentation.backbone_config import backbone_from_config

HERE = Place("x.py", "model.backbone")
AT = ("model", "backbone")


def test_defaults_are_those_of_mmsegmentation():
    vit = pytest.importorskip("mmseg.models.backbones.vit")
    signature = inspect.signature(vit.VisionTransformer.__init__)
    default = {name: parameter.default for name, parameter in signature.parameters.items()}
    spec = backbone_from_config({"type": "VisionTransformer"}, HERE)
    for name in ("patch_size", "in_channels", "embed_dims", "num_layers", "num_heads", "mlp_ratio", "qkv_bias", "patch_bias",
                 "final_norm", "with_cls_token", "interpolate_mode"):  # fmt: skip
        assert getattr(spec, name) == default[name], name
    assert spec.img_size == (default["img_size"],) * 2
    assert default["out_indices"] == -1
    assert spec.out_indices == (11,)
    assert spec.norm_eps == 1e-5


def test_every_key_of_mmsegmentation_is_known():
    vit = pytest.importorskip("mmseg.models.backbones.vit")
    parameters = inspect.signature(vit.VisionTransformer.__init__).parameters
    given = {name: parameter.default for name, parameter in parameters.items() if name != "self"}
    assert backbone_from_config({**given, "type": "VisionTransformer"}, HERE) == backbone_from_config(
        {"type": "VisionTransformer"}, HERE
    )


def test_the_patch_bias_default_depends_on_the_published_code():
    assert backbone_from_config({"type": "VisionTransformer"}, HERE).patch_bias is False
    assert backbone_from_config({"type": "ViT_prune", "with_cls_token": False}, HERE).patch_bias is True
    assert backbone_from_config({"type": "VisionTransformer", "patch_bias": True}, HERE).patch_bias is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("drop_path_rate", 0.3),
        ("drop_rate", 0.1),
        ("attn_drop_rate", 0.1),
        ("init_cfg", {"type": "Pretrained", "checkpoint": "https://example.org/x.pth"}),
        ("pretrained", None),
        ("norm_eval", True),
        ("with_cp", True),
        ("frozen_exclude", ["all"]),
        ("freeze", True),
        ("patch_pad", "same"),
        ("act_cfg", {"type": "GELU"}),
    ],
)
def test_training_keys_change_nothing(key, value, validated):
    assert validated({(*AT, key): value}).model == validated().model


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("patch_norm", True, "unsupported: there is no norm in the patch embedding | supported: False"),
        ("pre_norm", True, "unsupported: there is no norm before the first block | supported: False"),
        ("output_cls_token", True, "unsupported: the heads read patch tokens only | supported: False"),
        ("out_origin", True, "unsupported: the embedded input cannot be a backbone output | supported: False"),
        ("num_fcs", 3, "unsupported: the feed-forward network has two layers | supported: 2"),
        ("patch_pad", 2, "supported: 'corner' or 'same' or 0"),
        ("interpolate_mode", "nearest", "expected one of 'bicubic', 'bilinear'"),
        ("final_norm", True, "unsupported: ViT_prune's heads read tokens before any norm | supported: False"),
        ("num_heads", 5, "does not divide embed_dims = 48"),
        ("num_heads", 0, "expected an integer of at least 1"),
        ("num_layers", True, "expected an integer from 1 to 1024, found a bool"),
        ("mlp_ratio", 0, "times embed_dims = 48 must be a whole number of channels"),
        ("mlp_ratio", 0.33, "times embed_dims = 48 must be a whole number of channels"),
        ("mlp_ratio", "4", "expected a finite number, found a str"),
        ("in_channels", 4, "expected an integer from 3 to 3"),
        ("img_size", 8, "is smaller than one patch of 16"),
        ("img_size", "big", "expected an integer from 1 to 65536, found a str"),
        ("qkv_bias", 1, "expected True or False"),
        ("norm_cfg", "LN", "expected a dict"),
        ("out_indices", [3, 2], "must be ascending, without repetition"),
        ("out_indices", [1, 1, 3], "must be ascending, without repetition"),
        ("out_indices", [], "expected at least one block | write out_indices=[3]"),
        ("out_indices", "all", "expected an integer from -1 to 3, found a str"),
        ("embed_dim", 48, "unknown key 'embed_dim' | did you mean 'embed_dims'?"),
    ],
)
def test_what_is_not_computed_is_refused(key, value, message, refused):
    found = refused({(*AT, key): value})
    assert f"x.py: model.backbone.{key} = {value!r} | " in found
    assert message in found


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("norm_cfg", "type"), "BN", "model.backbone.norm_cfg.type = 'BN' | unsupported: the blocks use LayerNorm"),
        (("norm_cfg", "eps"), 0, "model.backbone.norm_cfg.eps = 0.0 | must be positive"),
        (("norm_cfg", "esp"), 1e-6, "unknown key 'esp' | did you mean 'eps'?"),
        (("act_cfg", "type"), "ReLU", "model.backbone.act_cfg.type = 'ReLU' | unsupported"),
        (("out_indices", 2), 4, "model.backbone.out_indices[2] = 4 | out of range: expected an integer from 0 to 3"),
        (("type",), "ViT_prun", "model.backbone.type = 'ViT_prun' | expected one of 'VisionTransformer', 'ViT_prune' | did you mean 'ViT_prune'?"),
        (("type",), ABSENT, "model.backbone | required key 'type' is missing"),
    ],
)  # fmt: skip
def test_nested_keys_are_named_by_their_path(path, value, message, refused):
    assert message in refused({(*AT, *path): value})


def test_a_class_token_with_dtop_is_unsupported(refused):
    message = refused({(*AT, "with_cls_token"): True})
    assert "model.backbone.with_cls_token = True | unsupported: DToP runs without a class token" in message
    assert "unsupported (the default): DToP" in refused({(*AT, "with_cls_token"): ABSENT})


def test_a_class_token_without_dtop_is_read(validated):
    assert validated({(*AT, "with_cls_token"): ABSENT}, TINY_ATM).model.backbone.with_cls_token is True


@pytest.mark.parametrize(("given", "blocks"), [(-1, (3,)), (3, (3,)), ([1, 2, 3], (1, 2, 3)), ((0, 3), (0, 3))])
def test_out_indices_take_mmseg_forms(given, blocks):
    config = {"type": "VisionTransformer", "num_layers": 4, "out_indices": given}
    assert backbone_from_config(config, HERE).out_indices == blocks


def test_final_norm_and_eps_are_read(validated):
    spec = validated({(*AT, "final_norm"): True, (*AT, "norm_cfg"): ABSENT}, TINY_ATM).model.backbone
    assert spec.final_norm is True
    assert spec.norm_eps == 1e-5


def test_a_fractional_ratio_with_a_whole_width_is_supported(validated):
    assert validated({(*AT, "mlp_ratio"): 3.5}).model.backbone.mlp_ratio == 3.5
