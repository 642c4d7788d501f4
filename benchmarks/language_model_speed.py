"""What a cache's budget gives in time, on SmolLM2-135M at a context of 2048: a decoded token with the whole cache and with a
fifth of it, the share of the prompt's graph that compression takes, and what the build took.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairing import latencies_ms, ratio_summary
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.errors import BuildError
from edgeexport.fixed.prompt_model import prompt_model
from edgeexport.graph.graph_list import ListedGraph, graphs_from_forms
from edgeexport.graph.weights_apart import write_graphs
from edgeexport.hosts import GRAPH_LISTS
from edgeexport.profile.layers import measure_layers
from edgeexport.profile.timed_bundle import load_timed_bundle
from edgeexport.recipe.prompt import prompt_recipe

__all__ = ["RECIPE", "measure_build", "measure_compression", "measure_decoding"]

RECIPE = Path(__file__).parents[1] / "examples/smollm2/flowmm_smollm2.py"

Say = Callable[[str], None]


def measure_decoding(folder: Path, rounds: int, say: Say) -> dict[str, Any]:
    """One token with the whole cache and with the recipe's budget, in turns, one thread of ONNX Runtime.

    Args:
        folder: For the two graphs.
        rounds: Counted.
        say: Hears of the stages.
    """
    recipe = prompt_recipe(RECIPE)
    assert recipe is not None and recipe.slots is not None
    fixed, length = prompt_model(recipe), recipe.model.prompt
    runners, feeds = {}, {}
    for name, slots in (("whole", length), ("budget", recipe.slots)):
        say(f"decode graph with {slots} slots")
        forms = GRAPH_LISTS[recipe.type].graphs(fixed.model, None, slots)
        (graph,) = graphs_from_forms([form for form in forms if form.name == "decode"], {})
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        write_graphs(place, {"decode.onnx": graph.with_functions})
        runners[name] = OnnxRuntimeRunner(place / "decode.onnx", threads=1)
        feeds[name] = _feeds(graph)
    say(f"{rounds} rounds in turns")
    calls = {
        name: lambda runner=runner, feed=feeds[name]: runner.run(feed["inputs_embeds"], _others(feed))
        for name, runner in runners.items()
    }
    ms = latencies_ms(calls, rounds)
    return {
        "context": length,
        "slots": recipe.slots,
        "rounds": rounds,
        "load": os.getloadavg()[0] / (os.cpu_count() or 1),
        "ms": {name: float(np.median(values)) for name, values in ms.items()},
        "speedup": ratio_summary(ms["whole"], ms["budget"]),
    }


def _feeds(graph: ListedGraph) -> dict[str, np.ndarray]:
    """Every slot is shown."""
    rng = np.random.default_rng(0)
    return {
        item.name: rng.standard_normal(item.shape, np.float32)
        if item.dtype == "float32"
        else np.ones(item.shape, np.int64)
        for item in graph.inputs
    }


def _others(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in feed.items() if name != "inputs_embeds"}


def measure_compression(bundle: Path, runs: int) -> dict[str, Any]:
    """Share of the prompt's graph that the cache's merging takes, by ONNX Runtime's profiler."""
    timed = load_timed_bundle(bundle, "none")
    prefill = next(item for item in timed.others if item.bundle.part == "prefill")
    found = measure_layers(prefill.bundle, prefill.runner, None, prefill.feed.image, prefill.feed.extra, runs=runs)
    if found is None:
        raise BuildError(str(bundle), "has no prefill.work.json", "build it again")
    summary = found.summary()
    merging = sum(part["ms"] for part in summary["parts"] if part["part"].startswith("merge_"))
    return {
        "runs": runs,
        "load": os.getloadavg()[0] / (os.cpu_count() or 1),
        "prefill_ms": summary["total_ms"],
        "merging_ms": merging,
        "share": merging / summary["total_ms"],
    }


def measure_build(bundle: Path) -> dict[str, Any]:
    """Builds the recipe in a process of its own: wall and processor time, and the most memory."""
    words = ["-m", "edgeexport", "build", str(RECIPE), "--target", "cpu", "--work-dir", str(bundle), "--json"]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise BuildError(str(RECIPE), f"exit code {child.returncode}: {child.stderr[-400:]}")
    told = json.loads(child.stdout)
    return {
        "wall_s": time.perf_counter() - start,
        "processor_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_bytes": told["peak_bytes"],
        "seconds": told["seconds"],
        "parity": told["checks"]["parity"]["status"],
        "load": os.getloadavg()[0] / (os.cpu_count() or 1),
    }
