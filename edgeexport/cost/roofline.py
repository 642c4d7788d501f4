"""Latency before there is hardware: every kernel takes as long as its products or its bytes need at the device's limits.

A prediction, always labelled as one. It knows nothing of caches, of tile sizes, or of what else the device does; it says
what the ceilings allow, so that a measurement well above it shows where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeexport.cost.ceilings import Ceilings, ceilings_of, power_modes
from edgeexport.cost.kernels import FUSIONS, Kernel, kernels_from_nodes
from edgeexport.cost.work import GraphWork, part_order, part_title

__all__ = ["BOUNDS", "MODEL", "KernelTime", "Prediction", "predict", "predictions"]

MODEL = (
    "roofline per kernel: launch time + max(multiply-accumulates of its products / rate for their dtype, bytes that it reads "
    "and writes / memory rate, values of operators that go value by value x time per value); caches are not modelled, "
    "kernels run one after the other"
)


BOUNDS = ("products", "memory", "values", "launch")
"""What a kernel's time is bound by."""


@dataclass(frozen=True)
class KernelTime:
    """A kernel's predicted time, and which of `BOUNDS` takes longest."""

    kernel: Kernel
    ms: float
    bound: str


@dataclass(frozen=True)
class Prediction:
    """A predicted run of the whole batch."""

    backend: str
    ceilings: Ceilings
    kernels: tuple[KernelTime, ...]
    parts_ms: dict[str, float] = field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        """Time of one run."""
        return sum(kernel.ms for kernel in self.kernels)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form: the total, the time by part of the model and by what bounds it, and the ceilings with sources."""
        bounds = dict.fromkeys(BOUNDS, 0.0)
        for kernel in self.kernels:
            bounds[kernel.bound] += kernel.ms
        return {
            "provenance": "predicted",
            "model": MODEL,
            "backend": self.backend,
            "target": self.ceilings.target,
            "power_mode": self.ceilings.power_mode,
            "total_ms": round(self.total_ms, 6),
            "launches": sum(item.kernel.launched for item in self.kernels),
            "bound_ms": {bound: round(ms, 6) for bound, ms in bounds.items()},
            "parts": [self._part(part) for part in sorted(self.parts_ms, key=part_order)],
            "ceilings": self.ceilings.as_dict(),
        }

    def _part(self, part: str) -> dict[str, Any]:
        kernels = [item for item in self.kernels if item.kernel.part == part]
        ms = dict.fromkeys(BOUNDS, 0.0)
        for item in kernels:
            ms[item.bound] += item.ms
        return {
            "part": part,
            "title": part_title(part),
            "ms": round(self.parts_ms[part], 6),
            "macs": sum(node.product_macs for item in kernels for node in item.kernel.nodes),
            "bytes": sum(item.kernel.bytes for item in kernels),
            "launches": sum(item.kernel.launched for item in kernels),
            "bound": max(ms, key=lambda bound: ms[bound]),
        }


def predict(
    work: GraphWork, ceilings: Ceilings, *, backend: str = "tensorrt", plugins: bool = True, tf32: bool = False
) -> Prediction:
    """Predicts one run.

    Args:
        work: Of the bundle's graph (`edgeexport.cost.work.read_work`).
        ceilings: The device's limits.
        backend: Whose fusions: a key of `edgeexport.cost.kernels.FUSIONS`.
        plugins: Custom ops as the plugin library's kernels; False spells out their bodies, which ONNX Runtime always does.
        tf32: float32 products take the rate of tfloat32, as TensorRT does where its flag TF32 is on; where that rate is not
            known, that of float32.

    Raises:
        UsageError: The ceilings lack the rate of a dtype that the graph multiplies in.
    """
    nodes = work.with_plugins() if plugins and backend == "tensorrt" else work.nodes
    times = tuple(_timed(kernel, ceilings, tf32) for kernel in kernels_from_nodes(nodes, FUSIONS[backend]))
    ms_of_part: dict[str, float] = {}
    for item in times:
        ms_of_part[item.kernel.part] = ms_of_part.get(item.kernel.part, 0.0) + item.ms
    return Prediction(backend, ceilings, times, ms_of_part)


def predictions(work: GraphWork, target: str, *, plugins: bool = True, tf32: bool = False) -> list[Prediction]:
    """A prediction for every power mode of a Jetson target, the fastest first; none for targets without published rates."""
    modes: Sequence[str] = power_modes(target)
    return [predict(work, ceilings_of(target, mode), plugins=plugins, tf32=tf32) for mode in modes]


def _timed(kernel: Kernel, ceilings: Ceilings, tf32: bool) -> KernelTime:
    if not kernel.launched:
        return KernelTime(kernel, 0.0, "memory")
    as_run = {"float32": "tfloat32"} if tf32 and "tfloat32" in ceilings.giga_macs_per_s else {}
    products_s = sum(
        node.product_macs / ceilings.product_rate(as_run.get(node.dtype, node.dtype))
        for node in kernel.nodes
        if node.product_macs
    )
    memory_s = kernel.bytes / (ceilings.gigabytes_per_s.value * 1e9)
    values_s = sum(
        node.values * ceilings.value_ns[node.op_type].value * 1e-9
        for node in kernel.nodes
        if node.op_type in ceilings.value_ns
    )
    launch_s = ceilings.launch_us.value * 1e-6
    needed = dict(zip(BOUNDS, (products_s, memory_s, values_s, launch_s), strict=True))
    bound = max(needed, key=lambda name: needed[name])
    return KernelTime(kernel, 1e3 * (launch_s + max(products_s, memory_s, values_s)), bound)
