"""Two runners measured side by side, in alternating blocks, so that what changes with time changes for both.

A block is some runs of one runner; a pair is a block of each. Two pairs make a round: one of them begins with the
baseline, the other with the candidate, and which comes first is drawn anew for every round. A steady drift then cancels
within a round, and whatever else disturbs the machine favours neither: were both runners the same, the sign of a round's
difference would be a coin's. Rounds are what `edgeexport.profile.statistics.speedup_interval` resamples.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgeexport.backends.runner import Timing
from edgeexport.profile.protocol import WATCH_EVERY_S, Call, Clock, TimingRequest, Watch, warm_up

__all__ = ["BLOCK_S", "PairedTrace", "Round", "measure_pair"]

BLOCK_S = 0.02
"""Length of a block, where an inference is short."""

_LEAD_IN_S = 0.003  # idle threads of the other runner spin for a millisecond or two before they sleep
_LEAST_RUNS, _MOST_RUNS = 3, 64  # of three runs, the median does not follow one that was disturbed
_SEED = 20


@dataclass(frozen=True)
class Round:
    """Two pairs. Each block holds its samples without the lead-in runs.

    ``baseline`` and ``candidate`` are their two blocks, in the order of time; ``baseline_first`` tells which block of all
    four came first (the fourth was the same runner's).
    """

    baseline: tuple[tuple[Timing, ...], tuple[Timing, ...]]
    candidate: tuple[tuple[Timing, ...], tuple[Timing, ...]]
    baseline_first: bool

    def compute_ms(self) -> tuple[float, float]:
        """Typical compute time of baseline and candidate: of each block the median, of two blocks the geometric mean."""
        return _typical(self.baseline), _typical(self.candidate)


@dataclass(frozen=True)
class PairedTrace:
    """All rounds. A block has ``lead_in`` runs that are no samples, since they pay for caches that the other runner left
    cold and for its threads not yet asleep, and ``runs_per_block`` that are."""

    rounds: tuple[Round, ...]
    runs_per_block: int
    lead_in: int
    warmup_runs: tuple[int, int]
    seconds: float

    def samples(self, which: str) -> list[Timing]:
        """All samples of 'baseline' or 'candidate', in the order of time."""
        return [sample for item in self.rounds for block in getattr(item, which) for sample in block]


def measure_pair(
    baseline: Call,
    candidate: Call,
    request: TimingRequest,
    clock: Clock = time.perf_counter,
    *,
    watch: Watch = lambda: None,
    watch_every_s: float = WATCH_EVERY_S,
    seed: int = _SEED,
    on_round: Callable[[int], None] = lambda done: None,
) -> PairedTrace:
    """Measures two runners against each other.

    Args:
        baseline, candidate: One inference of each.
        request: Its warm-up is each runner's; its duration and iterations are each runner's as well, and at least its
            ``pairs`` are made.
        clock, watch, watch_every_s: As for `measure`.
        seed: Of the order of the blocks.
        on_round: Called with the number of rounds made.
    """
    draw = random.Random(seed)
    baseline_runs, baseline_s = warm_up(baseline, request.warmup_ms, clock)
    candidate_runs, candidate_s = warm_up(candidate, request.warmup_ms, clock)
    shortest_s = max(min(baseline_s, candidate_s), 1e-6)
    runs = max(_LEAST_RUNS, min(_MOST_RUNS, round(BLOCK_S / shortest_s)))
    lead_in = min(_MOST_RUNS, math.ceil(_LEAD_IN_S / shortest_s))

    def block(call: Call) -> tuple[Timing, ...]:
        for _ in range(lead_in):
            call()
        return tuple(call() for _ in range(runs))

    watch()
    begin = watched = clock()
    rounds: list[Round] = []
    least = max(math.ceil(request.pairs / 2), math.ceil(request.iterations / (2 * runs)), 2)
    while len(rounds) < least or clock() - begin < 2 * request.duration_s:
        rounds.append(_round(baseline, candidate, draw.random() < 0.5, block))
        on_round(len(rounds))
        if clock() - watched >= watch_every_s:
            watch()
            watched = clock()
    seconds = clock() - begin
    watch()
    return PairedTrace(tuple(rounds), runs, lead_in, (baseline_runs, candidate_runs), seconds)


def _round(baseline: Call, candidate: Call, baseline_first: bool, block: Callable[[Call], tuple[Timing, ...]]) -> Round:
    outer, inner = (baseline, candidate) if baseline_first else (candidate, baseline)
    first, second, third, fourth = block(outer), block(inner), block(inner), block(outer)
    of_outer, of_inner = (first, fourth), (second, third)
    return Round(of_outer, of_inner, True) if baseline_first else Round(of_inner, of_outer, False)


def _typical(blocks: tuple[tuple[Timing, ...], tuple[Timing, ...]]) -> float:
    first, second = (statistics.median(sample.compute_ms for sample in block) for block in blocks)
    return math.sqrt(first * second)
