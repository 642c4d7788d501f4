"""Two executions side by side, value by value: the first that drifts, and how far off every part is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexport.verify.compare import DecisionDifference, float_difference
from edgeexport.verify.tolerances import Tolerances

__all__ = ["CosineFall", "PartStep", "ValueStep", "Walk", "drift_limit", "parts_of_steps", "value_step"]

_LEAST_LIMIT = 1e-4


@dataclass(frozen=True)
class ValueStep:
    """One value in both executions.

    ``node`` is what made it: a node of the graph, or where torch is the reference a module. ``error`` is the largest absolute
    error over the reference's largest magnitude (integers: the share that differs), infinite where the candidate has no such
    value, another shape, or numbers that are not finite; ``problem`` says which.
    """

    part: str
    node: str
    value: str
    error: float
    cosine: float | None
    drifts: bool
    problem: str = ""


@dataclass(frozen=True)
class PartStep:
    """The values of a part of the model: how many, the worst figures of any, and the first node that drifts (empty: none)."""

    part: str
    values: int
    error: float
    cosine: float | None
    first_drift: str


@dataclass(frozen=True)
class CosineFall:
    """The part at which the cosine falls most, and from where to where."""

    part: str
    before: float
    after: float


@dataclass(frozen=True)
class Walk:
    """What was executed, the parts in order, the first value that drifts, and the first decision that is another one.

    ``agrees`` is the last node (or module) ahead of the drift whose value agrees. Of a reduced model beside the dense one
    nothing drifts: ``fall`` is where the cosine falls most (None: nowhere), ``agreement`` the share of equal labels.
    """

    against: str
    reference: str
    candidate: str
    images: tuple[str, ...]
    limit: float
    parts: tuple[PartStep, ...]
    drift: ValueStep | None
    flip: DecisionDifference | None
    agrees: str = ""
    fall: CosineFall | None = None
    agreement: float | None = None

    def as_dict(self) -> dict[str, object]:
        """JSON-ready; null stands for an infinite error."""
        flip = None if self.flip is None else {**asdict(self.flip), "near_tie": self.flip.near_tie}
        document: dict[str, object] = {**asdict(self), "flip": flip}
        return {name: _finite(value) for name, value in document.items()}


def drift_limit(tolerances: Tolerances) -> float:
    """From which error on a value drifts."""
    return max(2 * tolerances.share, _LEAST_LIMIT)


def value_step(
    part: str, node: str, value: str, reference: NDArray, candidate: NDArray | None, tolerances: Tolerances
) -> ValueStep:
    """Compares one value."""
    if candidate is None:
        return ValueStep(part, node, value, math.inf, None, True, "is not in the bundle's graph")
    if candidate.shape != reference.shape:
        return ValueStep(part, node, value, math.inf, None, True, f"has shape {candidate.shape}, not {reference.shape}")
    if reference.dtype.kind != "f":
        error = float((candidate != reference).mean()) if reference.size else 0.0
        return ValueStep(part, node, value, error, None, error > 0)
    found = float_difference(value, candidate, reference)
    if not np.array_equal(np.isfinite(candidate), np.isfinite(reference)):
        return ValueStep(part, node, value, math.inf, found.cosine, True, f"has {found.not_finite} numbers not finite")
    largest = float(np.abs(reference[np.isfinite(reference)]).max(initial=0.0))
    error = (found.max_abs or 0.0) / largest if largest else float(found.max_abs or 0.0)
    return ValueStep(part, node, value, error, found.cosine, error > drift_limit(tolerances))


def parts_of_steps(steps: Iterable[ValueStep]) -> tuple[PartStep, ...]:
    """Steps by part, in the order in which the parts begin."""
    by_part: dict[str, list[ValueStep]] = {}
    for step in steps:
        by_part.setdefault(step.part, []).append(step)
    return tuple(_part(part, own) for part, own in by_part.items())


def _part(part: str, steps: Sequence[ValueStep]) -> PartStep:
    cosines = [step.cosine for step in steps if step.cosine is not None]
    drifting = next((step.node for step in steps if step.drifts), "")
    return PartStep(part, len(steps), max(step.error for step in steps), min(cosines, default=None), drifting)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
