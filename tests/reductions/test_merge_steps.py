"""Merging around a segmenter's blocks: the fixed form against the published one, image by image, in both variants."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.verify.parity import original_comparison, reference_of, runtime_comparison

HEAD = {"in_channels": 24, "num_heads": 2, "num_classes": 5}
BACKBONE = {
    "img_size": (64, 96),
    "embed_dims": 24,
    "num_layers": 3,
    "num_heads": 2,
    "out_indices": [0, 1, 2],
    "norm_cfg": {"type": "LN", "eps": 1e-6},
}
MODELS = {
    "PruneHead": {
        "type": "EncoderDecoderPrune",
        "backbone": {**BACKBONE, "type": "ViT_prune", "with_cls_token": False},
        "decode_head": {**HEAD, "type": "PruneHead", "channels": 24},
    },
    "ATMHead with a class token": {
        "type": "EncoderDecoder",
        "backbone": {**BACKBONE, "type": "VisionTransformer", "with_cls_token": True},
        "decode_head": {**HEAD, "type": "ATMHead", "embed_dims": 24, "num_layers": 2},
    },
}


def fixed_of(model: str, variant: str, folder: Path) -> FixedModel:
    """64x96 pixels: 4x6 patches, in 3 blocks of which the second merges nothing."""
    config = {
        "model": MODELS[model],
        "input": {"shape": (2, 3, 64, 96)},
        "output": "scores",
        "reduction": {"tome": {"r": [7, 0, 4], "variant": variant}},
    }
    recipe = recipe_from_config(config, folder / "x.py")
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def noise(seed: int) -> ImageBatch:
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))
    return ImageBatch(("a", "b"), pixels.numpy())


@pytest.mark.parametrize("variant", ["tome", "sd"])
@pytest.mark.parametrize("model", list(MODELS))
def test_fixed_form_is_the_published_one(model: str, variant: str, tmp_path: Path) -> None:
    fixed = fixed_of(model, variant, tmp_path)
    for seed in (0, 1):
        found = original_comparison(fixed, reference_of(fixed, noise(seed)))
        assert found.status == "passed", found.reason
        assert {item.stage for item in found.decisions} == {"merges_1", "merges_3"}


def test_exported_graph_merges_around_the_branches(tmp_path: Path) -> None:
    fixed = fixed_of("ATMHead with a class token", "sd", tmp_path)
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    lint_model(graphs.with_functions).raise_for_findings()
    runner = OnnxRuntimeRunner(graphs.with_functions.SerializeToString(), extra_outputs=graphs.inner)
    for seed in (0, 1):
        found = runtime_comparison(fixed, reference_of(fixed, noise(seed)), runner)
        assert found.status == "passed", found.reason


@pytest.mark.parametrize("variant", ["tome", "sd"])
def test_a_model_of_one_block_gives_the_outputs_that_it_names(variant: str, tmp_path: Path) -> None:
    """Around branches, one merge tells where every token is; around a whole block nothing does."""
    config = {
        "model": {
            **MODELS["PruneHead"],
            "backbone": {**MODELS["PruneHead"]["backbone"], "num_layers": 1, "out_indices": [0]},
        },
        "input": {"shape": (2, 3, 64, 96)},
        "output": "scores",
        "reduction": {"tome": {"r": 7, "variant": variant}},
    }
    recipe = recipe_from_config(config, tmp_path / "x.py")
    fixed = fixed_from_model(model_from_recipe(recipe)[0], recipe)
    reference = reference_of(fixed, noise(0))
    assert set(reference.outputs) == set(fixed.output_names)
    assert ("source" in fixed.output_names) == (variant == "sd")
    found = original_comparison(fixed, reference)
    assert found.status == "passed", found.reason
