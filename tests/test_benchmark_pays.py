"""Which shipped recipes are predicted to pay: the benchmark, the table that it fills, and what recipes say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeexport.config.lookup import shipped_recipes

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| `(?P<recipe>\w+)` \|.*\| (?P<ratio>[0-9.]+) \|$", re.M)


def section() -> str:
    """What docs/numbers.md says of it."""
    page = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")
    return page.partition("## Which shipped recipes pay")[2].partition("\n## ")[0]


def predicted() -> dict[str, float]:
    """Recipe -> how many times as fast as its dense model, with plugins, by the table."""
    return {match["recipe"]: float(match["ratio"]) for match in ROW.finditer(section())}


def test_a_recipe_that_is_predicted_slower_says_so() -> None:
    table, lines = predicted(), {name.removesuffix(".py"): line for name, line in shipped_recipes()}
    assert len(table) > 10
    for recipe, ratio in table.items():
        assert ("slower in FP16" in lines[recipe]) == (ratio < 1), (recipe, ratio)


def test_every_recipe_that_reduces_is_in_the_table_or_named_as_left_out() -> None:
    pytest.importorskip("torch", reason="reads recipes")
    from edgeexport.recipe import load_recipe
    from edgeexport.recipe.prompt import prompt_recipe

    one_graph = [name for name, _ in shipped_recipes() if prompt_recipe(name) is None]
    reduced = {name.removesuffix(".py") for name in one_graph if load_recipe(name).reductions}
    named = set(re.findall(r"`(\w+)`", section()))
    assert predicted().keys() <= reduced <= named


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
