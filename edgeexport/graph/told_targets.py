"""Matching tells merging where every token goes, instead of lists of what merges: one step in place of a chain of sorts.

For each TokenMatch whose choice a TokenMerge carries out. The op's bodies are then those of `tensorrt_function`.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgeexport.graph.rewriting import put_in_place, shape_of
from edgeexport.ops import DOMAIN, token_match, token_merge

__all__ = ["LARGEST_SUMS", "tell_targets"]

LARGEST_SUMS = 2**24
"""Multiply-accumulates of one merge that a kernel without a product may write out; 197 tokens of width 768 take 15 million."""


def tell_targets(program: ir.Model) -> bool:
    """Connects every TokenMatch to its TokenMerge, in place; all or none, for a graph has one body per op.

    Declines where a merge is not by a TokenMatch's choice, and where one is so large that products are better.

    Args:
        program: Sorted nodes, with the shape of every value; custom ops as calls.

    Returns:
        Whether it was done.
    """
    merges = [node for node in program.graph if (node.domain, node.op_type) == (DOMAIN, token_merge.NAME)]
    pairs = [(match, merge) for merge in merges if (match := _chosen_by(merge)) is not None and _is_small(match, merge)]
    matches = [node for node in program.graph if (node.domain, node.op_type) == (DOMAIN, token_match.NAME)]
    if not merges or len(pairs) < len(merges) or {*matches} != {match for match, _ in pairs}:
        return False
    told = {match: _telling(program.graph, match) for match in matches}
    for match, merge in pairs:
        metadata = dict(merge.metadata_props)
        inputs = [*(_renewed(value, match, told[match]) for value in merge.inputs), told[match].outputs[3]]
        new = ir.node(
            merge.op_type,
            inputs,
            dict(merge.attributes),
            domain=merge.domain,
            num_outputs=2,
            name=merge.name,
            metadata_props=metadata,
        )
        program.graph.insert_before(merge, new)
        _replace(program.graph, merge, new)
    for match, new in told.items():
        _replace(program.graph, match, new)
    return True


def _chosen_by(merge: ir.Node) -> ir.Node | None:
    """The TokenMatch whose first two outputs a TokenMerge reads."""
    source, target = merge.inputs[2:4]
    match = None if source is None else source.producer()
    if match is None or (match.domain, match.op_type) != (DOMAIN, token_match.NAME):
        return None
    return match if (source, target) == tuple(match.outputs[:2]) else None


def _is_small(match: ir.Node, merge: ir.Node) -> bool:
    (_, tokens, depth), (batch, _, width) = shape_of(match.inputs[0]), shape_of(merge.inputs[0])
    sources, windows = len(match.attributes.get_ints("sources") or ()), match.attributes.get_int("windows", 1)
    destinations = len(match.attributes.get_ints("destinations") or ())
    similarities = batch * sources * (destinations // windows) * depth
    sums = batch * len(merge.attributes.get_ints("destinations") or ()) * tokens * width
    return max(similarities, sums) <= LARGEST_SUMS


def _telling(graph: ir.Graph, match: ir.Node) -> ir.Node:
    batch, tokens, _ = shape_of(match.inputs[0])
    own: dict[str, Any] = {name: attribute.value for name, attribute in match.attributes.items()}
    new = ir.node(
        match.op_type,
        match.inputs,
        {**own, **token_match.tensorrt_attributes(own, tokens)},
        domain=match.domain,
        num_outputs=4,
        name=match.name,
        metadata_props=dict(match.metadata_props),
    )
    into = new.outputs[3]
    into.name, into.shape = f"{match.name}/into", ir.Shape((batch, tokens))
    into.type = ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(match, new)
    return new


def _renewed(value: ir.Value | None, match: ir.Node, new: ir.Node) -> ir.Value | None:
    return new.outputs[value.index() or 0] if value is not None and value.producer() is match else value


def _replace(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    for before, after in zip(old.outputs, new.outputs, strict=False):
        after.shape, after.type = before.shape, before.type
        put_in_place(before, after)
    graph.remove(old, safe=True)
