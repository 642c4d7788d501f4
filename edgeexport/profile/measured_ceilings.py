"""The two ceilings of the machine at hand, from one profiled model: what its products and what its other nodes achieve."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from edgeexport.backends.runner import NodeTime
from edgeexport.cost.ceilings import MEASURED, Ceiling, Ceilings
from edgeexport.cost.kernels import FUSIONS, VIEWS, kernels_from_nodes
from edgeexport.cost.work import GraphWork
from edgeexport.errors import MeasurementError

__all__ = ["PRODUCT_OPS", "ceilings_from_profile"]

PRODUCT_OPS = frozenset({"Conv", "ConvTranspose", "Einsum", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"})
"""What ONNX Runtime calls the nodes that multiply."""

_STEPS = 60
_DTYPE = "float32"


def ceilings_from_profile(
    work: GraphWork,
    times: Sequence[NodeTime],
    run_ms: float,
    launch_us: float,
    value_ns: Mapping[str, Ceiling] | None = None,
    *,
    target: str,
    name: str,
) -> Ceilings:
    """Ceilings with which `edgeexport.cost.roofline.predict` gives ``run_ms`` for the model that was profiled.

    The profile says how the time divides between products and all else; the profiler's own time per node, seen in nodes
    that move nothing, is taken off first. How long the run takes is told by a run without the profiler.

    Args:
        work: Of the profiled bundle's graph, whose products are float32.
        times: ONNX Runtime's node times.
        run_ms: Latency of a run without the profiler.
        launch_us: Time per node that does nothing.
        value_ns: See `Ceilings`; of operators that the profiled model does not have, or hardly.
        target: 'cpu' or 'gpu'.
        name: The model, for the source of the figures.

    Raises:
        MeasurementError: The profile has no products, or what is timed apart would alone take longer than the run.
    """
    views = [item.ms for item in times if item.op_type in VIEWS]
    profiler_ms = statistics.median(views) if views else 0.0
    kernels = kernels_from_nodes(work.nodes, FUSIONS["onnxruntime"])
    by_value = value_ns or {}
    net = [(item.op_type, max(item.ms - profiler_ms, 0.0)) for item in times]
    product_ms = sum(ms for op_type, ms in net if op_type in PRODUCT_OPS)
    other_ms = sum(ms for op_type, ms in net if op_type not in PRODUCT_OPS and op_type not in by_value)
    values_ms = 1e-6 * sum(
        node.values * by_value[node.op_type].value for node in work.nodes if node.op_type in by_value
    )
    left_ms = run_ms - values_ms - 1e-3 * launch_us * sum(kernel.launched for kernel in kernels)
    if product_ms <= 0 or other_ms <= 0 or left_ms <= 0:
        raise MeasurementError(
            f"calibration on {name}",
            f"{product_ms:.3g} ms of products, {other_ms:.3g} ms of other nodes, {left_ms:.3g} ms of {run_ms:.3g} without "
            "launches and what goes value by value: all should be positive",
            "measure again on a quiet machine",
        )
    scale = left_ms / (product_ms + other_ms)
    moved = sum(
        kernel.bytes
        for kernel in kernels
        if not kernel.is_product and not any(node.op_type in by_value for node in kernel.nodes)
    )
    bytes_per_ms = moved / (other_ms * scale)
    macs = [
        (sum(node.product_macs for node in kernel.nodes), kernel.bytes / bytes_per_ms)
        for kernel in kernels
        if kernel.is_product
    ]
    rate = _rate(macs, product_ms * scale)
    source = f"{name} in ONNX Runtime on this machine: {run_ms:.4g} ms per run"
    share = product_ms / (product_ms + other_ms)
    return Ceilings(
        target=target,
        power_mode="",
        giga_macs_per_s={_DTYPE: Ceiling(rate * 1e3 / 1e9, MEASURED, f"{source}, of which products take {share:.0%}")},
        gigabytes_per_s=Ceiling(
            bytes_per_ms * 1e3 / 1e9, MEASURED, f"{source}, of which all but products take {1 - share:.0%}"
        ),
        launch_us=Ceiling(launch_us, MEASURED, "a chain of nodes on single values, on this machine"),
        value_ns=by_value,
    )


def _rate(kernels: Sequence[tuple[int, float]], wanted_ms: float) -> float:
    """Multiply-accumulates per ms at which kernels of (macs, ms that their bytes need) take ``wanted_ms`` in all.

    Where their bytes alone take longer, the rate that their products would have without them.
    """
    total = sum(macs for macs, _ in kernels)
    if sum(memory_ms for _, memory_ms in kernels) >= wanted_ms:
        return total / wanted_ms
    low, high = total / wanted_ms, total / wanted_ms
    while sum(max(macs / high, memory_ms) for macs, memory_ms in kernels) > wanted_ms:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if sum(max(macs / middle, memory_ms) for macs, memory_ms in kernels) > wanted_ms:
            low = middle
        else:
            high = middle
    return high
