"""What the package may ask of every method, whatever it does (see `edgeexport.reductions.reduction`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from recipe_cases import TINY, TINY_ATM, TINY_CLIP, TINY_DIFFUSION, TINY_LINEAR, TINY_SEGMENTER, TINY_TIMM

from edgeexport.cost.work import part_order
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import token_schedule
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.reductions import REDUCTIONS
from edgeexport.tokens.changes import Cut
from edgeexport.verify.parity import original_comparison, reference_of

# Name -> the method, a model that takes it, its entry, and entries of methods before it.
CASES: dict[str, tuple[str, dict, dict[str, object], dict[str, object]]] = {
    "cts": ("cts", TINY, {"num_shared": 5, "align_tokens": 1}, {}),
    "cts with ATMHead": ("cts", TINY_ATM, {"num_shared": 5}, {}),
    "cts on a Segmenter": ("cts", TINY_SEGMENTER, {"num_shared": 5, "align_tokens": 1}, {}),
    "tome on a Segmenter": ("tome", TINY_SEGMENTER, {"r": [8, 0, 5], "metric": "k"}, {}),
    "tome around blocks of a Segmenter": ("tome", TINY_LINEAR, {"r": 8, "dense": True}, {}),
    "dtop": ("dtop", TINY, {"prune": {2: 10, 3: 4}}, {}),
    "dtop after cts": ("dtop", TINY, {"prune": {2: 0, 3: 7}, "protect_per_class": 1}, {"cts": {"num_shared": 5}}),
    "tome": ("tome", TINY_TIMM, {"r": (4, -1.0), "metric": "q", "proportional_attention": False}, {}),
    "tome on a clip": ("tome", TINY_CLIP, {"r": [9, 0, 40]}, {}),
    "tome around blocks": ("tome", TINY, {"r": [8, 0, 5]}, {}),
    "tome around branches": ("tome", TINY_ATM, {"r": 8, "variant": "sd"}, {}),
    "tome in a diffusion block": ("tome", TINY_DIFFUSION, {"r": 7}, {}),
    "algm": ("algm", TINY_SEGMENTER, {"windows": 5, "r": 9, "blocks": (1, 3)}, {}),
    "algm on a SegViT": ("algm", TINY, {"windows": 4, "r": 7, "threshold": 0.5}, {}),
    "algm, three stages": ("algm", TINY_ATM, {"windows": 3, "r": 100, "blocks": (2, 3)}, {}),
    "algm without windows": ("algm", TINY_LINEAR, {"windows": 0, "r": 9}, {}),
    "dsm": ("dsm", TINY_TIMM, {"r": 6, "delay": 1, "window": 4, "growth": 2}, {}),
    "dsm without windows": ("dsm", TINY_TIMM, {"r": 6, "window": None}, {}),
    "random": ("random", TINY_TIMM, {"r": (4, -1.0), "seed": 3}, {}),
    "random, vanishing": ("random", TINY_CLIP, {"r": 9, "remove": "prune"}, {}),
    "random around blocks": ("random", TINY_ATM, {"r": [8, 0, 5]}, {}),
    "random at exits after cts": ("random", TINY, {"prune": {2: 0, 3: 7}}, {"cts": {"num_shared": 5}}),
}


def recipe_of(name: str, validated: Callable[..., Recipe]) -> Recipe:
    key, base, entry, before = CASES[name]
    return validated({("reduction",): {**before, key: entry}}, base)


def fixed_of(recipe: Recipe) -> FixedModel:
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def changes_of(name: str, recipe: Recipe) -> tuple[Any, ...]:
    return token_schedule(recipe).changes[CASES[name][0]]


def noise(recipe: Recipe) -> ImageBatch:
    spec, generator = recipe.input, torch.Generator().manual_seed(3)
    extra = {} if spec.context is None else {"context": torch.randn(spec.batch, *spec.context, generator=generator)}
    names = tuple(f"noise {number}" for number in range(spec.batch))
    pixels = torch.randn(spec.shape, generator=generator).numpy()
    return ImageBatch(names, pixels, {key: value.numpy() for key, value in extra.items()})


def test_every_method_has_cases() -> None:
    assert {key for key, *_ in CASES.values()} == set(REDUCTIONS)


@pytest.mark.parametrize("key", list(REDUCTIONS))
def test_names(key: str) -> None:
    """Of the method, of those before it, and of the parts that its nodes belong to."""
    method = REDUCTIONS[key]
    assert method.key == key and method.title
    order = list(REDUCTIONS)
    assert all(order.index(other) < order.index(key) for other in method.follows)
    assert method.scopes
    for path, part in method.scopes.items():
        assert ("#" in path) == ("#" in part)
        assert part_order(part.replace("#", "7")) != part_order("unknown"), "work is told part by part, in order"


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_resolved_reads_as_the_same(name: str, validated: Callable[..., Recipe]) -> None:
    recipe, (key, _, entry, _) = recipe_of(name, validated), CASES[name]
    method, spec = REDUCTIONS[key], recipe.reductions[key]
    resolved = method.resolved(entry, spec)
    again = recipe_from_config({**recipe.text, "reduction": {**recipe.text["reduction"], key: resolved}}, recipe.path)
    assert again.reductions == recipe.reductions
    assert method.resolved(resolved, spec) == resolved, "nothing is left to fill in"
    assert set(entry) <= set(resolved)


@pytest.mark.parametrize("name", list(CASES))
def test_changes_follow_one_another(name: str, validated: Callable[..., Recipe]) -> None:
    recipe, key = recipe_of(name, validated), CASES[name][0]
    changes = changes_of(name, recipe)
    assert any(change.acts for change in changes)
    blocks = [change.block for change in changes]
    assert blocks == sorted(set(blocks))
    assert blocks[0] >= 1 and blocks[-1] <= recipe.facts.executed
    for one, other in pairwise(changes):
        assert one.tokens_out == other.tokens_in
    for change in changes:
        assert 0 < change.working <= change.tokens_out <= change.tokens_in
        assert change.reason or not change.acts
        for_good = change.cut in (Cut.EMBEDDING, Cut.BETWEEN, Cut.EXIT)
        assert change.tokens_out == (change.working if for_good else change.tokens_in)
        assert REDUCTIONS[key].matching_macs(recipe.reductions[key], recipe.facts, change) >= 0


@pytest.mark.parametrize("name", list(CASES))
def test_documents_are_plain(name: str, validated: Callable[..., Recipe]) -> None:
    recipe, key = recipe_of(name, validated), CASES[name][0]
    method, spec, changes = REDUCTIONS[key], recipe.reductions[key], changes_of(name, recipe)
    acting = [change for change in changes if change.acts]
    for found in (method.tokens_document(spec, changes), method.manifest(spec, acting)):
        assert found == json.loads(json.dumps(found))
    assert set(method.manifest(spec, acting)) <= {"num_shared", "prune", "merges"}
    decided = any(method.decisions(spec, change) for change in acting)
    assert bool(method.manifest(spec, acting)) == decided, "what follows decisions on a device must know of them"


@pytest.mark.parametrize("name", list(CASES))
def test_both_forms_do_what_the_changes_say(name: str, validated: Callable[..., Recipe]) -> None:
    """Steps without parameters of their own give the outputs that they name, and as published the same tokens are chosen."""
    recipe, key = recipe_of(name, validated), CASES[name][0]
    method, spec, facts = REDUCTIONS[key], recipe.reductions[key], recipe.facts
    fixed = fixed_of(recipe)
    acting = [change for change in changes_of(name, recipe) if change.acts]
    network = None if method.network is None else getattr(fixed.model, method.network)
    for change in acting:
        own = {id(value) for value in method.step(spec, facts, change, network).parameters()}
        assert own == (set() if network is None else {id(value) for value in network.parameters()})
        names = method.output_names(spec, facts, change)
        assert set(method.decisions(spec, change)) <= set(names)
    offered = method.extra_outputs(spec, facts, acting)
    reference = reference_of(fixed, noise(recipe))
    assert set(offered) <= set(reference.outputs) == set(fixed.output_names)
    assert {name for change in acting for name in method.output_names(spec, facts, change)} <= set(fixed.output_names)
    found = original_comparison(fixed, reference)
    assert found.status == "passed", found.reason
    settings = method.settings_for_counts(spec, facts, acting, reference.trace.evidence, 0)
    published = method.published(spec, facts, acting, settings, network)
    expected = {change.block: change.cut for change in acting if change.cut is not Cut.EMBEDDING}
    assert dict(published.cuts) == expected


ENTRIES: dict[str, dict[str, object]] = {
    "cts": {"num_shared": 1},
    "dtop": {"prune": {2: 1}},
    "tome": {"r": 1},
    "dsm": {"r": 1},
    "random": {"r": 1},
    "algm": {"windows": 1, "r": 1},
}


@pytest.mark.parametrize("base", [TINY, TINY_TIMM, TINY_DIFFUSION])
def test_where_a_method_is_refused_the_message_names_those_that_are_not(
    base: dict, refused: Callable[..., str], validated: Callable[..., Recipe]
) -> None:
    facts = validated({}, base).facts
    takes = [key for key, method in REDUCTIONS.items() if not method.refuses(facts)]
    assert takes
    listed = ", ".join(takes[:-1]) + " or " + takes[-1] if len(takes) > 1 else takes[0]
    for key in REDUCTIONS:
        if key in takes:
            assert key in validated({("reduction",): {key: ENTRIES[key]}}, base).reductions
        else:
            message = refused({("reduction",): {key: ENTRIES[key]}}, base)
            assert message.endswith(f"; {facts.title} takes {listed} | leave it out")


def test_the_order_of_a_recipe_is_the_order_in_which_methods_act(validated: Callable[..., Recipe]) -> None:
    given = {"dtop": {"prune": {3: 7}}, "cts": {"num_shared": 5}}
    assert list(validated({("reduction",): given}).reductions) == ["cts", "dtop"]
    assert fixed_of(validated({("reduction",): given})).decisions == ["shared_windows", "pruned_tokens_3"]
