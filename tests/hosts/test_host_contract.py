"""What the package may ask of every family of models (see `edgeexport.hosts.host`)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from recipe_cases import TINY, TINY_ATM, TINY_CLIP, TINY_DIFFUSION, TINY_LINEAR, TINY_SEGMENTER, TINY_TIMM

from edgeexport.cost.work import OTHER, part_order
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.schedule import token_schedule
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.export import scope_of
from edgeexport.graph.graphs import export_of_fixed
from edgeexport.graph.node_parts import parts_of_nodes
from edgeexport.hosts import HOSTS
from edgeexport.recipe.schema import Recipe

BASES = {
    "PruneHead": TINY,
    "ATMHead": TINY_ATM,
    "mask transformer": TINY_SEGMENTER,
    "linear decoder": TINY_LINEAR,
    "timm": TINY_TIMM,
    "clip": TINY_CLIP,
    "sd_block": TINY_DIFFUSION,
}
# One of each family with every method that changes its graph: 'other' nodes would show in the work of a bundle.
GRAPHS: dict[str, tuple[dict, dict, list[str]]] = {
    "segvit shared and pruned": (
        TINY,
        {("reduction",): {"cts": {"num_shared": 5}, "dtop": {"prune": {2: 7, 3: 4}}}},
        ["policy", "share", "embedding", "block_1", "block_2", "auxiliary_head_2", "prune_2", "block_3",
         "auxiliary_head_3", "prune_3", "block_4", "decode_head", "tail"],
    ),
    "segvit merged around branches": (
        TINY_ATM,
        {("reduction",): {"tome": {"r": [8, 0, 5], "variant": "sd"}},
         ("model", "backbone", "final_norm"): True, ("model", "backbone", "with_cls_token"): True},
        ["embedding", "merge_1", "block_1", "block_2", "merge_3", "block_3", "block_4", "final_norm", "decode_head",
         "tail"],
    ),
    "segvit merged to the end": (
        TINY_ATM,
        {("reduction",): {"tome": {"r": [8, 0, 5], "metric": "k"}},
         ("model", "backbone", "final_norm"): True, ("model", "backbone", "with_cls_token"): True},
        ["embedding", "merge_1", "block_1", "block_2", "merge_3", "block_3", "block_4", "restore", "final_norm",
         "decode_head", "tail"],
    ),
    "segmenter with shared tokens": (
        TINY_SEGMENTER,
        {("reduction",): {"cts": {"num_shared": 5, "align_tokens": 1}}},
        ["policy", "share", "embedding", "block_1", "block_2", "block_3", "block_4", "final_norm", "decode_head", "tail"],
    ),
    "segmenter merged to the end": (
        TINY_LINEAR,
        {("reduction",): {"tome": {"r": [8, 0, 5], "metric": "k"}}},
        ["embedding", "merge_1", "block_1", "block_2", "merge_3", "block_3", "block_4", "restore", "final_norm",
         "decode_head", "tail"],
    ),
    "timm in windows": (
        TINY_TIMM,
        {("reduction",): {"dsm": {"r": [0, 6, 0, 4], "delay": 1, "window": 4}}, ("model", "depth"): 4},
        ["embedding", "block_1", "merge_2", "block_2", "block_3", "merge_4", "block_4", "final_norm", "head"],
    ),
    "diffusion block": (TINY_DIFFUSION, {("reduction",): {"tome": {"r": 7}}}, ["merge_1", "block_1"]),
}  # fmt: skip


def fixed_of(recipe: Recipe) -> FixedModel:
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def inputs_of(fixed: FixedModel) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(value.shape, generator=generator) for value in fixed.example_inputs()]


@pytest.mark.parametrize("name", list(HOSTS))
def test_names(name: str) -> None:
    host = HOSTS[name]
    assert name in host.types
    assert all(type(HOSTS[other]) is type(host) for other in host.types)
    assert host.outputs and host.convention and host.num_branches >= 2 and host.scopes
    for path, part in host.scopes.items():
        assert ("#" in path) == ("#" in part)
        assert part_order(part.replace("#", "7")) != part_order("unknown"), "work is told part by part, in order"


@pytest.mark.parametrize("name", list(BASES))
def test_what_is_resolved_reads_as_the_same(name: str, validated: Callable[..., Recipe]) -> None:
    recipe = validated({}, BASES[name])
    text = json.loads(json.dumps(recipe.text["model"]))
    again = validated({("model",): text}, BASES[name])
    assert again.model == recipe.model
    assert again.text["model"] == text, "nothing is left to fill in"


@pytest.mark.parametrize("name", list(BASES))
def test_facts_are_those_of_the_walk(name: str, validated: Callable[..., Recipe]) -> None:
    recipe = validated({}, BASES[name])
    facts, fixed = recipe.facts, fixed_of(recipe)
    walk = fixed.walk
    assert list(walk.blocks) == [str(number) for number in range(1, facts.executed + 1)]
    assert walk.reads == facts.reads and set(facts.reads) <= set(range(1, facts.depth + 1))
    assert list(walk.exits) == [str(item.block) for item in facts.exits]
    pixels, context = walk.begin(*inputs_of(fixed))
    with torch.no_grad():
        tokens = walk.embed(pixels)
    assert tokens.shape == (recipe.input.batch, facts.num_tokens, facts.embed_dims)
    if not facts.why_no_sharing:
        assert walk.position.shape == (1, facts.num_patches, facts.embed_dims)
    if hasattr(walk.block(1), "residuals"):
        assert len(walk.block(1).residuals) == recipe.host.num_branches
    metric = "x" if facts.variants else "k"
    with torch.no_grad():
        x, compared = walk.block(1).attend(tokens, None, metric)
        whole = walk.block(1)(tokens, None, context)
        torch.testing.assert_close(walk.block(1).finish(x, context), whole)
    assert compared is not None and compared.shape[-2] == facts.num_tokens


@pytest.mark.parametrize("name", list(BASES))
def test_without_reductions_both_walks_agree_and_give_the_outputs_named(
    name: str, validated: Callable[..., Recipe]
) -> None:
    recipe = validated({}, BASES[name])
    assert set(recipe.host.available_outputs(recipe.model)) <= set(recipe.host.outputs)
    for output in recipe.host.available_outputs(recipe.model):
        asked = {("output",): output}
        offered = recipe.host.extra_outputs(recipe.model, output, validated(asked, BASES[name]).tail)
        fixed = fixed_of(validated({**asked, ("extra_outputs",): offered}, BASES[name]))
        inputs = inputs_of(fixed)
        with torch.no_grad():
            outputs = fixed.trace(*inputs).outputs
        assert fixed.output_names[0] == output and list(outputs) == fixed.output_names
        assert fixed.decisions == []
        assert set(offered) <= set(outputs)
        (published, *_) = PublishedModel(fixed.model, fixed.recipe).run(inputs)
        found = published.outputs[output]
        if output == "class_map":
            assert (found == outputs[output][0]).float().mean() > 0.999  # near ties apart
        else:
            torch.testing.assert_close(found, outputs[output][0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", list(BASES))
def test_work_is_counted_of_everything_executed(name: str, validated: Callable[..., Recipe]) -> None:
    recipe = validated({}, BASES[name])
    schedule, counted = token_schedule(recipe), account(recipe).reduced
    assert len(counted.blocks) == len(schedule.blocks) == recipe.facts.executed
    for block, tokens in zip(counted.blocks, schedule.blocks, strict=True):
        assert len(tokens.branches) == recipe.host.num_branches
        assert block == recipe.host.block_macs(recipe.model, tokens.branches)
        assert min(block.attention, block.mlp, block.norms) > 0 == block.matching
    geometry = recipe.host.geometry(recipe.model, recipe.facts)
    assert geometry == json.loads(json.dumps(geometry))
    assert geometry["patches"] == recipe.facts.num_patches and geometry["grid"] == list(recipe.facts.grid)


@pytest.mark.parametrize("name", list(GRAPHS))
def test_every_node_of_a_graph_has_a_place_and_a_part(name: str, validated: Callable[..., Recipe]) -> None:
    base, changes, parts = GRAPHS[name]
    recipe = validated(changes, base)
    graph = export_of_fixed(fixed_of(recipe), {}).graph
    found = parts_of_nodes(graph, recipe)
    assert [node.name for node in graph.node if found[node.output[0]] == OTHER] == []
    assert set(found.values()) == set(parts)
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    for node in graph.node:
        assert scope_of(node) and node.name.startswith(f"{scope_of(node)}/{node.op_type}")
