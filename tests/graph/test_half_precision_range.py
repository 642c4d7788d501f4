"""Values that leave float16: found on images though ONNX Runtime hides them, named, and kept in float32 when asked."""

from __future__ import annotations

import shlex

import numpy as np
import onnx
import pytest
from half_precision_cases import half_names, inferred, run, weight
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edgeexport.errors import ParityError, UsageError
from edgeexport.graph.half_precision import half_precision_model
from edgeexport.graph.half_precision_range import HalfRange, half_range
from edgeexport.graph.half_precision_twin import twin_in_float32
from edgeexport.inputs.batches import ImageBatch

BLOCK = """
g (float[1,6,8] x) => (float[1,6,8] y) <float[1,1,1,6] sizes = {1, 1, 1, 1, 1, 0}, int64[4] heads = {1, 6, 2, 4},
    int64[3] flat = {1, 6, 8}> {
    [norm] normed = LayerNormalization (x, gain, gain)
    [qkv] joint = MatMul (normed, w_joint)
    q, k, v = Split <axis = 2, num_outputs = 3> (joint)
    q_heads = Reshape (q, heads)
    k_heads = Reshape (k, heads)
    v_heads = Reshape (v, heads)
    q_last = Transpose <perm = [0, 2, 1, 3]> (q_heads)
    k_last = Transpose <perm = [0, 2, 3, 1]> (k_heads)
    v_last = Transpose <perm = [0, 2, 1, 3]> (v_heads)
    [qk] logits = MatMul (q_last, k_last)
    [log] mask = Log (sizes)
    [mask] masked = Add (logits, mask)
    [softmax] shares = Softmax <axis = 3> (masked)
    [av] mixed = MatMul (shares, v_last)
    mixed_rows = Transpose <perm = [0, 2, 1, 3]> (mixed)
    together = Reshape (mixed_rows, flat)
    [proj] projected = MatMul (together, w_out)
    x_1 = Add (x, projected)
    [fc1] wide = MatMul (x_1, w_in)
    [act] bent = Gelu (wide)
    [fc2] narrow = MatMul (bent, w_back)
    y = Add (x_1, narrow)
}"""
WEIGHTS = {
    "gain": np.ones(8, np.float32),
    "w_joint": weight(8, 24),
    "w_out": weight(8, 8, seed=1),
    "w_in": weight(8, 16, seed=2),
    "w_back": weight(16, 8, seed=3),
}
X = weight(1, 6, 8, seed=4, scale=1.0)


def block(**scales: NDArray | float) -> onnx.ModelProto:
    return inferred(
        BLOCK, **{name: (value * scales.get(name, 1)).astype(np.float32) for name, value in WEIGHTS.items()}
    )


def observed(model: onnx.ModelProto, x: NDArray = X) -> HalfRange:
    return half_range(model, [ImageBatch(("x",), x)])


def kept(message: str) -> list[str]:
    """The patterns that a message asks for."""
    words = shlex.split(message)
    return [words[index + 1] for index, word in enumerate(words) if word == "--keep-fp32"]


def test_values_are_those_of_the_float32_graph_and_the_mask_is_no_overflow() -> None:
    model = block()
    found = observed(half_precision_model(model)[0])
    found.raise_for_overflow()
    ranges = {item.node: item for item in found.values}
    named = {
        "norm": "normed",
        "qkv": "joint",
        "qk": "logits",
        "softmax": "shares",
        "av": "mixed",
        "act": "bent",
        "fc1": "wide",
    }
    for name in named.values():
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    exact = dict(zip(["y", *named.values()], run(model, {"x": X}), strict=True))
    for node, name in named.items():
        assert ranges[node].largest == pytest.approx(np.abs(exact[name]).max(), rel=2e-3), node
    sums = np.abs(exact["normed"]) @ np.abs(WEIGHTS["w_joint"])
    assert ranges["qkv"].sums == pytest.approx(sums.max(), rel=2e-3)
    assert ranges["mask"].largest == pytest.approx(ranges["qk"].largest, rel=0.5) and ranges["softmax"].sums is None
    assert found.warnings == [] and found.summary()["observed"] == len(found.values)


QK = np.where(np.arange(24) < 16, 600.0, 1.0)
VALUES = np.where(np.arange(24) < 16, 0.1, 20.0)
HIDDEN = np.where(np.arange(16) < 1, -60000.0, 1.0)
CASES: dict[str, tuple[dict[str, NDArray | float], list[str]]] = {
    "attention's logits": ({"w_joint": QK}, ["qk", "mask"]),
    "projection": ({"w_joint": VALUES, "w_out": 2e4, "w_in": 1e-5}, ["proj", "x_1"]),
    "a hidden unit": ({"w_in": HIDDEN, "w_back": 1e-3}, ["fc1", "act"]),
    "a norm": ({"gain": 60000.0, "w_joint": 1e-5}, ["norm"]),
}


@pytest.mark.parametrize("case", list(CASES))
def test_overflow_is_named_and_the_remedy_that_is_printed_helps(case: str) -> None:
    scales, nodes = CASES[case]
    model = block(**scales)
    half, _ = half_precision_model(model)
    with pytest.raises(ParityError, match=r"reaches [\d,]+ of 65,504") as caught:
        observed(half).raise_for_overflow()
    assert caught.value.exit_code == 4 and caught.value.where == f"node '{nodes[0]}'"
    assert kept(caught.value.remedy) == nodes
    with np.errstate(all="ignore"):  # real float16 arithmetic is not finite, and is where the remedy was followed
        assert not np.isfinite(ReferenceEvaluator(half).run(None, {"x": X})[0]).all()
        mended, report = half_precision_model(model, keep_fp32=nodes)
        (real,) = ReferenceEvaluator(mended).run(None, {"x": X})
    observed(mended).raise_for_overflow()
    assert report.as_dict()["keep_fp32"] == nodes and half_names(mended)
    exact = run(model, {"x": X})[0]
    np.testing.assert_allclose(real, exact, atol=2e-2 * np.abs(exact).max())


def test_weights_beyond_float16_are_kept_by_the_remedy() -> None:
    model = block(w_in=HIDDEN * 10, w_back=1e-3)
    with pytest.raises(ParityError, match="expected at most 65,504") as caught:
        half_precision_model(model)
    assert caught.value.where == "node 'fc1'" and kept(caught.value.remedy) == ["fc1"]
    half, _ = half_precision_model(model, keep_fp32=["fc1"])
    tensors = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert tensors["w_in"] == onnx.TensorProto.FLOAT and tensors["w_out"] == onnx.TensorProto.FLOAT16


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--keep-fp32 fc3 \| fits the name of no node .* did you mean 'fc[12]'"):
        half_precision_model(block(), keep_fp32=["fc*", "fc3"])


def test_little_headroom_and_large_sums_are_told() -> None:
    before = {item.node: item for item in observed(half_precision_model(block())[0]).values}["proj"]
    assert before.sums is not None
    half, _ = half_precision_model(block(w_out=70000 / before.sums, w_in=1e-4))
    near, sums = observed(half).warnings
    assert near.startswith("little room in float16: ") and " of 65,504" in near
    assert sums.startswith("products of proj add up to ") and kept(sums) == ["proj"]


def test_rounded_twin_is_float16_arithmetic() -> None:
    """Against onnx's reference evaluator, which computes in float16; the last bit of a sum apart."""
    half, _ = half_precision_model(block())
    (ours,) = run(twin_in_float32(half, rounded=True), {"x": X})
    (real,) = ReferenceEvaluator(half).run(None, {"x": X})
    (hidden,) = run(twin_in_float32(half, rounded=False), {"x": X})
    assert np.abs(ours - real).max() <= 2.0**-6 and 2.0**-12 < np.abs(ours - hidden).max() < 2.0**-4
    with np.errstate(all="ignore"):
        overflowing, _ = half_precision_model(block(w_in=HIDDEN * 1.0, w_back=1e-3))
    assert not np.isfinite(run(twin_in_float32(overflowing, rounded=True), {"x": X})[0]).all()
