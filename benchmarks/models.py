"""Whole models end to end in ONNX Runtime: dense against every reduction, and the adaptive form in torch.

float32, 512 x 512 uint8 image in, class map out, batch 1, seeded weights. The policy network counts in time and in MACs.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.pairing import THREADS, latencies_ms, ratio_summary, session_options
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.macs import graph_macs
from edgeexport.inputs.batches import ImageBatch, image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe import load_recipe
from edgeexport.verify.parity import reference_of, settings_for_counts

__all__ = ["FORMS", "measure_adaptive", "measure_family"]

FORMS = {
    "dense": "",
    "CTS": "_cts",
    "DToP@[6,8]": "_dtop",
    "DToP@[8]": "_dtop8",
    "both@[6,8]": "_cts_dtop",
    "both@[8]": "_cts_dtop8",
}
BOTH = "both@[6,8]"


@dataclass(frozen=True)
class _Loaded:
    """A recipe ready to run, with its multiply-accumulates by the published convention and in the exported graph."""

    fixed: FixedModel
    session: onnxruntime.InferenceSession
    convention_macs: int
    executed_macs: int


def measure_family(family: str, rounds: int, on_stage: Callable[[str], None] = lambda name: None) -> dict[str, object]:
    """Latency of dense and reduced recipes of ``segvit`` or ``segvit_ti``, as ratios to dense beside the MAC ratio.

    ``realised_share`` is latency ratio / MAC ratio, with MACs as the exported graph executes them (constants folded).
    The rows with the plain tail show what the fast tail is worth: ONNX Runtime runs the op's plain body there.
    """
    loaded: dict[str, _Loaded] = {}
    for name, suffix in FORMS.items():
        on_stage(f"{family}{suffix}: export")
        loaded[name] = _loaded(f"{family}{suffix}.py")
    for name in ("dense", BOTH):
        on_stage(f"{family}{FORMS[name]}: export with plain tail")
        loaded[f"{name}, plain tail"] = _loaded(f"{family}{FORMS[name]}.py", ("tail.form='plain'",))
    image = _images(loaded["dense"].fixed)[0]
    on_stage(f"{family}: {rounds} rounds of {len(loaded)} models")
    times = latencies_ms({name: _runner(item.session, image) for name, item in loaded.items()}, rounds)
    dense = loaded["dense"]
    rows = {}
    for name, item in loaded.items():
        speedup = ratio_summary(times["dense"], times[name])
        executed = dense.executed_macs / item.executed_macs
        rows[name] = {
            "latency_ms": round(statistics.median(times[name]), 2),
            "speedup": speedup,
            "gmac_convention": round(item.convention_macs / 1e9, 3),
            "gmac_executed": round(item.executed_macs / 1e9, 3),
            "mac_ratio_convention": round(dense.convention_macs / item.convention_macs, 3),
            "mac_ratio_executed": round(executed, 3),
            "realised_share": round(speedup["median"] / executed, 3),
        }
    return {"rounds": rounds, "forms": rows}


def measure_adaptive(
    family: str, rounds: int, on_stage: Callable[[str], None] = lambda name: None
) -> dict[str, object]:
    """The adaptive hybrid in torch (images and selections one by one, as published) against its bundle.

    Both prune the same number of tokens of every image: thresholds are placed so. Each runs a few times in a row per
    round, because torch and ONNX Runtime have thread pools of their own.
    """
    on_stage(f"{family}_cts_dtop: export")
    item = _loaded(f"{family}_cts_dtop.py")
    fixed = item.fixed
    published = PublishedModel(fixed.model, fixed.recipe)
    image = _images(fixed)[0]
    settings = settings_for_counts(fixed, reference_of(fixed, ImageBatch(("image",), image)).trace, 0)
    pixels = torch.from_numpy(image)
    torch.set_num_threads(THREADS)
    on_stage(f"{family}_cts_dtop: {rounds} rounds, adaptive torch and bundle")
    with torch.inference_mode():
        times = latencies_ms(
            {
                "torch adaptive": lambda: published.run([pixels], [settings])[0].outputs["class_map"],
                "torch adaptive, tokens only": lambda: published.run([pixels], [settings], upsample=False),
                "bundle": _runner(item.session, image),
            },
            rounds,
            warmup=1,
            repeats=4,
        )
    return {
        "rounds": rounds,
        "latency_ms": {name: round(statistics.median(values), 2) for name, values in times.items()},
        "adaptive_over_bundle": ratio_summary(times["torch adaptive"], times["bundle"]),
        "adaptive_without_tail_over_bundle": ratio_summary(times["torch adaptive, tokens only"], times["bundle"]),
    }


def _loaded(recipe_name: str, options: Sequence[str] = ()) -> _Loaded:
    recipe = load_recipe(recipe_name, options)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(graphs.with_functions.SerializeToString())
        session = onnxruntime.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])
    executed = graph_macs(graphs.plain).of_category("product")
    return _Loaded(fixed, session, account(recipe).reduced.total, executed)


def _images(fixed: FixedModel) -> list[NDArray]:
    return [batch.pixels for batch in image_batches(fixed.recipe.input, shipped_photos())]


def _runner(session: onnxruntime.InferenceSession, image: NDArray) -> Callable[[], object]:
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: np.ascontiguousarray(image)})
