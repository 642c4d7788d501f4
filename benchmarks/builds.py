"""Time and memory of `edgeexport build`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["measure_build"]


def measure_build(recipe: str = "segvit_cts_dtop.py") -> dict[str, object]:
    """Builds a recipe for orin.

    Returns:
        ``seconds`` of the whole process, interpreter and imports included; the share of torch's exporter in it; seconds
        per stage; ``peak_gb``, the peaks of the process and of its TensorRT-RTX check added.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgeexport.cli", "build", recipe, "--target", "orin", "--json"]
        fresh = {**os.environ, "EDGEEXPORT_EXPORT_CACHE": ""}  # an export read from disk would not be timed
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "--work-dir", str(Path(folder) / "bundle")],
            capture_output=True,
            text=True,
            check=True,
            env=fresh,
        )
        total = time.perf_counter() - start
    result = json.loads(done.stdout)
    seconds = result["seconds"]
    return {
        "recipe": recipe,
        "seconds": round(total, 1),
        "torch_exporter_share": round(seconds["torch's exporter"] / total, 3),
        "stages": {name: round(value, 2) for name, value in seconds.items()},
        "peak_gb": round(result["peak_bytes"] / 1e9, 2),
    }
