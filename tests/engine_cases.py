"""A bundle written by hand, small enough to build engines of in milliseconds; used by several test files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import parser

from edgeexport.bundle import SCHEMA, Bundle, hashes_of, json_bytes, open_bundle

# 'wide' is an inner output: a value of the graph that is no output of model.onnx but one of the engine.
MODEL = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
g (uint8[2,3,1,1] image) => (float[2,3,1,1] scores, int32[2,1,1] best) {
    wide = Cast <to = 1> (image)
    scores = Neg (wide)
    index = ArgMax <axis = 1, keepdims = 0> (wide)
    best = Cast <to = 6> (index)
}""").SerializeToString()
OTHER_MODEL = MODEL.replace(b"Neg", b"Abs")
IMAGE = np.array([[3, 9, 1], [7, 2, 5]], dtype=np.uint8).reshape(2, 3, 1, 1)


def write_engine_bundle(folder: Path, model: bytes = MODEL, **changes: Any) -> Bundle:
    """Writes a bundle of ``model`` for the target cpu; ``changes`` replace entries of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    manifest = {
        "schema": SCHEMA,
        "name": "tiny",
        "target": "cpu",
        "precision": "fp32",
        "plugins": True,
        "input": {"name": "image", "dtype": "uint8", "shape": [2, 3, 1, 1], "preprocess": None},
        "outputs": [
            {"name": "scores", "dtype": "float32", "shape": [2, 3, 1, 1]},
            {"name": "best", "dtype": "int32", "shape": [2, 1, 1]},
        ],
        "inner_outputs": [{"name": "wide", "dtype": "float32", "shape": [2, 3, 1, 1]}],
        "files": hashes_of(folder, ["model.onnx"]),
        **changes,
    }
    (folder / "manifest.json").write_bytes(json_bytes(manifest))
    return open_bundle(folder)


def changed_json(path: Path, **changes: Any) -> None:
    """Replaces entries of a JSON file; ... removes one."""
    import json

    found = {**json.loads(path.read_text()), **changes}
    path.write_bytes(json_bytes({name: value for name, value in found.items() if value is not ...}))
