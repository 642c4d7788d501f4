from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.cost.macs import vit_block_macs
from edgeexport.errors import LintError
from edgeexport.graph.macs import graph_macs
from edgeexport.hosts.segvit.macs import prune_head_macs

FLOAT = TensorProto.FLOAT


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int | str, ...]],
    outputs: tuple[str, ...],
    weights: dict[str, tuple[int, ...]] | None = None,
    infer: bool = True,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in (weights or {}).items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("edgeexport", 1)], ir_version=10
    )
    return onnx.shape_inference.infer_shapes(model) if infer else model


@pytest.mark.parametrize(
    ("node", "inputs", "weights", "category", "macs"),
    [
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": (2, 3, 5)}, {"w": (5, 7)}, "product", 2 * 3 * 5 * 7),
        (helper.make_node("MatMul", ["x", "z"], ["y"]), {"x": (2, 3, 5), "z": (2, 5, 4)}, {}, "product", 120),
        (helper.make_node("Gemm", ["x", "w"], ["y"]), {"x": (3, 5)}, {"w": (5, 7)}, "product", 105),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1, transB=1), {"x": (5, 3)}, {"w": (7, 5)}, "product", 105),
        (
            helper.make_node("Conv", ["x", "w"], ["y"], group=2, kernel_shape=[3, 3]),
            {"x": (1, 4, 6, 8)},
            {"w": (6, 2, 3, 3)},
            "product",
            6 * 4 * 6 * 2 * 9,
        ),
        (
            helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], kernel_shape=[2, 2]),
            {"x": (1, 4, 6, 8)},
            {"w": (4, 3, 2, 2)},
            "product",
            4 * 6 * 8 * 3 * 4,
        ),
        (
            helper.make_node("Einsum", ["x", "z"], ["y"], equation="bqc, bqn -> bcn"),
            {"x": (2, 3, 5), "z": (2, 3, 7)},
            {},
            "product",
            2 * 3 * 5 * 7,
        ),
        (helper.make_node("LayerNormalization", ["x", "w"], ["y"]), {"x": (2, 3, 5)}, {"w": (5,)}, "norm", 150),
        (
            helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"]),
            {"x": (1, 3, 4, 4)},
            {"s": (3,), "b": (3,), "m": (3,), "v": (3,)},
            "norm",
            96,
        ),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)
def test_one_node(
    node: onnx.NodeProto,
    inputs: dict[str, tuple[int | str, ...]],
    weights: dict[str, tuple[int, ...]],
    category: str,
    macs: int,
) -> None:
    node.name = "the_node"
    cost = graph_macs(_model([node], inputs, ("y",), weights))
    assert [(n.name, n.op_type, n.category, n.macs) for n in cost.nodes] == [("the_node", node.op_type, category, macs)]
    assert cost.total == cost.of_category(category) == macs
    assert cost.opaque == ()


@pytest.mark.parametrize(("mode", "taps"), [("linear", 4), ("nearest", 0), ("cubic", 16)])
def test_resize(mode: str, taps: int) -> None:
    sizes = helper.make_node("Constant", [], ["sizes"], value_ints=[1, 3, 8, 10])
    resize = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode=mode)
    cost = graph_macs(_model([sizes, resize], {"x": (1, 3, 4, 5)}, ("y",)))
    assert cost.of_category("resize") == cost.total == taps * 3 * 80


def test_nodes_on_constants_alone_cost_nothing() -> None:
    nodes = [
        helper.make_node("MatMul", ["w", "v"], ["folded"]),
        helper.make_node("Relu", ["folded"], ["still_folded"]),
        helper.make_node("MatMul", ["still_folded", "v"], ["folded_too"]),
        helper.make_node("MatMul", ["x", "folded_too"], ["y"]),
    ]
    cost = graph_macs(_model(nodes, {"x": (2, 4)}, ("y",), {"w": (4, 4), "v": (4, 4)}))
    assert [node.name for node in cost.nodes] == ["y"]


def test_the_shape_of_an_input_is_a_constant() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["as_float"], to=FLOAT),
        helper.make_node("MatMul", ["as_float", "w"], ["y"]),
    ]
    assert graph_macs(_model(nodes, {"x": (2, 4)}, ("y",), {"w": (2, 3)})).total == 0


def test_unknown_work_is_named_rather_than_counted() -> None:
    nodes = [
        helper.make_node("TokenMerge", ["x"], ["a"], domain="edgeexport", name="custom"),
        helper.make_node("MatMulInteger", ["p", "q"], ["b"], name="integer"),
    ]
    cost = graph_macs(_model(nodes, {"x": (1, 4), "p": (2, 2), "q": (2, 2)}, ("a", "b"), infer=False))
    assert (cost.opaque, cost.total) == (("custom", "integer"), 0)


def test_a_symbolic_shape_is_refused() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    with pytest.raises(LintError, match=r"product \| MatMul: the shape of '[xy]' is unknown or not constant \| fix"):
        graph_macs(_model([node], {"x": ("batch", 4)}, ("y",), {"w": (4, 3)}))


def test_a_function_call_is_refused() -> None:
    body = helper.make_function(
        "edgeexport", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 20)]
    )
    call = helper.make_node("Twice", ["x"], ["y"], domain="edgeexport", name="call")
    model = _model([call], {"x": (1, 4)}, ("y",), infer=False)
    model.functions.append(body)
    with pytest.raises(LintError, match=r"call \| calls the function edgeexport::Twice \| inline"):
        graph_macs(model)


def test_a_subgraph_is_refused() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", FLOAT, (1, 4))]
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch, name="choice")
    with pytest.raises(LintError, match=r"choice \| If holds a subgraph"):
        graph_macs(_model([node], {"x": (1, 4), "c": ()}, ("y",), infer=False))


def test_an_einsum_of_three_is_refused() -> None:
    node = helper.make_node("Einsum", ["x", "x", "x"], ["y"], equation="ij,jk,kl->il", name="triple")
    with pytest.raises(LintError, match=r"triple \| Einsum: equation"):
        graph_macs(_model([node], {"x": (4, 4)}, ("y",)))


def _exported(module: object, shape: tuple[int, ...]) -> onnx.ModelProto:
    import torch

    program = torch.onnx.export(
        module.eval(),  # type: ignore[attr-defined]
        (torch.zeros(shape),),
        dynamo=True,
        opset_version=20,
        optimize=True,
        verbose=False,
    )
    assert program is not None
    return onnx.shape_inference.infer_shapes(program.model_proto)


def test_formula_of_the_vit_block_against_its_graph() -> None:
    pytest.importorskip("torch", reason="exports a torch block")
    from edgeexport.hosts.segmentation.vit import VitBlock
    from edgeexport.hosts.segvit.spec import BackboneSpec

    spec = BackboneSpec(
        "ViT_prune", (96, 160), 16, 3, 48, 1, 3, 4.0, True, True, 1e-6, False, False, "bicubic", (0,)
    )  # fmt: skip
    cost = graph_macs(_exported(VitBlock(spec), (2, 60, 48)))
    formula = vit_block_macs(60, 48)
    assert cost.opaque == ()
    assert cost.of_category("norm") == 2 * formula.norms
    assert cost.total == 2 * formula.total


def test_formula_of_the_prune_head_against_its_graph() -> None:
    """The first layer's queries are weights, so its self-attention and query projection fold: the graph has less."""
    torch = pytest.importorskip("torch", reason="exports a torch head")
    from edgeexport.hosts.segvit.heads import PruneHead
    from edgeexport.hosts.segvit.spec import HeadSpec

    n, c, d, layers, k = 60, 48, 24, 2, 5

    class Outputs(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.head = PruneHead(HeadSpec("PruneHead", c, d, layers, 3, k, (6,), None))

        def forward(self, tokens: object) -> object:
            return self.head(tokens)

    cost = graph_macs(_exported(Outputs(), (1, n, c)))
    folded = 4 * k * d**2 + 2 * k**2 * d + 5 * k * d + k * d**2
    assert cost.total == prune_head_macs(n, c, d, layers, k) - folded


@pytest.mark.parametrize("shared", [0, pytest.param(5, marks=pytest.mark.slow)])
def test_formulas_of_a_whole_model_against_its_graph(shared: int) -> None:
    """Equal to the last multiply-accumulate, less what the exporter folds and the resize to the label size."""
    pytest.importorskip("torch", reason="exports a torch model")
    from pathlib import Path

    import torch

    from edgeexport.cost.macs import bilinear_resize_macs
    from edgeexport.fixed.model import fixed_from_model
    from edgeexport.fixed.tokens import account
    from edgeexport.graph.export import exported_model
    from edgeexport.graph.inline import inlined_model
    from edgeexport.hosts.host import TailSpec
    from edgeexport.hosts.segvit.segvit import SegVit
    from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec
    from edgeexport.inputs.spec import InputSpec
    from edgeexport.ops import token_partition, token_protect, token_unmerge
    from edgeexport.recipe.schema import Recipe
    from edgeexport.reductions.cts import CtsSpec
    from edgeexport.reductions.cts_policy import PolicyNetwork
    from edgeexport.reductions.dtop import DtopSpec

    c, d, layers, k, pixels = 48, 24, 2, 5, 128

    def head(block: int) -> HeadSpec:
        return HeadSpec("PruneHead", c, d, layers, 3, k, (block,), None)

    backbone = BackboneSpec(
        "ViT_prune", (pixels, pixels), 16, 3, c, 3, 3, 4.0, True, True, 1e-6, True, False, "bicubic", (0, 1, 2)
    )  # fmt: skip
    recipe = Recipe(
        name="tiny",
        path=Path("tiny.py"),
        description="",
        model=SegVitSpec("EncoderDecoderPrune", backbone, head(3), (head(1), head(2))),
        checkpoint=None,
        seed=0,
        input=InputSpec(1, pixels, pixels, None),
        output="scores",
        reductions={"cts": CtsSpec(shared, 8, None), "dtop": DtopSpec(((1, 12), (2, 4)), 2)},
        tail=TailSpec("plain", 8),
        extra_outputs=(),
        classes=(),
        palette=(),
        text={},
    )
    segvit = SegVit(recipe.model)
    if shared:
        segvit.policy_net = PolicyNetwork()
    for parameter in segvit.parameters():
        torch.nn.init.normal_(parameter, std=0.02)  # uninitialised memory may hold NaN, which folding would copy
    module = fixed_from_model(segvit, recipe)
    model = exported_model(module, (torch.zeros(1, 3, pixels, pixels),), ["image"], module.output_names, {})
    del model.functions[:]
    model.functions.extend(op.onnx_function() for op in (token_partition, token_protect, token_unmerge))
    cost = graph_macs(inlined_model(model))

    counted = account(recipe).reduced
    constant_queries = 4 * k * d**2 + 2 * k**2 * d + 5 * k * d + k * d**2
    # The policy network's norms have 34873344 elements at 512 x 512; the exporter folds them into the convolutions.
    policy_norms = 2 * 34873344 * pixels**2 // 512**2 if shared else 0
    folded = len(counted.heads) * constant_queries + policy_norms
    assert cost.opaque == ()
    assert cost.total == counted.total - folded - bilinear_resize_macs(k, pixels, pixels)
