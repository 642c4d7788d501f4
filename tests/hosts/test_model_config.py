# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import json

import pytest
from recipe_cases import ABSENT, TINY, TINY_ATM

from edgeexport.config.place import Place
from edgeexport.hosts.segvit.config import segvit_from_config

AUX = ("model", "auxiliary_head")
GOLDEN = ("dtop_nothing_pruned", "dtop_one_head", "dtop_two_heads", "dtop_two_heads_batch2", "hybrid", "segvit_batch2",
          "segvit_three_stages")  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN)
def test_the_published_configurations_validate(case, golden):
    config = json.loads((golden / case / "config.json").read_text())
    config = config.get("model", config)
    spec = segvit_from_config(config, Place(case, "model"))
    backbone, head = config["backbone"], config["decode_head"]
    assert spec.type == config["type"]
    assert spec.backbone.out_indices == tuple(backbone["out_indices"])
    assert spec.backbone.norm_eps == 1e-6
    assert spec.backbone.patch_bias is (spec.backbone.type == "ViT_prune")
    assert spec.decode_head.width == head.get("embed_dims", head["channels"])
    blocks = [block + 1 for block in backbone["out_indices"]]
    if spec.type == "EncoderDecoder":
        assert spec.decode_head.stages == tuple(reversed(blocks))
    else:
        assert [one.stages for one in (*spec.auxiliary_heads, spec.decode_head)] == [(block,) for block in blocks]
        assert [one.threshold for one in spec.auxiliary_heads] == [one["thresh"] for one in config["auxiliary_head"]]


def test_auxiliary_heads_read_their_stages_and_keep_their_thresholds(validated):
    heads = validated().model.auxiliary_heads
    assert [(head.stages, head.threshold) for head in heads] == [((2,), 0.35), ((3,), 0.4)]
    assert validated().model.decode_head.threshold is None


@pytest.mark.parametrize("value", [None, ABSENT, []])
def test_a_model_without_auxiliary_heads_is_one_head(value, validated):
    assert validated({AUX: value}).model.auxiliary_heads == ()


def test_training_keys_change_nothing(validated):
    extra = {
        ("model", "pretrained"): "https://example.org/x.pth",
        ("model", "init_cfg"): None,
        ("model", "train_cfg"): {},
        ("model", "data_preprocessor"): {"type": "SegDataPreProcessor", "mean": [127.5] * 3, "size": (64, 64)},
        ("model", "test_cfg"): {"mode": "whole", "crop_size": (64, 64), "stride": (43, 43)},
        ("model", "neck"): None,
    }
    assert validated(extra).model == validated().model
    assert validated(extra, TINY_ATM).model == validated({}, TINY_ATM).model


def test_auxiliary_heads_of_an_encoder_decoder_serve_training_alone(validated):
    fcn = {"type": "FCNHead", "in_index": 2, "anything": 3}
    assert validated({AUX: fcn}, TINY_ATM).model == validated({}, TINY_ATM).model


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("type",), "EncoderDecoderPrun", "model.type = 'EncoderDecoderPrun' | expected one of 'EncoderDecoderPrune', 'EncoderDecoder', 'Segmenter', 'timm', 'sd_block', 'onnx_file' | did you mean 'EncoderDecoderPrune'?"),
        (("type",), ABSENT, "model | required key 'type' is missing"),
        (("backbone",), ABSENT, "model | required key 'backbone' is missing | add backbone=dict(type='ViT_prune', ...)"),
        (("decode_head",), ABSENT, "model | required key 'decode_head' is missing | add decode_head=dict(type='PruneHead', ...)"),
        (("decode_heads",), {}, "model.decode_heads = {} | unknown key 'decode_heads' | did you mean 'decode_head'?"),
        (("neck",), {"type": "FPN"}, "model.neck = {'type': 'FPN'} | unsupported: the heads read the backbone directly | supported: None"),
        (("test_cfg",), {"mode": "slide"}, "model.test_cfg | required key 'crop_size' is missing | add crop_size=(512, 512)"),
        (("test_cfg",), {"mode": "slide", "crop_size": (144, 128)}, "model.test_cfg.crop_size = (144, 128) | is larger than the input of 128 x 128"),
        (("test_cfg",), {"mode": "slide", "crop_size": (72, 64), "stride": 32}, "model.test_cfg.crop_size = (72, 64) | the height 72 is not divisible by the patch size 16 | use 64 or 80"),
        (("test_cfg",), {"mode": "slide", "crop_size": (64, 64), "stride": (64, 65)}, "model.test_cfg.stride = (64, 65) | steps further than the window of 64 x 64: pixels between windows have no prediction"),
        (("test_cfg",), {"mode": "slice"}, "model.test_cfg.mode = 'slice' | expected one of 'whole', 'slide'"),
        (("test_cfg",), {"mod": "whole"}, "model.test_cfg.mod = 'whole' | unknown key 'mod' | did you mean 'mode'?"),
        (("backbone", "type"), "VisionTransformer", "model.backbone.type = 'VisionTransformer' | does not go with EncoderDecoderPrune | write type='ViT_prune'"),
        (("decode_head",), TINY_ATM["model"]["decode_head"], "model.decode_head.type = 'ATMHead' | does not go with EncoderDecoderPrune | write type='PruneHead'"),
        (("backbone", "num_classes"), 6, "model.backbone.num_classes = 6 | differs from decode_head's num_classes = 5"),
        (("auxiliary_head",), {"type": "PruneHead"}, "model.auxiliary_head = {'type': 'PruneHead'} | expected a list, found a dict"),
        (("auxiliary_head", 0, "num_classes"), 6, "model.auxiliary_head[0].num_classes = 6 | differs from decode_head's num_classes = 5"),
        (("auxiliary_head", 0, "in_index"), ABSENT, "model.auxiliary_head[0].in_index = -1 | reads block 4, but block 4 belongs to decode_head | backbone outputs: in_index=0 is block 2, in_index=1 is block 3, in_index=2 is block 4"),
        (("auxiliary_head", 1, "in_index"), 0, "model.auxiliary_head[1].in_index = 0 | reads block 2 after a head at block 2: heads go in order of depth, one a block"),
        (("auxiliary_head", 1), TINY_ATM["model"]["decode_head"], "model.auxiliary_head[1].type = 'ATMHead' | does not go with EncoderDecoderPrune"),
        (("auxiliary_head", 1, "widht"), 3, "model.auxiliary_head[1].widht = 3 | unknown key 'widht'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(path, value, message, refused):
    assert f"x.py: {message}" in refused({("model", *path): value})


def test_a_window_of_the_inputs_size_has_one_position(validated):
    slide = {"mode": "slide", "crop_size": (128, 128), "stride": (85, 85)}
    assert validated({("model", "test_cfg"): slide}).model == validated().model


@pytest.mark.parametrize("value", [None, 3, [], "EncoderDecoder"])
def test_a_model_that_is_no_dict_is_refused(value, refused):
    assert "x.py: model | required key 'type' is missing" in refused({("model",): value})


def test_the_other_segmentor_names_its_parts(refused):
    assert "does not go with EncoderDecoder | write type='VisionTransformer'" in refused(
        {("model", "backbone"): TINY["model"]["backbone"]}, TINY_ATM
    )
    assert "does not go with EncoderDecoder | write type='ATMHead'" in refused(
        {("model", "decode_head"): TINY["model"]["decode_head"]}, TINY_ATM
    )
