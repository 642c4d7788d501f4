"""How long the products of a kernel take where they do not fill the GPU: tiles, dealt out to multiprocessors in waves.

The model is that of NVIDIA's "Matrix Multiplication Background User's Guide" (DU-09799): the result is cut into tiles, one
thread block each; a tile at the edge costs what a whole one does, and the last wave of tiles what a full one does. Of the
tile sizes that TensorRT and cuBLAS have, the quickest is taken. Smaller tiles read their operands more often: a tile takes
as long as its products, or as its operands take from the second-level cache. Splitting the inner dimension is not modelled.
"""

from __future__ import annotations

from math import ceil, prod
from typing import NamedTuple

from edgeexport.cost.gpu_limits import GpuLimits
from edgeexport.cost.kernel_plan import PlannedKernel, Tensor

__all__ = ["ProductShape", "product_seconds", "product_shape"]

TILES = (
    (256, 128), (128, 256), (128, 128), (256, 64), (64, 256), (128, 64), (64, 128), (64, 64), (64, 32), (32, 64), (32, 32),
)  # fmt: skip
_ATTENTION_ROWS = 64
"""Queries that one thread block of fused attention takes, for all keys."""

_PADDED = 1.2
"""More products than the graph's nodes count may come from rows that the compiler added, up to this."""

_ITEM_BYTES = {"float32": 4, "tfloat32": 4, "int8": 1, "uint8": 1}


class ProductShape(NamedTuple):
    """``batch`` products of (rows x inner) with (inner x columns)."""

    batch: int
    rows: int
    columns: int
    inner: int


def product_shape(kernel: PlannedKernel) -> ProductShape | None:
    """The shape of a kernel's products; None where it cannot be told from its tensors."""
    if not kernel.macs or not kernel.inputs or not kernel.outputs:
        return None
    if kernel.kind == "convolution":
        return _convolution(kernel)
    operands = [tensor for tensor in (*kernel.inputs, *kernel.constants) if len(tensor.shape) >= 2]
    candidates = [
        shape
        for index, left in enumerate(operands)
        for right in operands[index + 1 :]
        if (shape := _matching(left, right, kernel.macs)) is not None
    ]
    return max(candidates, key=lambda shape: shape.inner, default=None)


def product_seconds(kernel: PlannedKernel, limits: GpuLimits, dtype: str) -> tuple[float, float]:
    """Seconds that a kernel's products take, and the share of the GPU that they keep busy meanwhile (0 to 1).

    Args:
        kernel: With products.
        limits: The GPU's.
        dtype: That they are computed in: the kernel's, or 'tfloat32'.
    """
    rate = limits.ceilings.product_rate(dtype)
    full = kernel.macs / rate
    if kernel.kind == "attention":
        seconds = _attention(kernel, limits, rate)
    else:
        shape = product_shape(kernel)
        if shape is None:
            seconds = full
        elif kernel.kind == "convolution" and shape.columns > 1 and _depthwise(kernel):
            seconds = full = kernel.macs / limits.ceilings.product_rate("float32")
        else:
            seconds = min(_tiled(shape, tile, limits, rate, _ITEM_BYTES.get(dtype, 2)) for tile in TILES)
    seconds = max(seconds, full)
    return seconds, full / seconds


def _tiled(shape: ProductShape, tile: tuple[int, int], limits: GpuLimits, rate: float, item_bytes: int) -> float:
    rows, columns = tile
    blocks = shape.batch * ceil(shape.rows / rows) * ceil(shape.columns / columns)
    waves = ceil(blocks / limits.multiprocessors)
    products = rows * columns * shape.inner / (rate / limits.multiprocessors)
    operands = (rows + columns) * shape.inner * item_bytes
    cache = limits.cache_gigabytes_per_s.value * 1e9 / limits.multiprocessors
    return waves * max(products, operands / cache)


def _attention(kernel: PlannedKernel, limits: GpuLimits, rate: float) -> float:
    """Two products, (queries x width) with (width x keys) and back, by blocks of queries."""
    queries = kernel.outputs[0]
    width = min(queries.shape[-2:]) if len(queries.shape) >= 2 else queries.shape[-1]
    rows = prod(queries.shape) // width
    heads = max(1, prod(queries.shape[:-2]))
    blocks = heads * ceil(rows / heads / _ATTENTION_ROWS)
    of_a_block = kernel.macs / rows * _ATTENTION_ROWS
    return ceil(blocks / limits.multiprocessors) * of_a_block / (rate / limits.multiprocessors)


def _convolution(kernel: PlannedKernel) -> ProductShape | None:
    result = max(kernel.outputs, key=lambda tensor: prod(tensor.shape))
    if len(result.shape) < 3:
        return None
    channels = result.shape[1]
    positions = prod(result.shape) // channels
    inner = kernel.macs // (positions * channels)
    return ProductShape(1, positions, channels, inner) if inner else None


def _depthwise(kernel: PlannedKernel) -> bool:
    return any(len(tensor.shape) == 4 and tensor.shape[1] == 1 and tensor.shape[0] > 1 for tensor in kernel.constants)


def _matching(left: Tensor, right: Tensor, macs: int) -> ProductShape | None:
    """Which axis of two operands is the inner one; None where none makes ``macs``, but for what the compiler padded."""
    (a, b), (c, d) = left.shape[-2:], right.shape[-2:]
    for rows, inner, other, columns in ((a, b, c, d), (a, b, d, c), (b, a, c, d), (b, a, d, c)):
        batch = max(1, round(macs / (rows * inner * columns)))
        padded = batch * rows * inner * columns / macs
        fits = inner == other and inner > 1 and 1 <= padded < _PADDED
        if fits and batch <= max(prod(left.shape[:-2]), prod(right.shape[:-2]), 1):
            return ProductShape(batch, rows, columns, inner)
    return None
