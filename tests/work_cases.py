"""A small graph's work, written by hand: an embedding, two blocks, a pruning step by custom op, a tail."""

from __future__ import annotations

from typing import Any

from edgeexport.cost.work import GraphWork, NodeWork


def node(name: str, op_type: str, part: str, inputs: str, outputs: str, **more: Any) -> NodeWork:
    """A node; ``inputs`` and ``outputs`` are names with spaces between, ``macs`` make it a float32 product."""
    if more.get("macs"):
        more = {"kind": "product", "dtype": "float32", **more}
    sizes = {"reads": {"float32": 400 * len(inputs.split())}, "writes": {"float32": 400 * len(outputs.split())}}
    return NodeWork(
        name, op_type, part, inputs=tuple(inputs.split()), outputs=tuple(outputs.split()), **{**sizes, **more}
    )


CALL = node("rows", "edgeexport::TokenUnmerge", "prune_1", "r1 index", "kept")

NODES = (
    node("patches", "MatMul", "embedding", "image", "p", macs=1000),
    node("positions", "Add", "embedding", "p", "x0", weights={"float32": 400}),
    node("norm1", "LayerNormalization", "block_1", "x0", "n1"),
    node("mm1", "MatMul", "block_1", "n1", "m1", macs=4000),
    node("bias1", "Add", "block_1", "m1", "b1", weights={"float32": 40}),
    node("act1", "Gelu", "block_1", "b1", "g1"),
    node("res1", "Add", "block_1", "x0 g1", "r1"),
    node("top", "TopK", "prune_1", "r1", "values index"),
    node("TokenUnmerge/wide", "Cast", "prune_1", "index", "wide", call="rows"),
    node("TokenUnmerge/rows", "GatherND", "prune_1", "r1 wide", "kept", call="rows"),
    node("norm2", "LayerNormalization", "block_2", "kept", "n2"),
    node("mm2", "MatMul", "block_2", "n2", "m2", macs=2000),
    node("res2", "Add", "block_2", "kept m2", "r2"),
    node("map", "ArgMax", "tail", "r2", "class_map"),
)

WORK = GraphWork(NODES, (CALL,), frozenset({"rows"}))
