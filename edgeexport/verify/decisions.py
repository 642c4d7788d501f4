"""Token decisions of two executions, image by image: selections (CTS, DToP), and merges (ToMe, DSM). Runs without torch.

A decision has a name, under which the reference keeps its scores. A selection is the output of that name (``merged_windows_1``
in falling order of its scores); a merge
``merges_3`` is the three outputs ``merge_source_3``, ``merge_target_3`` and ``merge_kept_3``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeexport.verify.compare import DecisionDifference, decision_difference, decision_differences
from edgeexport.verify.tolerances import FP32, Tolerances

__all__ = ["MergeDecision", "decision_outputs", "decisions_between", "merge_difference", "with_empty_decisions"]

_MERGES = "merges_"
_ORDERED = "merged_windows_"  # a selection whose order later decisions depend on


@dataclass(frozen=True)
class MergeDecision:
    """What one image's tokens did in one block, by index of the tokens that enter it.

    Attributes:
        source: int (R,), tokens that merged into another; their order means nothing.
        target: int (R,), the token that each of them merged into.
        kept: int (K,), the other sources, in the order in which they stand afterwards.
    """

    source: NDArray
    target: NDArray
    kept: NDArray

    @property
    def edges(self) -> dict[int, int]:
        """Source -> target."""
        return dict(zip(self.source.tolist(), self.target.tolist(), strict=False))


def decision_outputs(decisions: Iterable[str]) -> list[str]:
    """Names of the outputs that hold ``decisions``, in order; they are judged as decisions, not compared as numbers."""
    return [output for name in decisions for output in _outputs_of(name)]


def with_empty_decisions(
    returned: Mapping[str, NDArray], reference: Mapping[str, NDArray], decided: Iterable[str]
) -> dict[str, NDArray]:
    """``returned``, and those decisions that are empty in the reference, which no graph computes: where every candidate merges,
    none is kept.
    """
    empty = {name: reference[name] for name in decided if name in reference and not reference[name].size}
    return {**empty, **returned}


def decisions_between(
    candidate: Mapping[str, NDArray],
    reference: Mapping[str, NDArray],
    scores: Mapping[str, NDArray],
    gaps: Mapping[str, NDArray],
    tolerances: Tolerances = FP32,
) -> list[DecisionDifference]:
    """Compares every decision of a batch that ``scores`` names, in that order, each for every image.

    Args:
        candidate: Outputs by name.
        reference: Outputs by name.
        scores: Decision -> float (B, N), the reference's scores; see `decision_difference` and `merge_difference`.
        gaps: Merge -> float (B, N); see `merge_difference`.
        tolerances: What counts as a near tie.

    Raises:
        KeyError: An output of a decision is missing, or a merge's gaps are.
    """
    differences: list[DecisionDifference] = []
    for name, score in scores.items():
        if not name.startswith(_MERGES):
            found = decision_differences(name, candidate[name], reference[name], score, tolerances)
            if name.startswith(_ORDERED):
                rows = zip(found, candidate[name], reference[name], score, strict=True)
                found = [_in_order(item, *row) for item, *row in rows]
            differences += found
            continue
        ours, theirs = ([values[output] for output in _outputs_of(name)] for values in (candidate, reference))
        differences += [
            merge_difference(
                name,
                MergeDecision(*(value[image] for value in ours)),
                MergeDecision(*(value[image] for value in theirs)),
                score[image],
                gaps[name][image],
                image=image,
                tolerances=tolerances,
            )
            for image in range(score.shape[0])
        ]
    return differences


def _in_order(difference: DecisionDifference, ours: NDArray, theirs: NDArray, score: NDArray) -> DecisionDifference:
    """The same, of a selection whose members stand in falling order of their scores: a swap counts like another member."""
    if not difference.equal or np.array_equal(ours, theirs):
        return difference
    farthest = float(_swapped_distances(ours, theirs, score).max())
    return replace(difference, equal=False, differing=_places(ours, theirs), farthest=farthest)


def merge_difference(
    stage: str,
    candidate: MergeDecision,
    reference: MergeDecision,
    score: NDArray,
    gap: NDArray,
    *,
    image: int = 0,
    tolerances: Tolerances = FP32,
) -> DecisionDifference:
    """Compares one image's merges: equal if the same sources go to the same targets and the kept stand in the same order.

    ``farthest`` is the largest of three violations of the reference's scores, so that `DecisionDifference.near_tie`
    holds where rounding explains everything that differs:

    - other sources merged: as `decision_difference` measures it around the cut;
    - another target: the lead of the reference's own (a third-best destination is not told from the second-best);
    - another order of the kept: the largest score distance of two tokens that changed places.

    It is infinite where the candidate did not deal with the same tokens once each, or merged into one that is no
    destination: no rounding does that. ``jaccard`` is over (source, target) pairs, ``differing`` counts the tokens that went
    elsewhere, or where none did the kept ones at another place, and ``margin`` is the score distance at the cut.

    Args:
        stage: Name for reports, ``merges_<block>``.
        candidate: One image's decision.
        reference: One image's decision.
        score: float (N,), the reference's best similarity of each source minus the cut of its window, so that the cut is
            at 0 in all of them; NaN where a token is no source.
        gap: float (N,), best minus second-best similarity of each source; infinite with a single destination.
        image: Which image of its batch this is about.
        tolerances: How large a violation counts as a near tie.
    """
    ours, theirs = candidate.edges, reference.edges
    selection = decision_difference(stage, candidate.source[None], reference.source[None], score[None])
    elsewhere = [token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)]
    differing = len(elsewhere) or _places(candidate.kept, reference.kept)
    farthest: float | None = None
    if not _same_tokens(candidate, reference, score):
        differing = max(differing, 1)
        farthest = np.inf
    elif differing:
        redirected = gap[[token for token in elsewhere if token in ours and token in theirs]]
        swapped = _swapped_distances(candidate.kept, reference.kept, score)
        violations = np.concatenate([[selection.farthest or 0.0], redirected, swapped])
        farthest = float(np.where(np.isnan(violations), np.inf, violations).max())  # NaN: nothing known, so no excuse
    either, both = ours.items() | theirs.items(), ours.items() & theirs.items()
    jaccard = len(both) / len(either) if either else 1.0
    allowed = tolerances.similarity
    return DecisionDifference(
        stage, differing == 0, jaccard, len(theirs), differing, selection.margin, farthest, image, allowed
    )


def _outputs_of(decision: str) -> tuple[str, ...]:
    if not decision.startswith(_MERGES):
        return (decision,)
    block = decision.removeprefix(_MERGES)
    return f"merge_source_{block}", f"merge_target_{block}", f"merge_kept_{block}"


def _places(candidate: NDArray, reference: NDArray) -> int:
    """Places at which two sequences differ."""
    if candidate.shape != reference.shape:
        return max(candidate.size, reference.size)
    return int((candidate != reference).sum())


def _same_tokens(candidate: MergeDecision, reference: MergeDecision, score: NDArray) -> bool:
    """Whether the candidate merged or kept each source once, as many as the reference, and merged into destinations."""
    for name in ("source", "target", "kept"):
        if getattr(candidate, name).shape != getattr(reference, name).shape:
            return False
    tokens = np.sort(np.concatenate([candidate.source, candidate.kept]))
    if not np.array_equal(tokens, np.sort(np.concatenate([reference.source, reference.kept]))):
        return False
    inside = (candidate.target >= 0) & (candidate.target < score.size)
    return bool(inside.all()) and not np.isin(candidate.target, tokens).any()


def _swapped_distances(candidate: NDArray, reference: NDArray, score: NDArray) -> NDArray:
    """Score distances of tokens that both kept, in opposite order: for each the largest; empty if there are none."""
    place = np.full(score.size, -1)
    place[reference] = np.arange(reference.size)
    common = candidate[place[candidate] >= 0]
    places, scores = place[common], score[common]
    distances = []
    for first in range(common.size - 1):
        overtaken = scores[first + 1 :][places[first + 1 :] < places[first]]
        if overtaken.size:
            distances.append(np.abs(overtaken - scores[first]).max())
    return np.array(distances, dtype=np.float64)
