"""Latency from a kernel plan: what each kernel takes at a Jetson's limits, and how its streams run beside each other.

A prediction, labelled as one: the plan is SM86's, the device's may differ, and no limit but the published ones was measured.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.cost.ceilings import Ceiling, power_modes
from edgeexport.cost.gpu_limits import GpuLimits, gpu_limits
from edgeexport.cost.kernel_plan import KernelPlan, PlannedKernel
from edgeexport.cost.tiles import product_seconds
from edgeexport.cost.work import part_order, part_title

__all__ = ["PLAN_MODEL", "PlanPrediction", "parts_of_plan", "plan_prediction", "plan_predictions"]

PLAN_MODEL = (
    "from TensorRT-RTX's kernel plan for SM86: per kernel launch time + max(products by tiles and waves over the "
    "multiprocessors, other operations / float32 rate, bytes / memory rate); activations that are read again before 4 MB of "
    "others have passed take the second-level cache's rate; streams run beside each other and share the GPU"
)

_BOUNDS = ("products", "memory", "values", "launch")


@dataclass(frozen=True)
class _Need:
    """What a kernel needs, in seconds: each of `_BOUNDS`, and the share of the GPU that it keeps busy."""

    products: float
    memory: float
    values: float
    cached_bytes: int
    share: float

    @property
    def body(self) -> float:
        return max(self.products, self.memory, self.values)

    def bound(self, launch: float) -> str:
        needed = dict(zip(_BOUNDS, (self.products, self.memory, self.values, launch), strict=True))
        return max(needed, key=lambda name: needed[name])


@dataclass(frozen=True)
class PlanPrediction:
    """A predicted run of the whole batch, kernel by kernel.

    Attributes:
        plan: Compiled or composed.
        limits: Of the device.
        ms: Per row of the plan, its part of the elapsed time: where kernels run beside each other, they share it.
        bounds: Per row what takes longest; empty for events.
        cached_bytes: Of all that is moved, what the second-level cache serves.
        cuda_graph_ms: The whole run inside a CUDA graph.
    """

    plan: KernelPlan
    limits: GpuLimits
    ms: tuple[float, ...]
    bounds: tuple[str, ...]
    cached_bytes: int
    cuda_graph_ms: float

    @property
    def total_ms(self) -> float:
        """Time of one run without a CUDA graph."""
        return sum(self.ms)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, in the form of `edgeexport.cost.roofline.Prediction.as_dict`, with what a plan tells beside it."""
        ceilings = self.limits.ceilings
        bounds = dict.fromkeys(_BOUNDS, 0.0)
        for ms, bound in zip(self.ms, self.bounds, strict=True):
            if bound:
                bounds[bound] += ms
        return {
            "provenance": "predicted",
            "model": PLAN_MODEL,
            "backend": "tensorrt",
            "target": ceilings.target,
            "power_mode": ceilings.power_mode,
            "precision": self.plan.precision,
            "composed": self.plan.composed,
            "total_ms": round(self.total_ms, 6),
            "cuda_graph_ms": round(self.cuda_graph_ms, 6),
            "launches": len(self.plan.kernels),
            "bytes": self.plan.bytes,
            "cached_bytes": self.cached_bytes,
            "bound_ms": {bound: round(ms, 6) for bound, ms in bounds.items()},
            "parts": self._parts(),
            "ceilings": self.limits.as_dict(),
        }

    def _parts(self) -> list[dict[str, Any]]:
        parts = parts_of_plan(self.plan)
        for part in parts:
            ms = dict.fromkeys(_BOUNDS, 0.0)
            for row, taken, bound in zip(self.plan.rows, self.ms, self.bounds, strict=True):
                if bound and row.part == part["part"]:
                    ms[bound] += taken
            part |= {"ms": round(sum(ms.values()), 6), "bound": max(ms, key=lambda bound: ms[bound])}
        return parts


def parts_of_plan(plan: KernelPlan) -> list[dict[str, Any]]:
    """Kernels, bytes and products of every part of the model, in its order (JSON-ready)."""
    rows: dict[str, list[PlannedKernel]] = {}
    for kernel in plan.kernels:
        rows.setdefault(kernel.part, []).append(kernel)
    return [
        {
            "part": part,
            "title": part_title(part),
            "macs": sum(kernel.macs for kernel in rows[part]),
            "bytes": sum(kernel.bytes for kernel in rows[part]),
            "launches": len(rows[part]),
        }
        for part in sorted(rows, key=part_order)
    ]


def plan_prediction(plan: KernelPlan, limits: GpuLimits, *, tf32: bool = False) -> PlanPrediction:
    """Predicts one run.

    Args:
        plan: Of the graph.
        limits: Of the device in a power mode.
        tf32: float32 products take the rate of tfloat32.

    Raises:
        UsageError: The ceilings lack the rate of a dtype that the plan multiplies in.
    """
    needs = _needs(plan.rows, limits, tf32)
    launch, graph_launch = _seconds(limits.ceilings.launch_us), _seconds(limits.graph_launch_us)
    bounds = tuple(need.bound(launch) if row.is_kernel else "" for row, need in zip(plan.rows, needs, strict=True))
    return PlanPrediction(
        plan=plan,
        limits=limits,
        ms=tuple(1e3 * seconds for seconds in _timeline(plan.rows, needs, launch)),
        bounds=bounds,
        cached_bytes=sum(need.cached_bytes for need in needs),
        cuda_graph_ms=1e3 * sum(_timeline(plan.rows, needs, graph_launch)),
    )


def plan_predictions(plan: KernelPlan, target: str) -> list[PlanPrediction]:
    """A prediction for every power mode of a Jetson target, the fastest first; none for targets without published rates."""
    return [plan_prediction(plan, gpu_limits(target, mode)) for mode in power_modes(target)]


def _seconds(launch: Ceiling) -> float:
    return launch.value * 1e-6


def _needs(rows: Sequence[PlannedKernel], limits: GpuLimits, tf32: bool) -> list[_Need]:
    ceilings = limits.ceilings
    memory_rate = ceilings.gigabytes_per_s.value * 1e9
    cache_rate = limits.cache_gigabytes_per_s.value * 1e9
    value_rate = ceilings.product_rate("float32")
    as_run = {"float32": "tfloat32"} if tf32 and "tfloat32" in ceilings.giga_macs_per_s else {}
    cached = _cached_bytes(rows, int(limits.cache_bytes.value))
    needs = []
    for row, near in zip(rows, cached, strict=True):
        products, busy = (0.0, 0.0)
        if row.macs:
            products, busy = product_seconds(row, limits, as_run.get(row.dtype, row.dtype))
        memory = max((row.bytes - near) / memory_rate, row.bytes / cache_rate)
        values = row.values / value_rate
        body = max(products, memory, values)
        share = max(products * busy, memory, values) / body if body else 0.0
        needs.append(_Need(products, memory, values, near, share))
    return needs


def _cached_bytes(rows: Sequence[PlannedKernel], capacity: int) -> list[int]:
    """Per row the bytes that never leave the cache: activations of which every reading comes before they are driven out.

    Least recently used goes first. What nobody reads any more makes room without being written to memory, for its place
    is used again; the graph's inputs and outputs and constants come from and go to memory.
    """
    reads: dict[str, int] = {}
    for row in rows:
        for tensor in row.inputs:
            reads[tensor.name] = reads.get(tensor.name, 0) + 1
    left = dict(reads)
    cache: OrderedDict[str, int] = OrderedDict()
    held = 0
    made: set[str] = set()
    far: set[str] = set()
    for row in rows:
        for tensor in (*row.inputs, *row.constants, *row.outputs):
            if tensor in row.inputs and tensor.name in made and tensor.name not in cache:
                far.add(tensor.name)
            held += tensor.bytes - cache.pop(tensor.name, 0)
            cache[tensor.name] = tensor.bytes
            while held > capacity:
                size = cache.popitem(last=False)[1]
                held -= size
        for tensor in row.inputs:
            left[tensor.name] -= 1
            if not left[tensor.name]:
                held -= cache.pop(tensor.name, 0)
        made.update(tensor.name for tensor in row.outputs)
    near = {name for name in made if name in reads} - far
    return [sum(tensor.bytes for tensor in (*row.inputs, *row.outputs) if tensor.name in near) for row in rows]


def _timeline(rows: Sequence[PlannedKernel], needs: Sequence[_Need], launch: float) -> list[float]:
    """Elapsed seconds by row. Streams run in order and wait for each other's events; kernels that run at once slow each
    other down where together they need more than the GPU.
    """
    queues: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        queues.setdefault(row.stream, []).append(index)
    waiting = {stream: queue[::-1] for stream, queue in queues.items()}  # the next is the last
    launching = [launch] * len(rows)
    body = [need.body for need in needs]
    elapsed = [0.0] * len(rows)
    signalled: set[int | None] = set()
    while True:
        active = _heads(rows, waiting, signalled)
        if not active:
            return elapsed
        computing = [index for index in active if launching[index] <= 0]
        slowdown = max(1.0, sum(needs[index].share for index in computing))
        step = min(body[index] * slowdown if launching[index] <= 0 else launching[index] for index in active)
        for index in active:
            elapsed[index] += step / len(active)
            if launching[index] > 0:
                launching[index] -= step
                if launching[index] < 1e-12:
                    launching[index] = 0.0
            else:
                body[index] -= step / slowdown
        for stream, queue in waiting.items():
            if queue and queue[-1] in active and launching[queue[-1]] <= 0 and body[queue[-1]] < 1e-12:
                waiting[stream].pop()


def _heads(rows: Sequence[PlannedKernel], waiting: dict[int, list[int]], signalled: set[int | None]) -> list[int]:
    """The kernels that run now, one of a stream at most; passes signals, and waits for what was signalled."""
    moved = True
    while moved:
        moved = False
        for queue in waiting.values():
            while queue and not rows[queue[-1]].is_kernel:
                row = rows[queue[-1]]
                if row.kind == "signal":
                    signalled.add(row.event)
                elif row.event not in signalled:
                    break
                queue.pop()
                moved = True
    return [queue[-1] for queue in waiting.values() if queue and rows[queue[-1]].is_kernel]
