from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from edgeexport.errors import BuildError
from edgeexport.graph.inline import inlined_model

_HEADER = '<ir_version: 9, opset_import: ["": 20, "edgeexport": 1]>'
_DOMAIN = '<domain: "edgeexport", opset_import: ["": 20]>'

# Bodies that lean on what needs care: attributes, a shape computed from a shape, a call inside a body, an inner name
# that the graph uses as well, a TopK whose k is an attribute.
_BODIES = (
    f"""{_DOMAIN} Blend <weight: float = 0.25> (a, b) => (mixed, rest) {{
        w = Constant <value_float: float = @weight> ()
        x0 = Mul (a, w)
        mixed = Add (x0, b)
        rest = Neg (mixed)
    }}""",
    f"""{_DOMAIN} Fold (a) => (y) {{
        shape = Shape (a)
        zeros = ConstantOfShape <value = float[1] {{1.5}}> (shape)
        columns = Shape <start = 1, end = 2> (a)
        flat = Constant <value_ints = [-1]> ()
        both = Concat <axis = 0> (columns, flat)
        turned = Transpose (a)
        back = Reshape (turned, both)
        again = Transpose (back)
        y = Add (again, zeros)
    }}""",
    """<domain: "edgeexport", opset_import: ["": 20, "edgeexport": 1]> Nest <weight> (a) => (y) {
        m, r = edgeexport.Blend <weight: float = @weight> (a, a)
        f = edgeexport.Fold (r)
        y = Add (m, f)
    }""",
    f"""{_DOMAIN} Best <k> (a) => (y) {{
        k0 = Constant <value_int: int = @k> ()
        one = Constant <value_ints = [1]> ()
        kv = Reshape (k0, one)
        v, i = TopK (a, kv)
        v1 = ReduceSum <keepdims = 1> (v, one)
        y = Mul (a, v1)
    }}""",
)


def _model(text: str, *bodies: str) -> onnx.ModelProto:
    model = parser.parse_model(text)
    model.functions.extend(parser.parse_function(body) for body in bodies or _BODIES)
    return model


def _run(model: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def _assert_plain(model: onnx.ModelProto) -> None:
    """Standard operators, a constant shape for every value, valid."""
    assert not model.functions
    assert [item.domain for item in model.opset_import] == [""]
    assert all(node.domain == "" for node in model.graph.node)
    onnx.checker.check_model(model, full_check=True)
    shapes = {v.name: v.type.tensor_type for g in (model.graph.value_info, model.graph.output) for v in g}
    for node in model.graph.node:
        for output in node.output:
            assert shapes[output].elem_type != onnx.TensorProto.UNDEFINED
            assert all(dim.dim_value > 0 for dim in shapes[output].shape.dim), output


@st.composite
def _graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Random chains of calls and plain nodes over float (3, 4) values."""
    values, lines = ["x", "t"], []
    for index in range(draw(st.integers(1, 8))):
        a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        name = f"x{index}"  # collides with the inner x0 of Blend
        kind = draw(st.sampled_from(("Blend", "Blend default", "Fold", "Nest", "Best", "Relu", "Identity", "weights")))
        weight = draw(st.sampled_from(("0.5", "-2.0")))
        line = {
            "Blend": f"{name}, w{index} = edgeexport.Blend <weight = {weight}> ({a}, {b})",
            "Blend default": f"{name}, w{index} = edgeexport.Blend ({a}, {b})",
            "Fold": f"{name} = edgeexport.Fold ({a})",
            "Nest": f"{name} = edgeexport.Nest <weight = {weight}> ({a})",
            "Best": f"{name} = edgeexport.Best <k = {draw(st.integers(1, 4))}> ({a})",
            "Relu": f"{name} = Relu ({a})",
            "Identity": f"{name} = Identity ({a})",
            "weights": f"{name} = Add ({a}, weights)",
        }[kind]
        lines.append(line)
        values.append(name)
        if kind.startswith("Blend"):
            values.append(f"w{index}")
    outputs = draw(st.lists(st.sampled_from(values[2:]), min_size=1, max_size=3, unique=True))
    declared = ", ".join(f"float[3,4] {name}" for name in outputs)
    text = "\n".join(lines)
    return _model(
        f"{_HEADER} g (float[3,4] x, float[3,4] t) => ({declared}) <float[4] weights = {{1, 2, 3, 4}}> {{ {text} }}"
    )


@settings(max_examples=60, deadline=None)
@given(model=_graphs(), seed=st.integers(0, 2**16))
def test_computes_the_same_without_functions(model: onnx.ModelProto, seed: int) -> None:
    before = model.SerializeToString()
    result = inlined_model(model)
    assert model.SerializeToString() == before
    assert inlined_model(model).SerializeToString() == result.SerializeToString()
    _assert_plain(result)
    for group in ("input", "output"):
        assert [v.name for v in getattr(result.graph, group)] == [v.name for v in getattr(model.graph, group)]
    rng = np.random.default_rng(seed)
    inputs = [rng.standard_normal((3, 4)).astype(np.float32) for _ in range(2)]
    for expected, got in zip(_run(model, *inputs), _run(result, *inputs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_shape_arithmetic_disappears() -> None:
    model = _model(f"{_HEADER} g (float[3,4] x) => (float[3,N] y) {{ y = edgeexport.Fold (x) }}")
    result = inlined_model(model)
    assert [node.op_type for node in result.graph.node] == ["Transpose", "Reshape", "Transpose", "Add"]
    assert [dim.dim_value for dim in result.graph.output[0].type.tensor_type.shape.dim] == [3, 4]
    assert {tensor.name for tensor in result.graph.initializer} == {"both", "zeros"}
    assert b"folded_from" not in result.SerializeToString()  # the folding pass's diary


def test_nodes_are_named_after_function_and_value_and_keep_the_source_of_the_call() -> None:
    model = _model(f"{_HEADER} g (float[3,4] x) => (float[3,4] y) {{ a = edgeexport.Best <k = 2> (x) y = Neg (a) }}")
    model.graph.node[0].metadata_props.add(key="edgeexport.source", value="model.py:7")
    result = inlined_model(model)
    assert [node.name for node in result.graph.node[:3]] == ["Best/v", "Best/v1", "Best/y"]
    assert [{p.key: p.value for p in node.metadata_props} for node in result.graph.node] == [
        *[{"edgeexport.source": "model.py:7"}] * 3,
        {},
    ]


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [(["y"], "y"), (["", "z"], "z"), (["y", ""], "y"), (["", "", "w"], "w"), (["y", "", "w"], "w")],
)
def test_calls_may_leave_outputs_out(outputs: list[str], wanted: str) -> None:
    body = f"{_DOMAIN} Three (a) => (first, second, third) {{ first = Exp(a) second = Neg(first) third = Exp(second) }}"
    model = _model(f"{_HEADER} g (float[4] x) => (float[4] y) {{ y = edgeexport.Three(x) }}", body)
    model.graph.node[0].ClearField("output")
    model.graph.node[0].output.extend(outputs)
    model.graph.output[0].name = wanted
    result = inlined_model(model)
    _assert_plain(result)
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    expected = {"y": np.exp(x), "z": -np.exp(x), "w": np.exp(-np.exp(x))}[wanted]
    np.testing.assert_allclose(_run(result, x)[0], expected, rtol=1e-6)
    assert len(result.graph.node) == {"y": 1, "z": 2, "w": 3}[wanted]


def test_weights_stay_as_they_are_and_unused_ones_go() -> None:
    rng = np.random.default_rng(0)
    model = _model(f"""{_HEADER} g (float[1,128] x) => (float[1,128] y) <int64[1] unused = {{3}}>
        {{ t = Transpose (w) m = MatMul (x, t) s = Constant <value_float = 2.0> () dead = Exp (m) y = Mul (m, s) }}""")
    weight = rng.standard_normal((128, 128)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model.graph.initializer.append(numpy_helper.from_array(weight, "idle"))
    result = inlined_model(model)
    assert [node.op_type for node in result.graph.node] == ["Transpose", "MatMul", "Mul"]  # weights are not folded
    assert [tensor.name for tensor in result.graph.initializer] == ["w", "s"]
    assert [value.name for value in result.graph.input] == ["x"]
    assert result.graph.initializer[0].SerializeToString() == model.graph.initializer[1].SerializeToString()
    x = rng.standard_normal((1, 128)).astype(np.float32)
    np.testing.assert_allclose(_run(result, x)[0], 2 * (x @ weight.T), rtol=1e-4, atol=1e-4)


def test_large_results_are_not_folded() -> None:
    model = _model(f"""{_HEADER} g (float[1] x) => (float[512,512] y)
        <int64[2] big = {{512, 512}}, float[1] one = {{1}}>
        {{ e = Expand (one, big) y = Add (e, x) }}""")
    result = inlined_model(model)
    assert [node.op_type for node in result.graph.node] == ["Expand", "Add"]
    assert result.ByteSize() < 2000


def test_external_data_stays_external(tmp_path: Path) -> None:
    model = _model(f"{_HEADER} g (float[4,8] x) => (float[4,8] y) {{ m = MatMul(x, w) y = edgeexport.Fold(m) }}")
    model.graph.initializer.append(numpy_helper.from_array(np.eye(8, dtype=np.float32), "w"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    light = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    result = inlined_model(light)
    weight = next(tensor for tensor in result.graph.initializer if tensor.name == "w")
    assert weight.data_location == onnx.TensorProto.EXTERNAL and not weight.raw_data
    onnx.save(result, tmp_path / "plain.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "plain.onnx")
    x = np.arange(32, dtype=np.float32).reshape(4, 8)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x + 1.5)


def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    model = _model(f"""{_HEADER} g (float[3,4] x) => (float[3,4] y)
        {{ a = edgeexport.Nest <weight = 0.5> (x) b, c = edgeexport.Blend (a, x) y = edgeexport.Fold (c) }}""")
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    code = (
        "import hashlib, onnx, sys; from edgeexport.graph.inline import inlined_model; "
        "print(hashlib.sha256(inlined_model(onnx.load(sys.argv[1])).SerializeToString()).hexdigest())"
    )
    root = str(Path(__file__).resolve().parents[2])
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {hashlib.sha256(inlined_model(model).SerializeToString()).hexdigest()}


@pytest.mark.parametrize(
    ("text", "body", "words"),
    [
        ("y = edgeexport.Other (x)", _BODIES[1], "node 'y' | custom op edgeexport::Other has no function body"),
        ("y = edgeexport.Old (x)", _BODIES[1].replace("20", "18").replace("Fold", "Old"), "Opset mismatch"),
        ("y = edgeexport.Pass (x)", f"{_DOMAIN} Pass (a) => (a) {{ b = Neg (a) }}", "a function body may not return"),
        ("t = edgeexport.Fold (x) y = Reshape (t, wrong)", _BODIES[1], "shapes do not fit together"),
        (
            "y = edgeexport.A (x)",
            '<domain: "edgeexport", opset_import: ["": 20, "edgeexport": 1]> A (a) => (y) { y = edgeexport.A (a) }',
            "Cyclic dependency",
        ),
    ],
)
def test_what_does_not_fit_is_a_build_error(text: str, body: str, words: str) -> None:
    model = _model(f"{_HEADER} g (float[3,4] x) => (float[3,4] y) <int64[2] wrong = {{5, 5}}> {{ {text} }}", body)
    with pytest.raises(BuildError) as caught:
        inlined_model(model)
    assert words in str(caught.value)


def test_nodes_of_a_body_are_named_after_the_call() -> None:
    """So that every node of a graph says which part of the model it belongs to."""
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 20, "edgeexport": 1]>
        g (float[2, 3] x) => (float[2, 3] y) {
            a = edgeexport.Twice (x)
            b = Neg (a)
            y = edgeexport.Twice (b)
        }
        <domain: "edgeexport", opset_import: ["": 20]>
        Twice (v) => (w) {
            u = Add (v, v)
            w = Abs (u)
        }""")
    for node, name in zip(model.graph.node, ("blocks.1/Twice", "blocks.1/Neg", "blocks.2/Twice"), strict=True):
        node.name = name
    names = [node.name for node in inlined_model(model).graph.node]
    assert names == ["blocks.1/Twice/u", "blocks.1/Twice/w", "blocks.1/Neg", "blocks.2/Twice/u", "blocks.2/Twice/w"]
