"""Tolerances by precision: what each allows, and that float16's stay within what its rounding explains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexport.errors import UsageError
from edgeexport.verify.compare import (
    decision_difference,
    decision_differences,
    float_difference,
    output_difference,
)
from edgeexport.verify.decisions import MergeDecision, merge_difference
from edgeexport.verify.tolerances import FP16, FP32, tolerances_of

UNIT_ROUNDOFF = float(np.finfo(np.float16).eps) / 2


def test_by_name() -> None:
    assert (tolerances_of("fp32"), tolerances_of("fp16")) == (FP32, FP16)
    with pytest.raises(UsageError, match=r"--precision int8 \| unknown precision, expected fp32 or fp16") as caught:
        tolerances_of("int8")
    assert caught.value.exit_code == 2


def test_float32_is_the_issues() -> None:
    assert (FP32.atol, FP32.rtol, FP32.share, FP32.near_tie) == (1e-4, 1e-3, 0.0, 1e-5)
    assert (FP32.class_tie, FP32.similarity, FP32.logit_range, FP32.uncertified) == (1e-5, 1e-5, 0.0, 1e-4)


def test_float16_lies_between_its_unit_roundoff_and_a_hundred_times_that() -> None:
    for value in (FP16.rtol, FP16.share, FP16.near_tie, FP16.class_tie, FP16.similarity):
        assert UNIT_ROUNDOFF < value < 100 * UNIT_ROUNDOFF


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 0.05), st.floats(1e-3, 1e3))
def test_share_of_the_largest_is_counted_by_image(seed: int, error: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal((2, 5)) * np.array([[scale], [1.0]])
    candidate = reference + error * np.abs(reference).max(axis=1, keepdims=True)
    expected = all(
        abs(a - b) <= FP16.atol + FP16.rtol * abs(b) + FP16.share * max(abs(other) for other in row)
        for row, found in zip(reference.tolist(), candidate.tolist(), strict=True)
        for b, a in zip(row, found, strict=True)
    )
    assert float_difference("x", candidate, reference, FP16).passed == expected


def test_an_infinite_reference_excuses_nothing() -> None:
    reference, candidate = np.array([[np.inf, 1.0]]), np.array([[np.inf, 3.0]])
    found = float_difference("x", candidate, reference, FP16)
    assert not found.passed and found.not_finite == 1
    assert not float_difference("x", np.array([[np.nan]]), np.array([[1.0]]), FP16).passed


@pytest.mark.parametrize(("distance", "fp32", "fp16"), [(5e-6, True, True), (4e-3, False, True), (5e-2, False, False)])
def test_near_ties(distance: float, fp32: bool, fp16: bool) -> None:
    score = np.array([[0.9, 0.5, 0.5 - distance, 0.1]])
    for tolerances, near in ((FP32, fp32), (FP16, fp16)):
        found = decision_difference("s", np.array([[0, 2]]), np.array([[0, 1]]), score, tolerances=tolerances)
        assert found.near_tie is near
        assert found.allowed == tolerances.near_tie


@pytest.mark.parametrize(("lead", "fp32", "fp16"), [(5e-6, True, True), (8e-4, False, True), (5e-3, False, False)])
def test_near_ties_of_similarities(lead: float, fp32: bool, fp16: bool) -> None:
    ours = MergeDecision(np.array([0]), np.array([3]), np.array([2]))
    theirs = MergeDecision(np.array([0]), np.array([1]), np.array([2]))
    score, gap = np.array([0.0, np.nan, -0.5, np.nan]), np.array([lead, np.nan, 0.3, np.nan])
    for tolerances, near in ((FP32, fp32), (FP16, fp16)):
        found = merge_difference("merges_1", ours, theirs, score, gap, tolerances=tolerances)
        assert found.near_tie is near


def test_logits_are_near_by_their_range() -> None:
    """Only of windows, and only in float16: the same distance of two confidences is none."""
    score = np.array([[8.0, 0.5, 0.3, -2.0]])  # 0.2 apart, of a range of 10
    ours, theirs = np.array([[0, 2]]), np.array([[0, 1]])
    for name, tolerances, near in (
        ("shared_windows", FP16, True),
        ("shared_windows", FP32, False),
        ("pruned_tokens_6", FP16, False),
    ):
        (found,) = decision_differences(name, ours, theirs, score, tolerances)
        assert found.near_tie is near
    (found,) = decision_differences("shared_windows", np.array([[0, 3]]), theirs, score, FP16)
    assert not found.near_tie


def test_all_that_is_chosen_may_be_a_toss_up() -> None:
    """Then nothing certain was passed over; a token that rounding does not move still is."""
    score = np.array([[np.inf, np.inf, np.inf, 0.5, 0.4]])
    assert decision_difference("s", np.array([[0, 2]]), np.array([[0, 1]]), score, tolerances=FP16).near_tie
    assert decision_difference("s", np.array([[0, 3]]), np.array([[0, 1]]), score, tolerances=FP16).near_tie
    assert not decision_difference("s", np.array([[0, 4]]), np.array([[0, 1]]), score, tolerances=FP16).near_tie


@pytest.mark.parametrize(("off", "fp32", "fp16"), [(1, True, True), (2, False, True), (201, False, False)])
def test_uncertified_pixels(off: int, fp32: bool, fp16: bool) -> None:
    ties = np.zeros((1, 100, 100), dtype=bool)
    for tolerances, passed in ((FP32, fp32), (FP16, fp16)):
        found = output_difference("uncertified_pixels", np.array([off]), np.array([0]), ties, tolerances)
        assert found.passed is passed


@pytest.mark.parametrize("at_once", [1, 5, 1 << 22])
def test_pieces_and_the_order_in_memory_make_no_difference(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the formulas over whole arrays, of an execution whose axes lie in memory the other way round."""
    monkeypatch.setattr("edgeexport.verify.differences._AT_ONCE", at_once)
    random = np.random.default_rng(5)
    reference = random.normal(size=(2, 3, 4, 5)).astype(np.float32)
    candidate = np.asfortranarray(reference + random.normal(size=reference.shape).astype(np.float32) * 1e-3)
    reference[1, 2, 3, 4] = np.inf
    found = float_difference("x", candidate, reference, FP16)
    finite = np.isfinite(reference)
    a, b = candidate[finite].astype(np.float64), reference[finite].astype(np.float64)
    assert found.not_finite == 1 and not found.passed
    assert found.max_abs == np.abs(a - b).max()
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    sizable = np.abs(b) > FP16.atol
    assert found.max_rel == pytest.approx((np.abs(a - b)[sizable] / np.abs(b)[sizable]).max())
