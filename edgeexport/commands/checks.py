"""What a build checks beside parity, and the manifest's account of all its checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

import onnx

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.tensorrt_rtx import RtxCheck
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.commands.build_log import BuildLog
from edgeexport.commands.request import BuildRequest
from edgeexport.errors import BuildError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.graph.graphs import BundleGraphs, graphs_from_export
from edgeexport.graph.half_precision import HalfPrecision
from edgeexport.graph.half_precision_range import HalfRange
from edgeexport.graph.half_precision_twin import twin_in_float32
from edgeexport.graph.lint_report import LintReport
from edgeexport.graph.weights_apart import IN_MEMORY_BYTES, weights_bytes, weights_folder
from edgeexport.ops.upsample_argmax import candidates_needed
from edgeexport.verify.compare import IMAGES_NEEDED, Comparison
from edgeexport.verify.own import own_comparisons
from edgeexport.verify.parity import runtime_comparison
from edgeexport.verify.reference import HALF_CHECK, TENSORRT_CHECK, Reference
from edgeexport.verify.suite import parity_status

__all__ = [
    "checks_json",
    "half_comparison",
    "own_check",
    "rtx_check",
    "rtx_stage",
    "tail_check",
    "tensorrt_comparisons",
]


def tail_check(fixed: FixedModel, references: Sequence[Reference]) -> tuple[dict[str, object], list[str]]:
    """What the manifest says about the class-map tail, and warnings where pixels are uncertified."""
    made = fixed.walk.class_map_tail
    if made is None or not made.fast:
        return {"form": "plain" if fixed.recipe.output == "class_map" else "none"}, []
    uncertified = sum(int(reference.outputs["uncertified_pixels"].sum()) for reference in references)
    needed = 0
    for reference in references:
        needed = max(needed, candidates_needed(reference.trace.outputs["class_scores"], *made.size))
    tail = {
        "form": "fast",
        "candidates": made.candidates,
        "uncertified_pixels": uncertified,
        "candidates_needed": needed,
        "images": sum(len(reference.batch.names) for reference in references),
    }
    if not uncertified:
        return tail, []
    classes = made.num_classes
    remedy = (
        f"tail.candidates={needed} certifies all, tail.form='plain' needs no certificate"
        if 2 * needed <= classes
        else f"they need {needed} of {classes} candidates, where tail.form='plain' is no slower and needs no certificate"
    )
    return tail, [
        f"tail.candidates = {made.candidates} leaves {uncertified} pixels of the test images uncertified; {remedy}"
    ]


def rtx_stage(stem: str = "model") -> str:
    """What the stage is called in which TensorRT-RTX is asked about a graph."""
    return "TensorRT-RTX parses and builds (SM86)" if stem == "model" else f"TensorRT-RTX, {stem} (SM86)"


def rtx_check(request: BuildRequest, verdict: Future[RtxCheck] | None, log: BuildLog, stem: str = "model") -> RtxCheck:
    """TensorRT-RTX's verdict on the graph for TensorRT in standard operators, for targets that use it.

    Args:
        request: The build's.
        verdict: That is on its way; None where the target does not use TensorRT.
        log: Hears of the stage, which is the wait for it.
        stem: Of the file's name.

    Raises:
        BuildError: It refuses the graph.
    """
    if verdict is None:
        return RtxCheck("not-run", None, f"target {request.target.name} does not use TensorRT", None, None, None, None)
    with log.stage(rtx_stage(stem)):
        rtx = verdict.result()
    log.notes.append(
        f"TensorRT-RTX {rtx.version}: {rtx.status} {rtx.reason} parse {rtx.parse_s} s, build {rtx.build_s} s"
    )
    if rtx.status == "failed":
        remedy = "the message names the node; a bundle for --target cpu can be built meanwhile"
        raise BuildError("TensorRT-RTX", f"refuses the plugin-free graph: {rtx.reason}", remedy)
    return rtx


def tensorrt_comparisons(fixed: FixedModel, graphs: BundleGraphs, references: Sequence[Reference]) -> list[Comparison]:
    """Fixed torch against the graph in TensorRT's forms, which ONNX Runtime can run too, on batches drawn before."""
    content, weights = graphs.tensorrt.SerializeToString(), weights_folder(graphs.tensorrt)
    prepacked = weights_bytes(graphs.tensorrt) <= IN_MEMORY_BYTES
    runner = OnnxRuntimeRunner(content, extra_outputs=graphs.inner, weights=weights, prepacked=prepacked)
    return [
        replace(runtime_comparison(fixed, reference, runner), check=TENSORRT_CHECK)
        for reference in references[:IMAGES_NEEDED]
    ]


def own_check(
    fixed: FixedModel, export: Callable[[FixedModel], onnx.ModelProto], references: Sequence[Reference]
) -> list[Comparison]:
    """The model run whole by what its owner runs it with, against its graph without reductions; nothing for families that have
    no such run.
    """
    if fixed.recipe.host.own_run(fixed.recipe.model, fixed.recipe.input) is None:
        return []
    dense = fixed_from_model(fixed.model, dense_recipe(fixed.recipe))
    graphs = graphs_from_export(dense, export(dense))
    content, weights = graphs.with_functions.SerializeToString(), weights_folder(graphs.with_functions)
    prepacked = weights_bytes(graphs.with_functions) <= IN_MEMORY_BYTES
    return own_comparisons(dense, references, OnnxRuntimeRunner(content, weights=weights, prepacked=prepacked))


def half_comparison(
    fixed: FixedModel, executed: onnx.ModelProto, inner: Sequence[TensorInfo], reference: Reference
) -> Comparison:
    """Fixed torch against a mixed-precision graph with every float16 value rounded as float16 is, on one batch."""
    runner = OnnxRuntimeRunner(
        twin_in_float32(executed, rounded=True).SerializeToString(),
        extra_outputs=inner,
        optimised=True,
        name="float16 arithmetic in onnxruntime",
        weights=weights_folder(executed),
    )
    return replace(runtime_comparison(fixed, reference, runner), check=HALF_CHECK)


def checks_json(
    request: BuildRequest,
    lint: LintReport,
    comparisons: Sequence[Comparison],
    rtx: Mapping[str, RtxCheck],
    tail: dict[str, object],
    half: HalfPrecision | None,
    ranges: HalfRange | None,
) -> dict[str, object]:
    """The manifest's ``checks`` (JSON-ready)."""
    checks: dict[str, object] = {
        "lint": {"status": "passed", "nodes": lint.node_count},
        "parity": {"status": parity_status(comparisons), "comparisons": len(comparisons)},
        "tensorrt_rtx": _rtx_json(request, rtx["model"], "model"),
        "tail": tail,
    }
    for stem in rtx.keys() - {"model"}:
        checks[f"tensorrt_rtx_{stem}"] = _rtx_json(request, rtx[stem], stem)
    if half is not None:
        checks["half_precision"] = {"status": "converted", **half.as_dict()}
    if ranges is not None:
        checks["float16_range"] = {"status": "passed", **ranges.summary()}
    return checks


def _rtx_json(request: BuildRequest, rtx: RtxCheck, stem: str) -> dict[str, object]:
    return {
        "status": rtx.status,
        "version": rtx.version,
        "reason": rtx.reason,
        "graph": f"{stem}.trt.onnx in standard operators only" if request.plugins else f"{stem}.trt.onnx",
        "precision": request.precision,
        "compute_capability": rtx.compute_capability,
        "plugins": False,
        "deployed_graph": not request.plugins,
    }
