from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipe_cases import ABSENT, TINY, TINY_ATM, TINY_CLIP, TINY_DIFFUSION, TINY_TIMM, changed

from edgeexport.errors import CheckpointError
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.dtop import DtopSpec


def test_a_recipe_has_its_name_path_and_description(validated, tmp_path):
    recipe = validated(description="A line.")
    assert (recipe.name, recipe.path, recipe.description) == ("x", tmp_path / "x.py", "A line.")
    assert (recipe.seed, recipe.checkpoint) == (0, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({("chekpoint",): "a.pth"}, "x.py: chekpoint = 'a.pth' | unknown key 'chekpoint' | did you mean 'checkpoint'?"),
        ({("default_scope",): "mmseg"}, "unknown key 'default_scope'"),
        ({("norm_cfg",): {}}, "start a helper variable's name with an underscore"),
        ({("model",): ABSENT}, "x.py | required key 'model' is missing"),
        ({("input",): ABSENT}, "x.py | required key 'input' is missing"),
        ({("seed",): -1}, "x.py: seed = -1 | out of range: expected an integer from 0 to 4294967295"),
        ({("seed",): "1"}, "x.py: seed = '1' | expected an integer from 0 to 4294967295, found a str"),
        (
            {("model", "train_cfg"): {"a": {1}}},
            "x.py: model.train_cfg.a = {1} | a recipe holds plain values, found a set",
        ),
        ({("model", "train_cfg"): {"a": float("nan")}}, "a recipe holds plain values, found a float"),
        ({("model", "train_cfg"): {(1, 2): 3}}, "a key is a string or an integer, found (1, 2)"),
    ],
)
def test_what_no_recipe_has_is_refused(changes, message, refused):
    assert message in refused(changes)


def test_the_checkpoint_is_relative_to_the_recipe(validated, refused, write):
    weights = write("w.pth", "")
    assert validated({("checkpoint",): "w.pth"}).checkpoint == weights
    assert "x.py: checkpoint = 'v.pth' | no such file" in refused({("checkpoint",): "v.pth"}, kind=CheckpointError)
    assert "expected a string" in refused({("checkpoint",): 3})


def test_the_command_lines_checkpoint_overrides(validated, refused, write, tmp_path, monkeypatch):
    weights = write("here/w.pth", "")
    monkeypatch.chdir(tmp_path / "here")
    recipe = validated({("checkpoint",): "missing.pth"}, checkpoint=Path("w.pth"))
    assert recipe.checkpoint == weights
    assert recipe.text["checkpoint"] == "w.pth"
    assert "--checkpoint v.pth | no such file" in refused({}, kind=CheckpointError, checkpoint=Path("v.pth"))


# --- Reductions together; each method's own entry is tested with the method ---


@pytest.mark.parametrize("given", [ABSENT, None, {}, {"cts": None, "dtop": None}, {"dtop": {"prune": {}}}])
def test_no_reduction_is_the_dense_model(given, validated):
    base = changed(TINY, {("reduction",): None})
    assert validated({("reduction",): given}, base).reductions == {}


def test_both_methods_are_read_in_the_order_in_which_they_act(validated):
    given = {"dtop": {"prune": {3: 4, 2: 10}, "protect_per_class": 2}, "cts": {"num_shared": 5, "align_tokens": 1}}
    reductions = validated({("reduction",): given}).reductions
    assert reductions == {"cts": CtsSpec(5, 1, None), "dtop": DtopSpec(((2, 10), (3, 4)), 2)}
    assert list(reductions) == ["cts", "dtop"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ctss": {}}, "reduction.ctss = {} | unknown key 'ctss' | did you mean 'cts'?"),
        ([], "reduction = [] | expected a dict | known keys: algm, cts, dsm, dtop"),
        (
            {"dtop": {"prune": {2: 4}}, "dsm": {"r": 8}},
            "dsm and dtop cannot be combined: one recipe merges by one method, and merging is not defined on shared or "
            "pruned tokens | leave dsm or dtop out (in a recipe with a base: reduction=dict(_delete_=True, ...))",
        ),
    ],
)
def test_reductions_that_no_recipe_has_are_refused(given, message, refused):
    found = refused({("reduction",): given})
    assert message in found
    assert "x.py: reduction" in found


def test_a_place_is_found_again_by_the_methods_key(validated):
    recipe = validated({("reduction",): {"cts": {"num_shared": 5}}})
    assert str(recipe.place_of("cts").at("num_shared")).endswith("x.py: reduction.cts.num_shared")


REDUCED = {
    ("reduction",): {"cts": {"num_shared": 5}, "dtop": {"prune": {3: 4, 2: 10}}},
    ("extra_outputs",): ("shared_windows",),
    ("input", "preprocess"): {"mean": (1, 2, 3), "std": (1, 1, 1)},
    ("classes",): ("a", "b", "c", "d", "e"),
    ("model", "backbone", "drop_path_rate"): 0.1,
}


@pytest.mark.parametrize(("base", "changes"), [(TINY, {}), (TINY, REDUCED), (TINY_ATM, {})])
def test_the_resolved_text_is_complete_and_means_the_same(base, changes, validated, tmp_path):
    recipe = validated(changes, base)
    again = recipe_from_config(recipe.text, tmp_path / "x.py")
    assert again == recipe
    assert list(again.text) == list(recipe.text)
    assert json.dumps(again.text) == json.dumps(recipe.text)


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (TINY_TIMM, {}),
        (TINY_TIMM, {("model", "global_pool"): "avg", ("model", "drop_path_rate"): 0.1}),
        (TINY_TIMM, {("reduction",): {"tome": {"r": (8, -1)}}, ("extra_outputs",): ("source", "size")}),
        (TINY_TIMM, {("reduction",): {"tome": {"r": (3, 0)}}}),
        (TINY_TIMM, {("reduction",): {"tome": {"r": [3, 0]}}, ("classes",): tuple("abcdefghij")}),
        (
            TINY_TIMM,
            {("reduction",): {"dsm": {"r": 4}}, ("input", "preprocess"): {"mean": (1, 2, 3), "std": (1, 1, 1)}},
        ),
        (TINY_TIMM, {("reduction",): {"dsm": {"r": 4, "window": None, "delay": 0}}}),
        (TINY_CLIP, {("reduction",): {"tome": {"r": 8, "metric": "v"}}}),
        (TINY_CLIP, {("model", "tubelet"): None, ("model", "name"): None}),
        (TINY_DIFFUSION, {}),
        (TINY_DIFFUSION, {("reduction",): {"tome": {"r": 8}}}),
        (TINY_DIFFUSION, {("reduction",): {"tome": {"r": 8, "variant": "sd"}}}),
        (TINY, {("reduction",): {"tome": {"r": [8, 4]}}}),
        (TINY_ATM, {("reduction",): {"tome": {"r": 8, "dense": True, "variant": "sd"}}}),
        (
            {"model": {"type": "timm", "name": "deit_tiny_patch16_224.fb_in1k"}, "input": {"shape": (1, 3, 224, 224)}},
            {("model", "init_values"): None},
        ),
    ],
)
def test_a_text_out_of_a_manifest_means_the_same(base, changes, validated, tmp_path):
    recipe = validated(changes, base)
    again = recipe_from_config(json.loads(json.dumps(recipe.text)), tmp_path / "x.py")
    assert again == recipe
    assert json.dumps(again.text) == json.dumps(recipe.text)


def test_an_unknown_kind_of_model_is_refused(refused):
    message = refused({("model", "type"): "tim"})
    assert (
        "x.py: model.type = 'tim' | expected one of 'EncoderDecoderPrune', 'EncoderDecoder', 'Segmenter', 'timm'"
        in message
    )
    assert "did you mean 'timm'?" in message


def test_the_resolved_text_is_plain_and_keeps_what_was_asked(validated, write, tmp_path):
    write("w.pth", "")
    text = validated({**REDUCED, ("checkpoint",): "w.pth"}).text
    assert text["reduction"] == {
        "cts": {"num_shared": 5, "align_tokens": 8, "policy_checkpoint": None, "policy": "inside"},
        "dtop": {"prune": {2: 10, 3: 4}, "protect_per_class": 5},
    }
    assert list(text["reduction"]["dtop"]["prune"]) == [2, 3]
    assert text["model"]["backbone"]["drop_path_rate"] == 0.1
    assert text["model"]["backbone"]["patch_bias"] is True
    assert text["checkpoint"] == "w.pth"
    assert str(tmp_path) not in json.dumps(text)
    assert text["input"]["shape"] == [1, 3, 128, 128]


def test_the_order_of_keys_does_not_change_the_text(validated):
    reversed_base = dict(reversed(TINY.items()))
    assert list(validated({}, reversed_base).text) == list(validated().text)
