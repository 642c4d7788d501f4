"""What inputs are made of: a bundle with everything that commands add to it, and small files of every other kind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from evaluation_cases import write_pairs
from graph_list_cases import write_graph_list
from onnx import TensorProto, helper
from PIL import Image
from safetensors.torch import save_file
from sysfs_trees import write_tree

from edgeexport.cli import main

__all__ = ["ENGINE_GRAPH", "LATENCIES", "Executed", "command", "lay_out_base", "replaced"]


def command(*words: str) -> None:
    """The command line in this process; ends as it does, by `SystemExit` where all is well."""
    given = sys.argv
    sys.argv = ["edgeexport", *words]
    try:
        main()
    finally:
        sys.argv = given


def replaced(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # the base has the same file
    path.write_bytes(content)


def lay_out_base(base: Path, bundle: Path, recipe: Path) -> None:
    """A bundle with everything that commands add to it, and small files of every other kind."""
    base.mkdir()
    shutil.copytree(bundle, base / "b", ignore=shutil.ignore_patterns("plugins"))
    manifest = json.loads((base / "b/manifest.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if not name.startswith("plugins/")}
    # Of weights that are not here, so that nothing is spent on the original model.
    manifest["weights"] |= {"origin": "checkpoint", "file": "x.pth", "sha256": "0" * 64}
    (base / "b/manifest.json").write_text(json.dumps(manifest))
    shutil.copy(recipe, base / "tiny.py")
    write_pairs(base / "data", 2)
    write_graph_list(base / "g", "cpu")
    with contextlib.chdir(base):
        for words in (
            "build b --target cpu",
            "verify b --engine none",
            "profile b --engine none --duration 0.001 --warmUp 0 --iterations 2 --allow-unstable",
            "evaluate b --data data --form onnxruntime --out-dir e",
            "build g --target cpu",
            "profile g --engine none --duration 0.001 --warmUp 0 --iterations 2 --allow-unstable",
        ):
            with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
                command(*words.split())
    (base / "b/engine.graph.json").write_text(json.dumps(ENGINE_GRAPH))
    (base / "table.json").write_text(json.dumps(LATENCIES))
    onnx.save(_model(), base / "m.onnx")
    onnx.save(_decoder(), base / "d.onnx")
    generator = np.random.default_rng(0)
    for mode, suffixes in (("RGB", ("png", "jpg", "webp", "gif", "tiff")), ("L", ("png", "bmp", "tiff"))):
        pixels = generator.integers(0, 6, (16, 24, 3) if mode == "RGB" else (16, 24), dtype=np.uint8)
        for suffix in suffixes:
            Image.fromarray(pixels).save(base / f"{mode}.{suffix}")
    (base / "RGB.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    layer = torch.nn.Linear(3, 2)
    save_file(layer.state_dict(), base / "w.safetensors")
    torch.save({"state_dict": layer.state_dict(), "meta": {"epoch": 1}}, base / "w.pth")
    torch.save(layer.state_dict(), base / "old.pth", _use_new_zipfile_serialization=False)
    np.savez(base / "w.npz", **{"cls": np.zeros((1, 1, 8)), "embedding/kernel": np.zeros((8, 8, 3, 8))})
    write_tree(base / "orin", "agx_orin")
    record = {
        "schema": "edgeexport.plugins/1", "architectures": [87], "tensorrt": "10.3.0", "cuda": 12060, "source_hash": "0" * 64,
    }  # fmt: skip
    header = b"\x7fELF" + bytes(14) + struct.pack("<H", 183) + bytes(64)
    (base / "lib.so").write_bytes(header + b"EDGEEXPORT_PLUGINS_BUILD_INFO=" + json.dumps(record).encode() + b"\0")


ENGINE_GRAPH = {
    "Layers": [
        {"Name": "a", "LayerType": "Convolution", "Metadata": "[ONNX Layer: node_1 | f (F)]\x1e[ONNX Layer: node_2]"},
        {"Name": "b", "LayerType": "kgen", "Metadata": ""},
    ],
    "Bindings": ["image", "scores"],
}
LATENCIES = {
    "schema": "edgeexport.latency_table/1",
    "provenance": "measured",
    "device": "Orin",
    "model": None,
    "block_ms": {"16": 1.0, "64": 2.0},
    "head_ms": {"16": 0.5, "64": 0.75},
    "policy_ms": 0.25,
    "fixed_ms": 0.1,
}


def _model() -> onnx.ModelProto:
    """A graph with the things that lint looks at."""
    tensor, weights = helper.make_tensor_value_info, helper.make_tensor
    branch = helper.make_graph(
        [helper.make_node("Identity", ["r"], ["t"])], "branch", [], [tensor("t", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "scales"], ["r"], mode="linear"),
        helper.make_node("If", ["yes"], ["i"], then_branch=branch, else_branch=branch),
        helper.make_node("Shape", ["i"], ["s"]),
        helper.make_node("Reshape", ["i", "s"], ["h"]),
        helper.make_node("TopK", ["h", "k"], ["v", "n"], axis=1),
        helper.make_node("Gelu", ["v"], ["y"]),
    ]
    initializers = [
        weights("w", TensorProto.FLOAT, [3, 3, 3, 3], [0.5] * 81),
        weights("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0]),
        weights("yes", TensorProto.BOOL, [], [True]),
        weights("k", TensorProto.INT64, [1], [2]),
    ]
    outputs = [tensor("y", TensorProto.FLOAT, None), tensor("n", TensorProto.INT64, None)]
    graph = helper.make_graph(nodes, "g", [tensor("x", TensorProto.FLOAT, [1, 3, 8, "h"])], outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _decoder() -> onnx.ModelProto:
    """What may be appended to features (1, 6, 4), with a size that it computes."""
    tensor, weights = helper.make_tensor_value_info, helper.make_tensor
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["m", "target"], ["r"]),
        helper.make_node("Sigmoid", ["r"], ["map"]),
    ]
    initializers = [
        weights("w", TensorProto.FLOAT, [4, 1], [0.5] * 4),
        weights("first", TensorProto.INT64, [1], [0]),
        weights("rest", TensorProto.INT64, [2], [2, 3]),
    ]
    ends = [tensor("x", TensorProto.FLOAT, ["B", 6, 4]), tensor("map", TensorProto.FLOAT, ["B", 2, 3])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


class Executed:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/executed by a pickle",)
