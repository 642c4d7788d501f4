"""Merge decisions against brute force, and by which names decisions go."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexport.verify.compare import DecisionDifference, decision_differences
from edgeexport.verify.decisions import MergeDecision, decision_outputs, decisions_between, merge_difference
from edgeexport.verify.tolerances import FP32

NEAR_TIE = FP32.near_tie
NEAR, FAR = 0.4 * NEAR_TIE, 0.3


def decision(source: list[int], target: list[int], kept: list[int]) -> MergeDecision:
    return MergeDecision(*(np.array(values, dtype=np.int32) for values in (source, target, kept)))


# Sources are the even tokens 2, 4, 6, 8 of ten, two of which merge; 0 is the class token.
REFERENCE = decision([4, 2], [5, 3], [6, 8])


def scores(two: float = 0.0, four: float = 0.2, six: float = -0.1, eight: float = -0.2) -> NDArray:
    row = np.full(10, np.nan, dtype=np.float64)
    row[[2, 4, 6, 8]] = two, four, six, eight
    return row


def gaps(two: float = 0.5, four: float = 0.5) -> NDArray:
    row = np.full(10, np.nan, dtype=np.float64)
    row[[2, 4, 6, 8]] = two, four, 0.5, math.inf
    return row


def difference(
    candidate: MergeDecision,
    score: NDArray | None = None,
    gap: NDArray | None = None,
    reference: MergeDecision = REFERENCE,
) -> DecisionDifference:
    score, gap = scores() if score is None else score, gaps() if gap is None else gap
    return merge_difference("merges_3", candidate, reference, score, gap, image=1)


# --- One image ---


def test_the_same_merges_in_another_order_of_sources_are_equal() -> None:
    for candidate in (REFERENCE, decision([2, 4], [3, 5], [6, 8])):
        found = difference(candidate)
        assert found == DecisionDifference("merges_3", True, 1.0, 2, 0, pytest.approx(0.1), None, 1)
        assert not found.near_tie


@pytest.mark.parametrize(("distance", "near"), [(NEAR, True), (0.9 * NEAR_TIE, True), (1.2 * NEAR_TIE, False)])
def test_another_source_is_near_the_cut_or_not(distance: float, near: bool) -> None:
    found = difference(decision([4, 6], [5, 3], [2, 8]), scores(six=-distance))
    assert (found.equal, found.near_tie, found.differing) == (False, near, 2)
    assert found.margin == pytest.approx(distance)
    assert found.farthest == pytest.approx(distance)
    assert found.jaccard == 1 / 3


@pytest.mark.parametrize(("lead", "near"), [(NEAR, True), (FAR, False), (math.inf, False), (math.nan, False)])
def test_another_target_is_a_toss_up_or_not(lead: float, near: bool) -> None:
    found = difference(decision([4, 2], [7, 3], [6, 8]), gap=gaps(four=lead))
    assert (found.equal, found.near_tie, found.differing, found.jaccard) == (False, near, 1, 1 / 3)
    assert found.farthest == (math.inf if math.isnan(lead) else lead)


def test_the_gap_that_counts_is_the_one_of_the_redirected_source() -> None:
    assert not difference(decision([4, 2], [7, 3], [6, 8]), gap=gaps(two=NEAR)).near_tie
    assert difference(decision([4, 2], [5, 7], [6, 8]), gap=gaps(two=NEAR)).near_tie
    assert not difference(decision([4, 2], [7, 5], [6, 8]), gap=gaps(two=NEAR)).near_tie


@pytest.mark.parametrize(("distance", "near"), [(NEAR, True), (FAR, False)])
def test_another_order_of_the_kept_is_a_toss_up_or_not(distance: float, near: bool) -> None:
    found = difference(decision([4, 2], [5, 3], [8, 6]), scores(eight=-0.1 - distance))
    assert (found.equal, found.near_tie, found.differing, found.jaccard) == (False, near, 2, 1.0)
    assert found.farthest == pytest.approx(distance)


def test_a_near_tie_of_one_kind_excuses_no_other() -> None:
    target_too = decision([4, 6], [7, 3], [2, 8])
    assert not difference(target_too, scores(six=-NEAR)).near_tie
    assert difference(target_too, scores(six=-NEAR), gaps(four=NEAR)).near_tie
    order_too = decision([4, 2], [7, 3], [8, 6])
    assert not difference(order_too, gap=gaps(four=NEAR)).near_tie
    assert difference(order_too, scores(eight=-0.1 - NEAR), gaps(four=NEAR)).near_tie


@pytest.mark.parametrize(
    "broken",
    [
        decision([4, 4], [5, 5], [6, 8]),  # one merged twice, one lost
        decision([4, 2], [5, 3], [6, 6]),
        decision([4, 2], [5, 3], [2, 8]),  # merged and kept
        decision([4, 2], [5, 3], [6, 10]),  # no token at all
        decision([4, -2], [5, 3], [6, 8]),
        decision([4, 2], [5, 10], [6, 8]),
        decision([4, 2], [5, -1], [6, 8]),
        decision([4, 2], [5, 6], [6, 8]),  # merged into a source
        decision([4, 3], [5, 2], [6, 8]),  # merged a destination
        decision([4], [5], [6, 8]),
        decision([4, 2], [5, 3], [6]),
        decision([4, 2, 6], [5, 3, 7], [8]),
        decision([4, 2], [5], [6, 8]),
        decision([], [], []),
        decision([4, 2, 2], [5, 3, 3], [6, 8]),  # the same edges, one of them twice
    ],
)
def test_what_no_rounding_does_is_no_near_tie(broken: MergeDecision) -> None:
    """Whatever a broken execution returns must not break the comparison, and ties everywhere must not excuse it."""
    found = difference(broken, scores(0.0, 0.0, 0.0, 0.0), gaps(0.0, 0.0))
    assert not found.equal and not found.near_tie
    assert found.differing > 0
    assert found.farthest == math.inf


def test_where_all_sources_merge_only_targets_can_differ() -> None:
    everything = decision([2, 4, 6, 8], [3, 3, 3, 3], [])
    assert difference(everything, reference=everything).equal
    assert difference(everything, reference=everything).margin is None
    other = replace(everything, target=np.array([3, 5, 3, 3]))
    assert not difference(other, reference=everything).near_tie
    assert difference(other, gap=gaps(four=NEAR), reference=everything).near_tie


def test_a_window_that_merges_nothing_is_never_near() -> None:
    """Its tokens' scores are -1 instead of a distance from a cut that it does not have."""
    score = scores(two=0.0, four=0.0, six=-1.0, eight=-NEAR)
    assert difference(decision([4, 8], [5, 3], [2, 6]), score, reference=REFERENCE).near_tie
    assert not difference(decision([4, 6], [5, 3], [2, 8]), score).near_tie


# --- Brute force ---


@st.composite
def merges(draw: st.DrawFn) -> tuple[MergeDecision, MergeDecision, NDArray, NDArray]:
    """Any two well-formed decisions about the same sources, the second of which follows the scores."""
    count, destinations = draw(st.integers(2, 6)), draw(st.integers(1, 3))
    r = draw(st.integers(1, count))
    order = draw(st.permutations(range(count + destinations)))
    sources, others = order[:count], order[count:]
    level = st.sampled_from([0.0, 3e-6, 8e-6, 1.5e-5, 0.3])
    values = draw(st.lists(level, min_size=count, max_size=count))
    ranked = sorted(range(count), key=lambda i: -values[i])
    cut = values[ranked[r - 1]]
    score, gap = np.full(len(order), np.nan), np.full(len(order), np.nan)
    for token, value in zip(sources, values, strict=True):
        score[token] = value - cut
        gap[token] = draw(level) if destinations > 1 else math.inf
    by_score = [sources[i] for i in ranked]
    kept = by_score[r:] if draw(st.booleans()) else sorted(by_score[r:])
    target = draw(st.lists(st.sampled_from(others), min_size=r, max_size=r))
    reference = decision(by_score[:r], target, kept)
    if draw(st.booleans()):  # the same sources, perhaps redirected or reordered
        turned = draw(st.permutations(range(r)))
        target = [target[i] if draw(st.booleans()) else draw(st.sampled_from(others)) for i in turned]
        kept = draw(st.permutations(kept)) if draw(st.booleans()) else kept
        return decision([by_score[i] for i in turned], target, kept), reference, score, gap
    shuffled = draw(st.permutations(sources))
    target = draw(st.lists(st.sampled_from(others), min_size=r, max_size=r))
    return decision(shuffled[:r], target, shuffled[r:]), reference, score, gap


def expected_violations(a: MergeDecision, b: MergeDecision, score: NDArray, gap: NDArray) -> list[float]:
    """By how much each single thing that differs violates the reference's scores, from the definitions."""
    found = []
    ours, theirs = (
        dict(zip(a.source.tolist(), a.target.tolist(), strict=True)),
        dict(zip(b.source.tolist(), b.target.tolist(), strict=True)),
    )
    if set(ours) != set(theirs):
        tokens = [*a.source.tolist(), *a.kept.tolist()]
        found += [max(score[k] - score[s], 0.0) for s in ours for k in tokens if k not in ours]
    for token in ours:
        if token in theirs and ours[token] != theirs[token]:
            found.append(gap[token])
    rank_a, rank_b = ({token: i for i, token in enumerate(kept.tolist())} for kept in (a.kept, b.kept))
    for one, two in itertools.combinations([token for token in rank_a if token in rank_b], 2):
        if (rank_a[one] < rank_a[two]) != (rank_b[one] < rank_b[two]):
            found.append(abs(score[one] - score[two]))
    return found


@settings(deadline=None, max_examples=400)
@given(merges())
def test_merge_difference_equals_brute_force(case: tuple[MergeDecision, MergeDecision, NDArray, NDArray]) -> None:
    candidate, reference, score, gap = case
    found = merge_difference("merges_1", candidate, reference, score, gap, image=0)
    edges_a = set(zip(candidate.source.tolist(), candidate.target.tolist(), strict=True))
    edges_b = set(zip(reference.source.tolist(), reference.target.tolist(), strict=True))
    equal = edges_a == edges_b and candidate.kept.tolist() == reference.kept.tolist()
    assert found.equal == equal == (found.differing == 0)
    assert found.jaccard == len(edges_a & edges_b) / len(edges_a | edges_b)
    assert found.tokens == reference.source.size
    violations = expected_violations(candidate, reference, score, gap)
    assert found.farthest == (None if equal else max(violations))
    assert found.near_tie == (not equal and max(violations) <= NEAR_TIE)
    below = [score[token] for token in reference.kept]
    assert found.margin == (0.0 - max(below) if below else None)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 11), st.booleans())
def test_rounding_is_always_a_near_tie_and_an_error_never(seed: int, r: int, by_score: bool) -> None:
    """Decides by similarities that differ by a third of NEAR_TIE, then by similarities that differ by a lot."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (12, 5)) / 8  # many exact ties
    sources, targets = np.arange(1, 25, 2), np.arange(0, 10, 2)

    def decided(similarity: NDArray) -> MergeDecision:
        best = similarity.max(1)
        order = np.argsort(-best, kind="stable")
        kept = order[r:] if by_score else np.sort(order[r:])
        return MergeDecision(sources[order[:r]], targets[similarity.argmax(1)[order[:r]]], sources[kept])

    best, ranked = np.sort(coarse.max(1))[::-1], np.sort(coarse, axis=1)
    score, gap = np.full(25, np.nan), np.full(25, np.nan)
    score[sources], gap[sources] = coarse.max(1) - best[r - 1], ranked[:, -1] - ranked[:, -2]
    rounded = decided(coarse + rng.uniform(-NEAR_TIE / 3, NEAR_TIE / 3, coarse.shape))
    found = merge_difference("merges_1", rounded, decided(coarse), score, gap, image=0)
    assert found.equal or found.near_tie
    worst = np.argsort(coarse.max(1), kind="stable")[:r]  # an execution that merges the least similar
    wrong = MergeDecision(sources[worst], targets[coarse.argmax(1)[worst]], np.delete(sources, worst))
    found = merge_difference("merges_1", wrong, decided(coarse), score, gap, image=0)
    if r < 12 and coarse.max(1)[worst].min() < best[r - 1]:
        assert not found.equal and not found.near_tie


# --- Names and batches ---


def test_outputs_that_hold_decisions() -> None:
    names = ["shared_windows", "pruned_tokens_6", "merges_3", "merges_12"]
    assert decision_outputs(names) == [
        "shared_windows",
        "pruned_tokens_6",
        "merge_source_3",
        "merge_target_3",
        "merge_kept_3",
        "merge_source_12",
        "merge_target_12",
        "merge_kept_12",
    ]
    assert decision_outputs([]) == []


def batch(*images: MergeDecision) -> dict[str, NDArray]:
    return {
        f"merge_{name}_3": np.stack([getattr(image, name) for image in images]) for name in ("source", "target", "kept")
    }


def test_merges_of_a_batch_are_judged_image_by_image() -> None:
    other = decision([4, 2], [7, 3], [6, 8])
    score, gap = np.stack([scores()] * 3), np.stack([gaps(), gaps(four=NEAR), gaps()])
    found = decisions_between(
        batch(REFERENCE, other, other), batch(REFERENCE, REFERENCE, REFERENCE), {"merges_3": score}, {"merges_3": gap}
    )
    assert [(item.stage, item.image, item.equal, item.near_tie) for item in found] == [
        ("merges_3", 0, True, False),
        ("merges_3", 1, False, True),
        ("merges_3", 2, False, False),
    ]


def test_every_image_has_its_own_scores() -> None:
    other = decision([4, 6], [5, 3], [2, 8])
    score = np.stack([scores(), scores(six=-NEAR)])
    found = decisions_between(
        batch(other, other), batch(REFERENCE, REFERENCE), {"merges_3": score}, {"merges_3": np.stack([gaps()] * 2)}
    )
    assert [item.near_tie for item in found] == [False, True]


def test_selections_and_merges_stand_in_the_order_of_their_scores() -> None:
    pruned = np.array([[1], [2]])
    ours = {"pruned_tokens_6": pruned, "logits": np.zeros((2, 4)), **batch(REFERENCE, REFERENCE)}
    theirs = {**ours, "pruned_tokens_6": np.array([[1], [3]])}
    score = {"merges_3": np.stack([scores()] * 2), "pruned_tokens_6": np.array([[0.1, 0.9, 0.2, 0.3]] * 2)}
    found = decisions_between(ours, theirs, score, {"merges_3": np.stack([gaps()] * 2)})
    assert [(item.stage, item.image) for item in found] == [
        ("merges_3", 0),
        ("merges_3", 1),
        ("pruned_tokens_6", 0),
        ("pruned_tokens_6", 1),
    ]
    assert found[2:] == decision_differences(
        "pruned_tokens_6", pruned, theirs["pruned_tokens_6"], score["pruned_tokens_6"]
    )


@pytest.mark.parametrize("lost", ["merge_source_3", "merge_target_3", "merge_kept_3"])
def test_a_missing_output_is_no_equal_decision(lost: str) -> None:
    whole = batch(REFERENCE)
    part = {name: value for name, value in whole.items() if name != lost}
    with pytest.raises(KeyError, match=lost):
        decisions_between(part, whole, {"merges_3": scores()[None]}, {"merges_3": gaps()[None]})
