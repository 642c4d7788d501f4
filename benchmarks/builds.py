"""Time and memory of `edgeexport build` beside torch's exporter alone, each in a process of its own, one after the other.

The build is the whole command: interpreter, both exports (the reduced model's and, for the kernel plans, the dense one's),
passes, comparisons, TensorRT-RTX, report. What a user's cache keeps of earlier builds (exports, kernel plans) is not there;
compiled plugins are. The exporter alone writes timm's dense model of the same name and size.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.plugin.search import cache_folder

__all__ = ["MODELS", "SIZES", "TIMES_ALLOWED", "Run", "build_rows", "run_measured"]

MODELS = {
    "ti": "vit_tiny_patch16_224",
    "s": "vit_small_patch16_224",
    "b": "vit_base_patch16_224",
    "l": "vit_large_patch16_224",
}
SIZES = (224, 512)
MERGED = 8  # tokens in every block, by ToMe
TIMES_ALLOWED = 3.0
"""How many times as long as the exporter alone a build may take."""

# A small process in between: Linux counts the memory of whoever starts a process among its highest, and this one has torch.
_MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[2:]).returncode
seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
document = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}
open(sys.argv[1], "w").write(json.dumps(document))
sys.exit(code if code >= 0 else 1)
"""
_KEPT = ("exports", "plans")
_PLANS = "kernel plans, dense model beside it"


@dataclass(frozen=True)
class Run:
    """A process that ended: wall and processor seconds, children's included, and the highest resident memory of any of them.

    ``output`` is its standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def run_measured(command: Sequence[str], environ: Mapping[str, str] | None = None) -> Run:
    """Runs a command to its end.

    Raises:
        subprocess.CalledProcessError: It fails; the end of its standard error is in it.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        told = Path(folder) / "used.json"
        whole = [sys.executable, "-I", "-S", "-c", _MEASURE, str(told), *command]
        environ = None if environ is None else dict(environ)
        code = subprocess.run(whole, stdout=out, stderr=err, env=environ, check=False).returncode
        out.seek(0)
        err.seek(0)
        output, errors = out.read().decode(), err.read().decode(errors="replace")
        if code:
            raise subprocess.CalledProcessError(code, list(command), output, errors[-2000:])
        used = json.loads(told.read_text())
    return Run(used["seconds"], used["cpu_seconds"], used["peak_bytes"], output)


def build_rows(
    models: Sequence[str], sizes: Sequence[int], target: str, on_stage: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measures ToMe with r = 8 on each of `MODELS` at each size.

    Returns:
        A row each: ``model``, ``pixels``, ``weights_mb``; seconds, processor seconds and peak memory of ``build`` and
        ``exporter``; ``times``, how many times as long the build takes by the clock, ``cpu_times`` by processor time, and
        ``times_apart_from_plans``, the clock's without the stage that a cache or --no-plans saves; ``stages``, the build's own
        account in seconds, and ``unaccounted``, interpreter and imports.
    """
    rows = []
    for model in models:
        for size in sizes:
            name = MODELS[model]
            on_stage(f"{name} at {size}: torch's exporter alone")
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.onnx"
                exporter = run_measured([sys.executable, "-m", "benchmarks.exporter_alone", name, str(size), str(file)])
                weights = sum(path.stat().st_size for path in Path(folder).iterdir())
            on_stage(f"{name} at {size}: build")
            build = _build(name, size, target)
            rows.append(_row(model, size, weights, build, exporter))
    return rows


def _build(name: str, size: int, target: str) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        shutil.copytree(
            cache_folder(os.environ), cache / "edgeexport", ignore=shutil.ignore_patterns(*_KEPT, "test-builds")
        )
        environ = {**os.environ, "EDGEEXPORT_EXPORT_CACHE": "", "XDG_CACHE_HOME": str(cache)}
        command = [sys.executable, "-m", "edgeexport", "build", f"timm:{name}", "--target", target, "--json"]
        options = ["--tome", str(MERGED), "--cfg-options", f"model.img_size={size}"]
        return run_measured([*command, *options, "--work-dir", str(Path(folder) / "bundle")], environ)


def _row(model: str, size: int, weights: int, build: Run, exporter: Run) -> dict[str, Any]:
    stages: dict[str, float] = json.loads(build.output)["seconds"]
    return {
        "model": f"ViT-{model.title()}",
        "pixels": size,
        "weights_mb": round(weights / 1e6, 1),
        "build": _figures(build),
        "exporter": _figures(exporter),
        "times": round(build.seconds / exporter.seconds, 2),
        "cpu_times": round(build.cpu_seconds / exporter.cpu_seconds, 2),
        "times_apart_from_plans": round((build.seconds - stages.get(_PLANS, 0.0)) / exporter.seconds, 2),
        "verify_share": round(stages["verify"] / build.seconds, 3),
        "plans_share": round(stages.get(_PLANS, 0.0) / build.seconds, 3),
        "stages": {name: round(value, 2) for name, value in stages.items()},
        "unaccounted": round(build.seconds - sum(stages.values()), 2),
    }


def _figures(run: Run) -> dict[str, float]:
    return {
        "seconds": round(run.seconds, 1),
        "cpu_seconds": round(run.cpu_seconds, 1),
        "peak_gb": round(run.peak_bytes / 1e9, 2),
    }
