"""Uncertain protection: whatever rounding can change must be in it, and what is far from every edge must not."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexport.ops.token_protect import token_protect_reference
from edgeexport.reductions.dtop_protection import uncertain_protection
from edgeexport.verify.compare import decision_difference
from edgeexport.verify.tolerances import FP32

NEAR_TIE = FP32.near_tie


def protected(scores: NDArray, per_class: int) -> NDArray[np.bool_]:
    values = torch.from_numpy(scores)[None]
    confidence, label = values.max(dim=1)
    return token_protect_reference(confidence, label.int(), scores.shape[0], per_class)[0].numpy()


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(3, 14), st.integers(1, 3))
@settings(deadline=None, max_examples=150)
def test_every_flip_that_rounding_causes_is_foreseen(seed: int, classes: int, tokens: int, per_class: int) -> None:
    """Scores on a coarse grid, so that ties are common; each moves by less than half the tolerance."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 6, (classes, tokens)) / 8
    noise = random.uniform(-0.49, 0.49, scores.shape) * NEAR_TIE
    flipped = protected(scores, min(per_class, tokens)) != protected(scores + noise, min(per_class, tokens))
    assert not (flipped & ~uncertain_protection(scores, per_class, 1e-5)).any()


def test_clear_cases_are_certain() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.3, 0.6]])
    assert not uncertain_protection(scores, 1, 1e-5).any()
    assert not uncertain_protection(scores, 0, 1e-5).any()


def test_a_token_of_uncertain_class_moves_the_edge_of_both() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.1], [0.1, 0.1, 0.1, 0.1, 0.5, 0.4]])
    found = uncertain_protection(scores, 1, 1e-5)
    assert found[4] and found[5], "whether token 5 leads class 1 hangs on token 4"
    assert not found[2] and not found[3], "far from the edge of class 0"


def test_swap_by_an_uncertain_token_is_a_near_tie_and_a_skipped_token_is_not() -> None:
    """Token 0 turned out unprotected in the candidate and took the place of token 2, the last of the reference's choice."""
    row = np.array([[np.inf, 0.9, 0.8, 0.7, 0.1]])
    assert decision_difference("s", np.array([[0, 1]]), np.array([[1, 2]]), row).near_tie
    assert not decision_difference("s", np.array([[0, 2]]), np.array([[1, 2]]), row).near_tie
