"""An NVIDIA GPU of a PC or server, as nvidia-smi tells it: clocks, temperature, and why it is slowed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from edgeexport.device.child import output_of
from edgeexport.device.clocks import GPU, MEMORY, Clock
from edgeexport.device.temperatures import Temperature

__all__ = ["DiscreteGpu", "read_discrete_gpu"]

_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "clocks_throttle_reasons.active")
_TIMEOUT_S = 10.0
# Bits of nvmlClocksThrottleReasons (NVML API reference). Left out: idle, application clocks, sync boost, display, and the
# software power cap, which a GPU at work meets all the time; what it does to the clock is seen at the clock.
_SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


@dataclass(frozen=True)
class DiscreteGpu:
    """The first GPU. Its clocks have no known limits: whether they are pinned is not told."""

    clocks: tuple[Clock, ...]
    temperatures: tuple[Temperature, ...]
    slowdowns: tuple[str, ...]


def _nvidia_smi() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    return output_of(
        [program, "--id=0", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"], _TIMEOUT_S
    )


def read_discrete_gpu(query: Callable[[], str | None] = _nvidia_smi) -> DiscreteGpu | None:
    """Asks nvidia-smi, which takes some tens of milliseconds; None without it or without a GPU.

    Args:
        query: Gives its answer, one line for each GPU; tests put a text here.
    """
    lines = (query() or "").strip().splitlines()
    fields = [part.strip() for part in lines[0].split(",")] if lines else []
    if len(fields) != len(_FIELDS):
        return None
    core, memory, celsius = (_number(part) for part in fields[:3])
    try:
        reasons = int(fields[3], 16)
    except ValueError:  # '[N/A]'
        reasons = 0
    clocks = [
        Clock(name, drives, int(megahertz * 1e6), None, None)
        for name, drives, megahertz in (("sm", GPU, core), ("gpu memory", MEMORY, memory))
        if megahertz is not None
    ]
    temperatures = () if celsius is None else (Temperature("gpu", celsius, None),)
    return DiscreteGpu(tuple(clocks), temperatures, tuple(name for bit, name in _SLOWDOWNS.items() if reasons & bit))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
