"""Multiply-accumulates of a file's parts: products with weights per token, attention per pair of tokens."""

from __future__ import annotations

from collections.abc import Collection
from math import prod

from onnx import helper

from edgeexport.hosts.onnx_file.graph import PlainGraph
from edgeexport.hosts.onnx_file.recognise import FileBlock
from edgeexport.hosts.onnx_file.spec import BlockWork
from edgeexport.hosts.onnx_file.vit import FileVit

__all__ = ["block_work", "part_macs"]


def part_macs(graph: PlainGraph, positions: Collection[int]) -> int:
    """Multiply-accumulates of the products and convolutions among nodes, of a whole batch."""
    return sum(_macs(graph, position) for position in positions)


def block_work(vit: FileVit, block: FileBlock) -> BlockWork:
    """Of one block, per image."""
    graph, images = vit.graph, vit.batch
    pairs = {block.attention.logits, block.attention.mixing}
    linear = part_macs(graph, block.attending - pairs)
    return BlockWork(
        attention=linear // (images * vit.tokens),
        mlp=part_macs(graph, block.finishing) // (images * vit.tokens),
        pairs=part_macs(graph, pairs) // (images * vit.tokens**2),
        norms=(_norms(vit, block.attending), _norms(vit, block.finishing)),
    )


def _norms(vit: FileVit, positions: Collection[int]) -> int:
    """Norms over the width of the tokens, as an operator or written out with one mean, or two."""
    graph = vit.graph
    nodes = [graph.nodes[position] for position in positions]
    fused = sum(
        node.op_type == "LayerNormalization" and graph.shapes[node.output[0]][-1] == vit.width for node in nodes
    )
    means = sum(node.op_type == "ReduceMean" and graph.shapes[node.input[0]][-1] == vit.width for node in nodes)
    return fused + (means + 1) // 2


def _macs(graph: PlainGraph, position: int) -> int:
    node = graph.nodes[position]
    result = graph.shapes[node.output[0]]
    if node.op_type == "MatMul":
        return prod(result) * graph.shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        turned = any(item.name == "transA" and item.i for item in node.attribute)
        return prod(result) * graph.shapes[node.input[0]][0 if turned else 1]
    if node.op_type == "Conv":
        return prod(result) * prod(graph.shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        group = {item.name: helper.get_attribute_value(item) for item in node.attribute}.get("group", 1)
        return prod(graph.shapes[node.input[0]]) * prod(graph.shapes[node.input[1]][1:]) * group // max(group, 1)
    return 0
