"""Which nodes of a graph a runtime runs as one kernel: what is between them never reaches memory.

Rules stand for what the runtimes do, roughly: they decide how many bytes a prediction counts, not what is executed. Those of
ONNX Runtime are its optimiser's, seen in profiles; those of TensorRT its documented fusions, unrun here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeexport.cost.work import NodeWork

__all__ = ["FUSIONS", "Fusion", "Kernel", "kernels_from_nodes"]

VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""They give their input another shape: no kernel in TensorRT, one that moves nothing in ONNX Runtime."""

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"})

_POINTWISE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Erf", "Exp", "Expand", "Floor", "Gelu", "Greater",
        "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mul", "Neg",
        "Not", "Or", "Pow", "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh", "Where",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Fusion:
    """A runtime's rules.

    Attributes:
        joins: Whether a node joins the kernel whose last node is the other, given that it alone reads its result.
        view_kernels: Whether views are launched.
    """

    joins: Callable[[NodeWork, NodeWork], bool]
    view_kernels: bool


@dataclass(frozen=True)
class Kernel:
    """Nodes that run as one.

    Attributes:
        nodes: In order of execution.
        part: Of the model: its heaviest node's.
        bytes: Read and written, without what stays inside.
        launched: False for a view that costs nothing.
    """

    nodes: tuple[NodeWork, ...]
    part: str
    bytes: int
    launched: bool

    @property
    def is_product(self) -> bool:
        """Whether a matrix product or convolution is in it."""
        return any(node.product_macs for node in self.nodes)


def kernels_from_nodes(nodes: Sequence[NodeWork], fusion: Fusion) -> list[Kernel]:
    """Groups nodes (in order of execution) into kernels."""
    readers: dict[str, int] = {}
    for node in nodes:
        for value in node.inputs:
            readers[value] = readers.get(value, 0) + 1
    groups: list[list[NodeWork]] = []
    inside: list[int] = []  # per group, bytes that are written and read within it
    result: list[int] = []  # per group, bytes of its last result
    group_of: dict[str, int] = {}  # value -> the group that computes it as its last result
    for node in nodes:
        # Of several inputs that would do, the latest: what is computed first waits in memory.
        chosen = -1
        for value in node.inputs:
            group = group_of.get(value, -1)
            if group > chosen and readers[value] == 1 and fusion.joins(groups[group][-1], node):
                chosen = group
        if chosen < 0:
            chosen = len(groups)
            groups.append([])
            inside.append(0)
            result.append(0)
        elif node.op_type not in VIEWS:
            inside[chosen] += 2 * result[chosen]
        if node.op_type not in VIEWS:
            result[chosen] = node.written_bytes
        groups[chosen].append(node)
        group_of.update((value, chosen) for value in node.outputs)
    return [
        Kernel(
            nodes=tuple(group),
            part=max(group, key=lambda node: (node.product_macs, node.bytes)).part,
            bytes=max(sum(node.bytes for node in group) - hidden, 0),
            launched=fusion.view_kernels or any(node.op_type not in VIEWS for node in group),
        )
        for group, hidden in zip(groups, inside, strict=True)
    ]


def _joins_in_onnxruntime(last: NodeWork, node: NodeWork) -> bool:
    constant_operand = len(node.inputs) == 1
    if last.op_type == "Conv":
        return node.op_type in ("Clip", "Relu", "Add")
    if last.op_type in ("MatMul", "Gemm"):
        return node.op_type == "Add" and constant_operand
    if last.op_type == "Mul":  # the scale of the queries
        return node.op_type == "MatMul" and len(last.inputs) == 1
    return last.op_type == "Add" and node.op_type == "LayerNormalization"


def _joins_in_tensorrt(last: NodeWork, node: NodeWork) -> bool:
    if "::" in last.op_type or "::" in node.op_type:  # plugins stand alone
        return False
    if last.op_type in VIEWS or node.op_type in VIEWS or node.op_type in _POINTWISE:
        return last.op_type not in ("TopK", "Split")
    if node.op_type == "Transpose":
        return last.op_type in _POINTWISE or last.op_type in PRODUCTS
    if last.op_type in _POINTWISE:
        return node.op_type in ("LayerNormalization", "ReduceMax", "ReduceMean", "ReduceSum", "Softmax")
    if node.dtype == "float16" or "float16" in node.reads:  # the fused attention kernels take half precision alone
        return (last.op_type, node.op_type) in (("MatMul", "Softmax"), ("Softmax", "MatMul"))
    return False


FUSIONS = {
    "onnxruntime": Fusion(_joins_in_onnxruntime, view_kernels=True),
    "tensorrt": Fusion(_joins_in_tensorrt, view_kernels=False),
}
"""Backend's name -> its rules."""
