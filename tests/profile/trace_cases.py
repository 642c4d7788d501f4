"""Simulated devices: a clock that only inferences move, and latencies with the noise that real ones have."""

from __future__ import annotations

import math
import random

from edgeexport.backends.runner import Timing


class SimulatedDevice:
    """Executes inferences in simulated time.

    The noise has what is found on devices and shared machines: jitter of each run (2 %), a slow wander that neighbouring
    runs share (2 %, correlated over about half a second), rare runs that take up to three times as long (1 %), and a
    steady rise over the measurement (3 % in ten seconds).
    """

    def __init__(
        self,
        seed: int,
        *,
        jitter: float = 0.02,
        wander: float = 0.02,
        drift_per_s: float = 0.003,
        outliers: float = 0.01,
    ) -> None:
        self.seed = seed
        self._random = random.Random(seed)
        self._jitter, self._wander, self.drift_per_s, self._outliers = jitter, wander, drift_per_s, outliers
        self._state = self._random.gauss(0, wander)
        self._last = 0.0
        self.now = 0.0
        self.slowed_from_s = math.inf
        self.slowed_by = 1.0

    def clock(self) -> float:
        """Seconds; as with a real clock, looking takes a moment."""
        self.now += 1e-7
        return self.now

    def run(self, base_ms: float) -> Timing:
        """One inference that takes about ``base_ms``."""
        keep = math.exp(-(self.now - self._last) / 0.5)
        self._state = keep * self._state + math.sqrt(1 - keep * keep) * self._random.gauss(0, self._wander)
        self._last = self.now
        ms = base_ms * math.exp(self._random.gauss(0, self._jitter) + self._state + self.drift_per_s * self.now)
        if self._random.random() < self._outliers:
            ms *= self._random.uniform(1.2, 3.0)
        if self.now >= self.slowed_from_s:
            ms *= self.slowed_by
        self.now += (ms + 0.1) / 1000
        return Timing(ms, 0.05, None, ms + 0.1)
