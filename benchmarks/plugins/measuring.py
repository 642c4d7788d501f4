"""Times on a GPU, and what its memory can do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import torch

__all__ = ["measure_us", "memory_limit_gb_per_s"]


def measure_us(candidates: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 10) -> dict[str, float]:
    """Median microseconds on the GPU of each candidate; they take turns within a round.

    Before every run a buffer of twice the L2 cache is overwritten: inputs come from memory, and while the GPU is busy
    with that, the launches of what is timed queue up, as they do inside an engine.
    """
    properties = torch.cuda.get_device_properties(0)
    flush = torch.empty(max(2 * properties.L2_cache_size, 64 << 20), dtype=torch.uint8, device="cuda")
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + rounds):
        for name, run in candidates.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.fill_(number % 256)
            start.record()
            run()
            end.record()
            end.synchronize()
            if number >= warmup:
                found[name].append(start.elapsed_time(end) * 1e3)
    return {name: statistics.median(times) for name, times in found.items()}


def memory_limit_gb_per_s(rounds: int = 30) -> float:
    """What copying a buffer reaches here: bytes read and written per second, in GB/s, median of ``rounds``."""
    free, _ = torch.cuda.mem_get_info()
    count = min(512 << 20, free // 8)
    source, target = (torch.empty(count, dtype=torch.uint8, device="cuda") for _ in range(2))
    microseconds = measure_us({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 2 * count / microseconds / 1e3
