"""kernels.json: parts, products and custom ops of kernels by the nodes inside them; the composed plan; reading and writing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from work_cases import node

from edgeexport.cost.kernel_plan import (
    DENSE,
    KERNELS_FILE,
    REDUCED,
    KernelPlan,
    PlannedKernel,
    Plans,
    Tensor,
    plan_with_work,
    plans_bytes,
    read_plans,
    row_major,
)
from edgeexport.cost.work import GraphWork, NodeWork
from edgeexport.errors import BundleError


def tensor(name: str, *shape: int, dtype: str = "float16") -> Tensor:
    return Tensor(name, dtype, shape, row_major(shape))


def kernel(kind: str, reads: str, writes: str, *nodes: str, **more: object) -> PlannedKernel:
    """Tensors of 1x100x64 by name."""
    inputs, outputs = (tuple(tensor(name, 1, 100, 64) for name in text.split()) for text in (reads, writes))
    return PlannedKernel(kind, inputs=inputs, outputs=outputs, nodes=nodes, **more)


# a -> product -> (match: product, then a kernel shared with merge) -> merged, read by the next block
ROWS = (
    kernel("product", "x", "a", "blocks.1/MatMul"),
    kernel("generated", "a", "s", "m/TokenMatch/cosine"),
    kernel("product", "s", "c", "m/TokenMatch/cosine", "m/TokenMatch/best"),
    kernel("generated", "c a", "y", "m/TokenMatch/best", "g/TokenMerge/sum"),
    kernel("generated", "y", "z"),
    kernel("product", "z", "out", "blocks.2/MatMul", "folded_by_the_exporter"),
)
_BODY = (
    node("m/TokenMatch/cosine", "MatMul", "merge_1", "a", "c", macs=1000, call="m/TokenMatch"),
    NodeWork("m/TokenMatch/best", "ReduceMax", "merge_1", "m/TokenMatch", writes={"float32": 400}),
    NodeWork("g/TokenMerge/sum", "Add", "merge_1", "g/TokenMerge", writes={"float32": 400}),
)
WORK = GraphWork(
    nodes=(
        node("blocks.1/MatMul", "MatMul", "block_1", "x", "a", macs=5000),
        *_BODY,
        node("blocks.2/MatMul", "MatMul", "block_2", "z", "out", macs=7000),
    ),
    calls=(
        NodeWork("m/TokenMatch", "edgeexport::TokenMatch", "merge_1"),
        NodeWork("g/TokenMerge", "edgeexport::TokenMerge", "merge_1"),
    ),
    plugins=frozenset({"m/TokenMatch", "g/TokenMerge"}),
)
LAUNCHES = {"TokenMatch": ("similarity", "rank"), "TokenMerge": ("merge",)}


def _plan() -> KernelPlan:
    return plan_with_work(KernelPlan(REDUCED, "fp16", "SM86", "TensorRT-RTX 1", ROWS), WORK, LAUNCHES)


def test_parts_products_and_ops() -> None:
    rows = _plan().rows
    assert [row.part for row in rows] == ["block_1", "merge_1", "merge_1", "merge_1", "block_2", "block_2"]
    assert [row.macs for row in rows] == [5000, 0, 1000, 0, 0, 7000], "once, where the product is computed"
    assert [row.values for row in rows] == [0, 0, 100, 100, 0, 0]
    assert rows[3].calls == ("m/TokenMatch", "g/TokenMerge")
    assert rows[5].calls == () and rows[4].calls == ()
    assert _plan().product_dtypes == {"float32": 3}


def test_composed_with_plugins() -> None:
    """Ops read what comes from elsewhere, and write what is read elsewhere; no product is lost."""
    composed = _plan().with_plugins()
    assert [row.operation or row.nodes[:1] for row in composed.rows] == [
        ("blocks.1/MatMul",), "similarity", "rank", "merge", (), ("blocks.2/MatMul",),
    ]  # fmt: skip
    match = composed.rows[1]
    assert [t.name for t in match.inputs] == ["a"] and [t.name for t in match.outputs] == ["y"]
    assert (match.macs, match.part, composed.rows[2].bytes) == (1000, "merge_1", 0)
    assert sum(row.macs for row in composed.rows) == 13000
    assert composed.composed and not _plan().composed
    assert composed.with_plugins() is composed


def test_a_kernel_with_other_nodes_stays() -> None:
    mixed = (*ROWS[:3], kernel("generated", "c a", "y", "g/TokenMerge/sum", "blocks.2/Add"), *ROWS[4:])
    nodes = (*WORK.nodes, NodeWork("blocks.2/Add", "Add", "block_2"))
    plan = plan_with_work(
        KernelPlan(REDUCED, "fp16", "SM86", "x", mixed), GraphWork(nodes, WORK.calls, WORK.plugins), LAUNCHES
    )
    assert [row.operation for row in plan.with_plugins().rows] == ["", "similarity", "rank", "", "merge", "", ""]


def test_written_and_read_again(tmp_path: Path) -> None:
    plans = Plans((_plan(),), ("no dense model beside it: a reason",))
    content = plans_bytes(plans)
    assert content == plans_bytes(plans)
    (tmp_path / KERNELS_FILE).write_bytes(content)
    assert read_plans(tmp_path) == plans
    entry = json.loads(content)["plans"][0]
    assert (entry["kernels"], entry["product_dtypes"], len(entry["rows"])) == (6, {"float32": 3}, 6)
    assert plans.plan(REDUCED, "fp32") is None and plans.plan(REDUCED, "fp16") == _plan()


def test_a_plan_of_the_graph_with_plugins_alone(tmp_path: Path) -> None:
    """It is composed already, also after it was written and read."""
    alone = _plan().with_plugins()
    alone = replace(alone, not_around="")
    (tmp_path / KERNELS_FILE).write_bytes(plans_bytes(Plans((alone,))))
    read = read_plans(tmp_path)
    assert read == Plans((alone,)) and read.plans[0].with_plugins() is read.plans[0]
    assert read.taken_apart == ()


def test_none_of_old_or_another_schema_or_damaged(tmp_path: Path) -> None:
    assert read_plans(tmp_path) is None
    (tmp_path / KERNELS_FILE).write_text('{"schema": "edgeexport.kernels/9"}')
    with pytest.raises(BundleError, match="kernels/9"):
        read_plans(tmp_path)
    (tmp_path / KERNELS_FILE).write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        read_plans(tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"in": [["x", "float16", [4, 4], []]]}, r"plans\[0\].rows\[0\].in\[0\]"),
        ({"in": [["x", "float16", [4, 4], [1], 32]]}, r"rows\[0\] \| shape and strides of x differ in length"),
        ({"in": [["x", "float16", [4, 0], [], 0]]}, r"in\[0\]\[2\]\[1\] \| expected int >= 1"),
        ({"kind": "signal"}, "events belong to signals and waits"),
        ({"calls": ["other"]}, "calls an op that launches does not name"),
        ({"kind": "attention", "out": []}, "is an attention without a result"),
    ],
)
def test_a_damaged_row_is_named(changed: dict[str, object], words: str, tmp_path: Path) -> None:
    damaged = json.loads(plans_bytes(Plans((_plan(),))))
    damaged["plans"][0]["rows"][0] |= changed
    (tmp_path / KERNELS_FILE).write_text(json.dumps(damaged))
    with pytest.raises(BundleError, match=words):
        read_plans(tmp_path)


def test_a_bundles_own_plan() -> None:
    """Of a reduced model the dense form is never taken for its own."""
    reduced, dense = (KernelPlan(model, "fp16", "SM86", "x", ()) for model in (REDUCED, DENSE))
    assert Plans((reduced, dense)).own("fp16") is reduced and Plans((reduced, dense)).own("fp32") is None
    assert Plans((dense,)).own("fp16") is dense
