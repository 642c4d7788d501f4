"""Comparison: tolerances against element-by-element Python, decisions against brute force, and what follows from both."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexport.bundle import json_bytes
from edgeexport.verify.compare import (
    Comparison,
    DecisionDifference,
    OutputDifference,
    class_map_difference,
    comparable_images,
    decision_difference,
    decision_differences,
    float_difference,
    integer_difference,
    judged,
    output_difference,
)
from edgeexport.verify.tolerances import FP32

ATOL, RTOL, NEAR_TIE = FP32.atol, FP32.rtol, FP32.near_tie


def array(*values: float) -> NDArray:
    return np.array(values, dtype=np.float32)


# --- Floating outputs ---


def test_tolerances_are_those_of_the_issue() -> None:
    assert (ATOL, RTOL, NEAR_TIE) == (1e-4, 1e-3, 1e-5)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.sampled_from([0.0, 5e-5, -9e-5, 2e-4, 0.01, -0.2])),
        min_size=1,
        max_size=8,
    )
)
def test_float_difference_equals_brute_force(pairs: list[tuple[float, float]]) -> None:
    reference = np.array([value for value, _ in pairs], dtype=np.float64)
    candidate = reference + np.array([error for _, error in pairs])
    found = float_difference("scores", candidate, reference)
    errors = [abs(a - b) for a, b in zip(candidate.tolist(), reference.tolist(), strict=True)]
    relative = [e / abs(b) for e, b in zip(errors, reference.tolist(), strict=True) if abs(b) > ATOL]
    assert found.max_abs == max(errors)
    assert found.max_rel == pytest.approx(max(relative, default=0.0))
    assert found.passed == all(e <= ATOL + RTOL * abs(b) for e, b in zip(errors, reference.tolist(), strict=True))
    assert found.not_finite == 0


@pytest.mark.parametrize(("error", "passed"), [(0.9 * ATOL, True), (1.1 * ATOL, False), (-1.1 * ATOL, False)])
def test_absolute_tolerance_decides_at_zero(error: float, passed: bool) -> None:
    assert float_difference("x", array(error), array(0.0)).passed is passed


@pytest.mark.parametrize(("factor", "passed"), [(1 + 0.9 * RTOL, True), (1 + 1.1 * RTOL, False)])
def test_relative_tolerance_decides_at_large_values(factor: float, passed: bool) -> None:
    reference = np.array([1.0, 1000.0])
    assert float_difference("x", reference * [1, factor], reference).passed is passed


def test_relative_tolerance_is_of_the_reference() -> None:
    assert not float_difference("x", array(10.0), array(0.001)).passed
    assert not float_difference("x", array(0.001), array(10.0)).passed


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_fail_even_where_both_have_them(bad: float) -> None:
    for candidate, reference in (((1.0, bad), (1.0, 2.0)), ((1.0, 2.0), (1.0, bad)), ((1.0, bad), (1.0, bad))):
        found = float_difference("x", array(*candidate), array(*reference))
        assert not found.passed
        assert found.not_finite == 1
        # The others are still compared.
        assert (found.max_abs, found.max_rel, found.cosine) == (0.0, 0.0, 1.0)
    nothing = float_difference("x", array(bad), array(bad))
    assert not nothing.passed and nothing.not_finite == 1


def test_other_shapes_fail_without_numbers() -> None:
    found = float_difference("x", np.zeros((1, 3)), np.zeros((3, 1)))
    assert found == OutputDifference("x", False)


@pytest.mark.parametrize(
    ("a", "b", "cosine"),
    [
        ((1.0, 0.0), (0.0, 1.0), 0.0),
        ((1.0, 2.0), (-1.0, -2.0), -1.0),
        ((0.0, 0.0), (0.0, 0.0), 1.0),
        ((0.0, 0.0), (0.0, 1.0), 0.0),
    ],
)
def test_cosine(a: tuple[float, ...], b: tuple[float, ...], cosine: float) -> None:
    assert float_difference("x", array(*a), array(*b)).cosine == pytest.approx(cosine)


def test_large_float32_values_do_not_overflow() -> None:
    huge = array(3e38, -3e38)
    found = float_difference("x", huge, huge)
    assert found.passed and found.cosine == pytest.approx(1.0)


# --- Class maps ---


def test_class_maps_may_differ_at_near_ties_alone() -> None:
    reference = np.zeros((2, 2, 3), dtype=np.int32)
    candidate = reference.copy()
    candidate[0, 0, 0] = candidate[1, 1, 2] = 4
    near = np.zeros(reference.shape, dtype=bool)
    found = class_map_difference("class_map", candidate, reference, near)
    assert (found.passed, found.differing, found.unexplained) == (False, 2, 2)
    assert found.agreement == pytest.approx(10 / 12)
    near[0, 0, 0] = True
    found = class_map_difference("class_map", candidate, reference, near)
    assert (found.passed, found.differing, found.unexplained) == (False, 2, 1)
    near[1, 1, 2] = near[0, 1, 1] = True
    found = class_map_difference("class_map", candidate, reference, near)
    assert (found.passed, found.differing, found.unexplained) == (True, 2, 0)


def test_equal_class_maps_of_other_shape_fail() -> None:
    near = np.ones((1, 2, 2), dtype=bool)
    assert not class_map_difference("m", np.zeros((2, 2), np.int32), np.zeros((1, 2, 2), np.int32), near).passed


# --- Decisions ---


def selected(score: NDArray, k: int) -> NDArray:
    return np.array([sorted(range(len(row)), key=lambda i: (-row[i], i))[:k] for row in score])


@st.composite
def selections(draw: st.DrawFn) -> tuple[NDArray, NDArray, NDArray]:
    """Scores (B, N) of distinct levels, the reference's selection by them, and any other selection."""
    batch, tokens = draw(st.integers(1, 3)), draw(st.integers(2, 8))
    k = draw(st.integers(1, tokens - 1))
    level = st.sampled_from([0.0, 1e-6, 0.5, 0.5 + 5e-6, 1.0])
    row = st.lists(level, min_size=tokens, max_size=tokens)
    score = np.array(draw(st.lists(row, min_size=batch, max_size=batch)))
    chosen = st.permutations(range(tokens)).map(lambda order: order[:k])
    other = np.array(draw(st.lists(chosen, min_size=batch, max_size=batch)))
    reference = selected(score, k)
    return (other if draw(st.booleans()) else reference), reference, score


@settings(deadline=None, max_examples=200)
@given(selections())
def test_decision_difference_equals_brute_force(case: tuple[NDArray, NDArray, NDArray]) -> None:
    candidate, reference, score = case
    found = decision_difference("stage", candidate, reference, score)
    overlaps, margins, distances, differing = [], [], [], 0
    for a, b, row in zip(candidate.tolist(), reference.tolist(), score.tolist(), strict=True):
        overlaps.append(len(set(a) & set(b)) / len(set(a) | set(b)))
        differing += len(set(a) ^ set(b))
        last_in, first_out = min(row[i] for i in b), max(row[i] for i in range(len(row)) if i not in b)
        margins.append(last_in - first_out)
        if set(a) != set(b):  # by how much the candidate passed over a better token
            distances.append(max(max(row[i] for i in range(len(row)) if i not in a) - min(row[i] for i in a), 0.0))
    assert found.equal == (differing == 0)
    assert found.differing == differing
    assert found.tokens == reference.size
    assert found.jaccard == min(overlaps)
    assert found.margin == min(margins) >= 0
    assert found.farthest == (max(distances) if distances else None)
    assert found.near_tie == (bool(distances) and max(distances) <= NEAR_TIE)


def test_order_inside_a_selection_does_not_matter() -> None:
    assert decision_difference("s", np.array([[3, 1, 2]]), np.array([[1, 2, 3]])).equal


def test_without_scores_nothing_is_known_about_the_cut() -> None:
    found = decision_difference("s", np.array([[0, 1]]), np.array([[0, 2]]))
    assert (found.equal, found.differing, found.jaccard) == (False, 2, 1 / 3)
    assert found.margin is found.farthest is None
    assert not found.near_tie


def test_near_tie_at_the_cut() -> None:
    score = np.array([[1.0, 0.5, 0.5 - 0.4 * NEAR_TIE, 0.1]])
    found = decision_difference("s", np.array([[0, 2]]), np.array([[0, 1]]), score)
    assert found.near_tie
    assert found.margin == pytest.approx(0.4 * NEAR_TIE)


def test_one_token_far_from_the_cut_is_no_near_tie() -> None:
    score = np.array([[1.0, 0.5, 0.5 - 0.4 * NEAR_TIE, 0.1]])
    found = decision_difference("s", np.array([[1, 2]]), np.array([[0, 1]]), score)
    assert not found.equal and not found.near_tie
    assert found.farthest == pytest.approx(0.5, abs=NEAR_TIE)


def test_near_tie_in_one_image_excuses_no_other() -> None:
    score = np.array([[1.0, 1.0, 0.0], [0.9, 0.1, 0.0]])
    found = decision_difference("s", np.array([[1], [2]]), np.array([[0], [0]]), score)
    assert not found.near_tie
    assert found.jaccard == 0.0


@pytest.mark.parametrize("token", [2, 7, -1])
def test_token_that_could_not_be_chosen_is_no_near_tie(token: int) -> None:
    """Pruned before (NaN), or not a token at all: what a broken execution returns must not break the comparison."""
    score = np.array([[0.5, 0.5, np.nan, 0.5]])
    found = decision_difference("s", np.array([[token]]), np.array([[0]]), score)
    assert not found.equal and not found.near_tie
    assert found.farthest == math.inf


def test_difference_where_there_is_no_cut_is_no_near_tie() -> None:
    """The reference took every eligible token of image 0; a near tie in image 1 must not excuse it."""
    score = np.array([[0.5, np.nan, 0.4], [0.5, 0.5, 0.5]])
    found = decision_difference("s", np.array([[0, 1], [0, 2]]), np.array([[0, 2], [0, 1]]), score)
    assert found.differing == 4
    assert not found.near_tie


def test_empty_selections_agree() -> None:
    empty = np.zeros((2, 0), dtype=np.int32)
    found = decision_difference("s", empty, empty, np.zeros((2, 3)))
    assert found == DecisionDifference("s", True, 1.0, 0, 0, None, None)


# --- Judgement ---


GOOD, BAD = OutputDifference("scores", True, 0.0), OutputDifference("scores", False, 1.0)
SAME = DecisionDifference("pruned_tokens_6", True, 1.0, 8, 0, 0.2, None)
TIED = DecisionDifference("pruned_tokens_6", False, 0.8, 8, 2, 1e-6, 1e-6)
OTHER = DecisionDifference("pruned_tokens_6", False, 0.5, 8, 4, 0.2, 0.3)
LATER = DecisionDifference("pruned_tokens_8", False, 0.1, 8, 9, 0.25, 0.5)


def judge(outputs: list[OutputDifference], decisions: list[DecisionDifference]) -> Comparison:
    return judged("check", "torch", "onnxruntime", ("a.jpg",), outputs, decisions)


@pytest.mark.parametrize(
    ("outputs", "decisions", "status"),
    [
        ([GOOD], [SAME], "passed"),
        ([GOOD], [], "passed"),
        ([GOOD, BAD], [SAME], "failed"),
        ([BAD], [], "failed"),
        ([], [TIED], "not-applicable"),  # the outputs of different tokens are not comparable
        ([BAD], [TIED], "failed"),  # what is handed over is comparable: another image's outputs
        ([GOOD], [TIED], "not-applicable"),
        ([GOOD], [TIED, LATER], "not-applicable"),  # the later stage follows from the tie
        ([GOOD], [OTHER], "failed"),
        ([GOOD], [SAME, LATER], "failed"),
        ([GOOD], [OTHER, TIED], "failed"),
        ([GOOD], [TIED, replace(OTHER, image=1)], "failed"),  # a tie in one image excuses no other,
        ([GOOD], [TIED, replace(LATER, image=1)], "failed"),  # nor another image's later stage
        ([], [TIED, replace(TIED, image=1), LATER], "not-applicable"),
    ],
)
def test_status(outputs: list[OutputDifference], decisions: list[DecisionDifference], status: str) -> None:
    found = judge(outputs, decisions)
    assert found.status == status
    assert (found.reason == "") == (status == "passed")
    assert found.outputs == tuple(outputs) and found.decisions == tuple(decisions)


def test_reason_names_what_differs_first() -> None:
    assert judge([GOOD, BAD], []).reason == "outputs differ: scores"
    found = judge([BAD], [SAME, LATER])
    assert found.first_difference == "pruned_tokens_8: 9 tokens differ, score margin at the cut 0.25"
    assert found.reason == f"decisions differ first at {found.first_difference}"
    assert judge([GOOD], [SAME]).first_difference == ""
    unknown = decision_difference("shared_windows", np.array([[0]]), np.array([[1]]))
    assert judge([], [unknown]).first_difference.endswith("score margin at the cut unknown")


def test_comparison_of_broken_outputs_can_be_written_as_evidence() -> None:
    """JSON has neither NaN nor infinity, and a failed build has to keep its parity.json."""
    broken = float_difference("scores", array(math.nan, 1.0), array(1.0, 1.0))
    score = np.array([[0.5, np.nan]])
    lost = decision_difference("pruned_tokens_6", np.array([[1]]), np.array([[0]]), score)
    far = decision_difference("pruned_tokens_8", np.array([[5]]), np.array([[0]]), np.array([[0.5, 0.1]]))
    found = judge([broken], [lost, far])
    assert found.status == "failed"
    stored = json.loads(json_bytes(found.as_dict()))
    assert stored["outputs"][0]["not_finite"] == 1
    assert stored["decisions"][1]["farthest"] is None
    with_facts = Comparison("c", "a", "b", (), "failed", facts={"theta": {6: math.inf}})
    assert json.loads(json_bytes(with_facts.as_dict()))["facts"] == {"theta": {"6": None}}


def test_stored_floats_keep_nine_digits() -> None:
    found = judge([OutputDifference("x", True, 1 / 3, 1e-12 / 3)], []).as_dict()
    assert found["outputs"][0]["max_abs"] == 0.333333333
    assert found["outputs"][0]["max_rel"] == 3.33333333e-13
    assert found["images"] == ["a.jpg"]


def test_distance_from_the_cut_is_relative_where_scores_are_large() -> None:
    """Policy logits have no scale of their own: rounding of 1e-4 at 50 is a near tie, at 0.5 it is not."""
    for scale, tie in ((50.0, True), (0.5, False)):
        score = np.array([[scale, scale - 1e-4, scale - 40.0]])
        assert decision_difference("shared_windows", np.array([[1]]), np.array([[0]]), score).near_tie is tie


def test_differences_of_a_batch_know_their_image() -> None:
    found = decision_differences("s", np.array([[0], [1]]), np.array([[0], [0]]), np.array([[0.9, 0.1], [0.9, 0.1]]))
    assert [(item.image, item.equal) for item in found] == [(0, True), (1, False)]


def test_a_near_tie_in_one_image_hides_no_other_images_outputs() -> None:
    decisions = decision_differences(
        "s", np.array([[1], [0]]), np.array([[0], [0]]), np.array([[0.5, 0.5], [0.9, 0.1]])
    )
    assert decisions[0].near_tie
    rows = comparable_images(decisions, 2)
    assert rows == [1]
    candidate, reference = np.array([[1.0], [9.0]]), np.array([[5.0], [1.0]])
    outputs = [output_difference("scores", candidate[rows], reference[rows], None)]
    assert judge(outputs, decisions).status == "failed"
    assert (
        judge([output_difference("scores", reference[rows], reference[rows], None)], decisions).status
        == "not-applicable"
    )


def test_counts_are_compared_too() -> None:
    three = np.array([3], dtype=np.int32)
    assert output_difference("protected_pruned_6", three, three, None).passed
    assert not output_difference("protected_pruned_6", three + 1, three, None).passed
    assert not integer_difference("x", np.zeros(2, dtype=np.int32), three).passed
    ties = np.zeros((1, 200, 200), dtype=bool)
    assert output_difference("uncertified_pixels", three + 4, three, ties).passed
    assert not output_difference("uncertified_pixels", three + 5, three, ties).passed
