"""A small hand-made graph whose class map and decisions can be read off the photograph, as a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgeexport.bundle import sha256_of

SIDE = 32  # pixels of the model's image; 4 x 4 patches of 8
PALETTE = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]


def constant(name: str, value: NDArray) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)


# 4 x 4 patches and a class token: tokens 2, 4, ... 16 may merge into 1, 3, ... 15. Row v is what happens where the first
# pixel's blue is v (mod 4).
SOURCES = np.array([[2, 16], [4, 14], [6, 12], [8, 10]], np.int32)
TARGETS = np.array([[1, 1], [3, 5], [7, 7], [15, 1]], np.int32)
KEPT = np.array([sorted({2, 4, 6, 8, 10, 12, 14, 16} - {*row}) for row in SOURCES.tolist()], np.int32)
LOGITS = np.log(np.array([[6, 1, 1, 1, 0.5, 0.5], [1, 5, 2, 1, 0.5, 0.5], [1, 2, 4, 1, 1, 1], [2, 2, 1, 3, 1, 1]]) / 10)
MERGES = [
    {"block": 3, "raster": False, "dense": None, "kind": "alternate", "tokens": 17, "prefix": 1, "r": 2}
    | {"columns": 0, "window": 0}
]


def class_map_model(batch: int, output: str) -> onnx.ModelProto:
    """Class of a pixel = red // 64; the first pixel's blue (mod 4) is the shared window, its green the pruned token.

    Blue also chooses the logits and the merges (see `SOURCES`).
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.INT32),
        helper.make_node("Gather", ["numbers", "red"], ["red_plane"], axis=3),
        helper.make_node("Div", ["red_plane", "step"], ["classes"]),
        helper.make_node("Slice", ["numbers", "starts_blue", "ends_blue", "axes"], ["blue"]),
        helper.make_node("Reshape", ["blue", "column"], ["blue_column"]),
        helper.make_node("Mod", ["blue_column", "four"], ["shared_windows"]),
        helper.make_node("Slice", ["numbers", "starts_green", "ends_green", "axes"], ["green"]),
        helper.make_node("Reshape", ["green", "column"], ["pruned_tokens_2"]),
    ]
    tables = {"merge_source_3": SOURCES, "merge_target_3": TARGETS, "merge_kept_3": KEPT}
    tables["all_logits"] = LOGITS.astype(np.float32)
    nodes.append(helper.make_node("Reshape", ["shared_windows", "flat"], ["choice"]))
    nodes += [helper.make_node("Gather", [f"table_{name}", "choice"], [name]) for name in tables]
    if output == "logits":
        nodes.append(helper.make_node("Identity", ["all_logits"], ["logits"]))
        declared = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 6])
    elif output == "class_map":
        nodes.append(helper.make_node("Identity", ["classes"], ["class_map"]))
        declared = helper.make_tensor_value_info("class_map", TensorProto.INT32, [batch, SIDE, SIDE])
    else:
        nodes += [
            helper.make_node("Unsqueeze", ["classes", "one"], ["classes_4d"]),
            helper.make_node("Equal", ["classes_4d", "all_classes"], ["hot"]),
            helper.make_node("Cast", ["hot"], ["scores"], to=TensorProto.FLOAT),
        ]
        declared = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 4, SIDE, SIDE])
    constants = [
        *(constant(f"table_{name}", table) for name, table in tables.items()),
        constant("flat", np.array([-1], np.int64)),
        constant("red", np.array(2, np.int64)),  # the graph takes BGR
        constant("step", np.array(64, np.int32)),
        constant("four", np.array(4, np.int32)),
        constant("starts_blue", np.array([0, 0, 0], np.int64)),
        constant("ends_blue", np.array([1, 1, 1], np.int64)),
        constant("starts_green", np.array([0, 0, 1], np.int64)),
        constant("ends_green", np.array([1, 1, 2], np.int64)),
        constant("axes", np.array([1, 2, 3], np.int64)),
        constant("column", np.array([batch, 1], np.int64)),
        constant("one", np.array([1], np.int64)),
        constant("all_classes", np.arange(4, dtype=np.int32).reshape(1, 4, 1, 1)),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, SIDE, SIDE, 3])
    graph = helper.make_graph(nodes, "tiny", [image], [declared], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def bundle_of(
    folder: Path,
    *,
    batch: int = 1,
    output: str = "class_map",
    dense: bool = False,
    merges: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    folder.mkdir(parents=True)
    model = folder / "model.onnx"
    onnx.save(class_map_model(batch, output), model)
    shapes = {"class_map": [batch, SIDE, SIDE], "scores": [batch, 4, SIDE, SIDE], "logits": [batch, 6]}
    merged = {"merge_source_3": 2, "merge_target_3": 2, "merge_kept_3": 6} if merges else {}
    decisions = [
        {"name": "shared_windows", "dtype": "int32", "shape": [batch, 1]},
        {"name": "pruned_tokens_2", "dtype": "int32", "shape": [batch, 1]},
    ]
    manifest = {
        "schema": "edgeexport.bundle/1",
        "name": "tiny",
        "target": "cpu",
        "precision": "fp32",
        "weights": {"origin": "random", "seed": 0, "statement": "random weights, seed 0: predictions mean nothing"},
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": [batch, SIDE, SIDE, 3],
            "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": True},
        },
        "outputs": [{"name": output, "dtype": "int32", "shape": shapes[output]}],
        "inner_outputs": ([] if dense else decisions)
        + [{"name": name, "dtype": "int32", "shape": [batch, count]} for name, count in merged.items()],
        "merges": merges or [],
        "grid": {"rows": 4, "columns": 4, "patch_size": 8},
        "classes": ["red", "green", "blue", "grey"],
        "palette": PALETTE,
        "files": {"model.onnx": sha256_of(model)},
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def photo_of(path: Path, classes: NDArray, *, window: int = 0, token: int = 0, **options: Any) -> Path:
    """A photograph whose class map at the model's size is ``classes`` (SIDE, SIDE)."""
    pixels = np.zeros((*classes.shape, 3), np.uint8)
    pixels[..., 0] = classes * 64 + 30
    pixels[0, 0, 1], pixels[0, 0, 2] = token, window
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def pattern_of(seed: int) -> NDArray:
    return np.random.default_rng(seed).integers(0, 4, (SIDE, SIDE))


def labels_of(path: Path) -> NDArray:
    return np.asarray(Image.open(path))
