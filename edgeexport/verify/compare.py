"""Comparison of two executions: numbers, class maps and token decisions. Framework-neutral: numpy arrays in, facts out.

Tolerances go by the precision of the graph (`edgeexport.verify.tolerances`), so that a build, `edgeexport verify` and a check
on the device judge alike:

- floating outputs: |a - b| <= atol + rtol |b| + share * max |b| everywhere;
- class maps: may differ only at pixels whose two best reference scores are a near tie;
- decisions (sets of token indices): equal, or differing only in tokens whose reference score is a near tie with the cut.
  In that case the two executions legitimately went on with different tokens, and their outputs are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeexport.verify.differences import differences_of
from edgeexport.verify.tolerances import FP32, Tolerances

__all__ = [
    "IMAGES_NEEDED",
    "Comparison",
    "DecisionDifference",
    "OutputDifference",
    "class_map_difference",
    "comparable_images",
    "decision_difference",
    "decision_differences",
    "float_difference",
    "integer_difference",
    "judged",
    "output_difference",
    "rows_of_images",
    "windows_of_scores",
]

IMAGES_NEEDED = 2
"""Different batches of images on which a check has to pass."""


@dataclass(frozen=True)
class OutputDifference:
    """One output of two executions.

    ``max_abs`` and ``max_rel`` are the largest absolute and relative error (relative to |reference|, where that exceeds
    atol), ``cosine`` the cosine of the flattened arrays; all three over the elements that are finite in both, and
    ``not_finite`` counts the others, any of which fails the output. For class maps ``agreement`` is the share of equal
    pixels, ``differing`` their number and ``unexplained`` how many of those are no near tie.
    """

    name: str
    passed: bool
    max_abs: float | None = None
    max_rel: float | None = None
    cosine: float | None = None
    agreement: float | None = None
    differing: int | None = None
    unexplained: int | None = None
    not_finite: int | None = None


@dataclass(frozen=True)
class DecisionDifference:
    """One stage's token selection in two executions.

    ``jaccard`` is the smallest over the batch. ``margin`` is the reference's score distance of the cut (k-th to k+1-th),
    and ``farthest`` by how much the other choice violates the reference's order, tokens of uncertain score aside: infinite
    where a token has no place in that order. Both None if unknown. ``image`` counts within the batch. Up to ``allowed`` a
    violation is taken for rounding.
    """

    stage: str
    equal: bool
    jaccard: float
    tokens: int
    differing: int
    margin: float | None
    farthest: float | None
    image: int = 0
    allowed: float = FP32.near_tie

    @property
    def near_tie(self) -> bool:
        """Whether the difference consists of near ties only."""
        return not self.equal and self.farthest is not None and self.farthest <= self.allowed


@dataclass(frozen=True)
class Comparison:
    """A pair of runners on one batch of images: what parity.json lists.

    ``status`` is 'passed', 'failed', 'not-applicable' (with the reason) or 'not-run' (with the reason).
    """

    check: str
    reference: str
    candidate: str
    images: tuple[str, ...]
    status: str
    reason: str = ""
    outputs: tuple[OutputDifference, ...] = ()
    decisions: tuple[DecisionDifference, ...] = ()
    first_difference: str = ""
    facts: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form; floats keep nine significant digits, and null stands for those that JSON cannot hold."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


def float_difference(
    name: str, candidate: NDArray, reference: NDArray, tolerances: Tolerances = FP32
) -> OutputDifference:
    """Compares floating outputs of equal shape, images first."""
    if candidate.shape != reference.shape:
        return OutputDifference(name, False)
    found = differences_of(candidate, reference, tolerances)
    return OutputDifference(
        name=name,
        passed=found.within and not found.not_finite,
        max_abs=found.max_abs,
        max_rel=found.max_rel,
        cosine=found.cosine,
        not_finite=found.not_finite,
    )


def class_map_difference(
    name: str, candidate: NDArray, reference: NDArray, near_tie: NDArray[np.bool_]
) -> OutputDifference:
    """Compares class maps (B, H, W); ``near_tie`` marks pixels whose two best reference scores are a near tie."""
    if candidate.shape != reference.shape:
        return OutputDifference(name, False)
    differs = candidate != reference
    unexplained = int((differs & ~near_tie).sum())
    return OutputDifference(
        name=name,
        passed=unexplained == 0,
        agreement=float(1.0 - differs.mean()),
        differing=int(differs.sum()),
        unexplained=unexplained,
    )


def decision_difference(
    stage: str,
    candidate: NDArray,
    reference: NDArray,
    score: NDArray | None = None,
    *,
    image: int = 0,
    tolerances: Tolerances = FP32,
    logits: bool = False,
) -> DecisionDifference:
    """Compares two selections of token indices, as sets, row by row.

    Args:
        stage: Name for reports, such as ``shared_windows`` or ``pruned_tokens_6``.
        candidate: int (B, k).
        reference: int (B, k).
        score: float (B, N), the reference's score by token index, of which the selection takes the largest: NaN where a
            token was not eligible, infinite where rounding decides about it. It tells how far a difference is from a tie.
            Scores have no common scale, so the distance is relative to a cut beyond 1.
        image: Which image of its batch this is about; `judged` follows every image through its stages.
        tolerances: How far a difference may be from a tie.
        logits: Distances are relative to the range of the scores too, as far as ``tolerances`` allows.
    """
    jaccard, differing, tokens = 1.0, 0, 0
    margin: float | None = None
    farthest: float | None = None
    for number in range(reference.shape[0]):
        a, b = set(candidate[number].tolist()), set(reference[number].tolist())
        jaccard = min(jaccard, len(a & b) / len(a | b) if a | b else 1.0)
        differing += len(a ^ b)
        tokens += len(b)
        if score is None:
            continue
        row = score[number]
        certain = np.isfinite(row)
        cut = _order(row, certain, b)
        if cut is not None:
            margin = cut[0] - cut[1] if margin is None else min(margin, cut[0] - cut[1])
        if a == b:
            continue
        unknown = any(not 0 <= token < row.size or np.isnan(row[token]) for token in a ^ b)
        own = _order(row, certain, a)
        if unknown or ((own is None or cut is None) and not np.isposinf(row).any()):
            farthest = np.inf  # no place in the reference's order, so nothing lies near its cut
            continue
        spread = float(np.ptp(row[certain])) * tolerances.logit_range / tolerances.near_tie if logits else 0.0
        scale = max(abs(cut[0]) if cut is not None else 0.0, 1.0, spread)
        # Without order of its own it chose, or left out, nothing but tokens that rounding decides about.
        violation = max(own[1] - own[0], 0.0) / scale if own is not None else 0.0
        farthest = violation if farthest is None else max(farthest, violation)
    return DecisionDifference(
        stage, differing == 0, jaccard, tokens, differing, margin, _float(farthest), image, tolerances.near_tie
    )


def _order(row: NDArray, certain: NDArray[np.bool_], chosen: set[int]) -> tuple[float, float] | None:
    """Lowest score among the chosen tokens and highest among the others, of those whose score is certain."""
    picked = np.isin(np.arange(row.size), list(chosen))
    if not (picked & certain).any() or not (certain & ~picked).any():
        return None
    return float(row[picked & certain].min()), float(row[certain & ~picked].max())


def decision_differences(
    stage: str, candidate: NDArray, reference: NDArray, score: NDArray | None, tolerances: Tolerances = FP32
) -> list[DecisionDifference]:
    """`decision_difference` for every image of a batch; ``shared_windows`` are chosen by logits."""
    return [
        decision_difference(
            stage,
            candidate[image : image + 1],
            reference[image : image + 1],
            None if score is None else score[image : image + 1],
            image=image,
            tolerances=tolerances,
            logits=stage == "shared_windows",
        )
        for image in range(reference.shape[0])
    ]


def windows_of_scores(scores: Mapping[str, NDArray], count: int) -> int:
    """Windows of an image, where a model sees several one by one, by the rows of a batch's decisions; 1 without decisions."""
    return next((value.shape[0] // count for value in scores.values()), 1)


def comparable_images(decisions: Sequence[DecisionDifference], count: int, windows: int = 1) -> list[int]:
    """Images of a batch of ``count`` whose outputs can be compared: both executions went on with the same tokens.

    Where windows slide, decisions count windows, so many to an image.
    """
    apart = {item.image // windows for item in decisions if not item.equal}
    return [image for image in range(count) if image not in apart]


def rows_of_images(value: NDArray, images: Sequence[int], count: int) -> NDArray:
    """Rows that belong to some of ``count`` images: one each, or where windows slide as many as an image has windows."""
    if len(images) == count:
        return value
    each = max(value.shape[0] // count, 1)
    return value[[image * each + window for image in images for window in range(each)]]


def integer_difference(name: str, candidate: NDArray, reference: NDArray, *, tolerance: int = 0) -> OutputDifference:
    """Compares counts, which have to be equal within ``tolerance``."""
    if candidate.shape != reference.shape:
        return OutputDifference(name, False)
    off = np.abs(candidate.astype(np.int64) - reference.astype(np.int64))
    largest = int(off.max(initial=0))
    return OutputDifference(name, largest <= tolerance, max_abs=float(largest), differing=int((off > 0).sum()))


def output_difference(
    name: str,
    candidate: NDArray,
    reference: NDArray,
    near_tie: NDArray[np.bool_] | None,
    tolerances: Tolerances = FP32,
) -> OutputDifference:
    """Compares any output that is no token decision, by what its name and type say it is.

    ``uncertified_pixels`` may differ by a small share of the pixels: rounding decides whether a score exceeds its bound.
    """
    if name == "class_map":
        ties = np.zeros(reference.shape, dtype=bool) if near_tie is None else near_tie
        return class_map_difference(name, candidate, reference, ties)
    if reference.dtype.kind == "f":
        return float_difference(name, candidate, reference, tolerances)
    pixels = 0 if near_tie is None else int(near_tie[:1].size)
    few = int(tolerances.uncertified * pixels + 1e-6) if name == "uncertified_pixels" else 0
    return integer_difference(name, candidate, reference, tolerance=few)


def judged(
    check: str,
    reference: str,
    candidate: str,
    images: tuple[str, ...],
    outputs: list[OutputDifference],
    decisions: list[DecisionDifference],
    facts: dict[str, object] | None = None,
) -> Comparison:
    """Draws the conclusion: passed, failed, or not applicable because a near tie sent the executions different ways.

    ``decisions`` stand in order of depth, one per stage and image. What differs in an image's later stages follows from
    the first of its stages that differs, so that one is judged alone; a near tie in one image excuses no other.
    ``outputs`` are those of `comparable_images`, so they count in any case.
    """
    first_of_image: dict[int, DecisionDifference] = {}
    for item in decisions:
        if not item.equal:
            first_of_image.setdefault(item.image, item)
    different = list(first_of_image.values())
    first = next((item for item in different if not item.near_tie), different[0] if different else None)
    described = ""
    if first is not None:
        margin = "unknown" if first.margin is None else f"{first.margin:.3g}"
        described = f"{first.stage}: {first.differing} tokens differ, score margin at the cut {margin}"
    wrong = [item.name for item in outputs if not item.passed]
    if first is not None and not first.near_tie:
        status, reason = "failed", f"decisions differ first at {described}"
    elif wrong:
        status, reason = "failed", f"outputs differ: {', '.join(wrong)}"
    elif first is not None:
        status = "not-applicable"
        reason = f"a near tie was decided differently, so the outputs are not comparable ({described})"
    else:
        status, reason = "passed", ""
    return Comparison(
        check, reference, candidate, images, status, reason, tuple(outputs), tuple(decisions), described, facts or {}
    )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
