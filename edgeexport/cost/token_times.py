"""What a block's branches take by token count, from one kernel plan: its kernels made smaller, and predicted again.

A compiler might choose other kernels at another count. So this ranks candidates, and plans of those that are left decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from edgeexport.cost.gpu_limits import GpuLimits
from edgeexport.cost.kernel_plan import KernelPlan, PlannedKernel, Tensor, row_major
from edgeexport.cost.plan_time import PlanPrediction, plan_prediction
from edgeexport.cost.tiles import product_shape

__all__ = ["BlockTimes", "block_ms", "block_of_part", "branch_ms", "plan_at_tokens"]

BlockTimes = tuple[float, float, float]
"""Milliseconds: attention branch of one block, MLP branch, and everything outside blocks."""


def block_of_part(part: str) -> int | None:
    """7 of 'block_7' and of 'merge_7'; None of what belongs to no block."""
    name, _, number = part.rpartition("_")
    return int(number) if name in ("block", "merge") and number.isdigit() else None


def plan_at_tokens(plan: KernelPlan, tokens: int, wanted: int, batch: int = 1) -> KernelPlan:
    """A dense model's plan with ``wanted`` tokens in every block in place of ``tokens``; kernels outside blocks stay.

    Args:
        plan: Of a model without reductions.
        tokens: Per image, prefix included.
        wanted: Positive.
        batch: Images of a run; axes of ``batch * tokens`` are found as well.
    """
    sizes = {tokens: wanted, batch * tokens: batch * wanted}
    rows = tuple(
        _row_at(row, sizes) if row.is_kernel and block_of_part(row.part) is not None else row for row in plan.rows
    )
    return replace(plan, rows=rows)


def branch_ms(plan: KernelPlan, limits: GpuLimits) -> BlockTimes:
    """Means over a dense plan's blocks; all of a block that is before its last two products with weights is attention."""
    prediction = plan_prediction(plan, limits)
    attention, mlp, other = 0.0, 0.0, 0.0
    mlp_rows = _mlp_rows(plan.rows)
    blocks = {block for row in plan.kernels if (block := block_of_part(row.part)) is not None}
    for index, (row, ms) in enumerate(zip(plan.rows, prediction.ms, strict=True)):
        if block_of_part(row.part) is None:
            other += ms
        elif index in mlp_rows:
            mlp += ms
        else:
            attention += ms
    count = max(len(blocks), 1)
    return attention / count, mlp / count, other


def block_ms(prediction: PlanPrediction) -> dict[int | None, float]:
    """Milliseconds by block, merging in it included; None: outside blocks."""
    found: dict[int | None, float] = {}
    for row, ms in zip(prediction.plan.rows, prediction.ms, strict=True):
        block = block_of_part(row.part)
        found[block] = found.get(block, 0.0) + ms
    return found


def _mlp_rows(rows: Sequence[PlannedKernel]) -> set[int]:
    weighted: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        block = block_of_part(row.part)
        if block is not None and row.macs and any(_is_matrix(tensor) for tensor in row.constants):
            weighted.setdefault(block, []).append(index)
    first = {block: found[-2] for block, found in weighted.items() if len(found) > 2}
    return {
        index for index, row in enumerate(rows) if (block := block_of_part(row.part)) in first and index >= first[block]
    }


def _is_matrix(tensor: Tensor) -> bool:
    return len(tensor.shape) >= 2 and min(tensor.shape[-2:]) > 1


def _row_at(row: PlannedKernel, sizes: dict[int, int]) -> PlannedKernel:
    """The kernel with its token axes of another size: products by their shapes, values by what is read and written."""
    changed = replace(
        row,
        inputs=tuple(_tensor_at(tensor, sizes) for tensor in row.inputs),
        constants=tuple(_tensor_at(tensor, sizes) for tensor in row.constants),
        outputs=tuple(_tensor_at(tensor, sizes) for tensor in row.outputs),
    )
    moved = [sum(prod(tensor.shape) for tensor in (*item.inputs, *item.outputs)) for item in (row, changed)]
    values = round(row.values * moved[1] / moved[0]) if moved[0] else row.values
    return replace(changed, macs=_macs_at(row, changed, sizes), values=values)


def _macs_at(row: PlannedKernel, changed: PlannedKernel, sizes: dict[int, int]) -> int:
    if not row.macs or not row.outputs:
        return row.macs
    ratio = prod(changed.outputs[0].shape) / max(prod(row.outputs[0].shape), 1)
    if row.kind == "attention":  # queries and keys alike
        return round(row.macs * ratio * ratio)
    shape = product_shape(row)
    if shape is not None and shape.inner in sizes:
        ratio *= sizes[shape.inner] / shape.inner
    return max(round(row.macs * ratio), 1)


def _tensor_at(tensor: Tensor, sizes: dict[int, int]) -> Tensor:
    shape = tuple(sizes.get(size, size) for size in tensor.shape)
    if shape == tensor.shape:
        return tensor
    strides = tuple(0 if old == 0 else new for old, new in zip(tensor.strides, row_major(shape), strict=True))
    return replace(tensor, shape=shape, strides=strides)
