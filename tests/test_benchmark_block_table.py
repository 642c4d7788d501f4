"""The latency table that the benchmark writes: complete, readable by calibration, for models with and without pruning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shared_cases import REPOSITORY, TINY_RECIPE

from edgeexport.calibration.cost import TableCost
from edgeexport.calibration.latency_table import model_signature, read_latency_table
from edgeexport.calibration.merging_latency import MergingTableCost, read_merging_latency_table
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.recipe import load_recipe

# 64x64 pixels: 16 tokens, so that few counts are measured.
SMALL = TINY_RECIPE.replace("input = dict(shape=(1, 3, 128, 128)", "input = dict(shape=(1, 3, 64, 64)")
SMALL = SMALL.replace("{2: 16, 3: 8}", "{2: 4, 3: 4}")


def block_table(recipe: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the benchmark's shared thread pool is for the whole process, and for good."""
    command = [sys.executable, "-m", "benchmarks", "block-table", str(recipe), "--out", str(out), "--rounds", "3"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


@pytest.mark.slow
def test_writes_a_table_that_calibration_reads(tmp_path: Path) -> None:
    path, out = tmp_path / "tiny.py", tmp_path / "tables" / "tiny.json"
    path.write_text(SMALL)
    done = block_table(path, out)
    assert done.returncode == 0, done.stderr
    recipe, table = load_recipe(path), read_latency_table(out)
    found = json.loads(out.read_text())
    assert json.loads(done.stdout) == found
    assert [tokens for tokens, _ in table.block_ms] == [8, 16]
    assert [tokens for tokens, _ in table.head_ms] == [8, 16]
    assert table.provenance == "measured" and "ONNX Runtime" in table.device
    assert table.model == model_signature(recipe)
    assert table.policy() > 0 and all(value > 0 for _, value in (*table.block_ms, *table.head_ms))
    cost = TableCost(table)
    check = found["check"]
    assert set(check) == {"dense", "tiny"} and found["noise"] >= 1
    assert check["tiny"]["table_ms"] == pytest.approx(cost.cost(recipe), abs=1e-3)
    assert check["dense"]["table_ms"] == pytest.approx(cost.cost(dense_recipe(recipe)), abs=1e-3)
    assert check["tiny"]["measured_ms"] > 0


@pytest.mark.slow
def test_measures_a_model_with_an_atm_head(tmp_path: Path) -> None:
    path, out = tmp_path / "atm.py", tmp_path / "atm.json"
    head = "dict(type='ATMHead', img_size=128, in_channels=32, embed_dims=24, num_heads=2, num_classes=6, num_layers=2)"
    options = f"model.update(type='EncoderDecoder', decode_head={head})\ndel model['auxiliary_head']\n"
    options += "model['backbone']['type'] = 'VisionTransformer'\ndel model['backbone']['num_classes']\n"
    changed = SMALL.replace("reduction = dict(dtop=dict(prune={2: 4, 3: 4}))", "reduction = dict()") + options
    path.write_text(changed)
    done = block_table(path, out)
    assert done.returncode == 0, done.stderr
    table = read_latency_table(out)
    assert table.model is not None and table.model["decode_head"]["stages"] == 3
    assert TableCost(table).cost(dense_recipe(load_recipe(path))) > 0
    assert set(json.loads(out.read_text())["check"]) == {"dense"}


TINY_TIMM = '''"""Small."""

model = dict(type="timm", img_size=(32, 32), patch_size=4, embed_dim=24, depth=3, num_heads=2, num_classes=10)
input = dict(shape=(1, 3, 32, 32))
reduction = dict(tome=dict(r=6))
'''


@pytest.mark.slow
def test_a_table_of_a_timm_host_bounds_merging(tmp_path: Path) -> None:
    path, out = tmp_path / "tiny.py", tmp_path / "t.json"
    path.write_text(TINY_TIMM)
    done = block_table(path, out)
    assert done.returncode == 0, done.stderr
    recipe, table, found = load_recipe(path), read_merging_latency_table(out), json.loads(out.read_text())
    assert [n for n, _ in table.merge_ms] == [n for n, _ in table.attention_ms] and table.mlp_ms[-1][0] == 65
    cost = MergingTableCost(table)
    assert found["check"]["tiny"]["table_ms"] == pytest.approx(cost.cost(recipe), abs=1e-3)
    assert found["check"]["dense"]["table_ms"] == pytest.approx(cost.cost(dense_recipe(recipe)), abs=1e-3)


@pytest.mark.slow
def test_a_model_without_these_parts_is_refused(tmp_path: Path) -> None:
    done = block_table(Path("tome_sd_block.py"), tmp_path / "t.json")
    assert done.returncode == 2
    assert "is no SegViT and no timm host" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "t.json").exists()
