"""Whole steps of a reduction as one node each, where a plugin takes the step: fewer launches than a plugin per op.

For `model.trt.onnx` with plugins alone. A step is found by its custom ops and what they read, and stays as it is where anybody
else reads what lies between, or where it is larger than its plugin takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgeexport.ops import (
    DOMAIN,
    token_match,
    token_match_merge,
    token_merge,
    token_partition,
    token_protect,
    token_protect_select,
    token_unmerge,
)

__all__ = ["Step", "join_steps", "plugin_steps"]

_LABELLING = frozenset(
    {"ArgMax", "Cast", "Equal", "Identity", "ReduceMax", "ReduceMin", "Squeeze", "Unsqueeze", "Where"}
)
"""Operators by which graphs tell the class of the largest score: as one, or as the least among those that equal it."""

_Gathers = dict[ir.DataType, ir.Node]


@dataclass(frozen=True)
class Step:
    """Nodes that one node can stand for.

    Attributes:
        op_type: Of that node.
        decider: The custom op that decides; the node has its name and metadata.
        nodes: What it stands for.
        inputs: In the op's order.
        outputs: Values that it computes, in the op's order; None where nobody reads one.
        attributes: The op's.
    """

    op_type: str
    decider: ir.Node
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value | None, ...]
    attributes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the node."""
        return self.decider.name or str(self.decider.outputs[0].name)


def plugin_steps(program: ir.Model) -> list[Step]:
    """The steps of a graph, in its order.

    Args:
        program: Sorted nodes without nested graphs, with the shape and type of every value; custom ops as calls.
    """
    return [
        step for node in program.graph if (find := _FINDERS.get(_custom(node))) and (step := find(node)) is not None
    ]


def join_steps(program: ir.Model) -> int:
    """Puts one node in place of every step, under the names of the step's values, in place.

    Args:
        program: As for `plugin_steps`.

    Returns:
        The number of steps.
    """
    steps = plugin_steps(program)
    made: dict[ir.Value, ir.Value] = {}  # what a step computed -> what its node computes; a later step may read it
    for step in steps:
        joined = ir.node(
            step.op_type,
            [made.get(value, value) for value in step.inputs],
            step.attributes,
            domain=DOMAIN,
            num_outputs=len(step.outputs),
            name=step.name,
            metadata_props=dict(step.decider.metadata_props),
        )
        program.graph.insert_before(step.decider, joined)
        for number, (old, new) in enumerate(zip(step.outputs, joined.outputs, strict=True)):
            new.name = f"{step.name}/unread_{number}"
            if old is not None:
                new.name, new.shape, new.type = old.name or new.name, old.shape, old.type
                old.replace_all_uses_with(new, replace_graph_outputs=True)
                made[old] = new
        program.graph.remove(step.nodes, safe=True)
    program.graph.sort()
    return len(steps)


def _protect_select(partition: ir.Node) -> Step | None:
    """A stage of DToP that ends in a TokenPartition and the gathers by both of its lists."""
    between = _chain(partition.inputs[0])
    if between is None:
        return None
    protect, chain = between
    confidence, label = protect.inputs
    largest = _maker(confidence, "ReduceMax")
    scores = None if largest is None else largest.inputs[0]
    shape = _shape(scores)
    if largest is None or scores is None or len(shape) != 3 or shape[2] > token_protect_select.LARGEST_TOKENS:
        return None
    if scores.dtype != ir.DataType.FLOAT:  # a plugin takes all data in one type
        return None
    labelling = _only_from(scores, label)
    gathers = [_gathers(index) for index in partition.outputs]
    if not _is_over_classes(largest) or labelling is None or any(found is None for found in gathers):
        return None
    kept, left = (found or {} for found in gathers)
    tokens = [found[ir.DataType.FLOAT].inputs[0] for found in (kept, left) if ir.DataType.FLOAT in found]
    alive = {found[ir.DataType.INT32].inputs[0] for found in (kept, left) if ir.DataType.INT32 in found}
    nodes = dict.fromkeys((largest, *labelling, protect, *chain, partition, *kept.values(), *left.values()))
    outputs = [found[kind].outputs[0] if kind in found else None for kind in _GATHERED for found in (kept, left)]
    inputs = [scores, *tokens, *alive]
    if len(tokens) != 2 or len(alive) != 1 or None in inputs or not _is_closed(nodes, outputs):
        return None
    return Step(
        token_protect_select.NAME,
        partition,
        tuple(nodes),
        tuple(value for value in inputs if value is not None),
        tuple(outputs),
        {"k": partition.attributes["k"].as_int(), "per_class": protect.attributes["per_class"].as_int()},
    )


def _match_merge(match: ir.Node) -> Step | None:
    """A TokenMatch and the TokenMerge that carries its choice out; of several the first, the others read the choice.

    With them go the mean over heads in front, and behind the logarithm of sizes for the next attention.
    """
    readers = dict.fromkeys(use.node for use in match.outputs[0].uses() if _custom(use.node) == token_merge.NAME)
    merge = next((node for node in readers if not _depends_on(node.inputs[:2], match)), None)
    own = {name: attribute.value for name, attribute in match.attributes.items()}
    metric = match.inputs[0]
    if merge is None or metric is None or tuple(merge.inputs[2:5]) != tuple(match.outputs[:3]):
        return None
    x, size = merge.inputs[:2]
    prefix, into = merge.attributes["prefix"].as_int(), list(merge.attributes["destinations"].as_ints())
    existing = [token for token in own["destinations"] if token >= 0]
    small = len(own["sources"]) <= token_match_merge.LARGEST_SOURCES
    small = small and _shape(metric)[-2] <= token_match_merge.LARGEST_TOKENS
    if x is None or size is None or x.dtype != ir.DataType.FLOAT or into != existing or not small:
        return None
    compared = _mean_of_heads(metric, match)
    if compared is None:
        compared = _Compared(metric, ())
    logarithm = _logarithm(merge.outputs[1], compared.rows.dtype)
    if compared.rows.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return None
    nodes = dict.fromkeys((match, merge, *compared.nodes, *logarithm))
    return Step(
        token_match_merge.NAME,
        match,
        tuple(nodes),
        (compared.rows, x, size),
        (*merge.outputs, logarithm[-1].outputs[0] if logarithm else _unread(compared.rows, merge), *match.outputs[:3]),
        {**own, "prefix": prefix},
    )


@dataclass(frozen=True)
class _Compared:
    """What tokens are compared by, (B, N, D) or of heads (B, H, N, D), and the nodes that take the mean of heads."""

    rows: ir.Value
    nodes: tuple[ir.Node, ...]


def _mean_of_heads(metric: ir.Value, match: ir.Node) -> _Compared | None:
    """What ``metric`` is the mean of; None where it is something else, or is read by others than ``match``."""
    mean = _maker(metric, "ReduceMean")
    over = mean.inputs[1] if mean is not None and mean.inputs[1:] else None
    axes = None if over is None else ir.convenience.get_const_tensor(over)
    if mean is None or axes is None or axes.numpy().tolist() != [1] or len(_shape(metric)) != 3:
        return None
    cast = _maker(mean.inputs[0], "Cast")
    heads = mean.inputs[0] if cast is None else cast.inputs[0]
    shape = _shape(heads)
    if heads is None or len(shape) != 4 or shape[1] > token_match_merge.LARGEST_HEADS:
        return None
    nodes = (mean,) if cast is None else (mean, cast)
    return _Compared(heads, nodes) if _is_closed((*nodes, match), match.outputs) else None


def _logarithm(size: ir.Value, kind: ir.DataType | None) -> tuple[ir.Node, ...]:
    """The nodes from sizes (B, M, 1) to their logarithms (B, 1, 1, M) of type ``kind``; empty where nothing takes them so."""
    found: list[ir.Node] = []
    value, wanted = size, ["Log", "Cast", "Transpose", "Unsqueeze"]
    logarithms = [node for node in size.consumers() if (node.domain, node.op_type) == ("", "Log")]
    if len(logarithms) != 1:
        return ()
    reader = logarithms[0]
    while True:
        if reader.op_type not in wanted or reader.domain:
            return ()
        wanted = wanted[wanted.index(reader.op_type) + 1 :]
        found.append(reader)
        value = reader.outputs[0]
        if not wanted or value.is_graph_output() or len(value.consumers()) != 1:
            break
        reader = next(iter(value.consumers()))
    size_shape = _shape(size)
    fits = len(size_shape) == 3 and _shape(value) == (size_shape[0], 1, 1, size_shape[1])
    return tuple(found) if fits and value.dtype == kind else ()


def _unread(rows: ir.Value, merge: ir.Node) -> ir.Value:
    """The logarithm of sizes where nobody reads it: without a name, with the shape and type that a graph has to tell."""
    batch, kept, _ = _shape(merge.outputs[1])
    return ir.Value(name="", shape=ir.Shape([batch, 1, 1, kept]), type=rows.type)


def _depends_on(values: Iterable[ir.Value | None], node: ir.Node) -> bool:
    """Whether ``node`` is among what computes ``values``."""
    waiting, seen = list(values), set[ir.Node]()
    while waiting:
        value = waiting.pop()
        maker = None if value is None else value.producer()
        if maker is node:
            return True
        if maker is not None and maker not in seen:
            seen.add(maker)
            waiting += maker.inputs
    return False


_GATHERED = (ir.DataType.FLOAT, ir.DataType.INT32)


def _chain(priority: ir.Value | None) -> tuple[ir.Node, tuple[ir.Node, ...]] | None:
    """TokenProtect, and the nodes from it to ``confidence - 2 [protected]``; None where that is not what ``priority`` is."""
    subtract = _maker(priority, "Sub")
    double = None if subtract is None else _maker(subtract.inputs[1], "Mul")
    if subtract is None or double is None:
        return None
    factors = [value for value in double.inputs if _constant(value) is not None]
    marks = [value for value in double.inputs if _constant(value) is None]
    cast = _maker(marks[0], "Cast") if len(marks) == 1 else None
    protect = None if cast is None else _maker(cast.inputs[0], token_protect.NAME, DOMAIN)
    if cast is None or protect is None or _constant(factors[0]) != 2.0 or protect.inputs[0] is not subtract.inputs[0]:
        return None
    return protect, (cast, double, subtract)


def _is_over_classes(largest: ir.Node) -> bool:
    """Whether a maximum of (B, K, n) is over the classes and gives (B, n)."""
    axes = ir.convenience.get_const_tensor(largest.inputs[1]) if largest.inputs[1:] and largest.inputs[1] else None
    return len(_shape(largest.outputs[0])) == 2 and axes is not None and axes.numpy().tolist() in ([1], [-2])


def _gathers(index: ir.Value) -> _Gathers | None:
    """The one TokenUnmerge by ``index`` of each type; None where there are others, or ``index`` is read otherwise."""
    found: _Gathers = {}
    for node, position in index.uses():
        kind = node.outputs[0].dtype
        if _custom(node) != token_unmerge.NAME or position != 1 or kind not in _GATHERED or kind in found:
            return None
        if kind == ir.DataType.INT32 and _shape(node.inputs[0])[-1:] != (1,):
            return None
        found[kind] = node
    return found


def _only_from(source: ir.Value, value: ir.Value | None) -> list[ir.Node] | None:
    """The nodes of `_LABELLING` that compute ``value`` from ``source`` and constants alone; None where there are others."""
    found: dict[ir.Node, None] = {}
    waiting = [value]
    while waiting:
        value = waiting.pop()
        maker = None if value is None else value.producer()
        if value is None or value is source or maker in found or ir.convenience.get_const_tensor(value) is not None:
            continue
        if maker is None or maker.domain or maker.op_type not in _LABELLING:
            return None
        found[maker] = None
        waiting += maker.inputs
    return list(found)


def _is_closed(nodes: Iterable[ir.Node], outputs: Iterable[ir.Value | None]) -> bool:
    """Whether nobody outside reads anything of ``nodes`` but ``outputs``."""
    inside, told = set(nodes), set(outputs)
    inner = (value for node in inside for value in node.outputs if value not in told)
    return all(not value.is_graph_output() and {use.node for use in value.uses()} <= inside for value in inner)


def _maker(value: ir.Value | None, op_type: str, domain: str = "") -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and (node.domain, node.op_type) == (domain, op_type) else None


def _custom(node: ir.Node) -> str:
    return node.op_type if node.domain == DOMAIN else ""


def _constant(value: ir.Value | None) -> float | None:
    """The number of a constant of one element."""
    constant = ir.convenience.get_const_tensor(value) if value is not None else None
    return float(constant.numpy().item()) if constant is not None and constant.size == 1 else None


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    """Empty where it is unknown."""
    if value is None or value.shape is None or not value.shape.is_static():
        return ()
    return tuple(value.shape.numpy())


_FINDERS: dict[str, Callable[[ir.Node], Step | None]] = {
    token_match.NAME: _match_merge,
    token_partition.NAME: _protect_select,
}
"""Custom op by which a step is found."""
