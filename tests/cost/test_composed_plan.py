"""Kernels around plugins with the plugins' launches: in an order that can be run, and nothing fused across one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from work_cases import node

from edgeexport.cost.composed_plan import PluginCall, rows_with_plugins
from edgeexport.cost.kernel_plan import PlannedKernel, Tensor, row_major
from edgeexport.cost.work import NodeWork
from edgeexport.errors import EdgeExportError

LAUNCHES = {"Choose": ("first", "second"), "Merge": ("only",)}
UNITS = {"choose": NodeWork("choose", "edgeexport::Choose", "merge_1", kind="product", macs=70, dtype="float32")}
NODES = (
    node("product", "MatMul", "block_1", "x", "a"),
    node("view", "Reshape", "block_1", "a", "flat"),
    node("after", "Add", "block_1", "chosen", "y"),
    node("last", "Add", "block_2", "merged", "z"),
)
CALLS = (
    PluginCall(
        "choose", "Choose", (Tensor("flat", "float16", (8,), (1,)),), (Tensor("chosen", "float16", (8,), (1,)),)
    ),
    PluginCall("merge", "Merge", (Tensor("y", "float16", (8,), (1,)),), (Tensor("merged", "float16", (8,), (1,)),)),
)


def tensors(names: str) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, "float16", (2, 4), row_major((2, 4))) for name in names.split())


def kernel(reads: str, writes: str, *nodes: str) -> PlannedKernel:
    return PlannedKernel("generated", stream=3, inputs=tensors(reads), outputs=tensors(writes), nodes=nodes)


KERNELS = {
    "product": kernel("t0", "t1", "product"),
    "after": kernel("t2", "t3", "after"),
    "last": kernel("t4", "t5", "last"),
}


def names(rows: tuple[PlannedKernel, ...]) -> list[str]:
    return [row.operation or row.nodes[0] for row in rows]


@given(st.permutations(list(KERNELS)))
def test_each_has_what_it_reads(order: list[str]) -> None:
    """However the compiler ordered pieces that it does not know to depend on each other."""
    found = rows_with_plugins([KERNELS[name] for name in order], NODES, CALLS, UNITS, LAUNCHES)
    assert names(found) == ["product", "first", "second", "after", "only", "last"]
    assert {row.stream for row in found} == {0}


def test_launches_read_and_write_the_tensors_of_kernels() -> None:
    """Through a view, which is no kernel; products are those of what the plugin stands for."""
    first, second = rows_with_plugins(list(KERNELS.values()), NODES, CALLS, UNITS, LAUNCHES)[1:3]
    assert [tensor.name for tensor in (*first.inputs, *first.outputs)] == ["t1", "t2"]
    assert (first.kind, first.part, first.macs, first.dtype, first.bytes) == ("plugin", "merge_1", 70, "float32", 32)
    assert (second.bytes, second.macs, second.part) == (0, 0, "merge_1")


def test_events_are_left_out() -> None:
    rows = [PlannedKernel("signal", event=1), *KERNELS.values(), PlannedKernel("wait", event=1)]
    assert all(row.is_kernel for row in rows_with_plugins(rows, NODES, CALLS, UNITS, LAUNCHES))


def test_a_kernel_across_a_plugin_is_an_error() -> None:
    across = kernel("t0 t2", "t1 t3", "product", "after")
    with pytest.raises(EdgeExportError, match="fused across a plugin"):
        rows_with_plugins([across, KERNELS["last"]], NODES, CALLS, UNITS, LAUNCHES)


def test_plugins_one_after_the_other() -> None:
    calls = [
        PluginCall(name, "Merge", (Tensor(reads, "float16", (8,), (1,)),), (Tensor(writes, "float16", (8,), (1,)),))
        for name, (reads, writes) in zip("pqr", itertools.pairwise(("a", "b", "c", "merged")), strict=True)
    ]
    found = rows_with_plugins([KERNELS["last"], KERNELS["product"]], NODES, calls[::-1], {}, LAUNCHES)
    assert [row.nodes[0] for row in found] == ["product", "p", "q", "r", "last"]
