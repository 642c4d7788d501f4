"""A language model's bundle of three graphs, made by hand in milliseconds, with every document and a golden prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

from edgeexport.bundle import hashes_of, json_bytes
from edgeexport.cost.cache import cache_costs
from edgeexport.cost.kernel_plan import KERNELS_FILE, KernelPlan, PlannedKernel, Plans, Tensor, plans_bytes
from edgeexport.cost.work import work_bytes, work_file
from edgeexport.documents.manifest import MANIFEST_SCHEMA
from edgeexport.graph.node_work import graph_work
from edgeexport.inputs.prompt_facts import PromptFacts

__all__ = ["FACTS", "NAMES", "write_graph_list"]

FACTS = PromptFacts(
    architecture="qwen2", length=8, new_tokens=4, slots=3, layers=1, query_heads=2, kv_heads=1, head_size=2, vocabulary=256,
    axes=1, image_token=None, grids=(), patch=0, frames=0, merge=1, end_tokens=(), flow=(True,), cache_update="operators",
)  # fmt: skip
NAMES = ("embedding", "prefill", "decode")
_TABLE = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
_HEAD = np.random.default_rng(1).standard_normal((4, 256)).astype(np.float32)
_GRAPHS = {
    "embedding": """(int64[1,8] input_ids) => (float[1,8,4] inputs_embeds) {
        inputs_embeds = Gather (table, input_ids)
    }""",
    "prefill": """(float[1,8,4] inputs_embeds, int64[1,8] attention_mask, int64[1,8] position_ids) => (float[1,1,256] logits,
        float[1,1,7,2] "present.0.key", float[1,1,7,2] "present.0.value", int32[1,1,3] "pivot.0", int32[1,1,8] "target.0") {
        last = Slice (inputs_embeds, seven, eight, one)
        logits = MatMul (last, head)
        "present.0.key" = Identity (cache)
        "present.0.value" = Identity (cache)
        "pivot.0" = Identity (pivot)
        "target.0" = Identity (target)
    }""",
    "decode": """(float[1,1,4] inputs_embeds, int64[1,7] attention_mask, int64[1,1] position_ids,
        float[1,1,7,2] "past_key_values.0.key", float[1,1,7,2] "past_key_values.0.value") => (float[1,1,256] logits,
        float[1,1,7,2] "present.0.key", float[1,1,7,2] "present.0.value") {
        logits = MatMul (inputs_embeds, head)
        "present.0.key" = Identity ("past_key_values.0.key")
        "present.0.value" = Identity ("past_key_values.0.value")
    }""",
}
_CONSTANTS = {
    "table": _TABLE,
    "head": _HEAD,
    "cache": np.zeros((1, 1, 7, 2), np.float32),
    "pivot": np.array([[[2, 4, 7]]], np.int32),
    "target": np.array([[[-1, -1, 0, 0, 1, 1, 1, 2]]], np.int32),
    "seven": np.array([7], np.int64),
    "eight": np.array([8], np.int64),
    "one": np.array([1], np.int64),
}


class _Scopes:
    scopes: Mapping[str, str] = {}


def write_graph_list(folder: Path, target: str = "orin") -> Path:
    """Writes the bundle into ``folder``, which is made."""
    folder.mkdir(parents=True)
    listed, works = [], {}
    for name in NAMES:
        model = _model(name)
        for kind in (".onnx", ".trt.onnx"):
            (folder / f"{name}{kind}").write_bytes(model.SerializeToString())
        works[name] = graph_work(model, model, _Scopes())
        (folder / work_file(name)).write_bytes(work_bytes(works[name]))
        listed.append(
            {
                "name": name,
                "inputs": [_info(value) for value in model.graph.input],
                "outputs": [_info(value) for value in model.graph.output],
                "opset": 20,
                "macs": sum(node.macs for node in works[name].nodes),
                "bytes": sum(node.bytes for node in works[name].nodes),
                "weight_bytes": sum(len(tensor.raw_data) for tensor in model.graph.initializer),
            }
        )
    (folder / KERNELS_FILE).write_bytes(plans_bytes(_plans()))
    np.savez_compressed(folder / "golden.npz", **_golden())
    compared = {"check": "graphs", "reference": "fixed torch", "candidate": "x", "images": ["prompt of 6 tokens"]}
    compared |= {"status": "passed", "reason": "", "outputs": [], "decisions": [], "first_difference": "", "facts": {}}
    (folder / "parity.json").write_bytes(json_bytes({"schema": "edgeexport.parity/1", "comparisons": [compared]}))
    names = [f"{name}{kind}" for name in NAMES for kind in (".onnx", ".trt.onnx")]
    statement = "random weights, seed 0: what it says means nothing"
    weights = {"origin": "random", "seed": 0, "file": None, "sha256": None, "policy_file": None, "policy_sha256": None}
    verdict = {"status": "passed", "version": "1.7", "reason": "", "compute_capability": "SM86", "deployed_graph": True}
    manifest: dict[str, Any] = {
        "schema": MANIFEST_SCHEMA,
        "name": "by_hand",
        "description": "Three graphs.",
        "edgeexport": "0.1.0",
        "recipe": {"model": {}, "reduction": None},
        "weights": {**weights, "statement": statement},
        "target": target,
        "precision": "fp32",
        "plugins": False,
        "graphs": listed,
        "prompt": FACTS.as_dict(),
        "cache_costs": [cost.__dict__ for cost in cache_costs(FACTS, listed[-1]["weight_bytes"], target)],
        "checks": {"parity": {"status": "passed", "reason": None}, "tensorrt_rtx": verdict},
        "versions": {},
        "files": hashes_of(folder, [*names, "golden.npz"]),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _model(name: str) -> onnx.ModelProto:
    graph = parser.parse_graph(f"{name} {_GRAPHS[name]}")
    used = {value for node in graph.node for value in node.input}
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in _CONSTANTS.items() if key in used)
    for node in graph.node:
        node.name = f"{name}/{node.output[0]}"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def _info(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return {"name": value.name, "dtype": dtype, "shape": [dim.dim_value for dim in tensor.shape.dim]}


def _plans() -> Plans:
    product = PlannedKernel(
        "product", macs=1024, dtype="float32", nodes=("decode/logits",), part="head",
        inputs=(Tensor("t0", "float32", (1, 4), (4, 1)),), outputs=(Tensor("t1", "float32", (1, 256), (256, 1)),),
    )  # fmt: skip
    plan = KernelPlan("decode", "fp32", "SM86", "TensorRT-RTX 1.7", (product,), macs=1024)
    return Plans((plan,), ("no plan of prefill.trt.onnx: it is too small",))


def _golden() -> dict[str, Any]:
    """Six tokens in eight places, two behind them."""
    ids = np.array([[0, 0, 3, 5, 7, 9, 11, 13]], np.int64)
    following = np.array([2, 4])
    rows = np.array([13, *following])
    own = {
        "input_ids": ids,
        "attention_mask": (np.arange(8) >= 2).astype(np.int64)[None],
        "position_ids": np.maximum(np.arange(8) - 2, 0)[None],
        "modality": np.zeros((1, 8), np.int32),
        "following": following,
        "logits": _TABLE[rows] @ _HEAD,
        "pivot.0": _CONSTANTS["pivot"],
        "target.0": _CONSTANTS["target"],
    }
    return {f"case0/{name}": value for name, value in own.items()}
