"""Lint against TensorRT-RTX's parser, on the single-operator models of the onnx package's own tests.

A model's inputs that are parameters by nature (scalars and vectors behind the first input: shapes, axes, scales, biases) become
constants, as an exporter writes them, and its opset the newest that the lint takes, where it can be written in it. Of others
the lint says that their opset is too new; that rule is put aside, and they are counted apart.
The parser runs in a child process, for it may abort; the model that ended it counts as refused.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgeexport.graph.lint import MAX_OPSET, lint_model

_REASONS = {
    "boundary-dtype": "int64, float64 and the like at inputs and outputs: the parser takes them, their bindings are wrong",
    "control-flow": "the parser takes it, and the graph is static no more",
    "data-dependent-shape": "the parser takes it, and the graph is static no more",
    "invalid-graph": "onnx's own checker refuses it",
    "static-shape": "tensors that hold nothing",
    "uint8-operator": "uint8 is read as int8, or refused by the builder",
}
"""Why the lint calls an error what the parser takes, by rule."""
_WARNED = {"DeformConv", "RoiAlign"}
"""Plugins of TensorRT's own library, which TensorRT-RTX lacks: the lint warns."""

__all__ = ["measure_agreement", "operator_models", "parser_answer"]


def operator_models() -> Iterator[tuple[str, onnx.ModelProto]]:
    """(name, model) for every test of onnx that is one node."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, from references of operators
        cases = load_model_tests(kind="node")
    for case in sorted(cases, key=lambda item: item.name):
        model, data = case.model, case.data_sets
        if model is not None and data is not None and len(model.graph.node) == 1:
            yield case.name, _with_constants(model, data[0][0])


def _with_constants(model: onnx.ModelProto, values: Sequence[Any]) -> onnx.ModelProto:
    """A copy with constants for parameters, of the newest opset that is not out of reach for JetPack 6, if it can be."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.ir_version = max(model.ir_version, 4)  # before, constants had to be inputs as well
    graph = result.graph
    del graph.input[:]
    for index, (entry, value) in enumerate(zip(model.graph.input, values, strict=True)):
        if index and isinstance(value, (np.ndarray, np.generic)) and value.ndim <= 1 and value.dtype != object:
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), entry.name))
        else:
            graph.input.append(entry)
    older = onnx.ModelProto()
    older.CopyFrom(result)
    for item in older.opset_import:
        item.version = min(item.version, MAX_OPSET) if item.domain == "" else item.version
    try:
        onnx.checker.check_model(older, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return result
    return older


def parser_answer(model: bytes) -> str:
    """What TensorRT-RTX's parser says against a model; empty: it takes it. Runs in a child process."""
    import tensorrt_rtx_bindings as trt

    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model):
        return ""
    return "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors)) or "refused without a reason"


def _answers(models: list[bytes], on_stage: Callable[[str], None]) -> list[str]:
    answers: list[str] = []
    while len(answers) < len(models):
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            try:
                for answer in pool.map(parser_answer, models[len(answers) :]):
                    answers.append(answer)
                    if len(answers) % 200 == 0:
                        on_stage(f"{len(answers)} of {len(models)} models parsed")
            except BrokenProcessPool:
                answers.append("the parser ended its process")
    return answers


def measure_agreement(on_stage: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """How often lint and parser agree, and every model on which they do not, with the reason where there is one."""
    models = list(operator_models())
    answers = _answers([model.SerializeToString() for _, model in models], on_stage)
    keys = ("refused_without_error", "refused_and_newer", "error_but_taken")
    differences: dict[str, list[dict[str, str]]] = {key: [] for key in keys}
    counts: Counter[str] = Counter()
    for (name, model), answer in zip(models, answers, strict=True):
        errors = [finding for finding in lint_model(model).errors if finding.rule != "opset"]
        counts[f"lint {'error' if errors else 'clean'}, parser {'refuses' if answer else 'takes'}"] += 1
        row = {"model": name, "operator": model.graph.node[0].op_type, "parser": answer.split("\n")[0]}
        if errors and not answer:
            rule = errors[0].rule
            differences["error_but_taken"].append({**row, "rule": rule, "reason": _REASONS.get(rule, "")})
        elif answer and not errors:
            old = all(item.version <= MAX_OPSET for item in model.opset_import if item.domain == "")
            reason = "a plugin of TensorRT's own library: a warning" if row["operator"] in _WARNED else ""
            differences["refused_without_error" if old else "refused_and_newer"].append({**row, "reason": reason})
    unexplained = [row["model"] for key in (keys[0], keys[2]) for row in differences[key] if not row["reason"]]
    return {"models": len(models), "counts": dict(counts), "unexplained": unexplained, **differences}
