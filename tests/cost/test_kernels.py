"""Which nodes count as one kernel, and what it moves."""

from __future__ import annotations

import pytest
from work_cases import CALL, NODES, WORK, node

from edgeexport.cost.kernels import FUSIONS, Kernel, kernels_from_nodes
from edgeexport.cost.work import NodeWork


def _names(kernels: list[Kernel]) -> list[str]:
    return ["+".join(item.name for item in kernel.nodes) for kernel in kernels]


def test_onnxruntime() -> None:
    assert _names(kernels_from_nodes(NODES, FUSIONS["onnxruntime"])) == [
        "patches+positions",
        "norm1",
        "mm1+bias1",
        "act1",
        "res1",
        "top",
        "TokenUnmerge/wide",
        "TokenUnmerge/rows",
        "norm2",
        "mm2",
        "res2",
        "map",
    ]


def test_tensorrt() -> None:
    kernels = kernels_from_nodes(WORK.with_plugins(), FUSIONS["tensorrt"])
    assert _names(kernels) == [
        "patches+positions",
        "norm1",
        "mm1+bias1+act1+res1",
        "top",
        "rows",
        "norm2",
        "mm2+res2",
        "map",
    ]
    product = kernels[2]
    # 800 + 840 + 800 + 1200 bytes of four nodes, without the three values of 400 that are written and read inside.
    assert product.bytes == 3640 - 3 * 800 and product.is_product and product.part == "block_1"
    assert sum(item.product_macs for kernel in kernels for item in kernel.nodes) == 7000


def test_what_is_read_twice_is_written() -> None:
    nodes = [
        node("p", "MatMul", "block_1", "x", "y", macs=1),
        node("a", "Relu", "block_1", "y", "z"),
        node("b", "Sigmoid", "block_1", "y", "w"),
    ]
    assert _names(kernels_from_nodes(nodes, FUSIONS["tensorrt"])) == ["p", "a", "b"]


def _view(name: str, before: str, after: str) -> NodeWork:
    return NodeWork(name, "Reshape", "block_1", inputs=(before,), outputs=(after,))


def test_views() -> None:
    nodes = [
        node("p", "MatMul", "block_1", "x", "y", macs=1),
        _view("v", "y", "z"),
        node("a", "Relu", "block_1", "z", "w"),
        _view("alone", "other", "u"),
    ]
    joined = kernels_from_nodes(nodes, FUSIONS["tensorrt"])
    assert _names(joined) == ["p+v+a", "alone"]
    assert joined[0].bytes == 800  # the product's result stays inside, through the view
    assert [kernel.launched for kernel in joined] == [True, False] and joined[1].bytes == 0
    apart = kernels_from_nodes(nodes, FUSIONS["onnxruntime"])
    assert _names(apart) == ["p", "v", "a", "alone"] and all(kernel.launched for kernel in apart)


@pytest.mark.parametrize(("dtype", "kernels"), [("float16", ["qk+soft+av"]), ("float32", ["qk", "soft", "av"])])
def test_attention_is_one_kernel_in_half_precision(dtype: str, kernels: list[str]) -> None:
    sizes = {"reads": {dtype: 8}, "writes": {dtype: 8}}
    nodes = [
        node("qk", "MatMul", "block_1", "q k", "logits", macs=5, **{**sizes, "dtype": dtype}),
        node("soft", "Softmax", "block_1", "logits", "weights", **sizes),
        node("av", "MatMul", "block_1", "weights v", "mixed", macs=5, **{**sizes, "dtype": dtype}),
    ]
    assert _names(kernels_from_nodes(nodes, FUSIONS["tensorrt"])) == kernels


def test_two_products_stay_two_kernels() -> None:
    nodes = [
        node("a", "MatMul", "block_1", "x", "u", macs=1),
        node("b", "MatMul", "block_1", "y", "v", macs=1),
        node("sum", "Add", "block_1", "u v", "w"),
    ]
    assert _names(kernels_from_nodes(nodes, FUSIONS["tensorrt"])) == ["a", "b+sum"]


def test_plugins_stand_alone() -> None:
    nodes = [node("c", "Cast", "prune_1", "top", "index"), CALL, node("r", "Relu", "block_2", "kept", "z")]
    assert _names(kernels_from_nodes(nodes, FUSIONS["tensorrt"])) == ["c", "rows", "r"]
