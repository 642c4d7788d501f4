"""Fused operators written out: ONNX Runtime's own, and those that came with opset 23, as standard operators of opset 20.

Each function gets the node and the shapes of its inputs, and returns the nodes in its place; results keep their names.
Sources: ONNX Runtime's contrib operators (ContribOperators.md), ONNX's operator specifications.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexport.hosts.onnx_file.refused import NotRecognised, label_of

__all__ = ["opened"]

Shapes = Mapping[str, tuple[int, ...]]
_CONTRIB = "com.microsoft"


def opened(node: onnx.NodeProto, shapes: Shapes, dtypes: Mapping[str, int]) -> list[onnx.NodeProto] | None:
    """The nodes in place of a fused one; None where it is none.

    Raises:
        NotRecognised: A form of it that cannot be written out.
    """
    make = _OPENED.get((_CONTRIB if node.domain == _CONTRIB else "", node.op_type))
    return None if make is None else make(_Body(node, shapes, dtypes))


class _Body:
    """Collects the nodes that stand for one."""

    def __init__(self, node: onnx.NodeProto, shapes: Shapes, dtypes: Mapping[str, int]) -> None:
        self.node, self.shapes, self.dtypes = node, shapes, dtypes
        self.attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        self.nodes: list[onnx.NodeProto] = []
        self.base = node.name or node.output[0]

    def given(self, position: int) -> str:
        """An input's name; empty where it is left out."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def wanted(self, position: int) -> str:
        """An output's name; empty where nobody asks."""
        return self.node.output[position] if position < len(self.node.output) else ""

    def op(self, op_type: str, inputs: Sequence[str], to: str = "", **attributes: Any) -> str:
        """Adds a node; its result is called ``to``, or after the fused node."""
        name = f"{self.base}/{op_type}_{len(self.nodes)}"
        result = to or name
        self.nodes.append(helper.make_node(op_type, list(inputs), [result], name, **attributes))
        return result

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant of the place."""
        tensor = numpy_helper.from_array(np.asarray(value, dtype=dtype))
        return self.op("Constant", [], value=tensor)

    def refuse(self, problem: str) -> NotRecognised:
        """The error for a form that is not known."""
        return NotRecognised(label_of(self.node), problem, "export again without that option, or without fusion")

    def heads(self, value: str, number: int, width: int) -> str:
        """(B, n, h d) -> (B, h, n, d)."""
        batch, tokens = self.shapes[self.given(0)][:2]
        split = self.op("Reshape", [value, self.constant([batch, tokens, number, width], np.int64)])
        return self.op("Transpose", [split], perm=[0, 2, 1, 3])

    def attention(self, query: str, key: str, value: str, mask: str, scale: float, to: str) -> str:
        """Softmax of scaled products over (B, h, n, d)."""
        turned = self.op("Transpose", [key], perm=[0, 1, 3, 2])
        logits = self.op("Mul", [self.op("MatMul", [query, turned]), self.constant(scale)])
        if mask and self.dtypes[mask] == TensorProto.BOOL:
            logits = self.op("Where", [mask, logits, self.constant(np.finfo(np.float32).min)])
        elif mask:
            logits = self.op("Add", [logits, mask])
        return self.op("MatMul", [self.op("Softmax", [logits], axis=-1), value], to)


def _contrib_attention(body: _Body) -> list[onnx.NodeProto]:
    own = body.attributes
    if body.given(3) or body.given(4) or own.get("unidirectional") or own.get("do_rotary"):
        raise body.refuse("attends with a mask, a past or rotary positions inside the fused operator")
    heads, weight = int(own["num_heads"]), body.shapes[body.given(1)]
    sizes = list(own.get("qkv_hidden_sizes") or [weight[1] // 3] * 3)
    joint = body.op("MatMul", [body.given(0), body.given(1)])
    if body.given(2):
        joint = body.op("Add", [joint, body.given(2)])
    parts = [f"{body.base}/{part}" for part in "qkv"]
    split = helper.make_node("Split", [joint, body.constant(sizes, np.int64)], parts, f"{body.base}/Split", axis=-1)
    body.nodes.append(split)
    query, key, value = (body.heads(part, heads, size // heads) for part, size in zip(parts, sizes, strict=True))
    scale = float(own.get("scale") or 1 / math.sqrt(sizes[0] // heads))
    mixed = body.attention(query, key, value, body.given(5), scale, "")
    return _joined(body, mixed, sizes[2])


def _multi_head_attention(body: _Body) -> list[onnx.NodeProto]:
    own = body.attributes
    if any(body.given(position) for position in (4, 6, 7)) or own.get("unidirectional"):
        raise body.refuse("attends with padding or a past inside the fused operator")
    names = [body.given(position) for position in range(3)]
    if not all(len(body.shapes[name]) == 3 for name in names if name) or not all(names):
        raise body.refuse("takes packed queries, keys and values")
    heads = int(own["num_heads"])
    widths = [body.shapes[name][2] for name in names]
    if body.given(3):
        biases = [f"{body.base}/bias_{part}" for part in "qkv"]
        sizes = body.constant(widths, np.int64)
        body.nodes.append(helper.make_node("Split", [body.given(3), sizes], biases, f"{body.base}/Split", axis=0))
        names = [body.op("Add", [name, bias]) for name, bias in zip(names, biases, strict=True)]
    query, key, value = (body.heads(name, heads, width // heads) for name, width in zip(names, widths, strict=True))
    scale = float(own.get("scale") or 1 / math.sqrt(widths[0] // heads))
    return _joined(body, body.attention(query, key, value, body.given(5), scale, ""), widths[2])


def _joined(body: _Body, mixed: str, width: int) -> list[onnx.NodeProto]:
    batch, tokens = body.shapes[body.given(0)][:2]
    rows = body.op("Transpose", [mixed], perm=[0, 2, 1, 3])
    body.op("Reshape", [rows, body.constant([batch, tokens, width], np.int64)], body.wanted(0))
    return body.nodes


def _standard_attention(body: _Body) -> list[onnx.NodeProto]:
    """Opset 23's ``Attention``, as far as models of images use it."""
    own = body.attributes
    if any(body.given(position) for position in (4, 5, 6)) or own.get("is_causal") or own.get("softcap"):
        raise body.refuse("attends with a cache, causally or with a soft limit")
    if any(body.wanted(position) for position in (1, 2, 3)):
        raise body.refuse("gives out more than the attended values")
    names = [body.given(position) for position in range(3)]
    shapes = [body.shapes[name] for name in names]
    joined = len(shapes[0]) == 3
    if joined:
        heads = [int(own["q_num_heads"]), *[int(own["kv_num_heads"])] * 2]
        widths = [shape[2] // number for shape, number in zip(shapes, heads, strict=True)]
        names = [body.heads(name, number, width) for name, number, width in zip(names, heads, widths, strict=True)]
    else:
        heads, widths = [shape[1] for shape in shapes], [shape[3] for shape in shapes]
    if len({*heads}) > 1:
        raise body.refuse("lets heads share keys and values")
    scale = float(own.get("scale") or 1 / math.sqrt(widths[0]))
    mask = body.given(3)
    query, key, value = names
    mixed = body.attention(query, key, value, mask, scale, "" if joined else body.wanted(0))
    return _joined(body, mixed, heads[2] * widths[2]) if joined else body.nodes


def _skip_norm(body: _Body) -> list[onnx.NodeProto]:
    """Residual and norm in one; outputs are the norm's, two that nobody reads, and the sum."""
    simplified = body.node.op_type.startswith("SkipSimplified")
    total = body.op("Add", [body.given(0), body.given(1)], "" if _bias_of(body, simplified) else body.wanted(3))
    if bias := _bias_of(body, simplified):
        total = body.op("Add", [total, bias], body.wanted(3))
    epsilon = float(body.attributes.get("epsilon", 1e-12))
    if simplified:
        _root_mean_square(body, total, body.given(2), epsilon)
        return body.nodes
    inputs = [total, body.given(2), *([body.given(3)] if body.given(3) else [])]
    body.op("LayerNormalization", inputs, body.wanted(0), axis=-1, epsilon=epsilon)
    return body.nodes


def _bias_of(body: _Body, simplified: bool) -> str:
    return body.given(3 if simplified else 4)


def _root_mean_square(body: _Body, value: str, scale: str, epsilon: float) -> None:
    square = body.op("Mul", [value, value])
    mean = body.op("ReduceMean", [square, body.constant([-1], np.int64)], keepdims=1)
    root = body.op("Sqrt", [body.op("Add", [mean, body.constant(epsilon)])])
    body.op("Mul", [body.op("Div", [value, root]), scale], body.wanted(0))


def _rms_norm(body: _Body) -> list[onnx.NodeProto]:
    axis, rank = int(body.attributes.get("axis", -1)), len(body.shapes[body.given(0)])
    if axis not in (-1, rank - 1):
        raise body.refuse("norms over more than the last axis")
    _root_mean_square(body, body.given(0), body.given(1), float(body.attributes.get("epsilon", 1e-5)))
    return body.nodes


def _gelu(body: _Body) -> list[onnx.NodeProto]:
    kind = "tanh" if body.node.op_type == "FastGelu" else "none"
    value = body.given(0)
    if body.given(1):
        value = body.op("Add", [value, body.given(1)])
    body.op("Gelu", [value], body.wanted(0), approximate=kind)
    return body.nodes


def _quick_gelu(body: _Body) -> list[onnx.NodeProto]:
    scaled = body.op("Mul", [body.given(0), body.constant(body.attributes.get("alpha", 1.702))])
    body.op("Mul", [body.given(0), body.op("Sigmoid", [scaled])], body.wanted(0))
    return body.nodes


def _fused_product(body: _Body) -> list[onnx.NodeProto]:
    own = body.attributes
    if own.get("transBatchA") or own.get("transBatchB"):
        raise body.refuse("transposes its batch")
    inputs = []
    for position, key in enumerate(("transA", "transB")):
        value = body.given(position)
        if own.get(key):
            order = list(range(len(body.shapes[value])))
            value = body.op("Transpose", [value], perm=[*order[:-2], order[-1], order[-2]])
        inputs.append(value)
    alpha = float(own.get("alpha", 1.0))
    product = body.op("MatMul", inputs, body.wanted(0) if alpha == 1 else "")
    if alpha != 1:
        body.op("Mul", [product, body.constant(alpha)], body.wanted(0))
    return body.nodes


def _fused_activation(body: _Body) -> list[onnx.NodeProto]:
    """A product or convolution with the activation behind it."""
    own = {key: value for key, value in body.attributes.items() if not key.startswith("activation")}
    kind = body.attributes.get("activation", b"").decode()
    if kind not in ("Relu", "Sigmoid", "Tanh", ""):
        raise body.refuse(f"has the activation {kind}")
    op_type = body.node.op_type.removeprefix("Fused")
    result = body.op(op_type, [name for name in body.node.input if name], "" if kind else body.wanted(0), **own)
    if kind:
        body.op(kind, [result], body.wanted(0))
    return body.nodes


_OPENED: dict[tuple[str, str], Callable[[_Body], list[onnx.NodeProto]]] = {
    (_CONTRIB, "Attention"): _contrib_attention,
    (_CONTRIB, "MultiHeadAttention"): _multi_head_attention,
    (_CONTRIB, "SkipLayerNormalization"): _skip_norm,
    (_CONTRIB, "SkipSimplifiedLayerNormalization"): _skip_norm,
    (_CONTRIB, "BiasGelu"): _gelu,
    (_CONTRIB, "Gelu"): _gelu,
    (_CONTRIB, "FastGelu"): _gelu,
    (_CONTRIB, "QuickGelu"): _quick_gelu,
    (_CONTRIB, "FusedMatMul"): _fused_product,
    (_CONTRIB, "FusedGemm"): _fused_activation,
    (_CONTRIB, "FusedConv"): _fused_activation,
    ("", "SimplifiedLayerNormalization"): _rms_norm,
    ("", "RMSNormalization"): _rms_norm,
    ("", "Attention"): _standard_attention,
}
