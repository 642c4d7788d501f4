"""The merging benchmark on a host of two blocks: the patched export runs, agrees, and has the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from benchmarks import merging
from benchmarks.merging import without_matching
from benchmarks.patched_vit import PatchedVit
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe

_RECIPE = """
model = dict(type="timm", img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=5)
input = dict(
    shape=(1, 3, 64, 64),
    preprocess=dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), bgr_to_rgb=False),
)
output = "logits"
reduction = dict(tome=dict(r=3))
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "small.py"
    path.write_text(_RECIPE)
    return load_recipe(str(path))


@pytest.mark.slow
def test_forms_agree_and_have_the_same_work(recipe: Recipe) -> None:
    """In a process of its own: the benchmark's shared thread pool is for the whole process, and for good."""
    code = (
        "import json, sys; from benchmarks.merging import measure_merging; from edgeexport.recipe import load_recipe; "
        "print(json.dumps(measure_merging(load_recipe(sys.argv[1]), rounds=2)))"
    )
    command = [sys.executable, "-c", code, str(recipe.path)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tokens_out"] == 11
    assert found["largest_logit_difference"] < 1e-5
    forms = found["forms"]
    assert forms["dense"]["mac_ratio_executed"] == 1.0
    # The patched form merges by scatter, ours by a product, and matches its class token too.
    assert forms["merged"]["mac_ratio_executed"] == pytest.approx(forms["patched timm"]["mac_ratio_executed"], rel=0.02)
    assert forms["merged"]["mac_ratio_executed"] > 1.05
    assert 0 < found["share_by_profile"]["TokenMatch"] < 1
    assert 0 < found["share_by_profile"]["TokenMerge"] < 1
    assert 0 < found["share_by_profile"]["metric"] < 1


@pytest.mark.parametrize("proportional", [True, False])
def test_patched_form_is_tome_with_proportional_attention(recipe: Recipe, proportional: bool) -> None:
    merge = replace(recipe.reductions["tome"], proportional_attention=proportional)
    recipe = replace(recipe, reductions={"tome": merge})
    model, _ = model_from_recipe(recipe)
    assert isinstance(model, VisionTransformer)
    patched = PatchedVit(model, [3, 3], (127.5,) * 3, (127.5,) * 3).eval()
    image = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = (patched(image) - fixed_from_model(model, recipe)(image)[0]).abs().max()
    assert (difference < 1e-5) == proportional


def test_without_matching_keeps_token_counts(recipe: Recipe) -> None:
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    graph = graphs_from_export(fixed, export_of_fixed(fixed, {})).with_functions
    cut = without_matching(graph, "logits")
    assert not {"TokenMatch", "TokenMerge", "ReduceMean"} & {node.op_type for node in cut.graph.node}
    assert sum(node.op_type == "Slice" for node in cut.graph.node) == 2
    ends = {item.name: list(item.int64_data) for item in cut.graph.initializer if item.name.endswith("/to")}
    assert sorted(ends.values()) == [[11], [14]]


def test_recipes_of_the_benchmark_load() -> None:
    for name in merging.RECIPES.values():
        assert load_recipe(name).reductions["tome"].r
