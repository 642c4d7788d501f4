"""The kernel plan in TensorRT-RTX's log, word for word; whatever is not known is an error."""

from __future__ import annotations

import pytest

from edgeexport.backends.plan_log import PlanLogError, rows_from_log

_HALF = "Datatype: Half, Format: (Linear) Row major linear format"
_QKV = f"{{ Name: qkv_myl0, Dimensions: [1,712,576], Strides: [410112,576,1], StrideOrder: [2,1,0], {_HALF} }}"
_BIAS = f"{{ Name: b, Dimensions: [1,712,192], Strides: [0,0,1], StrideOrder: [2,1,0], {_HALF} }}"
_SCALAR = f"{{ Name: s, Dimensions: [1], Strides: [1], StrideOrder: [0], {_HALF} }}"
_OUT = (
    "{ Name: __mye7, Dimensions: [3,64,712], Strides: [45568,1,64], StrideOrder: [2,0,1], Datatype: Half, "
    "Format: (Arbitrary) Format with stride order = [2,0,1] }"
)
PRODUCT = (
    f"Name: __mye1, LayerType: gemm, Inputs: [ {_QKV}], Constants: [ {_BIAS}, {_SCALAR}], Outputs: [ {_OUT}], "
    "TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: blocks.1/MatMul]__gemm_from_conv1x1"
)
ADDED = (
    f"Name: __myl_AddTran_myl0_1, LayerType: kgen, Inputs: [ {_OUT}], Constants: [], Outputs: [ {_QKV}], "
    "TacticName: __myl_AddTran_0x02ec, StreamId: 1, Metadata: [ONNX Layer: a/Add]\x1f[ONNX Layer: a/Add]\x1f[ONNX Layer: a/T]"
)
ATTENTION = ADDED.replace("__myl_AddTran_0x02ec", "_gemm_mha_v2_0x4dfc")
_NOTHING = "Inputs: [], Constants: [], Outputs: [], TacticName: "
SIGNAL = f"Name: e, LayerType: signal, {_NOTHING}, StreamId: 0, EventId: 60, Metadata: "
WAIT = SIGNAL.replace("signal", "wait").replace("StreamId: 0", "StreamId: 1")


def _log(*lines: str) -> str:
    return "\n".join(["Layers:", *lines, "", "I/O Tensors:", " Name: image, IOMode: Input"])


def test_kernels_events_tensors_and_nodes() -> None:
    product, signal, wait, added, attention = rows_from_log(_log(PRODUCT, SIGNAL, WAIT, ADDED, ATTENTION))
    assert (product.kind, product.stream, product.nodes) == ("product", 0, ("blocks.1/MatMul",))
    assert product.constants[0].bytes == 192 * 2, "what a stride of 0 repeats is there once"
    assert len(product.constants) == 1, "scalars are left out"
    assert (product.outputs[0].shape, product.outputs[0].strides) == ((3, 64, 712), (45568, 1, 64))
    assert (signal.kind, wait.kind, signal.event, wait.event) == ("signal", "wait", 0, 0)
    assert not signal.is_kernel
    assert (added.kind, added.operation, added.stream, added.nodes) == ("generated", "AddTran", 1, ("a/Add", "a/T"))
    assert attention.kind == "attention"
    assert added.inputs[0] == product.outputs[0], "the same tensor has the same name"
    assert {tensor.name for tensor in (*product.inputs, *product.outputs)} == {"t0", "t3"}


def test_generated_names_do_not_show() -> None:
    other = _log(PRODUCT, ADDED).replace("__mye7", "__mye99123").replace("qkv_myl0", "x")
    assert rows_from_log(other) == rows_from_log(_log(PRODUCT, ADDED))


def test_a_graph_without_a_plan() -> None:
    assert rows_from_log("") == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (PRODUCT.replace("gemm,", "gemm_of_tomorrow,"), "gemm_of_tomorrow"),
        (PRODUCT.replace("Half", "E4M3"), "E4M3"),
        (PRODUCT.replace("StreamId", "Stream"), "no line of the known form"),
        (PRODUCT.replace("Strides: [410112,576,1], ", ""), "no tensor of the known form"),
        (PRODUCT.replace("Strides: [410112,576,1]", "Strides: [576,1]"), "differ in length"),
        (ADDED.replace("[ONNX Layer: a/T]", "[TRT Layer: a/T]"), "not listed as known"),
        (SIGNAL.replace("EventId: 60, ", ""), "events"),
        (PRODUCT + " and more", "not listed as known"),
    ],
)
def test_what_is_not_known_is_an_error(line: str, words: str) -> None:
    with pytest.raises(PlanLogError, match=words):
        rows_from_log(_log(line))
    with pytest.raises(PlanLogError, match="does not begin"):
        rows_from_log(line)
