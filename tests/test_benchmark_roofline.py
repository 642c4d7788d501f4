"""The check of the latency model, on a model small enough for a test; what it finds is for a quiet machine to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exports models")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_calibrates_predicts_and_measures(tiny_recipe: Path, tmp_path: Path) -> None:
    """In a process of its own: its sessions share one thread pool, which has to be made before any other session is."""
    dense = tmp_path / "dense.py"
    dense.write_text(tiny_recipe.read_text() + "reduction = dict()\n")
    code = (
        "import json, sys; from benchmarks.roofline import measure_roofline\n"
        "print(json.dumps(measure_roofline(4, recipes=sys.argv[2:], calibrated_on=sys.argv[1]), allow_nan=False))"
    )
    command = [sys.executable, "-c", code, str(dense), str(tiny_recipe)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    found = json.loads(done.stdout.splitlines()[-1])
    calibrated, predicted = found["rows"]
    assert (calibrated["recipe"], predicted["recipe"]) == ("dense", "tiny")
    # What it was calibrated on is met, unless its products' bytes alone take longer.
    assert calibrated["error"] == pytest.approx(0.0, abs=0.02) or calibrated["error"] > 0
    assert predicted["error"] == pytest.approx(predicted["predicted_ms"] / predicted["measured_ms"] - 1, abs=1e-2)
    assert found["largest_error"] == abs(predicted["error"])
    assert found["ceilings"]["gigabytes_per_s"]["kind"] == found["ceilings"]["launch_us"]["kind"] == "measured"
