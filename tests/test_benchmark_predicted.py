"""Predicted latencies of a recipe in both precisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exports models")

from benchmarks.predicted import predicted_latencies
from edgeexport.errors import UsageError


@pytest.mark.slow
def test_rows_for_both_precisions_and_every_mode(tiny_recipe: Path, tmp_path: Path) -> None:
    dense = tmp_path / "dense.py"
    dense.write_text(tiny_recipe.read_text() + "reduction = dict()\n")
    found = predicted_latencies([str(dense), str(tiny_recipe)], "orin")
    assert found["provenance"] == "predicted" and "roofline" in found["model"]
    rows = {(row["recipe"], row["precision"]): row for row in found["rows"]}
    assert set(rows) == {(name, precision) for name in ("dense", "tiny") for precision in ("fp32", "fp16")}
    for (name, _), row in rows.items():
        assert list(row["ms"]) == ["MAXN", "50W", "30W", "15W"]
        assert list(row["ms"].values()) == sorted(row["ms"].values())
        if name == "dense":
            assert set(row["of_first"].values()) == {1.0}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("target", ["cpu", "orion"])
def test_target_without_limits_is_refused_before_anything_is_exported(target: str) -> None:
    with pytest.raises(UsageError, match="has no published rates"):
        predicted_latencies(["no such recipe"], target)
