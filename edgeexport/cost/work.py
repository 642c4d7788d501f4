"""What a bundle's graph has to do, node by node (work.json): products, bytes, and the part of the model that each belongs to.

The build writes it, because the graph itself cannot be read on a device that has no onnx package. A file of its own rather
than a table in tokens.json: it has one line for each of some thousand nodes, and tokens.json is read by people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.documents import WORK, Work, read_document
from edgeexport.documents.work import WORK_SCHEMA, Node

__all__ = [
    "MODEL",
    "OTHER",
    "WORK_FILE",
    "WORK_SCHEMA",
    "GraphWork",
    "NodeWork",
    "part_order",
    "part_title",
    "read_work",
    "work_bytes",
    "work_file",
    "work_from_document",
]

WORK_FILE = "work.json"

MODEL = "model"
"""Name of the graph of a bundle that lists none."""

OTHER = "other"
"""The part of what belongs to no part."""

CONVENTION = (
    "per run of the whole batch. macs: multiply-accumulates of products, and by the convention of tokens.json those of norms "
    "and resizes (kind tells which). reads, writes: bytes of values that exist at run time only, every operand once; a "
    "gather reads what it gives out, a view (Reshape, Squeeze) moves nothing. weights: bytes of constants. Nodes that "
    "depend on constants alone are folded by every runtime and left out"
)

# Without a number, in order of execution; what has a block's number stands between the embedding and the final norm.
_BEFORE = ("policy", "share", "embedding")
_PER_BLOCK = ("merge", "block", "auxiliary_head", "prune")
_AFTER = ("final_norm", "restore", "decode_head", "head", "tail", OTHER)
_TITLES = {
    "policy": "policy network",
    "share": "sharing step",
    "embedding": "embedding",
    "final_norm": "final norm",
    "restore": "merged tokens brought back",
    "decode_head": "decode head",
    "head": "head",
    "tail": "tail",
    OTHER: "other",
    "merge": "merging in block {}",
    "block": "block {}",
    "auxiliary_head": "auxiliary head after block {}",
    "prune": "pruning after block {}",
}
_PART = re.compile(r"([a-z_]+?)(?:_(\d+))?")


@dataclass(frozen=True)
class NodeWork:
    """One node's work.

    Attributes:
        name: In the graph, where it stands there; nodes of a custom op's body have the name that inlining gives them.
        op_type: ONNX operator.
        part: Part of the model; see `part_title`.
        call: The custom op's node whose body it belongs to; empty for all others.
        step: The step that it belongs to, which one plugin takes whole; empty for all others.
        inputs: Values that it reads and that exist at run time only, in the operator's order.
        outputs: Values that it writes.
        kind: What ``macs`` counts: 'product', 'norm', 'resize', or '' where they are 0.
        macs: Multiply-accumulates.
        dtype: Of the products' operands, as numpy names it.
        reads, writes, weights: dtype -> bytes.
    """

    name: str
    op_type: str
    part: str
    call: str = ""
    step: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    kind: str = ""
    macs: int = 0
    dtype: str = ""
    reads: Mapping[str, int] = field(default_factory=dict)
    writes: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Name of the step or, without one, the call that it belongs to."""
        return self.step or self.call

    @property
    def product_macs(self) -> int:
        """Multiply-accumulates of products: what a runtime's matrix units do."""
        return self.macs if self.kind == "product" else 0

    @property
    def bytes(self) -> int:
        """All bytes read and written, constants among them."""
        return sum(map(_total, (self.reads, self.writes, self.weights)))

    @property
    def values(self) -> int:
        """Numbers that it goes through: read or written, whichever are more (ArgMax reads more, Resize writes more)."""
        return max(
            sum(count // _item_bytes(dtype) for dtype, count in side.items()) for side in (self.reads, self.writes)
        )

    @property
    def written_bytes(self) -> int:
        """Bytes of its outputs."""
        return _total(self.writes)


@dataclass(frozen=True)
class GraphWork:
    """All nodes of a bundle's graph in order of execution.

    Attributes:
        nodes: In standard operators only, bodies of custom ops spelled out.
        calls: Custom ops as one node each, as a plugin executes them: its operands' bytes, its body's products.
        plugins: Names of the calls for which there is a TensorRT plugin.
        steps: What one plugin takes whole, custom ops and the nodes between them, as one node each.
    """

    nodes: tuple[NodeWork, ...]
    calls: tuple[NodeWork, ...] = ()
    plugins: frozenset[str] = frozenset()
    steps: tuple[NodeWork, ...] = ()

    @property
    def units(self) -> dict[str, NodeWork]:
        """What the plugin library executes as one, by the name that nodes have as their ``unit``: steps, and other calls."""
        inside = {node.call for node in self.nodes if node.step}
        calls = {call.name: call for call in self.calls if call.name in self.plugins and call.name not in inside}
        return calls | {step.name: step for step in self.steps}

    @property
    def parts(self) -> list[str]:
        """The parts that have nodes, in the order of the model."""
        return sorted({node.part for node in self.nodes}, key=part_order)

    def with_plugins(self) -> tuple[NodeWork, ...]:
        """The nodes as TensorRT executes them with the plugin library: a step or call stands in place of its nodes."""
        units = self.units
        last = {node.unit: index for index, node in enumerate(self.nodes) if node.unit in units}
        rows = [
            units.get(node.unit, node)
            for index, node in enumerate(self.nodes)
            if node.unit not in units or last[node.unit] == index
        ]
        return _in_order(rows)


def _in_order(rows: Sequence[NodeWork]) -> tuple[NodeWork, ...]:
    """The same, with what reads a step's result behind it: a step stands where the last of its nodes stood."""
    made = {value for row in rows for value in row.outputs}
    order: list[NodeWork] = []
    waiting: list[NodeWork] = []
    for row in rows:
        waiting.append(row)
        while ready := next((item for item in waiting if made.isdisjoint(item.inputs)), None):
            waiting.remove(ready)
            order.append(ready)
            made.difference_update(ready.outputs)
    return (*order, *waiting)


def part_title(part: str) -> str:
    """A part's name for people: 'block_3' -> 'block 3'. An unknown one is shown as it is."""
    kind, number = _split(part)
    return _TITLES[kind].format(number) if kind in _TITLES else part


def part_order(part: str) -> tuple[int, int, int]:
    """Sorts parts as the model runs them."""
    kind, number = _split(part)
    if kind in _BEFORE:
        return (0, 0, _BEFORE.index(kind))
    if kind in _PER_BLOCK:
        return (1, number, _PER_BLOCK.index(kind))
    return (2, 0, _AFTER.index(kind) if kind in _AFTER else len(_AFTER))


def work_bytes(work: GraphWork) -> bytes:
    """Content of work.json: one line for each node, so that people and diffs can read it. The same work, the same bytes."""
    head = {"schema": WORK_SCHEMA, "provenance": "computed from the exported graph", "convention": CONVENTION}
    lines = [f' "{key}": {_line(value)},' for key, value in head.items()]
    for key, nodes in (("calls", work.calls), ("steps", work.steps), ("nodes", work.nodes)):
        rows = ",\n".join("  " + _line(_row(node, work.plugins)) for node in nodes)
        lines.append(f' "{key}": [\n{rows}\n ]' + ("" if key == "nodes" else ","))
    return ("{\n" + "\n".join(lines) + "\n}\n").encode()


def work_from_document(content: Work) -> GraphWork:
    """What work.json holds."""
    plugins = frozenset(row["name"] for row in content["calls"] if row["plugin"])
    nodes, calls, steps = (
        tuple(map(_node, rows)) for rows in (content["nodes"], content["calls"], content.get("steps", ()))
    )
    return GraphWork(nodes, calls, plugins, steps)


def work_file(graph: str = MODEL) -> str:
    """'work.json', or 'decode.work.json' of a graph among several."""
    return WORK_FILE if graph == MODEL else f"{graph}.{WORK_FILE}"


def read_work(bundle_dir: Path, graph: str = MODEL) -> GraphWork | None:
    """The work of a bundle's graph; None where the bundle was built before there was a work.json.

    Args:
        bundle_dir: Of the bundle.
        graph: Among several, its name.

    Raises:
        BundleError: The file is damaged.
    """
    path = bundle_dir / work_file(graph)
    return work_from_document(read_document(path, WORK)) if path.is_file() else None


def _split(part: str) -> tuple[str, int]:
    match = _PART.fullmatch(part)
    return (part, 0) if match is None else (match[1], int(match[2] or 0))


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize  # numpy has no name for bfloat16


def _total(sizes: Mapping[str, int]) -> int:
    return sum(sizes.values())


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _row(node: NodeWork, plugins: frozenset[str]) -> dict[str, object]:
    """What is empty is left out."""
    row: dict[str, object] = {"name": node.name, "op": node.op_type, "part": node.part}
    optional: Sequence[tuple[str, Any]] = (
        ("call", node.call),
        ("step", node.step),
        ("kind", node.kind),
        ("macs", node.macs),
        ("dtype", node.dtype),
        ("reads", dict(node.reads)),
        ("writes", dict(node.writes)),
        ("weights", dict(node.weights)),
        ("in", list(node.inputs)),
        ("out", list(node.outputs)),
    )
    row.update((key, value) for key, value in optional if value)
    if "::" in node.op_type:
        row["plugin"] = node.name in plugins
    return row


def _node(row: Node) -> NodeWork:
    return NodeWork(
        name=row["name"],
        op_type=row["op"],
        part=row["part"],
        call=row.get("call", ""),
        step=row.get("step", ""),
        inputs=tuple(row.get("in", ())),
        outputs=tuple(row.get("out", ())),
        kind=row.get("kind", ""),
        macs=row.get("macs", 0),
        dtype=row.get("dtype", ""),
        reads=row.get("reads", {}),
        writes=row.get("writes", {}),
        weights=row.get("weights", {}),
    )
