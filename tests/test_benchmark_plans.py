"""Kernel plans as the benchmark prints them: the forms for TensorRT take fewer kernels, and as many products."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exports models")
pytest.importorskip("tensorrt_rtx_bindings", reason="compiles for SM86")

from benchmarks import kernels
from benchmarks.plans import divided, plan_of_recipe, plan_rows


def test_rewritten_graphs_take_fewer_kernels(tiny_recipe: Path) -> None:
    rows = plan_rows([str(tiny_recipe), f"{tiny_recipe}:dense"])
    assert [row["form"] for row in rows] == ["as exported", "rewritten"] * 2
    for before, after in zip(rows[::2], rows[1::2], strict=True):
        assert before["recipe"] == after["recipe"]
        assert 0 < after["kernels"] < before["kernels"]
        assert after["MB"] < before["MB"]
        assert after["MAXN ms"] < before["MAXN ms"]
    assert rows[2]["recipe"].endswith(", dense") and rows[2]["kernels"] < rows[0]["kernels"]
    json.dumps(rows, allow_nan=False)


TINY_TOME = """
model = dict(type="timm", img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=2, num_classes=5)
input = dict(shape=(1, 3, 64, 64))
output = "logits"
reduction = dict(tome=dict(r=3))
"""


def test_plans_with_plugins_are_compiled_around_them(tmp_path: Path) -> None:
    """Neither the mean of heads nor the logarithm of sizes is a kernel: the plugin takes both."""
    recipe = tmp_path / "tiny_tome.py"
    recipe.write_text(TINY_TOME)
    plan = plan_of_recipe(str(recipe))
    launched = [row.operation for row in plan.around if row.kind == "plugin"]
    assert launched == ["matchSimilarityKernel", "matchMergeKernel"] * 2
    names = [name for row in plan.around for name in row.nodes]
    assert names and not [name for name in names if "ReduceMean" in name or "Log" in name]
    composed = plan.with_plugins()
    assert composed.rows == plan.around and len(composed.kernels) < len(plan.kernels)
    assert all(row.inputs and row.outputs for row in plan.around if row.operation == "matchSimilarityKernel")
    parts = divided(plan)
    made, launches, *by_part = parts.values()
    assert (launches, made + launches, sum(by_part)) == (4, len(composed.kernels), len(composed.kernels))
    assert (
        min(parts["blocks and embedding"], parts["reductions and tail"], parts["heads"]) > 0 == parts["policy network"]
    )
    apart = replace(plan, around=(), not_around="refused")
    assert divided(apart)["taken apart"] == "refused" and divided(apart)["launches of plugins"] == 4


def test_plans_of_other_exports_stand_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "tiny_tome.py"
    recipe.write_text(TINY_TOME)
    monkeypatch.setattr(kernels, "MODELS", {"tiny": str(recipe)})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rows = kernels.kernel_rows()
    assert [(row["form"], row["export"]) for row in rows] == [
        ("dense", "timm"),
        ("dense", "edgeexport"),
        ("ToMe", "timm, patched"),
        ("ToMe", "timm, patched without scatters"),
        ("ToMe", "edgeexport"),
    ]
    assert "Unsupported reduction" in rows[2]["TensorRT-RTX"]
    for theirs, ours in (rows[:2], rows[3:]):
        assert 0 < ours["kernels"] < theirs["kernels"]
        assert theirs["MB"] > 0 and theirs["MAXN ms"] > 0
