"""kernels.json: the kernels that a compiled graph launches, as TensorRT-RTX planned them without a GPU.

Exact and repeatable: the same graph gives the same file. It is the plan for another GPU (SM86) than the device's, so what
follows from it is predicted. This file holds the form and its reading; where it comes from is in
`edgeexport.backends.plan_log`, what it takes in time in `edgeexport.cost.plan_time`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport import documents
from edgeexport.cost.work import MODEL, OTHER, GraphWork, NodeWork
from edgeexport.documents import Kernels, read_document
from edgeexport.documents.kernels import KERNELS_SCHEMA, Plan, Row
from edgeexport.documents.kernels import Tensor as TensorRow
from edgeexport.errors import BundleError

__all__ = [
    "DENSE",
    "KERNELS_FILE",
    "KERNELS_SCHEMA",
    "POLICY",
    "REDUCED",
    "SIGNAL",
    "WAIT",
    "KernelPlan",
    "PlannedKernel",
    "Plans",
    "Tensor",
    "launches_of_calls",
    "plan_with_work",
    "plans_bytes",
    "plans_from_document",
    "read_plan_file",
    "read_plans",
    "row_major",
]

KERNELS_FILE = "kernels.json"

REDUCED, DENSE, POLICY = "reduced", "dense", "policy"
"""What a plan is of: the bundle's model, or the same model without its reductions. A dense bundle's own is `DENSE`.
`POLICY` is the policy network where it has a graph of its own; then `REDUCED` is the model that is given its choice.
"""

SIGNAL, WAIT = "signal", "wait"
_EVENTS = (SIGNAL, WAIT)
_ATTENTION = "attention"
_PRODUCTS = ("attention", "convolution", "product")

CONVENTION = (
    "one line per kernel, in the plan's order; signal and wait order the streams and are no kernels. in, const, out: name, "
    "dtype, shape, strides in elements (left out where row by row), bytes. macs: of the products among its nodes; values: "
    "numbers that its other nodes go through. calls: custom ops, or steps of several, whose nodes alone are in it, which a "
    "plugin replaces by the launches named under launches. with_plugins: the kernels of the graph with plugins, compiled "
    "around them, and their launches; without it, plans with plugins are composed by calls, and not_around says why. "
    "composed: rows are of the graph with plugins already, and the one without was not compiled"
)

_EARLIER = "the plan was made by a version of edgeexport that did not"


@dataclass(frozen=True)
class Tensor:
    """What a kernel reads or writes: name, numpy's dtype, shape, strides in elements. ``bytes`` are those that exist."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes in memory: what a stride of 0 repeats is there once."""
        item = 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize
        return item * prod(size for size, stride in zip(self.shape, self.strides, strict=True) if stride)


@dataclass(frozen=True)
class PlannedKernel:
    """A line of the plan.

    Attributes:
        kind: 'attention', 'convolution', 'product' (with whatever is fused to it), 'generated', 'pooling' or 'plugin'; 'signal'
            or 'wait' for what only orders the streams.
        operation: What a generated kernel does, in TensorRT's abbreviations; the plugin's kernel; else empty.
        stream: Kernels of one stream run one after the other.
        event: What a 'signal' gives and a 'wait' waits for; None for kernels.
        inputs, constants, outputs: Of constants, scalars are left out.
        nodes: Names of ONNX nodes inside it.
        part: Of the model (`edgeexport.cost.work.part_title`).
        macs: Multiply-accumulates of its products.
        dtype: Of their operands; empty without.
        values: Numbers that its other nodes read or write.
        calls: Custom ops with a plugin, or steps that one takes whole, whose nodes alone are inside.
    """

    kind: str
    operation: str = ""
    stream: int = 0
    event: int | None = None
    inputs: tuple[Tensor, ...] = ()
    constants: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    nodes: tuple[str, ...] = ()
    part: str = OTHER
    macs: int = 0
    dtype: str = ""
    values: int = 0
    calls: tuple[str, ...] = ()

    @property
    def is_kernel(self) -> bool:
        """Whether anything is launched."""
        return self.kind not in _EVENTS

    @property
    def bytes(self) -> int:
        """Read and written, constants among them."""
        return sum(tensor.bytes for tensor in (*self.inputs, *self.constants, *self.outputs))


@dataclass(frozen=True)
class KernelPlan:
    """The plan of one graph.

    Attributes:
        model: `REDUCED`, `DENSE` or `POLICY`; of a bundle that lists several graphs, the name of one.
        precision: 'fp32' or 'fp16'.
        architecture: That it was compiled for, such as 'SM86'.
        compiler: Such as 'TensorRT-RTX 1.7.1.116'.
        rows: Kernels and events in the plan's order.
        launches: Custom op's call, or step -> kernels that its plugin launches, as its C++ contract declares.
        macs: Of the whole model, everything counted (tokens.json's convention); 0 where unknown.
        composed: Plugins stand in place of the bodies of their ops.
        around: Kernels of the graph with plugins, compiled around them (`edgeexport.cost.composed_plan`); empty where that was
            not done.
        not_around: Why it was not, although the graph has plugins; else empty.
    """

    model: str
    precision: str
    architecture: str
    compiler: str
    rows: tuple[PlannedKernel, ...]
    launches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    macs: int = 0
    composed: bool = False
    around: tuple[PlannedKernel, ...] = ()
    not_around: str = ""

    @property
    def kernels(self) -> tuple[PlannedKernel, ...]:
        """Without signals and waits."""
        return tuple(row for row in self.rows if row.is_kernel)

    @property
    def bytes(self) -> int:
        """Read and written by all kernels."""
        return sum(row.bytes for row in self.rows)

    @property
    def product_dtypes(self) -> dict[str, int]:
        """dtype of a product's operands -> kernels."""
        counts: dict[str, int] = {}
        for kernel in self.kernels:
            if kernel.dtype:
                counts[kernel.dtype] = counts.get(kernel.dtype, 0) + 1
        return dict(sorted(counts.items()))

    def with_plugins(self) -> KernelPlan:
        """The plan as it is expected where plugins execute their ops: what was compiled around them, with their launches.

        Where that is not there, composed of the plan without plugins. Kernels that hold nothing but nodes of such ops go; where
        the last of an op's stood, the plugin's launches come. They read what those read from elsewhere, and write what others
        read of them; all of it, and their products, is counted for the first launch. A kernel that also holds other nodes
        stays whole.
        """
        if self.composed or not self.launches:
            return self
        if self.around:
            return replace(self, rows=self.around, around=(), composed=True)
        removed: dict[str, list[PlannedKernel]] = {call: [] for call in self.launches}
        last: dict[str, int] = {}
        for index, row in enumerate(self.rows):
            if row.calls:
                removed[row.calls[0]].append(row)
                for call in row.calls:
                    last[call] = index
            elif row.is_kernel:  # an op of which no kernel is left runs where its nodes are
                for call in self.launches:
                    if any(name.startswith(f"{call}/") for name in row.nodes):
                        last[call] = index
        read: dict[str, set[int]] = {}
        for index, row in enumerate(self.rows):
            for tensor in row.inputs:
                read.setdefault(tensor.name, set()).add(index)
        positions = {id(row): index for index, row in enumerate(self.rows)}
        rows: list[PlannedKernel] = []
        for index, row in enumerate(self.rows):
            if not row.calls:
                rows.append(row)
            for call, at in last.items():
                if at == index:
                    rows += self._launched(call, removed[call], row, read, positions)
        return replace(self, rows=tuple(rows), composed=True, not_around=self.not_around or _EARLIER)

    def _launched(
        self,
        call: str,
        removed: Sequence[PlannedKernel],
        place: PlannedKernel,
        read: Mapping[str, set[int]],
        positions: Mapping[int, int],
    ) -> list[PlannedKernel]:
        own = {positions[id(row)] for row in removed}
        made = {tensor.name for row in removed for tensor in row.outputs}
        inputs = {t.name: t for row in removed for t in row.inputs if t.name not in made}
        outputs = [t for row in removed for t in row.outputs if read.get(t.name, {-1}) - own]
        first, *others = (
            PlannedKernel("plugin", name, place.stream, nodes=(call,), part=place.part) for name in self.launches[call]
        )
        whole = replace(
            first,
            inputs=tuple(inputs.values()),
            constants=tuple(t for row in removed for t in row.constants),
            outputs=tuple(outputs),
            macs=sum(row.macs for row in removed),
            dtype=next((row.dtype for row in removed if row.dtype), ""),
            values=sum(row.values for row in removed),
        )
        return [whole, *others]


@dataclass(frozen=True)
class Plans:
    """Content of kernels.json: plans of the bundle's model and of its dense form, each in one or both precisions.

    ``missing`` says why a plan is not there: text for people.
    """

    plans: tuple[KernelPlan, ...]
    missing: tuple[str, ...] = ()

    def plan(self, model: str, precision: str) -> KernelPlan | None:
        """The plan of ``model`` in ``precision``, where there is one."""
        return next((item for item in self.plans if (item.model, item.precision) == (model, precision)), None)

    def own(self, precision: str) -> KernelPlan | None:
        """The plan of the bundle's own model in ``precision``, where there is one."""
        return self.plan(REDUCED if any(item.model == REDUCED for item in self.plans) else DENSE, precision)

    def of_graph(self, graph: str, precision: str) -> KernelPlan | None:
        """The plan of one of several graphs by its name, or of 'model', the only one; where there is one."""
        return self.own(precision) if graph == MODEL else self.plan(graph, precision)

    @property
    def taken_apart(self) -> tuple[str, ...]:
        """Which plans with plugins are the plans without, taken apart, and why: text for people."""
        return tuple(
            f"the plan of the {plan.model} model in {plan.precision} with plugins is the one without, taken apart: "
            f"the graph around the plugins was not compiled: {plan.not_around}"
            for plan in self.plans
            if plan.not_around
        )


def plan_with_work(plan: KernelPlan, work: GraphWork, launches: Mapping[str, tuple[str, ...]]) -> KernelPlan:
    """Tells for every kernel of a plan its part of the model, products and custom ops, by the nodes inside it.

    Args:
        plan: With the names of nodes alone.
        work: Of the same graph.
        launches: Custom op (ONNX operator) -> kernels that its plugin launches.
    """
    nodes = {node.name: node for node in work.nodes}
    units = work.units
    holder = _holders(plan.rows)
    rows = []
    for index, row in enumerate(plan.rows):
        inside = [nodes[name] for name in row.nodes if name in nodes]
        products = [node for node in inside if node.product_macs and holder[node.name] == index]
        called = dict.fromkeys(node.unit for node in inside)
        rows.append(
            replace(
                row,
                part=_part(inside),
                macs=sum(node.product_macs for node in products),
                dtype=next((node.dtype for node in products), ""),
                values=sum(node.values for node in inside if not node.product_macs and holder[node.name] == index),
                calls=tuple(called)
                if inside and len(inside) == len(row.nodes) and units.keys() >= called.keys()
                else (),
            )
        )
    return replace(plan, rows=_with_parts_of_neighbours(rows), launches=launches_of_calls(work, launches))


def launches_of_calls(work: GraphWork, launches: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Custom op's call, or step -> kernels that its plugin launches, of those that ``launches`` knows by operator."""
    units = work.units
    return {name: launches[op] for name, unit in units.items() if (op := unit.op_type.rpartition("::")[2]) in launches}


def _holders(rows: Sequence[PlannedKernel]) -> dict[str, int]:
    """Node -> the row that does its work: of several that name it, one that computes products, else the first."""
    holder: dict[str, int] = {}
    for index, row in enumerate(rows):
        for name in row.nodes:
            if name not in holder or (row.kind in _PRODUCTS and rows[holder[name]].kind not in _PRODUCTS):
                holder[name] = index
    return holder


def _part(inside: Sequence[NodeWork]) -> str:
    heaviest = max(inside, key=lambda node: (node.product_macs, node.bytes), default=None)
    return OTHER if heaviest is None else heaviest.part


def _with_parts_of_neighbours(rows: Sequence[PlannedKernel]) -> tuple[PlannedKernel, ...]:
    """A kernel that names no node (a copy that the compiler adds) belongs where its result is read, else where it is made."""
    part = {index: row.part for index, row in enumerate(rows) if row.nodes or not row.is_kernel}
    makers = {tensor.name: index for index, row in enumerate(rows) for tensor in row.outputs}
    readers: dict[str, int] = {}
    for index, row in reversed(list(enumerate(rows))):
        readers.update((tensor.name, index) for tensor in row.inputs)
    for index in reversed(range(len(rows))):
        if index in part:
            continue
        row = rows[index]
        near = [readers.get(tensor.name) for tensor in row.outputs] + [makers.get(t.name) for t in row.inputs]
        part[index] = next((part[item] for item in near if item is not None and item in part), OTHER)
    return tuple(replace(row, part=part[index]) for index, row in enumerate(rows))


def plans_bytes(plans: Plans) -> bytes:
    """Content of kernels.json. The same plans, the same bytes."""
    head: dict[str, object] = {
        "schema": KERNELS_SCHEMA,
        "provenance": "predicted: compiled for another GPU, run on none",
    }
    head |= {"convention": CONVENTION, "missing": list(plans.missing)}
    lines = [f' "{key}": {_line(value)},' for key, value in head.items()]
    blocks = []
    for plan in plans.plans:
        facts = {name: getattr(plan, name) for name in ("model", "precision", "architecture", "compiler", "macs")}
        facts |= {"kernels": len(plan.kernels), "bytes": plan.bytes, "product_dtypes": plan.product_dtypes}
        facts |= {"launches": {call: list(names) for call, names in plan.launches.items()}}
        facts |= {"composed": True} if plan.composed else {}
        facts |= {"not_around": plan.not_around} if plan.not_around else {}
        told = "".join(f'   "{key}": {_line(value)},\n' for key, value in facts.items())
        rows = ",\n".join("    " + _line(_row(row)) for row in plan.rows)
        around = ",\n".join("    " + _line(_row(row)) for row in plan.around)
        more = f',\n   "with_plugins": [\n{around}\n   ]' if around else ""
        blocks.append("  {\n" + told + f'   "rows": [\n{rows}\n   ]{more}\n  }}')
    return ("{\n" + "\n".join(lines) + '\n "plans": [\n' + ",\n".join(blocks) + "\n ]\n}\n").encode()


def read_plans(bundle_dir: Path) -> Plans | None:
    """The plans of a bundle; None where it has none: another target, or built before there was a kernels.json.

    Raises:
        BundleError: The file is damaged.
    """
    path = bundle_dir / KERNELS_FILE
    return plans_from_document(read_document(path, documents.KERNELS)) if path.is_file() else None


def read_plan_file(path: Path) -> KernelPlan | None:
    """The first plan of a file that was kept; None where there is none, or it is of another version or damaged."""
    try:
        return plans_from_document(read_document(path, documents.KERNELS)).plans[0]
    except (IndexError, BundleError):
        return None


def plans_from_document(content: Kernels) -> Plans:
    """What kernels.json holds."""
    return Plans(tuple(map(_plan, content["plans"])), tuple(content["missing"]))


def _plan(entry: Plan) -> KernelPlan:
    return KernelPlan(
        model=entry["model"],
        precision=entry["precision"],
        architecture=entry["architecture"],
        compiler=entry["compiler"],
        rows=tuple(map(_kernel, entry["rows"])),
        launches={call: tuple(names) for call, names in entry["launches"].items()},
        macs=entry["macs"],
        composed=entry.get("composed", False),
        around=tuple(map(_kernel, entry.get("with_plugins", ()))),
        not_around=entry.get("not_around", ""),
    )


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _row(row: PlannedKernel) -> dict[str, object]:
    """What is empty is left out."""
    entry: dict[str, object] = {"kind": row.kind, "stream": row.stream}
    optional: dict[str, Any] = {
        "operation": row.operation,
        "part": row.part if row.is_kernel else "",
        "macs": row.macs,
        "dtype": row.dtype,
        "values": row.values,
        "bytes": row.bytes,
        "calls": list(row.calls),
        "nodes": list(row.nodes),
        "in": list(map(_tensor_row, row.inputs)),
        "const": list(map(_tensor_row, row.constants)),
        "out": list(map(_tensor_row, row.outputs)),
    }
    if row.event is not None:
        entry["event"] = row.event
    return entry | {key: value for key, value in optional.items() if value}


def _tensor_row(tensor: Tensor) -> list[object]:
    strides = [] if tensor.strides == row_major(tensor.shape) else list(tensor.strides)
    return [tensor.name, tensor.dtype, list(tensor.shape), strides, tensor.bytes]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a tensor that is stored row by row."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _kernel(entry: Row) -> PlannedKernel:
    return PlannedKernel(
        kind=entry["kind"],
        operation=entry.get("operation", ""),
        stream=entry["stream"],
        event=entry.get("event"),
        inputs=_tensors(entry.get("in", ())),
        constants=_tensors(entry.get("const", ())),
        outputs=_tensors(entry.get("out", ())),
        nodes=tuple(entry.get("nodes", ())),
        part=entry.get("part", OTHER),
        macs=entry.get("macs", 0),
        dtype=entry.get("dtype", ""),
        values=entry.get("values", 0),
        calls=tuple(entry.get("calls", ())),
    )


def _tensors(entries: Iterable[TensorRow]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, dtype, tuple(shape), tuple(strides) or row_major(shape))
        for name, dtype, shape, strides, _ in entries
    )
