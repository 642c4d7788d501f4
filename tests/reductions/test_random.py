"""random: the same choice for every image, in both forms and in the graph; another for another seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_cases import TINY, TINY_DIFFUSION, TINY_TIMM

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.schedule import token_schedule
from edgeexport.fixed.tokens import account, tokens_json
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model
from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.ops import DOMAIN
from edgeexport.recipe.schema import Recipe

CASES = {
    "classifier, merged": (TINY_TIMM, {"r": 3}),
    "classifier, pruned": (TINY_TIMM, {"r": 3, "remove": "prune"}),
    "segmenter, merged": (TINY, {"r": 9}),
    "segmenter, at exits": (TINY, {"prune": {2: 10, 3: 7}}),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def recipe(request: pytest.FixtureRequest, validated: Callable[..., Recipe]) -> Recipe:
    base, options = request.param
    shape = (2, *base["input"]["shape"][1:])
    scores = {("output",): "scores"} if base is TINY else {}  # a class map may differ at a tie
    return validated({("reduction",): {"random": options}, ("input", "shape"): shape, **scores}, base)


def fixed_of(recipe: Recipe) -> FixedModel:
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def two_images(recipe: Recipe) -> torch.Tensor:
    return torch.randn(recipe.input.shape, generator=torch.Generator().manual_seed(1))


def test_both_forms_agree_on_two_images(recipe: Recipe) -> None:
    fixed, image = fixed_of(recipe), two_images(recipe)
    with torch.no_grad():
        outputs = fixed.trace(image).outputs
    for row, published in enumerate(PublishedModel(fixed.model, recipe).run([image])):
        common = [name for name in fixed.output_names if name in published.outputs]
        assert common[0] == recipe.output
        for name in common:
            found, expected = outputs[name][row].float(), published.outputs[name].float()
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4, msg=name)


def test_the_choice_is_no_matter_of_the_image(recipe: Recipe) -> None:
    fixed = fixed_of(recipe)
    with torch.no_grad():
        one, other = (fixed.trace(image).outputs for image in (two_images(recipe), -2 * two_images(recipe)))
    assert not torch.allclose(one[recipe.output].float(), other[recipe.output].float())
    for name in fixed.decisions:
        assert torch.equal(one[name], other[name])
        assert torch.equal(one[name][0], one[name][1])


def test_the_graph_carries_it_out(recipe: Recipe, tmp_path: Path) -> None:
    """Nothing is matched at run time, and whoever asks is told what was chosen."""
    fixed, image = fixed_of(recipe), two_images(recipe)
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    lint_model(graphs.with_functions).raise_for_findings()
    assert "TokenMatch" not in {node.op_type for node in graphs.with_functions.graph.node}
    path = tmp_path / "model.onnx"
    path.write_bytes(graphs.with_functions.SerializeToString())
    found = OnnxRuntimeRunner(path, extra_outputs=graphs.inner).run(image.numpy())
    with torch.no_grad():
        outputs = fixed.trace(image).outputs
    assert set(fixed.decisions) <= set(found)
    for name, value in found.items():
        np.testing.assert_allclose(value, outputs[name].numpy(), atol=1e-4, rtol=1e-3, err_msg=name)
    on_device = OnnxRuntimeRunner(graphs.tensorrt.SerializeToString(), extra_outputs=graphs.inner).run(image.numpy())
    for name in fixed.decisions:
        np.testing.assert_array_equal(on_device[name], found[name], err_msg=name)
    given = {name for node in graphs.for_plugins.graph.node for name in node.output}
    assert {item.name for item in graphs.inner} <= given | {value.name for value in graphs.for_plugins.graph.output}
    plugins = frozenset(f"{DOMAIN}::{name}" for name in PLUGIN_OPS)
    lint_model(graphs.for_plugins, allowed_ops=plugins).raise_for_findings()


@pytest.mark.parametrize("name", ["classifier, merged", "segmenter, at exits"])
def test_the_seed_decides(name: str, validated: Callable[..., Recipe]) -> None:
    base, options = CASES[name]
    chosen = []
    for seed in (0, 0, 1):
        fixed = fixed_of(validated({("reduction",): {"random": {**options, "seed": seed}}}, base))
        with torch.no_grad():
            outputs = fixed.trace(torch.zeros(fixed.recipe.input.shape)).outputs
        chosen.append(torch.cat([outputs[output].flatten() for output in fixed.decisions]))
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])


def test_blocks_draw_anew(validated: Callable[..., Recipe]) -> None:
    fixed = fixed_of(validated({("reduction",): {"random": {"r": 9}}}, TINY))
    with torch.no_grad():
        outputs = fixed.trace(torch.zeros(fixed.recipe.input.shape)).outputs
    assert not torch.equal(outputs["merge_source_1"], outputs["merge_source_2"])


def test_counts_are_tomes_and_nothing_is_spent_on_matching(validated: Callable[..., Recipe]) -> None:
    random, tome = (validated({("reduction",): {key: {"r": 3}}}, TINY_TIMM) for key in ("random", "tome"))
    assert [b.tokens_out for b in token_schedule(random).blocks] == [b.tokens_out for b in token_schedule(tome).blocks]
    own, theirs = account(random).reduced, account(tome).reduced
    assert sum(block.matching for block in own.blocks) == 0 < sum(block.matching for block in theirs.blocks)
    assert theirs.total - own.total == sum(block.matching for block in theirs.blocks)
    assert "merged at random: 3" in tokens_json(random)["blocks"][0]["reason"]  # type: ignore[index]


def test_the_resolved_recipe_reads_as_the_same(recipe: Recipe, validated: Callable[..., Recipe]) -> None:
    again = validated({("reduction",): recipe.text["reduction"]}, {**recipe.text, "checkpoint": None})
    assert again.reductions == recipe.reductions


@pytest.mark.parametrize(
    ("base", "options", "said"),
    [
        (TINY_DIFFUSION, {"r": 4}, "random is for models of images"),
        (TINY, {"r": 4, "remove": "prune"}, "needs every token back"),
        (TINY, {"prune": {1: 4}}, "no auxiliary head reads block 1"),
        (TINY, {"prune": {2: 64}}, "leaves none of the 64 tokens"),
        (TINY, {"prune": {2: 4}, "r": 3}, "means nothing beside prune"),
        (TINY_TIMM, {"prune": {2: 4}}, "no heads at which tokens could leave"),
        (TINY_TIMM, {"metric": "k", "r": 3}, "unknown key 'metric'"),
        (TINY_TIMM, {}, "required key 'r' is missing"),
    ],
)
def test_refused(base: dict, options: dict, said: str, refused: Callable[..., str]) -> None:
    assert said in refused({("reduction",): {"random": options}}, base)
