"""The latency model of `edgeexport.cost.roofline`, checked in ONNX Runtime on this machine.

Its two ceilings, products and bytes per second, are measured on the dense SegViT-Ti: ONNX Runtime's profiler says how the
time divides between products and all else, a run without the profiler how long it takes. Two operators that ONNX Runtime
computes value by value, and the dense model does not have at any size (ArgMax over all classes and Resize, in the original
head's tail), are timed alone. With these it predicts the other ViT-Ti recipes, which are then timed taking turns with the
dense one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.pairing import THREADS, latencies_ms, ratio_summary, session_options, share_one_pool
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.cost.ceilings import MEASURED, Ceiling
from edgeexport.cost.roofline import predict
from edgeexport.cost.work import GraphWork, part_title
from edgeexport.errors import MeasurementError
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.node_work import graph_work
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.ops import OPSET
from edgeexport.profile.measured_ceilings import ceilings_from_profile
from edgeexport.recipe import load_recipe

__all__ = ["CALIBRATED_ON", "LARGEST_ERROR", "PREDICTED", "measure_roofline"]

CALIBRATED_ON = "segvit_ti.py"
PREDICTED = (
    "segvit_ti_cts.py",
    "segvit_ti_dtop8.py",
    "segvit_ti_dtop.py",
    "segvit_ti_cts_dtop8.py",
    "segvit_ti_cts_dtop.py",
    "segvit_ti_atm.py",
    "tome_deit_ti.py",
)
LARGEST_ERROR = 0.25

_PROFILED_RUNS = 20
_CHAIN = 400
_RUNS_PER_TURN = 5
"""Of which the first, on caches that another model left, does not count."""
_CLASSES = 64


@dataclass(frozen=True)
class _Exported:
    work: GraphWork
    runner: OnnxRuntimeRunner
    image: NDArray

    def run(self) -> object:
        return self.runner.run(self.image)


def measure_roofline(
    rounds: int,
    on_stage: Callable[[str], None] = lambda name: None,
    recipes: Sequence[str] = PREDICTED,
    calibrated_on: str = CALIBRATED_ON,
) -> dict[str, Any]:
    """Calibrates, predicts, measures.

    Args:
        rounds: Counted rounds in which all models take turns, at least 2.
        on_stage: Called with each stage's name as it starts.
        recipes: To predict, by name or path.
        calibrated_on: The recipe that the ceilings come from.

    Returns:
        ``ceilings`` with their sources; ``rows``: per recipe the predicted and the measured time in ms, ``error`` =
        predicted / measured - 1, and the measured ratio to dense within rounds; ``largest_error`` of any row, without the
        sign; ``noise``, the largest ratio of a model's upper to its lower quartile, near 1 on a quiet machine.

    Raises:
        MeasurementError: The profile makes no sense.
    """
    share_one_pool()
    exported: dict[str, _Exported] = {}
    for name in (calibrated_on, *recipes):
        on_stage(f"{name}: export")
        exported[name] = _exported(name)
    dense = exported[calibrated_on]
    on_stage("time per launch")
    launch_us = _launch_us(max(rounds, 10))
    on_stage("time per value of ArgMax and Resize")
    value_ns = _value_ns(rounds)
    on_stage(f"{rounds} rounds of {len(exported)} models")
    times = latencies_ms({name: item.run for name, item in exported.items()}, rounds, repeats=_RUNS_PER_TURN)
    dense_ms = statistics.median(times[calibrated_on])
    on_stage(f"{calibrated_on}: profile of {_PROFILED_RUNS} runs")
    node_times = dense.runner.node_times(dense.image, runs=_PROFILED_RUNS)
    ceilings = ceilings_from_profile(
        dense.work, node_times, dense_ms, launch_us, value_ns, target="cpu", name=calibrated_on
    )
    rows: list[dict[str, Any]] = []
    for name, item in exported.items():
        prediction = predict(item.work, ceilings, backend="onnxruntime")
        ratio = ratio_summary(times[name], times[calibrated_on])
        measured_ms = ratio["median"] * dense_ms
        slowest = max(prediction.parts_ms, key=lambda part: prediction.parts_ms[part])
        rows.append(
            {
                "recipe": Path(name).stem,
                "calibrated": name == calibrated_on,
                "predicted_ms": round(prediction.total_ms, 3),
                "measured_ms": round(measured_ms, 3),
                "error": round(prediction.total_ms / measured_ms - 1, 4),
                "of_dense": ratio,
                "gmac": round(sum(node.product_macs for node in item.work.nodes) / 1e9, 3),
                "longest_part": part_title(slowest),
            }
        )
    quartiles = [statistics.quantiles(values, n=4) for values in times.values()]
    return {
        "provenance": f"measured and predicted: ONNX Runtime {onnxruntime.__version__}, {THREADS} threads",
        "rounds": rounds,
        "ceilings": ceilings.as_dict(),
        "rows": rows,
        "largest_error": max(abs(row["error"]) for row in rows if not row["calibrated"]),
        "noise": round(max(high / low for low, _, high in quartiles), 2),
    }


def _exported(name: str) -> _Exported:
    recipe = load_recipe(name)
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    content = graphs.with_functions.SerializeToString()
    image = next(iter(image_batches(recipe.input, shipped_photos()))).pixels
    work = graph_work(graphs.with_functions, graphs.plain, recipe)
    return _Exported(work, OnnxRuntimeRunner(content, shared_pool=True), np.ascontiguousarray(image))


def _launch_us(rounds: int) -> float:
    """Time per node of a chain of additions of single values, in microseconds.

    Raises:
        MeasurementError: A longer chain takes no longer.
    """
    short, long = _chain(_CHAIN), _chain(2 * _CHAIN)
    feed = {"x": np.ones(1, np.float32)}
    times = latencies_ms({"short": lambda: short.run(None, feed), "long": lambda: long.run(None, feed)}, rounds)
    gained_ms = statistics.median(times["long"]) - statistics.median(times["short"])
    if gained_ms <= 0:
        raise MeasurementError(
            "time per launch", f"{_CHAIN} more nodes take {gained_ms:.3g} ms more", "measure again on a quiet machine"
        )
    return gained_ms / _CHAIN * 1e3


def _value_ns(rounds: int) -> dict[str, Ceiling]:
    """ArgMax over classes that are not the last axis, and linear Resize, on maps of some million values."""
    rng = np.random.default_rng(0)
    small, large = (1, _CLASSES, 32, 32), (1, _CLASSES, 256, 256)
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], large)
    nodes = {
        "ArgMax": (helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0), large, TensorProto.INT64, ()),
        "Resize": (
            helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
            small,
            TensorProto.FLOAT,
            (sizes,),
        ),
    }
    runs: dict[str, Callable[[], object]] = {}
    for name, (node, shape, dtype, constants) in nodes.items():
        session = _session([node], shape, dtype, constants)
        feed = {"x": rng.standard_normal(shape).astype(np.float32)}
        runs[name] = partial(session.run, None, feed)
    found = latencies_ms(runs, rounds)
    values = math.prod(large)
    return {
        name: Ceiling(
            statistics.median(times) * 1e6 / values, MEASURED, f"{name} alone on {values} values, on this machine"
        )
        for name, times in found.items()
    }


def _chain(length: int) -> onnxruntime.InferenceSession:
    names = ["x", *(f"v{index}" for index in range(length - 1)), "y"]
    nodes = [helper.make_node("Add", [before, "x"], [after]) for before, after in pairwise(names)]
    return _session(nodes, [1], TensorProto.FLOAT)


def _session(
    nodes: Sequence[onnx.NodeProto], shape: Sequence[int], dtype: int, constants: Sequence[onnx.TensorProto] = ()
) -> onnxruntime.InferenceSession:
    """Of a graph from float32 ``x`` of ``shape`` to ``y`` of ``dtype``."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info("y", dtype, None)
    model = helper.make_model(
        helper.make_graph(list(nodes), "timed", [value], [output], list(constants)),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=onnx.IR_VERSION_2024_3_25,
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
