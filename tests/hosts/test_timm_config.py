# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import json

import pytest
from recipe_cases import ABSENT, TINY_CLIP, TINY_TIMM

from edgeexport.hosts.timm_vit.plain import built_host

NAME = ("model", "name")
NAMED = {"model": {"type": "timm", "name": "deit_tiny_patch16_224"}, "input": {"shape": (1, 3, 224, 224)}}


def test_keyword_arguments_of_the_class(validated):
    spec = validated({}, TINY_TIMM).model
    assert (spec.type, spec.name, spec.img_size, spec.patch_size, spec.in_channels) == ("timm", None, (64, 64), 8, 3)
    assert (spec.embed_dims, spec.num_layers, spec.num_heads, spec.mlp_hidden) == (48, 6, 2, 192)
    assert (spec.grid, spec.num_tokens, spec.num_prefix, spec.num_classes) == ((8, 8), 65, 1, 10)
    assert (spec.frames, spec.tubelet) == (None, 1)
    assert spec.class_token
    assert spec.final_norm
    assert not spec.distilled
    assert spec.global_pool == "token"


def test_the_arguments_do_not_lean_on_timms_defaults(validated):
    arguments = validated({}, TINY_TIMM).model.arguments
    assert arguments["mlp_ratio"] == 4.0
    assert arguments["qkv_bias"] is True
    assert arguments["img_size"] == (64, 64)
    assert "drop_rate" not in arguments
    assert "weight_init" not in arguments


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_patch16_224.fb_in1k"])
def test_timms_names(name, validated):
    spec = validated({NAME: name}, NAMED).model
    assert spec.name == name
    assert (spec.embed_dims, spec.num_layers, spec.num_tokens, spec.num_classes) == (192, 12, 197, 1000)


def test_a_name_with_arguments(validated):
    changes = {("model", "num_classes"): 7, ("model", "img_size"): 32, ("model", "depth"): 2}
    spec = validated({**changes, ("input", "shape"): (1, 3, 32, 32)}, NAMED).model
    assert (spec.num_classes, spec.grid, spec.num_layers) == (7, (2, 2), 2)
    host = built_host(spec.name, spec.arguments)
    assert (host.num_classes, len(host.blocks), host.patch_embed.img_size) == (7, 2, (32, 32))


def test_a_tag_decides_the_class_count(validated):
    spec = validated({NAME: "vit_tiny_patch16_224.augreg_in21k"}, NAMED).model
    assert spec.num_classes == 21843


def test_a_distillation_token(validated):
    spec = validated({NAME: "deit_tiny_distilled_patch16_224"}, NAMED).model
    assert spec.distilled
    assert (spec.num_prefix, spec.num_tokens) == (2, 198)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"class_token": False, "global_pool": "avg"}, dict(num_prefix=0, class_token=False, final_norm=False)),
        ({"global_pool": "avg"}, dict(num_prefix=1, class_token=True, final_norm=False, global_pool="avg")),
        ({"global_pool": "avg", "fc_norm": False}, dict(final_norm=True)),
        ({"global_pool": "map"}, dict(global_pool="map", final_norm=True)),
        ({"reg_tokens": 4}, dict(num_prefix=5, num_tokens=69)),
        ({"mlp_ratio": 2}, dict(mlp_hidden=96)),
        ({"qk_norm": True, "init_values": 1e-5, "scale_attn_norm": True, "scale_mlp_norm": True}, {}),
        ({"pre_norm": True, "no_embed_class": True, "norm_layer": "layernorm", "act_layer": "quick_gelu"}, {}),
        ({"pos_embed": "none"}, {}),
        ({"patch_size": (8, 8), "img_size": [64, 64], "fc_norm": None}, dict(patch_size=8)),
    ],
)
def test_free_choices_of_a_plain_vit(changes, expected, validated):
    spec = validated({("model", key): value for key, value in changes.items()}, TINY_TIMM).model
    assert {key: getattr(spec, key) for key in expected} == expected


def test_training_keys_change_nothing(validated):
    training = {"drop_rate": 0.1, "drop_path_rate": 0.1, "weight_init": "skip", "pretrained": False, "fix_init": True}
    recipe = validated({("model", key): value for key, value in training.items()}, TINY_TIMM)
    assert recipe.model == validated({}, TINY_TIMM).model
    assert recipe.text["model"]["drop_path_rate"] == 0.1


def test_clips(validated):
    spec = validated({}, TINY_CLIP).model
    assert (spec.frames, spec.tubelet, spec.grid, spec.num_tokens) == (8, 2, (4, 8, 8), 257)
    assert "frames" not in spec.arguments
    assert validated({("model", "tubelet"): ABSENT}, TINY_CLIP).model == spec


@pytest.mark.parametrize("case", ["tome_vit_batch2_no_prop", "tome_vit_no_class_token", "tome_vit_tiny_grid"])
def test_golden_configs_are_models(case, golden, validated):
    config = json.loads((golden / case / "config.json").read_text())["model"]
    spec = validated({("model",): {"type": "timm", **config}}, TINY_TIMM).model
    assert (spec.embed_dims, spec.num_layers) == (config["embed_dim"], config["depth"])
    assert spec.num_prefix == int(config.get("class_token", True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deit_smal_patch16_224", "timm has no model of this name | did you mean 'deit_small_patch16_224'?"),
        ("vit_base_patch16_225", "timm has no model of this name | did you mean 'vit_base_patch16_224'?"),
        ("resnet5", "timm has no model of this name | did you mean 'resnet50'?"),
        ("vit_foo", "timm has no model of this name | timm.list_models(module='vision_transformer') lists plain ViTs"),
        ("qqqq", "timm has no model of this name | timm.list_models(module='vision_transformer') lists plain ViTs"),
        ("deit_tiny_patch16_224.fb_in2k", "timm knows deit_tiny_patch16_224, but no weights tag 'fb_in2k' of it | did you mean 'deit_tiny_patch16_224.fb_in1k'?"),
        ("hf-hub:timm/deit_tiny_patch16_224", "names a place to fetch a model from, and nothing is fetched"),
        ("swin_tiny_patch4_window7_224", "is not a plain Vision Transformer: it is of timm's family 'swin_transformer'"),
        ("beit_base_patch16_224", "is not a plain Vision Transformer: it is of timm's family 'beit'"),
        ("vit_relpos_small_patch16_224", "is not a plain Vision Transformer: it is of timm's family 'vision_transformer_relpos'"),
        ("vit_tiny_r_s16_p8_224", "is not a plain Vision Transformer: it is of timm's family 'vision_transformer_hybrid'"),
        ("vit_base_patch16_xp_224", "is not a plain Vision Transformer: blocks.0 is a ParallelScalingBlock"),
    ],
)  # fmt: skip
def test_names_of_other_models_are_refused(name, message, refused):
    assert f"x.py: model.name = '{name}' | {message}" in refused({NAME: name}, NAMED)


@pytest.mark.parametrize("value", [3, "", ["deit_tiny_patch16_224"]])
def test_a_name_is_a_string(value, refused):
    assert "x.py: model.name = " in refused({NAME: value}, NAMED)


@pytest.mark.parametrize("base", [TINY_TIMM, NAMED])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("embed_dims", 48, "unknown key 'embed_dims': timm's VisionTransformer has no such one | did you mean 'embed_dim'?"),
        ("window_size", 7, "unknown key 'window_size'"),
        ("pretrained", True, "unsupported: weights come from the recipe's checkpoint or seed, and nothing is fetched | leave pretrained out"),
        ("checkpoint_path", "a.pth", "unsupported: weights come from the recipe's checkpoint or seed"),
        ("dynamic_img_size", True, "unsupported: the graph has one input size"),
        ("dynamic_img_pad", True, "unsupported: the graph has one input size"),
        ("patch_drop_rate", 0.5, "unsupported: no patch may be dropped at random"),
        ("attn_layer", "diff", "unsupported: the host's blocks and layers are timm's plain ones"),
        ("features_only", True, "unsupported: features are asked for with output='features'"),
        ("depth", "12", "expected an integer from 1 to 1024, found a str"),
        ("num_heads", True, "expected an integer of at least 1, found a bool"),
        ("num_classes", -1, "out of range: expected an integer of at least 0"),
        ("class_token", 1, "expected True or False, found an int"),
        ("mlp_ratio", 0, "must be positive"),
        ("patch_size", (16, 8), "unsupported: patches are square, found 16x8 | give one number"),
        ("img_size", (230, 224), "the height 230 is not divisible by the patch size"),
        ("global_pool", "mean", "expected one of 'token', 'avg', 'max', 'avgmax', 'map'"),
        ("pos_embed", "rope", "expected one of 'learn', 'none', ''"),
        ("norm_layer", 3, "expected a string, found an int"),
        ("tubelet", 2, "means nothing without frames | add frames=16"),
        ("frames", 0, "out of range: expected an integer of at least 1"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused(base, key, value, message, refused):
    found = refused({("model", key): value}, base)
    assert f"x.py: model.{key} = " in found
    assert message in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "timm cannot build this host: AssertionError: dim should be divisible by num_heads"),
        ({"class_token": False}, "timm cannot build this host: AssertionError: Token pooling needs the class token."),
        ({"norm_layer": "nonorm"}, "timm cannot build this host: "),
        (
            {"norm_layer": "batchnorm1d"},
            "is not a plain Vision Transformer: blocks.0.norm1 is a BatchNorm1d, not a LayerNorm",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(changes, message, refused):
    found = refused({("model", key): value for key, value in changes.items()}, TINY_TIMM)
    assert f"x.py: model.type = 'timm' | {message}" in found


def test_a_host_without_a_classifier_gives_its_embedding(validated):
    backbone = {NAME: "vit_tiny_patch16_224.augreg_in21k", ("model", "num_classes"): 3}
    assert validated(backbone, NAMED).model.num_classes == 3
    bare = {key: value for key, value in NAMED.items() if key not in ("output", "classes")}
    assert validated({NAME: "vit_huge_patch14_224"}, bare).output == "embedding"


def test_tubelets_divide_the_frames(refused):
    message = refused({("model", "tubelet"): 3}, TINY_CLIP)
    assert "x.py: model.tubelet = 3 | does not divide frames = 8 | use one of 1, 2, 4, 8" in message


def test_clips_are_embedded_without_a_norm(refused):
    message = refused({("model", "embed_norm_layer"): "layernorm"}, TINY_CLIP)
    assert "x.py: model.frames = 8 | unsupported: clips are embedded without a norm" in message
