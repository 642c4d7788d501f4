"""Token merging end to end in ONNX Runtime: dense, merged, and the published method patched into timm and exported as it is.

float32, 224 x 224 uint8 image in, logits out, batch 1, seeded weights. All forms take turns in one run.

What matching and merging cost is told twice. ``share_by_difference``: a graph with the same token counts whose matching is
gone, and whose merging is a slice of the first tokens, takes the turns too; by how much it is faster is the cost.
``share_by_profile``: ONNX Runtime's own times of the nodes of the two ops and of those that serve nothing but matching (the
mean of the keys), over the times of all nodes; the profiler adds some microseconds to each, so that it errs upwards.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from timm.models.vision_transformer import VisionTransformer

from benchmarks.node_times import node_times_us
from benchmarks.pairing import latencies_ms, ratio_summary, session_options
from benchmarks.patched_vit import PatchedVit, exported_patched
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.schedule import dense_recipe, token_schedule
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import BundleGraphs, export_of_fixed, graphs_from_export
from edgeexport.graph.macs import graph_macs
from edgeexport.graph.outputs import select_outputs
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.ops import token_match, token_merge
from edgeexport.recipe.schema import Recipe

__all__ = ["RECIPES", "measure_merging", "without_matching"]

RECIPES = {"DeiT-S, r 13": "tome_deit_s.py", "ViT-B, r 13": "tome_vit_b.py"}
_TOLERANCE = 1e-3
_OPS = (token_match.NAME, token_merge.NAME)


def measure_merging(recipe: Recipe, rounds: int, on_stage: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """Measures one recipe whose every block merges.

    Returns:
        ``forms``: latency in ms (median and fastest), speed-up over dense, multiply-accumulates per image as the graph
        executes them (products alone, constants folded), and ``realised_share`` = speed-up / MAC ratio as executed.
        ``patched_over_merged``: how many times as long the patched export takes as ours. ``share_by_difference`` and
        ``share_by_profile``: see the module. ``largest_logit_difference``: of the patched export from ours.

    Raises:
        AssertionError: The patched export gives other logits than ours.
    """
    model, _ = model_from_recipe(recipe)
    assert isinstance(model, VisionTransformer)
    image = next(iter(image_batches(recipe.input, shipped_photos()))).pixels
    dense = dense_recipe(recipe)
    on_stage("dense: export")
    dense_graphs = _graphs(model, dense)
    on_stage("merged: export")
    graphs = _graphs(model, recipe)
    on_stage("patched timm model: export")
    patched = _patched(model, recipe, image)
    graph_of = {
        "dense": dense_graphs.with_functions,
        "merged": graphs.with_functions,
        "patched timm": patched,
        "merged, matching left out": without_matching(graphs.with_functions, recipe.output),
    }
    sessions = {name: _session(graph) for name, graph in graph_of.items()}
    runners = {name: _runner(session, image) for name, session in sessions.items()}
    logits = {name: np.asarray(run()) for name, run in runners.items()}
    difference = float(np.abs(logits["merged"] - logits["patched timm"]).max())
    assert difference <= _TOLERANCE, f"merged and patched logits differ by {difference}"
    on_stage(f"{rounds} rounds of {len(runners)} models")
    times = latencies_ms(runners, rounds)
    accounting = account(recipe)
    executed = {
        "dense": _products(dense_graphs.plain),
        "merged": _products(graphs.plain),
        "patched timm": _products(onnx.shape_inference.infer_shapes(patched, data_prop=True)),
    }
    forms: dict[str, Any] = {}
    for name, macs in executed.items():
        speedup, ratio = ratio_summary(times["dense"], times[name]), executed["dense"] / macs
        forms[name] = {
            "latency_ms": round(statistics.median(times[name]), 2),
            "fastest_ms": round(min(times[name]), 2),
            "speedup": speedup,
            "gmac_executed": round(macs / 1e9, 3),
            "mac_ratio_executed": round(ratio, 3),
            "realised_share": round(speedup["median"] / ratio, 3),
        }
    lacking = ratio_summary(times["merged, matching left out"], times["merged"])
    on_stage("profile of the merged graph")
    by_profile = _share_by_profile(graphs.with_functions, image)
    return {
        "rounds": rounds,
        "tokens_out": accounting.reduced.schedule.tokens_out,
        "largest_logit_difference": difference,
        "gmac_convention": {
            "dense": round(accounting.dense.total / 1e9, 3),
            "merged": round(accounting.reduced.total / 1e9, 3),
        },
        "mac_ratio_convention": round(accounting.ratio, 3),
        "realised_share_convention": round(forms["merged"]["speedup"]["median"] / accounting.ratio, 3),
        "forms": forms,
        "patched_over_merged": ratio_summary(times["patched timm"], times["merged"]),
        "share_by_difference": {
            "median": round(1 - lacking["median"], 3),
            "q1": round(1 - lacking["q3"], 3),
            "q3": round(1 - lacking["q1"], 3),
        },
        "share_by_profile": by_profile,
    }


def without_matching(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """A copy whose tokens are cut off instead of merged: as many after each block, chosen by no one, each of size 1.

    Args:
        model: With `TokenMatch` and `TokenMerge` nodes whose shapes are known.
        output: The only graph output to keep.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    tokens = {value.name: _tokens(value) for value in graph.value_info}
    nodes = []
    for node in graph.node:
        if node.op_type == token_merge.NAME:
            merged, size = node.output
            ends = {f"{merged}/{key}": [value] for key, value in (("from", 0), ("to", tokens[merged]), ("axis", 1))}
            graph.initializer.extend(
                helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in ends.items()
            )
            graph.initializer.append(numpy_helper.from_array(np.ones((1, tokens[merged], 1), np.float32), size))
            nodes.append(helper.make_node("Slice", [node.input[0], *ends], [merged], name=f"cut/{merged}"))
        elif node.op_type != token_match.NAME:
            nodes.append(node)
    del graph.node[:], result.functions[:]
    graph.node.extend(nodes)
    select_outputs(result, [output])
    return result


def _tokens(value: onnx.ValueInfoProto) -> int:
    """The second extent of a value's shape, 0 where it has none."""
    shape = value.type.tensor_type.shape.dim
    return shape[1].dim_value if len(shape) > 1 else 0


def _graphs(model: VisionTransformer, recipe: Recipe) -> BundleGraphs:
    fixed = fixed_from_model(model, recipe)
    return graphs_from_export(fixed, export_of_fixed(fixed, {}))


def _patched(model: VisionTransformer, recipe: Recipe, image: NDArray) -> onnx.ModelProto:
    rule = recipe.input.preprocess
    assert rule is not None
    merged = [block.tokens_in - block.tokens_out for block in token_schedule(recipe).blocks]
    patched = PatchedVit(model, merged, rule.mean, rule.std)
    return exported_patched(patched, torch.from_numpy(image))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return onnxruntime.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])


def _runner(session: onnxruntime.InferenceSession, image: NDArray) -> Callable[[], object]:
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(image)}
    return lambda: session.run(["logits"], feed)[0]


def _products(model: onnx.ModelProto) -> int:
    return graph_macs(model).of_category("product")


def _share_by_profile(model: onnx.ModelProto, image: NDArray) -> dict[str, float]:
    """Of the time of all nodes: that of the ops' nodes, and of those that serve nothing but matching."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for function in named.functions:
        for node in function.node:  # ONNX Runtime keeps these names when it inlines, also in what it fuses
            node.name = f"{function.name}/{node.output[0]}"
    times = node_times_us(named, {named.graph.input[0].name: image})
    metric = _only_for_matching(model)
    spent = {name: sum(us for node, us in times.items() if f"{name}/" in node) for name in _OPS}
    spent["metric"] = sum(us for node, us in times.items() if node in metric)
    total = sum(times.values())
    shares = {name: round(us / total, 3) for name, us in spent.items()}
    return {**shares, "together": round(sum(spent.values()) / total, 3)}


def _only_for_matching(model: onnx.ModelProto) -> set[str]:
    """Names of the ops' nodes and of all that only matching needs."""
    left = {node.name for node in without_matching(model, model.graph.output[0].name).graph.node}
    return {node.name for node in model.graph.node} - left
