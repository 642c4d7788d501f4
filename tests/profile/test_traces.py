"""Profiles as ONNX Runtime and TensorRT's tools write them."""

from __future__ import annotations

import json

import pytest

from edgeexport.backends.runner import NodeTime
from edgeexport.errors import BundleError
from edgeexport.profile.traces import (
    engine_layers_from_json,
    node_times_from_onnxruntime,
    node_times_from_trtexec,
    onnx_names,
    trtexec_records,
)

# As trtexec 10.3 to 11 write it: one line per layer, names as they are.
_TEN = """[
  { "count" : 200 }
, { "name" : "Reformatting CopyNode for Input Tensor 0 to node_permute", "timeMs" : 2.0, "averageMs" : 0.01,
    "medianMs" : 0.0098, "percentage" : 4 }
, { "name" : "node_MatMul_656 + node_linear", "timeMs" : 48, "averageMs" : 0.24, "medianMs" : 0.239, "percentage" : 96 }
]
"""
_WITHOUT_MEDIAN = '[{"count": 10}, {"name": "a", "timeMs": 5.0, "averageMs": 0.5, "percentage": 100}]'
_WITHOUT_AVERAGE = '[{"count": 10}, {"name": "a", "timeMs": 5.0}]'


def test_trtexec() -> None:
    found = node_times_from_trtexec(_TEN)
    assert [time.ms for time in found] == [0.01, 0.24]
    assert found[1] == NodeTime("node_MatMul_656 + node_linear", "", 0.24)
    assert node_times_from_trtexec(_WITHOUT_MEDIAN) == [NodeTime("a", "", 0.5)]
    assert node_times_from_trtexec(_WITHOUT_AVERAGE) == [NodeTime("a", "", 0.5)]


def test_trtexec_does_not_escape_names() -> None:
    assert node_times_from_trtexec('[{"name": "a\x1fb", "averageMs": 1}]')[0].name == "a\x1fb"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "cannot be read"),
        ("{}", "expected array, got object"),
        ("[3]", "expected object, got int"),
        ('[{"name": "a", "timeMs": 5.0}]', "neither averageMs"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        node_times_from_trtexec(text)


def test_records_are_read_back_and_kept_by_tools_for_them() -> None:
    times = [NodeTime("a", "MatMul", 0.25), NodeTime("b", "", 0.75)]
    records = trtexec_records(times, 8)
    assert records[0] == {"count": 8}
    # NVIDIA's engine explorer keeps records of four or five keys and drops all others.
    layers = [record for record in records if len(record) in (4, 5)]
    assert [(layer["name"], layer["timeMs"], layer["percentage"]) for layer in layers] == [
        ("a", 2.0, 25.0),
        ("b", 6.0, 75.0),
    ]
    assert [time.ms for time in node_times_from_trtexec(json.dumps(records))] == [0.25, 0.75]
    assert trtexec_records([NodeTime("a", "", 0.0)], 1)[1]["percentage"] == 0.0


@pytest.mark.parametrize("key", ["Bindings", "I/O Tensors"], ids=["10.x", "11.x"])
def test_engine_layers(key: str) -> None:
    metadata = "[ONNX Layer: node_MatMul_656]\x1f[ONNX Layer: node_linear]"
    text = json.dumps(
        {"Layers": [{"Name": "gemm", "LayerType": "gemm", "Metadata": metadata}], key: ["image", "class_map"]}
    )
    found = engine_layers_from_json(text)
    assert found.tensors == ("image", "class_map")
    (layer,) = found.layers
    assert (layer.name, layer.layer_type, layer.nodes) == ("gemm", "gemm", ("node_MatMul_656", "node_linear"))


def test_tensors_with_details() -> None:
    found = engine_layers_from_json('{"Layers": [], "I/O Tensors": [{"Name": "image", "Dimensions": [1]}]}')
    assert found.tensors == ("image",)


def test_engine_without_details_is_refused() -> None:
    with pytest.raises(BundleError, match="DETAILED"):
        engine_layers_from_json('{"Layers": ["gemm", "softmax"]}')
    with pytest.raises(BundleError, match="Layers"):
        engine_layers_from_json("{}")


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ("", ()),
        ("[ONNX Layer: a]\x1e[ONNX Layer: b]\x1f[ONNX Layer: a]", ("a", "b")),
        # Inside functions, the innermost call first: the outermost is the node of the file.
        ("[ONNX Layer: GatherND_3 | inner (Rows) | node__symbolic_4 (TokenUnmerge)]", ("node__symbolic_4",)),
        # Cut in the middle where it was too long.
        ("[ONNX Layer: a]\x1f[ONNX Layer: node_ma ... tmul_7]\x1f[ONNX Layer: b]", ("a", "b")),
    ],
)
def test_names_in_metadata(metadata: str, names: tuple[str, ...]) -> None:
    assert onnx_names(metadata) == names


def _event(name: str, ts: int, dur: int, **args: str) -> dict[str, object]:
    return {"cat": "Node" if args else "Session", "name": name, "ts": ts, "dur": dur, "args": args}


def test_onnxruntime() -> None:
    events = [
        _event("model_run", 0, 100),
        _event("a_kernel_time", 10, 90, op_name="Gemm", node_index="1"),
        _event("model_run", 200, 50),
        _event("a_kernel_time", 210, 20, op_name="Gemm", node_index="1"),
        _event("model_run", 300, 50),
        _event("a_kernel_time", 310, 40, op_name="Gemm", node_index="1"),
    ]
    (time,) = node_times_from_onnxruntime(json.dumps(events), skipped_runs=1)
    assert (time.name, time.op_type) == ("a", "Gemm") and time.ms == pytest.approx(0.03)


@pytest.mark.parametrize("text", ["[]", '[{"name": "model_run"}]', "{}", "?"])
def test_no_profile_of_onnxruntime(text: str) -> None:
    with pytest.raises(BundleError):
        node_times_from_onnxruntime(text)
