"""Reads the kernel plan out of TensorRT-RTX's build log: with detailed profiling verbosity it holds one line per kernel.

The text is no documented interface. So nothing is guessed: a line that is not understood word for word is an error.
"""

from __future__ import annotations

import re

from edgeexport.cost.kernel_plan import PlannedKernel, Tensor
from edgeexport.errors import EdgeExportError

__all__ = ["PlanLogError", "rows_from_log"]

_KINDS = {
    "gemm": "product",
    "runtime_fusion": "product",
    "correlation": "convolution",
    "avgpool": "pooling",
    "maxpool": "pooling",
    "kgen": "generated",
    "runtime_function": "generated",  # copies side by side: concatenation
    "signal": "signal",
    "wait": "wait",
}
_DTYPES = {
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Int8": "int8",
    "UInt8": "uint8",
    "Int32": "int32",
    "Int64": "int64",
    "Bool": "bool",
}
_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<type>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: (?P<tactic>[^,]*), StreamId: (?P<stream>\d+), "
    r"(?:EventId: (?P<event>\d+), )?Metadata: ?(?P<nodes>.*)"
)
_TENSOR = re.compile(
    r" \{ Name: (?P<name>[^,]*), Dimensions: \[(?P<shape>[\d,]*)\], Strides: \[(?P<strides>[\d,]*)\], "
    r"StrideOrder: \[[\d,]*\], Datatype: (?P<dtype>\w+), Format: [^{}]*? \}(?:,|$)"
)
_NODE = re.compile(r"\[ONNX Layer: (.+?)\](?:__\w+)?(?:\x1f|$)")
_OPERATION = re.compile(r"(?:__myl_)?_?(?P<words>\w+?)(?:_0x[0-9a-f]+)?$")
_ATTENTION = "gemm_mha"


class PlanLogError(EdgeExportError):
    """A line of the plan that this reader does not know: another version of TensorRT-RTX writes another text."""


def rows_from_log(text: str) -> tuple[PlannedKernel, ...]:
    """Kernels and events of a plan, in its order; tensors get short names in order of appearance.

    Args:
        text: The log's message that begins with ``Layers:``; empty gives no rows (a graph that is too small to be fused is
            built without one).

    Raises:
        PlanLogError: A line, a kind of kernel, a dtype or a list of nodes is not understood.
    """
    names: dict[str, str] = {}
    events: dict[str, int] = {}
    return tuple(_row(line, names, events) for line in _plan_lines(text))


def _plan_lines(text: str) -> list[str]:
    """Between ``Layers:`` and the empty line behind the last kernel."""
    lines = text.split("\n")
    if lines[0].strip() != "Layers:":
        if text:
            raise _unknown(lines[0], "the plan does not begin with 'Layers:'")
        return []
    end = lines.index("") if "" in lines else len(lines)
    return lines[1:end]


def _row(line: str, names: dict[str, str], events: dict[str, int]) -> PlannedKernel:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _unknown(line, "no line of the known form")
    kind = _KINDS.get(match["type"])
    if kind is None:
        raise _unknown(line, f"kernels of type {match['type']!r} are unknown")
    operation = ""
    if kind == "generated":
        words = _OPERATION.match(match["tactic"])
        operation = words["words"] if words else ""
        kind = "attention" if operation.startswith(_ATTENTION) else kind
    event = match["event"]
    if (kind in ("signal", "wait")) != (event is not None):
        raise _unknown(line, "events belong to signals and waits")
    return PlannedKernel(
        kind=kind,
        operation=operation,
        stream=int(match["stream"]),
        event=None if event is None else events.setdefault(event, len(events)),
        inputs=_tensors(match["inputs"], names, line),
        constants=tuple(tensor for tensor in _tensors(match["constants"], names, line) if tensor.shape != (1,)),
        outputs=_tensors(match["outputs"], names, line),
        nodes=_nodes(match["nodes"], line),
    )


def _tensors(text: str, names: dict[str, str], line: str) -> tuple[Tensor, ...]:
    tensors, at = [], 0
    while text[at:].strip():
        match = _TENSOR.match(text, at)
        if match is None:
            raise _unknown(text[at:], "no tensor of the known form")
        dtype = _DTYPES.get(match["dtype"])
        if dtype is None:
            raise _unknown(line, f"the dtype {match['dtype']!r} is unknown")
        shape, strides = (tuple(int(size) for size in match[key].split(",") if size) for key in ("shape", "strides"))
        if len(shape) != len(strides):
            raise _unknown(line, "shape and strides differ in length")
        tensors.append(Tensor(names.setdefault(match["name"], f"t{len(names)}"), dtype, shape, strides))
        at = match.end()
    return tuple(tensors)


def _nodes(text: str, line: str) -> tuple[str, ...]:
    nodes, at = [], 0
    while at < len(text):
        match = _NODE.match(text, at)
        if match is None:
            raise _unknown(line, "the nodes inside it are not listed as known")
        nodes.append(match[1])
        at = match.end()
    return tuple(dict.fromkeys(nodes))


def _unknown(line: str, why: str) -> PlanLogError:
    remedy = "report it with the version of tensorrt-rtx-cu13-bindings; constraints.txt has the one that is known"
    return PlanLogError("TensorRT-RTX's kernel plan", f"{why}: {line[:160]!r}", remedy)
