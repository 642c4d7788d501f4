"""Token merging in timm hosts: the fixed form against the published one, image by image, in every option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.verify.parity import batch_comparison, original_comparison, reference_of, runtime_comparison

SMALL = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 10}
CASES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "constant": ({}, {"tome": {"r": 6}}),
    "falling": ({}, {"tome": {"r": (6, -1.0)}}),
    "per layer, from the second block on": ({}, {"tome": {"r": [0, 9, 0, 4]}}),
    "beyond the limit": ({}, {"tome": {"r": 40}}),
    "no proportional attention": ({}, {"tome": {"r": 6, "proportional_attention": False}}),
    "no class token": ({"class_token": False, "global_pool": "avg"}, {"tome": {"r": 6}}),
    "size-weighted pooling": ({"global_pool": "avg"}, {"tome": {"r": 6, "pool": "size_weighted"}}),
    "mean pooling": ({"global_pool": "avg"}, {"tome": {"r": 6}}),
    "registers": ({"reg_tokens": 3}, {"tome": {"r": 6}}),
    "queries": ({}, {"tome": {"r": 6, "metric": "q"}}),
    "values": ({"qk_norm": True}, {"tome": {"r": 6, "metric": "v"}}),
    "normed keys": ({"qk_norm": True}, {"tome": {"r": 6, "metric": "k"}}),
    "tokens": ({}, {"tome": {"r": 6, "metric": "x"}}),
    "not square": ({"img_size": (64, 40)}, {"tome": {"r": 5}}),
    "clip": ({"img_size": 32, "frames": 4, "tubelet": 2}, {"tome": {"r": 5}}),
    "delayed windows": ({}, {"dsm": {"r": 8, "delay": 1, "window": 4}}),
    "windows that grow past the grid": ({}, {"dsm": {"r": 8, "delay": 0, "window": 5, "growth": 2}}),
    "windows on a grid that is not square": ({"img_size": (64, 40)}, {"dsm": {"r": 5, "delay": 0, "window": 3}}),
    "windows without a class token": (
        {"class_token": False, "global_pool": "avg"},
        {"dsm": {"r": 7, "delay": 1, "window": 3}},
    ),
}


def recipe_of(name: str, folder: Path, batch: int = 2, **changes: object) -> Recipe:
    model, reduction = CASES[name]
    model = {**model, **changes}
    size = model.get("img_size", SMALL["img_size"])
    height, width = size if isinstance(size, tuple) else (size, size)
    shape = (batch, 3, model["frames"], height, width) if "frames" in model else (batch, 3, height, width)
    config = {"model": {"type": "timm", **SMALL, **model}, "input": {"shape": shape}, "reduction": reduction}
    return recipe_from_config({**config, "extra_outputs": ("source", "size")}, folder / "x.py")


def noise(recipe: Recipe, seed: int) -> ImageBatch:
    names = tuple(f"noise {seed}.{i}" for i in range(recipe.input.batch))
    generator = torch.Generator().manual_seed(seed)
    return ImageBatch(names, torch.randn(recipe.input.shape, generator=generator).numpy())


def merging(fixed: FixedModel) -> list[Any]:
    """What merges, block by block."""
    return [change for _, change in fixed.schedule.acting]


@pytest.mark.parametrize("name", list(CASES))
def test_fixed_form_is_the_published_one(name: str, tmp_path: Path) -> None:
    recipe = recipe_of(name, tmp_path)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    for seed in (0, 1):
        found = original_comparison(fixed, reference_of(fixed, noise(recipe, seed)))
        assert found.status == "passed", found.reason
        assert len(found.decisions) == 2 * len(merging(fixed))
        assert {item.name for item in found.outputs} == {"logits", "source", "size"}


EXPORTED = ["beyond the limit", "no class token", "size-weighted pooling", "delayed windows", "clip"]


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graph_is_the_fixed_form(name: str, tmp_path: Path) -> None:
    """Two batches of different images: a graph with one image's choice baked in would fail on the second."""
    recipe = recipe_of(name, tmp_path, depth=3)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    lint_model(graphs.with_functions).raise_for_findings()
    lint_model(graphs.plain).raise_for_findings()
    kept = {f"merge_kept_{step.block}" for step in merging(fixed) if 2 * step.r == step.tokens_in - 1}
    assert [info.name for info in graphs.inner] == [name for name in fixed.decisions if name not in kept]
    runner = OnnxRuntimeRunner(graphs.with_functions.SerializeToString(), extra_outputs=graphs.inner)
    for seed in (0, 1):
        reference = reference_of(fixed, noise(recipe, seed))
        for found in (runtime_comparison(fixed, reference, runner), batch_comparison(fixed, reference, runner)):
            assert found.status == "passed", found.reason
            assert len(found.decisions) == 2 * len(merging(fixed))


def test_selections_differ_between_images(tmp_path: Path) -> None:
    recipe = recipe_of("constant", tmp_path)
    model, _ = model_from_recipe(recipe)
    trace = reference_of(fixed_from_model(model, recipe), noise(recipe, 0)).trace
    first, second = trace.outputs["merge_source_1"].tolist()
    assert set(first) != set(second)


def test_windows_from_the_start_that_hold_the_grid_are_tome(tmp_path: Path) -> None:
    """DSM with delay 0 and no windows is ToMe."""
    config = {"model": {"type": "timm", **SMALL}, "input": {"shape": (1, 3, 64, 64)}}
    predictions = []
    for reduction in ({"tome": {"r": 6}}, {"dsm": {"r": 6, "delay": 0, "window": None}}):
        recipe = recipe_from_config({**config, "reduction": reduction}, tmp_path / "x.py")
        model, _ = model_from_recipe(recipe)
        predictions.append(reference_of(fixed_from_model(model, recipe), noise(recipe, 0)).outputs)
    np.testing.assert_array_equal(predictions[0]["logits"], predictions[1]["logits"])


def test_changed_decision_is_noticed(tmp_path: Path) -> None:
    """The comparison can fail: one token merged elsewhere."""
    recipe = recipe_of("constant", tmp_path)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    reference = reference_of(fixed, noise(recipe, 0))
    target = reference.outputs["merge_target_2"]
    target[1, 0] = next(token for token in range(1, 60, 2) if token != target[1, 0])
    found = original_comparison(fixed, reference)
    assert found.status == "failed"
    assert "merges_2" in found.reason
