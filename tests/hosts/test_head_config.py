from __future__ import annotations

import inspect

import pytest
from recipe_cases import ABSENT, TINY_ATM

HEAD = ("model", "decode_head")


def test_prune_head_defaults_are_the_published_ones(validated):
    changes = {(*HEAD, "num_heads"): ABSENT, (*HEAD, "channels"): 48}
    head = validated(changes).model.decode_head
    assert (head.num_heads, head.num_layers, head.width, head.stages) == (6, 2, 48, (4,))
    auxiliary = validated({("model", "auxiliary_head", 0, "thresh"): ABSENT}).model.auxiliary_heads[0]
    assert auxiliary.threshold == 1.0


def test_atm_head_defaults_are_the_published_ones(validated):
    head = dict(type="ATMHead", in_channels=48, num_classes=5)
    spec = validated({HEAD: head}, TINY_ATM).model.decode_head
    assert (spec.width, spec.num_layers, spec.num_heads, spec.threshold) == (768, 3, 8, None)
    assert spec.stages == (4, 3, 2)


@pytest.mark.parametrize(("used", "stages"), [(1, (2,)), (2, (3, 2)), (3, (4, 3, 2))])
def test_an_atm_head_reads_the_first_stages_deepest_first(used, stages, validated):
    assert validated({(*HEAD, "use_stages"): used}, TINY_ATM).model.decode_head.stages == stages


@pytest.mark.parametrize("index", [-1, [0, 1, 2], (0, 1, -1)])
def test_an_atm_head_takes_an_in_index_that_says_the_same(index, validated):
    changes = {(*HEAD, "in_index"): index}
    if not isinstance(index, int):
        changes[(*HEAD, "input_transform")] = "multiple_select"
    assert validated(changes, TINY_ATM).model == validated({}, TINY_ATM).model


def test_every_key_of_mmsegmentations_base_head_is_known(validated):
    module = pytest.importorskip("mmseg.models.decode_heads.decode_head")
    parameters = inspect.signature(module.BaseDecodeHead.__init__).parameters
    given = {(*HEAD, key): p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    assert validated(given).model == validated().model
    assert validated(given, TINY_ATM).model == validated({}, TINY_ATM).model


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss_decode", {"type": "ATMLoss", "num_classes": 1, "dec_layers": 1}),
        ("dropout_ratio", 0.5),
        ("ignore_index", 0),
        ("sampler", None),
        ("norm_cfg", {"type": "SyncBN"}),
        ("act_cfg", {"type": "ReLU"}),
        ("init_cfg", None),
        ("img_size", 64),
        ("img_size", (64, 96)),
        ("out_channels", 5),
    ],
)
def test_training_keys_change_nothing(key, value, validated):
    assert validated({(*HEAD, key): value}).model == validated().model
    assert validated({(*HEAD, key): value}, TINY_ATM).model == validated({}, TINY_ATM).model


@pytest.mark.parametrize("key", ["CE_loss", "crop_train", "shrink_ratio"])
def test_training_keys_of_the_atm_head_are_not_the_prune_heads(key, validated, refused):
    assert validated({(*HEAD, key): True}, TINY_ATM).model == validated({}, TINY_ATM).model
    assert f"unknown key '{key}'" in refused({(*HEAD, key): True})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("align_corners", True, "unsupported: predictions are resized without aligned corners | supported: False"),
        ("threshold", 0.3, "unsupported: binary segmentation by threshold | supported: None"),
        ("out_channels", 1, "unsupported: one output per class is predicted | supported: None or 5"),
        ("in_channels", 64, "differs from the backbone's embed_dims = 48 | make them equal"),
        ("num_heads", 5, "does not divide the head's width of 24 channels"),
        ("num_classes", 0, "expected an integer of at least 1"),
        ("num_clases", 5, "unknown key 'num_clases' | did you mean 'num_classes'?"),
        ("type", "OCRHead", "expected one of 'PruneHead', 'ATMHead'"),
        ("img_size", 0, "expected an integer from 1 to 65536"),
    ],
)
def test_both_heads_refuse(key, value, message, refused):
    for base in ({}, {"base": TINY_ATM}):
        found = refused({(*HEAD, key): value}, **base)
        assert f"x.py: model.decode_head.{key} = {value!r} | " in found
        assert message in found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("thresh", 1.5, "out of range: a confidence lies between 0 and 1"),
        ("thresh", -0.1, "out of range: a confidence lies between 0 and 1"),
        ("thresh", "0.9", "expected a finite number, found a str"),
        ("channels", 24.0, "expected an integer of at least 1, found a float"),
        ("layers_per_decoder", 0, "expected an integer from 1 to 1024"),
        ("num_layers", 3, "unknown key 'num_layers'"),
        ("in_index", 3, "expected an integer from -3 to 2"),
        ("in_index", [0], "expected an integer from -3 to 2, found a list"),
        ("input_transform", "multiple_select", "unsupported: the head reads one stage | supported: None"),
        ("in_index", 0, "the final head reads the last of the backbone's out_indices | leave in_index out"),
    ],
)
def test_a_prune_head_refuses(key, value, message, refused):
    found = refused({(*HEAD, key): value})
    assert f"x.py: model.decode_head.{key} = {value!r} | " in found
    assert message in found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("use_stages", 4, "the backbone has 3 outputs | write use_stages=3"),
        ("use_stages", 0, "expected an integer of at least 1"),
        ("use_proj", False, "unsupported: every stage is projected to the head's width | supported: True"),
        ("in_index", 2, "ATMHead reads the first use_stages = 3 backbone outputs | write in_index=-1"),
        ("in_index", [0, 2], "ATMHead reads the first use_stages = 3 backbone outputs | write in_index=[0, 1, 2]"),
        ("input_transform", "resize_concat", "unsupported"),
        ("thresh", 0.9, "unknown key 'thresh'"),
        ("embed_dims", 0, "expected an integer of at least 1"),
    ],
)
def test_an_atm_head_refuses(key, value, message, refused):
    found = refused({(*HEAD, key): value}, TINY_ATM)
    assert f"x.py: model.decode_head.{key} = {value!r} | " in found
    assert message in found


@pytest.mark.parametrize("key", ["type", "in_channels", "num_classes", "channels"])
def test_required_keys_are_named(key, refused):
    assert f"x.py: model.decode_head | required key '{key}' is missing | add " in refused({(*HEAD, key): ABSENT})
