"""What build.log holds: how long each stage of a build took, peak memory, and notes."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["BuildLog"]


@dataclass
class BuildLog:
    """Stage durations and peak memory; what build.log holds. ``on_stage`` hears the name of every stage that starts, with its
    number among ``expected``.
    """

    on_stage: Callable[[str], None] = lambda name: None
    seconds: dict[str, float] = field(default_factory=dict)
    child_bytes: int = 0
    expected: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage."""
        place = f"{self.expected.index(name) + 1} of {len(self.expected)}: " if name in self.expected else ""
        self.on_stage(f"{place}{name}")
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start

    @property
    def peak_bytes(self) -> int:
        """Upper bound of resident memory: the peak of this process and that of the TensorRT-RTX check, added."""
        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + self.child_bytes

    def text(self) -> str:
        """The log as lines."""
        total = sum(self.seconds.values())
        lines = [f"{name:<40s} {seconds:9.2f} s {seconds / total:6.1%}" for name, seconds in self.seconds.items()]
        lines += [f"{'total':<40s} {total:9.2f} s", f"{'peak memory':<40s} {self.peak_bytes / 1e9:9.2f} GB"]
        return "\n".join([*lines, *self.notes]) + "\n"
