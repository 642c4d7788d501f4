"""Where merged tokens come back: in every block, or once, where they are read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from recipe_cases import TINY, TINY_ATM, TINY_TIMM

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.tokens.changes import Cut

FEATURES = {**TINY_TIMM, "output": "features"}
NORMED = {("model", "backbone", "final_norm"): True}
CLASS_TOKEN = {("model", "backbone", "with_cls_token"): True}
CASES: dict[str, tuple[Mapping, dict, dict]] = {
    "features, at the end": (FEATURES, {}, {"tome": {"r": 8}}),
    "features, in every block": (FEATURES, {}, {"tome": {"r": 8, "unmerge": "block"}}),
    "features by the older name": (FEATURES, {}, {"tome": {"r": 8, "dense": True}}),
    "PruneHead, at the end": (TINY, {}, {"tome": {"r": 9}}),
    "PruneHead, by queries": (TINY, {}, {"tome": {"r": 9, "metric": "q"}}),
    "PruneHead, by values": (TINY, {}, {"tome": {"r": 9, "metric": "v", "unmerge": "end"}}),
    "PruneHead, by tokens": (TINY, {}, {"tome": {"r": [0, 7], "metric": "x"}}),
    "PruneHead, in every block": (TINY, {}, {"tome": {"r": 9, "unmerge": "block"}}),
    "ATMHead of three stages, at the end": (TINY_ATM, {**CLASS_TOKEN, **NORMED}, {"tome": {"r": 6}}),
    "SegViT, in windows": (TINY, {}, {"dsm": {"r": 6, "delay": 1, "window": 4}}),
    "SegViT, at random": (TINY, {}, {"random": {"r": 9}}),
}


def fixed_of(validated, base, changes, reduction) -> FixedModel:
    shape = {("input", "shape"): (2, *base["input"]["shape"][1:])}
    recipe = validated({**changes, **shape, ("reduction",): reduction}, base)
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def image_of(fixed: FixedModel) -> torch.Tensor:
    return torch.randn(fixed.recipe.input.shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("case", list(CASES))
def test_the_fixed_form_is_the_published_one(case, validated):
    fixed = fixed_of(validated, *CASES[case])
    image = image_of(fixed)
    with torch.no_grad():
        found = fixed.trace(image).outputs
    names = ["features"] if "features" in found else ["class_scores"]
    for one, published in enumerate(PublishedModel(fixed.model, fixed.recipe).run([image])):
        for name in names:
            torch.testing.assert_close(published.outputs[name], found[name][one], atol=2e-4, rtol=1e-3)
        for name in fixed.decisions:
            assert sorted(published.outputs[name].tolist()) == sorted(found[name][one].tolist())


@pytest.mark.parametrize("case", ["PruneHead, at the end", "ATMHead of three stages, at the end"])
def test_a_head_reads_at_each_stage_what_had_merged_by_then(case, validated):
    fixed = fixed_of(validated, *CASES[case])
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    head_inputs: list[torch.Tensor] = []

    def remember(module, given):
        (tokens,) = given
        head_inputs.extend(tokens if isinstance(tokens, list) else [tokens])

    fixed.walk.decode_head.register_forward_pre_hook(remember)
    with torch.no_grad():
        fixed.trace(image_of(fixed), watch=lambda number, x, trace: seen.update({number: (x, trace.origin)}))
    backbone, prefix = fixed.model.backbone, fixed.schedule.facts.prefix
    for block, read in zip(fixed.walk.reads, head_inputs, strict=True):
        x, origin = seen[block]
        assert x.shape[1] < fixed.schedule.facts.num_tokens == read.shape[1] + prefix
        x = backbone.ln1(x) if backbone.spec.final_norm and block == backbone.spec.num_layers else x
        for one in range(2):
            torch.testing.assert_close(read[one], x[one][origin[one].long()][prefix:])


@pytest.mark.parametrize("base", [FEATURES, TINY])
def test_tokens_come_back_once_unless_the_recipe_says_otherwise(base, validated):
    cuts = {}
    for name, more in {"default": {}, "end": {"unmerge": "end"}, "block": {"unmerge": "block"}}.items():
        fixed = fixed_of(validated, base, {}, {"tome": {"r": 8, **more}})
        cuts[name] = {change.cut for _, change in fixed.schedule.acting}
        text = fixed.recipe.text
        assert validated({("reduction",): text["reduction"]}, base).reductions == fixed.recipe.reductions
    assert cuts == {"default": {Cut.BETWEEN}, "end": {Cut.BETWEEN}, "block": {Cut.AROUND}}


def test_the_older_name_means_in_every_block(validated):
    given = [
        validated({("reduction",): {"tome": {"r": 8, **how}}}, TINY) for how in ({"dense": True}, {"unmerge": "block"})
    ]
    assert given[0].reductions == given[1].reductions
    assert validated({("reduction",): {"tome": {"r": 8, "variant": "sd"}}}, TINY).reductions["tome"].dense == "sd"


@pytest.mark.parametrize("unmerge", ["end", "block"])
def test_a_head_is_counted_on_all_tokens(unmerge, validated):
    recipe = validated({("reduction",): {"tome": {"r": 8, "unmerge": unmerge}}}, TINY)
    counted = account(recipe)
    assert counted.reduced.heads == counted.dense.heads
    assert counted.reduced.backbone < counted.dense.backbone
