"""The plan of a graph with plugins: what a compiler makes of the graph around them, and their launches where they belong.

TensorRT-RTX takes no plugins. Their nodes are taken out, what they compute is given to the graph, and what they read is asked
of it (`edgeexport.graph.opaque_plugins`): nothing is fused across a plugin then, as with TensorRT. Each call's launches come
behind the kernels that make what it reads. Streams are left out, since they were planned as if plugins took no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from edgeexport.cost.kernel_plan import PlannedKernel, Tensor
from edgeexport.cost.work import NodeWork
from edgeexport.errors import EdgeExportError

__all__ = ["PluginCall", "rows_with_plugins"]


@dataclass(frozen=True)
class PluginCall:
    """A plugin's node.

    Attributes:
        name: Of the node.
        op_type: Without domain.
        inputs: Under the graph's names, constants left out.
        outputs: Those that anybody reads.
    """

    name: str
    op_type: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def rows_with_plugins(
    rows: Sequence[PlannedKernel],
    nodes: Sequence[NodeWork],
    calls: Sequence[PluginCall],
    units: Mapping[str, NodeWork],
    launches: Mapping[str, tuple[str, ...]],
) -> tuple[PlannedKernel, ...]:
    """Kernels of the graph around the plugins, with the plugins' own.

    Args:
        rows: Of the graph without the plugins' nodes.
        nodes: Of that graph, in its order.
        calls: What was taken out, in the graph's order.
        units: By name what each call is worth: its part of the model, products, values.
        launches: Operator -> kernels that its plugin launches.

    Returns:
        Kernels alone, in an order in which each has what it reads, on one stream.

    Raises:
        EdgeExportError: A kernel reads what a plugin makes of what that kernel computes: the compiler fused across a plugin.
    """
    order = _Order(rows, nodes, calls)
    done: list[PlannedKernel] = []
    for item in order.items():
        if isinstance(item, int):
            done.append(replace(rows[item], stream=0))
        else:
            done += _launched(item, order, units, launches[item.op_type])
    return tuple(done)


def _launched(
    call: PluginCall, order: _Order, units: Mapping[str, NodeWork], launches: Sequence[str]
) -> list[PlannedKernel]:
    """What is moved and computed is counted for the first launch."""
    unit = units.get(call.name)
    first, *others = (PlannedKernel("plugin", name, nodes=(call.name,)) for name in launches)
    if unit is not None:
        first, *others = (replace(launch, part=unit.part) for launch in (first, *others))
    first = replace(
        first,
        inputs=tuple(order.made_as(tensor) for tensor in call.inputs),
        outputs=tuple(order.read_as(tensor) for tensor in call.outputs),
    )
    if unit is not None:
        macs = unit.product_macs
        first = replace(first, macs=macs, dtype=unit.dtype if macs else "", values=unit.values)
    return [first, *others]


class _Order:
    """Who needs whose results: kernels, by index, and calls."""

    def __init__(self, rows: Sequence[PlannedKernel], nodes: Sequence[NodeWork], calls: Sequence[PluginCall]) -> None:
        self._rows, self._calls = rows, calls
        self._holders: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            for name in row.nodes:
                self._holders.setdefault(name, []).append(index)
        self._makers = {value: node for node in nodes for value in node.outputs}
        self._readers: dict[str, list[NodeWork]] = {}
        for node in nodes:
            for value in node.inputs:
                self._readers.setdefault(value, []).append(node)
        self._callers = {tensor.name: call for call in calls for tensor in call.outputs}
        self._needs: dict[int | str, list[int | PluginCall]] = {}
        written: dict[str, int] = {}
        for index, row in enumerate(rows):
            self._needs[index] = [written[tensor.name] for tensor in row.inputs if tensor.name in written]
            written.update((tensor.name, index) for tensor in row.outputs)
        self._written = set(written)
        for call in calls:
            self._needs[call.name] = [item for tensor in call.inputs for item in self._made_by(tensor.name)]
            for tensor in call.outputs:
                for index in self._read_by(tensor.name):
                    self._needs[index].append(call)

    def items(self) -> list[int | PluginCall]:
        """In the plan's order, each behind what it needs."""
        done: list[int | PluginCall] = []
        state: dict[int | str, bool] = {}
        roots: list[int | PluginCall] = [index for index, row in enumerate(self._rows) if row.is_kernel]
        for root in [*roots, *self._calls]:
            waiting: list[tuple[int | PluginCall, bool]] = [(root, False)]
            while waiting:
                item, finished = waiting.pop()
                key = item if isinstance(item, int) else item.name
                if finished:
                    state[key] = True
                    done.append(item)
                elif key not in state:
                    state[key] = False
                    waiting.append((item, True))
                    needed = self._needs[key]
                    keys = [need if isinstance(need, int) else need.name for need in needed]
                    if any(state.get(need) is False for need in keys):
                        raise EdgeExportError(
                            "kernel plan with plugins", f"a kernel was fused across a plugin, near '{self._near(item)}'"
                        )
                    waiting += [(need, False) for need in reversed(needed)]
        return done

    def made_as(self, tensor: Tensor) -> Tensor:
        """A call's input under the name that the kernel behind it gave it."""
        makers = [item for item in self._made_by(tensor.name) if isinstance(item, int)]
        found = [made for index in makers for made in self._rows[index].outputs if _alike(made, tensor)]
        return replace(tensor, name=_nearest(found, tensor).name)

    def read_as(self, tensor: Tensor) -> Tensor:
        """A call's output under the name by which kernels read it."""
        readers = self._read_by(tensor.name)
        found = [
            read
            for index in readers
            for read in self._rows[index].inputs
            if read.name not in self._written and _alike(read, tensor)
        ]
        return replace(tensor, name=_nearest(found, tensor).name)

    def _near(self, item: int | PluginCall) -> str:
        return next(iter(self._rows[item].nodes), "") if isinstance(item, int) else item.name

    def _made_by(self, value: str) -> list[int | PluginCall]:
        """The last kernel with the node that computes ``value``; of a view, with what it is a view of."""
        waiting, seen, found = [value], set[str](), list[int | PluginCall]()
        while waiting:
            value = waiting.pop()
            if value in seen:
                continue
            seen.add(value)
            maker = self._makers.get(value)
            if value in self._callers:
                found.append(self._callers[value])
            elif maker is not None and (holders := self._holders.get(maker.name)):
                found.append(holders[-1])
            elif maker is not None:
                waiting += maker.inputs
        return found

    def _read_by(self, value: str) -> list[int]:
        """Every kernel with a node that reads ``value``, or a view of it."""
        waiting, seen, found = [value], set[str](), list[int]()
        while waiting:
            value = waiting.pop()
            if value in seen:
                continue
            seen.add(value)
            for reader in self._readers.get(value, ()):
                holders = self._holders.get(reader.name)
                if holders:
                    found += holders
                else:
                    waiting += reader.outputs
        return found


def _nearest(found: Sequence[Tensor], tensor: Tensor) -> Tensor:
    """The first of its shape, else the first; itself where there is none."""
    return next((item for item in found if item.shape == tensor.shape), found[0] if found else tensor)


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, prod(one.shape)) == (other.dtype, prod(other.shape))
