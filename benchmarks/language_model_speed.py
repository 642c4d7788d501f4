"""What a cache's budget gives in time at SmolLM2-135M's sizes and a context of 2048: a decoded token with the whole cache and
with a fifth of it, the share of the prompt's graph that merging takes, and what the build takes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pairing import latencies_ms, ratio_summary
from edgeexport.backends.executed_graph import nodes_from_onnx
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.errors import BuildError
from edgeexport.fixed.prompt_model import PromptModel, prompt_model
from edgeexport.graph.graph_list import ListedGraph, graphs_from_forms
from edgeexport.graph.node_work import graph_work
from edgeexport.graph.weights_apart import write_graphs
from edgeexport.hosts import GRAPH_LISTS
from edgeexport.hosts.graph_form import GraphForm
from edgeexport.profile.attribution import attribution_from_onnxruntime
from edgeexport.recipe.prompt import prompt_recipe_from_config

__all__ = ["RECIPE", "SIZES", "measure_build", "measure_speed"]

RECIPE = Path(__file__).parents[1] / "examples/smollm2/flowmm_smollm2.py"
SIZES: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
"""SmolLM2-135M's, but for its 30 layers. Times do not depend on what weights are, so that seeded ones do."""

_BUDGET = 0.2

Say = Callable[[str], None]


def measure_speed(folder: Path, layers: int, context: int, rounds: int, runs: int, say: Say) -> dict[str, Any]:
    """A token with the whole cache and with a fifth of it, in turns, and what merging takes of the prompt; one thread.

    With fewer layers than the model's 30, all of the vocabulary's head is still read for each token, so that the gain is
    smaller than the whole model's; the share of merging in a prompt hardly depends on their number. What was measured is kept.

    Args:
        folder: For the graphs.
        layers: Of the decoder.
        context: Tokens of the prompt.
        rounds: Counted.
        runs: Of the prompt, by the profiler.
        say: Hears of the stages.
    """
    kept, asked = folder / "speed.json", {"layers": layers, "context": context}
    if kept.is_file() and {key: value for key, value in json.loads(kept.read_text()).items() if key in asked} == asked:
        return dict(json.loads(kept.read_text()))
    reduction = {"flowmm": {"budget": _BUDGET, "flow": [True] * layers, "protect": round(_BUDGET * context / 2)}}
    model = {"type": "decoder", "config": {**SIZES, "num_hidden_layers": layers}}
    given = {"model": model, "input": {"prompt": context, "new_tokens": 64}, "reduction": reduction}
    recipe = prompt_recipe_from_config(given, folder / "smollm2_sizes.py")
    fixed = prompt_model(recipe)
    assert recipe.slots is not None
    decoding = _decoding(folder, fixed, {"whole": context, "budget": recipe.slots}, rounds, say)
    told: dict[str, Any] = {
        "layers": layers,
        "context": context,
        "slots": recipe.slots,
        "load": os.getloadavg()[0] / (os.cpu_count() or 1),
    }
    told |= {"decoding": decoding, "compression": _compression(folder, fixed, runs, say)}
    kept.write_text(json.dumps(told))
    return told


def _decoding(folder: Path, fixed: PromptModel, slots: dict[str, int], rounds: int, say: Say) -> dict[str, Any]:
    calls = {}
    for name, count in slots.items():
        say(f"decode graph with {count} slots")
        forms = GRAPH_LISTS[fixed.recipe.type].graphs(fixed.model, None, count)
        graph = _written(folder / name, next(form for form in forms if form.name == "decode"))
        runner = OnnxRuntimeRunner(folder / name / "decode.onnx", threads=1)
        calls[name] = partial(runner.run, *_fed(graph))
    say(f"{rounds} rounds in turns")
    ms = latencies_ms(calls, rounds)
    medians = {name: float(np.median(values)) for name, values in ms.items()}
    return {"rounds": rounds, "ms": medians, "speedup": ratio_summary(ms["whole"], ms["budget"])}


def _compression(folder: Path, fixed: PromptModel, runs: int, say: Say) -> dict[str, Any]:
    say("prefill graph")
    graph = _written(folder / "prefill", next(form for form in fixed.forms if form.name == "prefill"))
    optimised = folder / "prefill" / "optimised.onnx"
    OnnxRuntimeRunner(folder / "prefill" / "prefill.onnx", threads=1, save_to=optimised)
    runner = OnnxRuntimeRunner(optimised, threads=1, optimised=True)
    say(f"{runs} prompts by the profiler")
    times = runner.node_times(*_fed(graph), runs=runs)
    work = graph_work(graph.with_functions, graph.plain, fixed.recipe)
    summary = attribution_from_onnxruntime(times, work, nodes_from_onnx(optimised), runs=runs).summary()
    merging = sum(part["ms"] for part in summary["parts"] if part["part"].startswith("merge_"))
    return {
        "runs": runs,
        "prefill_ms": summary["total_ms"],
        "merging_ms": merging,
        "share": merging / summary["total_ms"],
        "macs": {
            "merging": sum(node.product_macs for node in work.nodes if node.part.startswith("merge_")),
            "all": sum(node.product_macs for node in work.nodes),
        },
    }


def _written(folder: Path, form: GraphForm) -> ListedGraph:
    (graph,) = graphs_from_forms([form], {})
    folder.mkdir(parents=True, exist_ok=True)
    write_graphs(folder, {f"{graph.name}.onnx": graph.with_functions})
    return graph


def _fed(graph: ListedGraph) -> tuple[NDArray, dict[str, NDArray]]:
    """Every slot and place is shown; positions and modality do not matter for time."""
    rng = np.random.default_rng(0)
    first, *others = (
        rng.standard_normal(item.shape, np.float32) if item.dtype == "float32" else np.ones(item.shape, item.dtype)
        for item in graph.inputs
    )
    return first, dict(zip((item.name for item in graph.inputs[1:]), others, strict=True))


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
