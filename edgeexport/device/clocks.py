"""Clocks of GPU, CPU and memory, and the limits within which the system may move them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.sysfs import number_of, numbered

__all__ = ["CPU", "GPU", "MEMORY", "Clock", "read_clocks"]

GPU, CPU, MEMORY = "gpu", "cpu", "memory"

# devfreq names of NVIDIA's integrated GPUs: 17000000.gpu (L4T 36), 17000000.ga10b (L4T 35), gpu-gpc-0 (Thor). Thor's
# gpu-nvd-0 clocks its video engines, which no inference uses.
_GPU_NAME = re.compile(r"gpu(?!-nvd)|ga10b|gv11b|gp10b")


@dataclass(frozen=True)
class Clock:
    """One clock, in hertz. None: the system does not tell.

    Attributes:
        name: As sysfs calls it, such as '17000000.gpu' or 'policy0'.
        drives: `GPU`, `CPU` or `MEMORY`.
        current_hz: Now.
        min_hz, max_hz: The limits set for it; equal where it is pinned (`jetson_clocks`).
    """

    name: str
    drives: str
    current_hz: int | None
    min_hz: int | None
    max_hz: int | None

    @property
    def pinned(self) -> bool:
        """Whether its limits leave it no choice."""
        return self.min_hz is not None and self.min_hz == self.max_hz


def read_clocks(root: Path = Path("/")) -> tuple[Clock, ...]:
    """Reads devfreq (GPU), cpufreq (CPU, one clock for each policy) and nvpmodel's cap on the memory clock.

    The memory clock itself is readable by the superuser alone (debugfs); without that only its cap is known.
    """
    return (*_gpu_clocks(root), *_cpu_clocks(root), *_memory_clocks(root))


def _gpu_clocks(root: Path) -> list[Clock]:
    folder = root / "sys/class/devfreq"
    try:
        names = sorted(entry.name for entry in folder.iterdir() if _GPU_NAME.search(entry.name))
    except OSError:
        return []
    return [_clock(folder / name, name, GPU, ("cur_freq", "min_freq", "max_freq"), 1) for name in names]


def _cpu_clocks(root: Path) -> list[Clock]:
    files = ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq")
    policies = numbered(root / "sys/devices/system/cpu/cpufreq", "policy")
    return [_clock(policy, policy.name, CPU, files, 1000) for policy in policies]


def _memory_clocks(root: Path) -> list[Clock]:
    cap = number_of(root / "sys/kernel/nvpmodel_clk_cap/emc")
    current = number_of(root / "sys/kernel/debug/bpmp/debug/clk/emc/rate")
    # In MAXN nvpmodel writes 0, which removes the cap.
    return [Clock("emc", MEMORY, current, None, cap or None)] if cap is not None or current is not None else []


def _clock(folder: Path, name: str, drives: str, files: tuple[str, str, str], hz_per_unit: int) -> Clock:
    current, low, high = (
        None if (number := number_of(folder / file)) is None else number * hz_per_unit for file in files
    )
    return Clock(name, drives, current, low, high)
