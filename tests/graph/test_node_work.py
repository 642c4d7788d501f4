"""The work of every node, and the part of the model that it belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.bundle import open_bundle
from edgeexport.cost.work import WORK_FILE, GraphWork, NodeWork, read_work
from edgeexport.errors import LintError
from edgeexport.graph.export import SCOPE_KEY, known_scopes
from edgeexport.graph.inline import inlined_model
from edgeexport.graph.macs import graph_macs
from edgeexport.graph.node_work import graph_work
from edgeexport.recipe.schema import Recipe

_HOST = "model = dict(type='timm', img_size=64, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=10)\n"
_LOGITS = "input = dict(shape=(1, 3, 64, 64))\noutput = 'logits'\n"
_MERGED = _HOST + _LOGITS + "reduction = dict(tome=dict(r=9))\n"
_LATENT = (
    "model = dict(type='sd_block', grid=(8, 8), embed_dims=32, num_heads=2, context_tokens=7, context_width=24)\n"
    "input = dict(shape=(1, 64, 32))\noutput = 'tokens'\nreduction = dict(tome=dict(r=40, variant='sd'))\n"
)


def _exported(text: str, folder: Path) -> tuple[GraphWork, onnx.ModelProto, onnx.ModelProto, Recipe]:
    """Work, model.onnx and the plain graph of a recipe."""
    from edgeexport.commands.build import exported_graphs
    from edgeexport.fixed.model import fixed_from_model
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.recipe import load_recipe

    file = folder / "small.py"
    file.write_text(text)
    recipe = load_recipe(file)
    model, origin = model_from_recipe(recipe)
    graphs = exported_graphs(fixed_from_model(model, recipe), origin)
    return graph_work(graphs.with_functions, graphs.plain, recipe), graphs.with_functions, graphs.plain, recipe


def _work_of_bundle(bundle: Path) -> GraphWork:
    work = read_work(bundle)
    assert work is not None
    return work


def _products(work: GraphWork, part: str) -> int:
    return sum(node.product_macs for node in work.nodes if node.part == part)


def test_bundle_carries_its_work(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert WORK_FILE in bundle.manifest["files"]
    work = _work_of_bundle(tiny_bundle)
    graph = bundle.json("tokens.json")["graph"]
    for kind in ("product", "norm", "resize"):
        assert sum(node.macs for node in work.nodes if node.kind == kind) == graph[f"{kind}_macs"]


def test_parts_of_a_pruned_segvit(tiny_bundle: Path) -> None:
    work = _work_of_bundle(tiny_bundle)
    assert work.parts == [
        "embedding",
        "block_1",
        "block_2",
        "auxiliary_head_2",
        "prune_2",
        "block_3",
        "auxiliary_head_3",
        "prune_3",
        "block_4",
        "decode_head",
        "tail",
    ]
    for row in open_bundle(tiny_bundle).json("tokens.json")["blocks"]:
        expected = row["macs"]["attention"] + row["macs"]["mlp"]
        assert _products(work, f"block_{row['block']}") == expected
    pruning = [node for node in work.nodes if node.part == "prune_2"]
    assert {"TopK", "ArgMax", "Sigmoid"} <= {node.op_type for node in pruning}
    assert sum(node.macs for node in pruning) == 0


def test_nodes_are_those_of_the_model(tiny_bundle: Path) -> None:
    model = onnx.load(tiny_bundle / "model.onnx")
    known = {node.name: node for node in model.graph.node}
    work = _work_of_bundle(tiny_bundle)
    for node in work.nodes:
        if node.call:
            assert known[node.call].domain == "edgeexport"
        else:
            assert known[node.name].op_type == node.op_type
    assert {call.name for call in work.calls} == {name for name, node in known.items() if node.domain}
    fused = work.with_plugins()
    spelt_out = {node.call for node in fused if node.unit}  # every other call has a plugin, of its own or of its step
    assert {known[call].op_type for call in spelt_out} <= {"TokenUnmerge"}
    names = [node.name for node in fused]
    assert set(work.units) <= set(names) and len(names) == len(set(names))


def test_a_step_stands_for_its_ops_and_what_is_between_them(tiny_bundle: Path) -> None:
    """Both stages of DToP: their nodes in model.trt.onnx, with the traffic of what they take and give."""
    work = _work_of_bundle(tiny_bundle)
    plugins = {node.name: node for node in onnx.load(tiny_bundle / "model.trt.onnx").graph.node}
    assert [(step.op_type, step.part) for step in work.steps] == [
        ("edgeexport::TokenProtectSelect", "prune_2"),
        ("edgeexport::TokenProtectSelect", "prune_3"),
    ]
    by_value = {value: node for node in work.nodes for value in node.outputs}
    for step in work.steps:
        assert list(plugins[step.name].output) == list(step.outputs)
        inside = [node for node in work.nodes if node.step == step.name]
        assert {"ReduceMax", "ArgMax", "TopK"} <= {node.op_type for node in inside}
        made = {value for node in inside for value in node.outputs}
        assert set(step.outputs) <= made and not made & set(step.inputs)
        assert sum(step.writes.values()) == sum(sum(by_value[value].writes.values()) for value in step.outputs)
        assert not [node for node in work.with_plugins() if made & {*node.inputs} - {*step.outputs}]


def test_calls_stand_where_their_inputs_are_known(tiny_bundle: Path) -> None:
    work = _work_of_bundle(tiny_bundle)
    made = {value for node in work.nodes for value in node.outputs} | {
        value for call in work.calls for value in call.outputs
    }
    known = set()
    for node in work.with_plugins():
        assert all(value in known for value in node.inputs if value in made), node
        known.update(node.outputs)


def test_merging_in_a_timm_host(tmp_path: Path) -> None:
    work, model, plain, _ = _exported(_MERGED, tmp_path)
    assert [part for part in work.parts if part.startswith("merge")] == ["merge_1", "merge_2", "merge_3"]
    assert {"embedding", "block_1", "block_2", "block_3", "final_norm", "head"} <= set(work.parts)
    assert "other" not in work.parts
    parts = {node.name: node.part for node in work.nodes}
    by_op: dict[str, list[str]] = {}
    for node in model.graph.node:
        part = parts.get(node.name, "")
        by_op.setdefault(node.op_type, []).append(part)
        if node.op_type == "Log":  # of the sizes, for the next block's attention
            assert part.startswith("merge")
        if node.op_type in ("Softmax", "Gelu", "MatMul"):
            assert part.startswith("block")
    assert by_op["ReduceMean"] == ["merge_1", "merge_2", "merge_3"]  # of the keys: what is matched
    calls = [(call.op_type.removeprefix("edgeexport::"), call.part) for call in work.calls]
    assert calls == [(name, f"merge_{block}") for block in (1, 2, 3) for name in ("TokenMatch", "TokenMerge")]
    assert sum(node.product_macs for node in work.nodes) == graph_macs(plain).of_category("product")
    assert all(call.product_macs for call in work.calls)


def test_the_graph_for_tensorrt_is_counted_as_it_is(tmp_path: Path) -> None:
    """Every node in a part of the model; matching and merging in sums over pairs, all other products as they were."""
    from edgeexport.commands.build import exported_graphs
    from edgeexport.fixed.model import fixed_from_model
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.recipe import load_recipe

    (tmp_path / "small.py").write_text(_MERGED)
    recipe = load_recipe(tmp_path / "small.py")
    model, origin = model_from_recipe(recipe)
    graphs = exported_graphs(fixed_from_model(model, recipe), origin)
    work = graph_work(graphs.tensorrt_functions, graphs.tensorrt, recipe)
    plain = graph_work(graphs.with_functions, graphs.plain, recipe)
    assert work.parts == plain.parts and "other" not in work.parts
    products = graph_macs(graphs.tensorrt).of_category("product")
    assert sum(node.product_macs for node in work.nodes) == products
    assert products == graph_macs(graphs.plain).of_category("product") - sum(call.product_macs for call in plain.calls)
    gemms = [[node.op_type for node in item.nodes].count("Gemm") for item in (plain, work)]
    assert gemms == [3 * 3 + 1, 1], (
        "of rows, where the tokens have an axis of their own all but the classifier is MatMul"
    )


def test_merging_in_a_latent_block(tmp_path: Path) -> None:
    work, _, _, _ = _exported(_LATENT, tmp_path)
    assert work.parts == ["merge_1", "block_1"]
    assert {call.part for call in work.calls} == {"merge_1"}
    softmax = [node.part for node in work.nodes if node.op_type == "Softmax"]
    assert softmax == ["block_1", "block_1"]


@pytest.mark.parametrize("variant", ["tome", "sd"])
def test_merging_around_blocks_of_a_segvit(tmp_path: Path, variant: str) -> None:
    """Tokens are matched ahead of a block's first module, and come back behind its last: both belong to that block."""
    dense = f"dict(tome=dict(r=16, dense=True, variant='{variant}'))"
    work, _, _, _ = _exported(_SHARING.replace("dict(cts=dict(num_shared=8))", dense), tmp_path)
    assert [part for part in work.parts if part.startswith("merge")] == ["merge_1", "merge_2", "merge_3"]
    assert {call.part for call in work.calls if "TokenMatch" in call.op_type} == {"merge_1", "merge_2", "merge_3"}
    returned = [call.part for call in work.calls if "TokenUnmerge" in call.op_type]
    assert returned == sorted(returned) and set(returned) == {"merge_1", "merge_2", "merge_3"}
    assert {node.part for node in work.nodes if node.op_type == "Softmax"} >= {"block_1", "block_2", "block_3"}
    assert "other" not in work.parts and "share" not in work.parts


_SHARING = """
_head = dict(type="PruneHead", img_size=128, in_channels=32, channels=32, num_heads=2, num_classes=6, layers_per_decoder=2)
model = dict(
    type="EncoderDecoderPrune",
    backbone=dict(type="ViT_prune", img_size=(128, 128), patch_size=16, embed_dims=32, num_layers=3, num_heads=2,
                  out_indices=(1, 2), norm_cfg=dict(type="LN", eps=1e-6), with_cls_token=False, num_classes=6),
    decode_head=dict(_head), auxiliary_head=[dict(_head, in_index=0, thresh=0.9)],
)
checkpoint = None
input = dict(shape=(1, 3, 128, 128), preprocess=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
                                                     bgr_to_rgb=True))
output = "class_map"
reduction = dict(cts=dict(num_shared=8))
"""


@pytest.mark.slow
def test_sharing(tmp_path: Path) -> None:
    """Slow for the policy network, an EfficientNet."""
    work, _, _, _ = _exported(_SHARING, tmp_path)
    assert work.parts[:4] == ["policy", "share", "embedding", "block_1"]
    assert _products(work, "policy") > 0 and _products(work, "share") == 0
    convolutions = {node.part for node in work.nodes if node.op_type == "Conv"}
    assert convolutions == {"policy"}
    shared = {call.op_type for call in work.calls if call.part == "share"}
    assert shared == {"edgeexport::TokenPartition", "edgeexport::TokenUnmerge"}


def _recipe(tmp_path: Path) -> Recipe:
    from edgeexport.recipe import load_recipe

    file = tmp_path / "host.py"
    file.write_text(_HOST + _LOGITS)
    return load_recipe(file)


def _graph(nodes: list[onnx.NodeProto], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """x (4, 8) in, y out, with a weight w (8, 8) and an index of two rows."""
    weight = numpy_helper.from_array(np.zeros((8, 8), helper.tensor_dtype_to_np_dtype(dtype)), "w")
    constants = [weight, numpy_helper.from_array(np.array([1, 3], np.int64), "index")]
    constants.append(numpy_helper.from_array(np.array([2, 16], np.int64), "shape"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, (4, 8))],
        [helper.make_tensor_value_info("y", dtype, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def _scoped(node: onnx.NodeProto, scope: str) -> onnx.NodeProto:
    node.metadata_props.add(key=SCOPE_KEY, value=scope)
    return node


def _only(model: onnx.ModelProto, tmp_path: Path) -> NodeWork:
    (node,) = graph_work(model, inlined_model(model), _recipe(tmp_path)).nodes
    return node


@pytest.mark.parametrize(
    ("dtype", "name", "size"), [(TensorProto.FLOAT, "float32", 4), (TensorProto.FLOAT16, "float16", 2)]
)
def test_bytes_of_a_product(tmp_path: Path, dtype: int, name: str, size: int) -> None:
    node = _only(_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], dtype), tmp_path)
    assert (node.macs, node.kind, node.dtype) == (4 * 8 * 8, "product", name)
    assert (node.reads, node.writes, node.weights) == ({name: 32 * size}, {name: 32 * size}, {name: 64 * size})
    assert node.bytes == 128 * size and node.inputs == ("x",)


def test_bytes_of_a_gather_a_view_and_a_double_operand(tmp_path: Path) -> None:
    gather = _only(_graph([helper.make_node("Gather", ["x", "index"], ["y"], name="g")]), tmp_path)
    assert (gather.reads, gather.weights, gather.writes) == ({"float32": 64}, {"int64": 16}, {"float32": 64})
    view = _only(_graph([helper.make_node("Reshape", ["x", "shape"], ["y"], name="v")]), tmp_path)
    assert view.bytes == 0
    double = _only(_graph([helper.make_node("Add", ["x", "x"], ["y"], name="a")]), tmp_path)
    assert double.reads == {"float32": 128}


def test_what_depends_on_constants_alone_is_left_out(tmp_path: Path) -> None:
    model = _graph(
        [
            helper.make_node("Transpose", ["w"], ["wt"], name="t"),
            helper.make_node("MatMul", ["x", "wt"], ["y"], name="p"),
        ]
    )
    # The plain graph of a bundle has folded it; one that has not is read alike.
    (node,) = graph_work(model, model, _recipe(tmp_path)).nodes
    assert (node.name, node.inputs, node.weights) == ("p", ("x",), {"float32": 256})


def test_nodes_belong_where_their_module_does(tmp_path: Path) -> None:
    def add(before: str, after: str, scope: str) -> onnx.NodeProto:
        return _scoped(helper.make_node("Add", [before, before], [after], name=f"add_{after}"), scope)

    model = _graph(
        [
            add("x", "a", "pixels"),
            add("a", "b", "embedding.patch_embed.proj"),
            add("b", "c", "embedding"),
            add("c", "d", "blocks.1.attn.norm"),
            add("d", "e", "blocks.12.mlp.layers.fc1"),
            add("e", "f", "classifier.norm"),
            add("f", "g", "classifier"),
            add("g", "h", "classifier.head"),
            add("h", "y", "blocksmith"),
        ]
    )
    work = graph_work(model, model, _recipe(tmp_path))
    parts = {node.outputs[0]: node.part for node in work.nodes}
    assert [parts[value] for value in "abcdefghy"] == [
        "embedding",
        "embedding",
        "embedding",
        "block_1",
        "block_12",
        "final_norm",
        "head",
        "head",
        "other",
    ]


def test_nodes_that_an_optimisation_put_in_belong_to_the_module_before_them() -> None:
    assert known_scopes(["", "a.b", "", "", "c", ""]) == ["a.b", "a.b", "a.b", "a.b", "c", "c"]


def test_unknown_shapes_are_refused(tmp_path: Path) -> None:
    model = _graph([helper.make_node("Add", ["x", "x"], ["y"], name="a")])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    with pytest.raises(LintError, match="'x' is unknown"):
        graph_work(model, model, _recipe(tmp_path))


def test_file_has_a_line_per_node(tiny_bundle: Path) -> None:
    text = (tiny_bundle / WORK_FILE).read_text()
    found = json.loads(text)
    assert len(text.splitlines()) == sum(len(found[key]) for key in ("nodes", "calls", "steps")) + 11
