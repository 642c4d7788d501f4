"""What a Jetson's GPU can do at most, as far as a kernel plan asks: beside `edgeexport.cost.ceilings` its caches and launches.

None of what is added here was measured on a Jetson; each figure says so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgeexport.cost.ceilings import ASSUMED, DERIVED, Ceiling, Ceilings, ceilings_of, multiprocessors_and_mhz

__all__ = ["GpuLimits", "gpu_limits"]

_CACHE_BYTES = 4 << 20
_CACHE_BYTES_PER_CLOCK = 32
_GRAPH_LAUNCH_US = 2.0


@dataclass(frozen=True)
class GpuLimits:
    """Limits of a GPU in one power mode.

    Attributes:
        ceilings: Products, memory and launches.
        multiprocessors: Among which a product's tiles are dealt out.
        cache_bytes: Of the second-level cache.
        cache_gigabytes_per_s: Its rate in 1e9 bytes per second.
        graph_launch_us: From one kernel to the next inside a CUDA graph, in microseconds.
    """

    ceilings: Ceilings
    multiprocessors: int
    cache_bytes: Ceiling
    cache_gigabytes_per_s: Ceiling
    graph_launch_us: Ceiling

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form: the ceilings' and what is added."""
        own = ("cache_bytes", "cache_gigabytes_per_s", "graph_launch_us")
        return {**self.ceilings.as_dict(), "multiprocessors": self.multiprocessors} | {
            name: asdict(getattr(self, name)) for name in own
        }


def gpu_limits(target: str, power_mode: str = "") -> GpuLimits:
    """The limits of a Jetson.

    Args:
        target: 'orin', 'orin-32gb', 'orin-nx', 'orin-nano' or 'thor'.
        power_mode: One of `edgeexport.cost.ceilings.power_modes`; empty takes the fastest.

    Raises:
        UsageError: Nothing is known of that target or mode.
    """
    ceilings = ceilings_of(target, power_mode)
    count, mhz = multiprocessors_and_mhz(target, ceilings.power_mode)
    rate = count * mhz * 1e6 * _CACHE_BYTES_PER_CLOCK / 1e9
    source = f"{count} multiprocessors x {mhz} MHz x {_CACHE_BYTES_PER_CLOCK} bytes, a rate assumed for Ampere's"
    size = "Jetson AGX Orin's technical brief"
    return GpuLimits(
        ceilings=ceilings,
        multiprocessors=count,
        cache_bytes=Ceiling(_CACHE_BYTES, DERIVED if target == "orin" else ASSUMED, size),
        cache_gigabytes_per_s=Ceiling(rate, ASSUMED, source),
        graph_launch_us=Ceiling(_GRAPH_LAUNCH_US, ASSUMED, "not measured on a Jetson"),
    )
