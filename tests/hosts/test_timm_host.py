"""What a recipe of a timm ViT or a diffusion block may say beside model, input and reduction."""

from __future__ import annotations

import pytest
from recipe_cases import TINY, TINY_CLIP, TINY_DIFFUSION, TINY_TIMM

from edgeexport.hosts.host import TailSpec

TOME = {("reduction",): {"tome": {"r": 8}}}


def test_defaults(validated):
    recipe = validated({}, TINY_TIMM)
    assert (recipe.output, recipe.tail) == ("logits", TailSpec("none", 0))
    assert recipe.classes == recipe.palette == recipe.extra_outputs == ()


def test_classes_are_names_of_the_logits(validated, refused):
    names = [f"class {index}" for index in range(10)]
    assert validated({("classes",): names}, TINY_TIMM).classes == tuple(names)
    message = refused({("classes",): names[1:]}, TINY_TIMM)
    assert "has 9 entries, but the model has 10 classes" in message


@pytest.mark.parametrize("base", [TINY_TIMM, TINY_CLIP, TINY_DIFFUSION])
def test_merging_offers_source_and_size(base, validated):
    names = ("size", "source")
    assert validated({**TOME, ("extra_outputs",): names}, base).extra_outputs == names


@pytest.mark.parametrize(
    ("base", "reduction"),
    [
        (TINY_TIMM, None),
        (TINY_TIMM, {"tome": {"r": 0}}),
        (TINY_TIMM, {"dsm": {"r": [3, 2], "delay": 2}}),
        (TINY_DIFFUSION, {"tome": {"r": 0}}),
        (TINY, {"tome": {"r": 8, "unmerge": "block"}}),
    ],
)
@pytest.mark.parametrize("name", ["source", "size"])
def test_where_no_token_stays_merged_there_is_no_source(base, reduction, name, refused):
    message = refused({("reduction",): reduction, ("extra_outputs",): (name,)}, base)
    assert f"x.py: extra_outputs[0] = '{name}' | this recipe computes no such output" in message


@pytest.mark.parametrize(
    ("base", "key", "value", "message"),
    [
        (TINY_TIMM, "output", "class_map", "output = 'class_map' | expected one of 'logits'"),
        (TINY_TIMM, "tail", {"form": "plain"}, "tail = {'form': 'plain'} | unsupported: a tail makes class maps"),
        (TINY_TIMM, "palette", "ade20k", "palette = 'ade20k' | unsupported: there is no map of classes to colour"),
        (TINY_DIFFUSION, "output", "logits", "output = 'logits' | expected one of 'tokens'"),
        (TINY_DIFFUSION, "tail", {"form": "fast"}, "tail = {'form': 'fast'} | unsupported: a tail makes class maps"),
        (TINY_DIFFUSION, "classes", ["a"], "classes = ['a'] | unsupported: a diffusion block predicts no classes"),
        (TINY_DIFFUSION, "palette", "ade20k", "palette = 'ade20k' | unsupported: a diffusion block predicts no"),
        (TINY, "output", "logits", "output = 'logits' | expected one of 'class_map', 'scores'"),
    ],
)
def test_keys_of_other_models_are_refused(base, key, value, message, refused):
    assert f"x.py: {message}" in refused({(key,): value}, base)
