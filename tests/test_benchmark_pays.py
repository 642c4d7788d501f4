"""Which shipped recipes are predicted to pay: the benchmark, the table that it fills, and what recipes say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeexport.config.lookup import shipped_recipes

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| `(?P<recipe>\w+)` \|.*\| (?P<ratio>[0-9.]+) \|$", re.M)


def predicted() -> dict[str, float]:
    """Recipe -> how many times as fast as its dense model, with plugins, by the table in docs/numbers.md."""
    page = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")
    section = page.partition("## Which shipped recipes pay")[2].partition("\n## ")[0]
    return {match["recipe"]: float(match["ratio"]) for match in ROW.finditer(section)}


def test_a_recipe_that_is_predicted_slower_says_so() -> None:
    table, lines = predicted(), {name.removesuffix(".py"): line for name, line in shipped_recipes()}
    assert len(table) > 20
    for recipe, ratio in table.items():
        assert ("slower in FP16" in lines[recipe]) == (ratio < 1), (recipe, ratio)


def test_the_table_has_every_recipe_that_reduces() -> None:
    pytest.importorskip("torch", reason="reads recipes")
    from edgeexport.recipe import load_recipe

    reduced = {name.removesuffix(".py") for name, _ in shipped_recipes() if load_recipe(name).reductions}
    assert reduced == {*predicted()}


def test_a_recipe_beside_its_dense_model(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="exports models")
    pytest.importorskip("tensorrt_rtx_bindings", reason="compiles for SM86")
    from benchmarks.pays import FORMS, pays_rows

    recipe = tmp_path / "tiny.py"
    recipe.write_text(
        'model = dict(type="timm", img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=2, num_classes=5)\n'
        'input = dict(shape=(1, 3, 64, 64))\noutput = "logits"\nreduction = dict(tome=dict(r=3))\n'
    )
    (row,) = pays_rows([str(recipe)], "orin", "fp16")
    for form in FORMS:  # so small a model: merging adds kernels, and saves next to nothing
        assert row[form]["reduced ms"] > row[form]["dense ms"] > 0
        assert row[form]["dense over reduced"] < 1
