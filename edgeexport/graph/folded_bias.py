"""The biases of queries, keys and values folded into their weights, which the norm before them makes possible.

A runtime for GPUs adds a product's bias at no cost, unless the result is cut into heads for attention: then adding and
cutting becomes a kernel for each of queries, keys and values. Without a bias attention reads the product as it lies.

What a LayerNorm gives out sums to 0 over its C channels before gain and offset. With a gain of 1 and an offset of t everywhere
it sums to t C, whatever the input: a constant, to which a rank-one term of the weight gives the bias. For y = x^ + t,

    W' = W diag(gain) + (b + W offset - t W gain) 1' / (t C)   gives   W' y = W (gain x^ + offset) + b,

exactly but for rounding. W' is computed in float64 and stored in float32.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeexport.graph.export import SCOPE_KEY
from edgeexport.graph.rewriting import Place, constant_of, is_kept, put_in_place, rank_of, shape_of, stored

__all__ = ["SHIFT", "fold_biases"]

SHIFT = 0.25
"""t. Small beside the norm's unit variance, so that float16 loses nothing; large enough for the rank-one term to stay small."""

_CUTTING = frozenset({"Reshape", "Split", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class _Biased:
    """A product with a weight and the bias behind it, of a norm's result.

    Attributes:
        product: The MatMul or Gemm.
        result: With the bias added.
        weight: float64 (C, out).
        bias: float64 (out,).
    """

    product: ir.Node
    result: ir.Value
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


def fold_biases(program: ir.Model, kept: Collection[str] = ()) -> int:
    """Folds every bias between a LayerNorm and attention into the weight before it, in place.

    Where the norm's result is read by others too, they read gain and offset applied to the unscaled one.

    Args:
        program: A float32 graph; sorted nodes without nested graphs.
        kept: Values that have to keep their name and meaning, beside the graph's outputs.

    Returns:
        The number of biases that went.
    """
    graph = program.graph
    folded = 0
    for norm in [node for node in graph if _is_norm(node)]:
        biased = [found for use in norm.outputs[0].uses() if (found := _biased(use.node, norm, kept)) is not None]
        if biased:
            _unscale(graph, norm, biased)
            folded += len(biased)
    return folded


def _is_norm(node: ir.Node) -> bool:
    if node.op_type != "LayerNormalization" or node.domain or len(node.outputs) > 1 or len(node.inputs) < 3:
        return False
    gain, offset = (_float64(value) for value in node.inputs[1:3])
    axis = node.attributes.get_int("axis", -1)
    rank = rank_of(node.inputs[0])
    return gain is not None and offset is not None and gain.ndim == 1 and axis in (-1, rank - 1)


def _biased(product: ir.Node, norm: ir.Node, kept: Collection[str]) -> _Biased | None:
    """The product with its bias, where attention alone needs it without one."""
    if product.inputs[0] is not norm.outputs[0]:
        return None
    weight = _float64(product.inputs[1]) if len(product.inputs) > 1 else None
    if weight is None or weight.ndim != 2:
        return None
    result = product.outputs[0]
    if product.op_type == "Gemm":
        attributes = product.attributes
        plain = attributes.get_float("alpha", 1.0) == attributes.get_float("beta", 1.0) == 1.0
        if not plain or attributes.get_int("transA", 0) != 0 or len(product.inputs) < 3:
            return None
        weight = weight.T if attributes.get_int("transB", 0) != 0 else weight
        bias = _float64(product.inputs[2])
    elif product.op_type == "MatMul":
        readers = list(result.uses())
        if len(readers) != 1 or readers[0].node.op_type != "Add" or is_kept([result], kept):
            return None
        bias = _float64(readers[0].node.inputs[1 - readers[0].idx])
        result = readers[0].node.outputs[0]
    else:
        return None
    if bias is None or bias.size != weight.shape[1] or bias.shape[-1] != weight.shape[1] or is_kept([result], kept):
        return None
    return _Biased(product, result, weight, bias.ravel()) if _reaches_attention(result) else None


def _reaches_attention(value: ir.Value) -> bool:
    """Whether a value is multiplied by another computed one, after nothing but cutting into heads and scaling."""
    for use in value.uses():
        node = use.node
        others = [item for index, item in enumerate(node.inputs) if index != use.idx and item is not None]
        if node.op_type == "MatMul" and rank_of(others[0]) > 2:  # weights have two axes
            return True
        scales = node.op_type == "Mul" and (other := _float64(others[0])) is not None and other.size == 1
        if (scales or node.op_type in _CUTTING) and any(_reaches_attention(output) for output in node.outputs):
            return True
    return False


def _unscale(graph: ir.Graph, norm: ir.Node, biased: list[_Biased]) -> None:
    """Gives the norm a gain of 1 and an offset of `SHIFT`, and its readers what makes up for it."""
    gain, offset = (_float64(value) for value in norm.inputs[1:3])
    assert gain is not None and offset is not None
    scaled, width, shape = norm.outputs[0], len(gain), shape_of(norm.outputs[0])
    name, place = str(scaled.name), Place(graph, norm)
    ones = stored(graph, f"unscaled/{width}/gain", np.ones(width, np.float32))
    shift = stored(graph, f"unscaled/{width}/offset", np.full(width, SHIFT, np.float32))
    unscaled = place.op(
        "LayerNormalization", [norm.inputs[0], ones, shift], "unscaled", shape, **_plain_attributes(norm)
    )
    maker = unscaled.producer()
    assert maker is not None
    # It is no longer what the norm's module gives out, so that it belongs to the module around that.
    maker.name, scope = norm.name, maker.metadata_props.get(SCOPE_KEY, "")
    maker.metadata_props[SCOPE_KEY] = scope.rpartition(".")[0] or scope
    for item in biased:
        _fold(graph, item, unscaled, gain, offset)
    if scaled.uses() or scaled.is_graph_output():
        rest = stored(graph, f"{name}/offset", (offset - SHIFT * gain).astype(np.float32))
        product = place.op("Mul", [unscaled, norm.inputs[1]], "scaled", shape)
        put_in_place(scaled, place.op("Add", [product, rest], "offset", shape))
    graph.remove(norm, safe=True)


def _plain_attributes(norm: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in norm.attributes.items()}


def _fold(
    graph: ir.Graph, item: _Biased, unscaled: ir.Value, gain: NDArray[np.float64], offset: NDArray[np.float64]
) -> None:
    constant = item.bias + offset @ item.weight - SHIFT * (gain @ item.weight)
    weight = item.weight  # of this product alone: changed in place, for a large model's takes hundreds of megabytes
    weight *= gain[:, None]
    weight += constant / (SHIFT * len(gain))
    place = Place(graph, item.product)
    folded = place.constant("folded_weight", weight.astype(np.float32))
    result = place.op("MatMul", [unscaled, folded], "folded", shape_of(item.result))
    maker, added = result.producer(), item.result.producer()
    assert maker is not None and added is not None
    put_in_place(item.result, result)
    maker.name = item.product.name
    graph.remove(dict.fromkeys([added, item.product]), safe=True)


def _float64(value: ir.Value | None) -> NDArray[np.float64] | None:
    array = constant_of(value)
    return None if array is None else array.astype(np.float64)
