"""Merges in float16 beside float32, counted on a small Vision Transformer."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.evidence_flips import flips_on_photos
from edgeexport.evaluation.dense_beside import layout_of
from edgeexport.fixed.tokens import tokens_json
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe.validation import recipe_from_config

MODEL = {"type": "timm", "img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 0}
CONFIG = {
    "model": MODEL,
    "input": {"shape": (1, 3, 64, 64), "preprocess": {"mean": [127.5] * 3, "std": [127.5] * 3}},
    "output": "features",
    "reduction": {"tome": {"r": 8}},
}


@pytest.mark.slow
def test_flips_are_counted_and_explained(tmp_path: Path) -> None:
    recipe = recipe_from_config(CONFIG, tmp_path / "x.py")
    model, origin = model_from_recipe(recipe)
    photos = shipped_photos()[:2]
    found = flips_on_photos(recipe, model, origin, layout_of(tokens_json(recipe)), photos)
    assert found["images"] == 2 and found["merged"] == 2 * 3 * 8
    assert 0 <= found["elsewhere"] <= found["merged"] and (found["elsewhere"] > 0) == (found["flipped"] > 0)
    assert found["explained"] == 2, "float16 differs by near ties alone"
    assert found["patch tokens"] > 0.9 and found["class token"] > 0.9
    # Rounded values are not those of float32.
    assert found["patch tokens"] < 1
