"""model.trt.onnx: bare nodes where there is a plugin, standard operators elsewhere, and the same results."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from edgeexport.errors import BuildError
from edgeexport.graph.plugin_graph import BARE_OPS, PLUGIN_OPS, plugin_model
from edgeexport.ops import DOMAIN, DOMAIN_VERSION, token_partition, token_protect, token_unmerge

TEXT = """<ir_version: 10, opset_import: ["": 20, "edgeexport": 1], producer_name: "edgeexport">
g (float[2,12] confidence) => (int32[2,7] kept, float[2,7,8] rows) <float[1,12,8] tokens> {
    zero = Constant <value_float = 0.5> ()
    high = Greater (confidence, zero)
    label = Cast <to = 6> (high)
    protected = edgeexport.TokenProtect <num_classes = 2, per_class = 2> (confidence, label)
    float_protected = Cast <to = 1> (protected)
    lowered = Add (float_protected, float_protected)
    key = Sub (confidence, lowered)
    kept, taken = edgeexport.TokenPartition <k = 5> (key)
    last = Constant <value_ints = [2]> ()
    column = Unsqueeze (confidence, last)
    features = Add (tokens, column)
    rows = edgeexport.TokenUnmerge (features, kept)
}"""


@pytest.fixture
def model() -> onnx.ModelProto:
    result = parser.parse_model(TEXT)
    weights = np.arange(96, dtype=np.float32).reshape(1, 12, 8)
    del result.graph.initializer[:]
    result.graph.initializer.append(numpy_helper.from_array(weights, "tokens"))
    result.functions.extend(op.onnx_function() for op in (token_partition, token_protect, token_unmerge))
    result.metadata_props.add(key="edgeexport.recipe", value="tiny")
    return result


def run(graph: onnx.ModelProto, confidence: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"confidence": confidence})


def test_plugin_ops_stay_as_nodes_with_what_tensorrt_looks_for(model: onnx.ModelProto) -> None:
    found = plugin_model(model)
    assert not found.functions  # TensorRT 10.1 to 10.6 prefer a body to the plugin
    custom = {node.op_type: node for node in found.graph.node if node.domain == DOMAIN}
    assert set(custom) == {"TokenPartition"} <= BARE_OPS < PLUGIN_OPS
    for node in custom.values():
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        assert attributes.pop("plugin_version") == str(DOMAIN_VERSION).encode()
        assert attributes.pop("plugin_namespace") == DOMAIN.encode()
        assert attributes == ({"k": 5} if node.op_type == "TokenPartition" else {})
    assert all(node.domain in ("", DOMAIN) for node in found.graph.node)
    assert {item.domain: item.version for item in found.opset_import} == {"": 20, DOMAIN: DOMAIN_VERSION}


def test_shapes_are_constants_not_computed(model: onnx.ModelProto) -> None:
    """TokenProtect's body asks for shapes; in a graph of fixed shapes they are folded, plugins in between or not."""
    described = {"kept": (6, [2, 7]), "taken": (6, [2, 5]), "protected": (9, [2, 12])}
    for name, (kind, shape) in described.items():  # as the exporter does
        if name not in {value.name for value in model.graph.output}:
            model.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))
    found = plugin_model(model)
    assert not {"Shape", "Range", "ConstantOfShape", "Constant"} & {node.op_type for node in found.graph.node}
    shapes = {
        value.name: value.type.tensor_type.shape
        for group in (found.graph.value_info, found.graph.output)
        for value in group
    }
    constants = {tensor.name for tensor in found.graph.initializer}
    for node in found.graph.node:
        for name in node.output:
            assert all(dim.HasField("dim_value") for dim in shapes[name].dim), name
        if node.op_type == "TopK":
            assert node.input[1] in constants


def test_body_that_does_not_fit_is_refused(model: onnx.ModelProto) -> None:
    for function in model.functions:
        if function.name == "TokenProtect":
            function.opset_import[0].version = 13
    with pytest.raises(BuildError, match=r"plugin graph \| cannot be derived"):
        plugin_model(model)


def test_weights_names_and_metadata_stay(model: onnx.ModelProto) -> None:
    found = plugin_model(model)
    assert [value.name for value in found.graph.input] == ["confidence"]
    assert [value.name for value in found.graph.output] == ["kept", "rows"]
    weights = {tensor.name: tensor for tensor in found.graph.initializer}
    np.testing.assert_array_equal(
        numpy_helper.to_array(weights["tokens"]), np.arange(96, dtype=np.float32).reshape(1, 12, 8)
    )
    assert [(item.key, item.value) for item in found.metadata_props] == [("edgeexport.recipe", "tiny")]


def test_large_weights_are_put_back() -> None:
    text = """<ir_version: 10, opset_import: ["": 20, "edgeexport": 1]>
    g (float[2,12] confidence) => (float[2,900] y, int32[2,7] kept) <float[12,900] heavy> {
        y = MatMul (confidence, heavy)
        kept, taken = edgeexport.TokenPartition <k = 5> (confidence)
    }"""
    model = parser.parse_model(text)
    heavy = np.random.default_rng(0).random((12, 900), dtype=np.float32)  # larger than a skeleton keeps
    del model.graph.initializer[:]
    model.graph.initializer.append(numpy_helper.from_array(heavy, "heavy"))
    model.functions.append(token_partition.onnx_function())
    found = plugin_model(model)
    assert [value.name for value in found.graph.input] == ["confidence"]
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[0]), heavy)


def test_same_results_with_bodies_in_place_of_the_plugins(model: onnx.ModelProto) -> None:
    """What the plugins will compute is stood in for by the bodies, without the attributes that TensorRT alone reads."""
    found = plugin_model(model)
    for node in found.graph.node:
        kept = [item for item in node.attribute if not item.name.startswith("plugin_")]
        del node.attribute[:]
        node.attribute.extend(kept)
    found.functions.extend(op.onnx_function() for op in (token_partition, token_unmerge))
    confidence = np.random.default_rng(1).random((2, 12), dtype=np.float32)
    for a, b in zip(run(found, confidence), run(model, confidence), strict=True):
        np.testing.assert_array_equal(a, b)


def test_argument_is_unchanged_and_the_result_repeats(model: onnx.ModelProto) -> None:
    before = model.SerializeToString(deterministic=True)
    first = plugin_model(model).SerializeToString(deterministic=True)
    assert model.SerializeToString(deterministic=True) == before
    assert plugin_model(model).SerializeToString(deterministic=True) == first


def test_op_without_plugin_and_without_body_is_refused(model: onnx.ModelProto) -> None:
    bodies = [function for function in model.functions if function.name != "TokenProtect"]
    del model.functions[:]
    model.functions.extend(bodies)
    with pytest.raises(BuildError, match="edgeexport::TokenProtect has neither a TensorRT plugin nor a function body"):
        plugin_model(model)


def test_plugin_op_called_inside_a_body_gets_its_attributes() -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["": 20, "edgeexport": 1]>
    g (float[2,12] score) => (int32[2,12] both) { both = edgeexport.Outer (score) }""")
    model.functions.append(
        parser.parse_function("""<domain: "edgeexport", opset_import: ["": 20, "edgeexport": 1]>
        Outer (score) => (both) {
            kept, taken = edgeexport.TokenPartition <k = 4> (score)
            both = Concat <axis = 1> (kept, taken)
        }""")
    )
    model.functions.append(token_partition.onnx_function())
    found = plugin_model(model)
    assert [node.op_type for node in found.graph.node] == ["TokenPartition", "Concat"]
    assert {item.name for item in found.graph.node[0].attribute} == {"k", "plugin_version", "plugin_namespace"}
