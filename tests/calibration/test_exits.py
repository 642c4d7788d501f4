"""Wrong exits: a case by hand, and every point recomputed token by token over the two forms of DToP."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from observation_cases import CLASSES, image_of, stage_by_loops, stage_of

from edgeexport.calibration.exits import exit_evidence
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.reductions.dtop_selection import prune_adaptive, prune_fixed


class Tokens:
    """The tokens that enter one stage of one image, with the truth."""

    def __init__(self, seed: int, tokens: int, levels: int) -> None:
        draw = np.random.default_rng(seed)
        self.confidence: NDArray[np.float32] = (draw.integers(0, levels + 1, tokens) / levels).astype(np.float32)
        self.label = draw.integers(0, CLASSES, tokens).astype(np.int32)
        self.truth = np.where(draw.random(tokens) < 0.6, self.label, draw.integers(-1, CLASSES, tokens))

    @property
    def wrong(self) -> list[bool]:
        return [int(true) not in (-1, int(label)) for true, label in zip(self.truth, self.label, strict=True)]

    def observed(self, name: str, per_class: int) -> ImageObservation:
        return image_of(name, stage_by_loops(2, self.confidence, self.label.tolist(), self.wrong, per_class))

    def fixed(self, k: int, per_class: int) -> list[int]:
        rows = torch.from_numpy(self.confidence)[None], torch.from_numpy(self.label)[None]
        return prune_fixed(*rows, k, CLASSES, per_class)[1][0].tolist()

    def adaptive(self, theta: float, per_class: int) -> list[int]:
        rows = torch.from_numpy(self.confidence), torch.from_numpy(self.label)
        return prune_adaptive(*rows, theta, CLASSES, per_class)[1].tolist()


def wrong_among(images: Sequence[Tokens], pruned: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(pruned, wrong) in all, token by token."""
    count = wrong = 0
    for image, tokens in zip(images, pruned, strict=True):
        for token in tokens:
            count += 1
            wrong += image.wrong[token]
    return count, wrong


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 24), st.integers(0, 3), st.sampled_from([3, 1000]))
def test_every_point_equals_pruning_token_by_token(
    seed: int, count: int, tokens: int, per_class: int, levels: int
) -> None:
    """Counts go up to all but one token, so that protected ones leave too."""
    images = [Tokens(seed + number, tokens, levels) for number in range(count)]
    observed = [image.observed(str(number), per_class) for number, image in enumerate(images)]
    found = exit_evidence(observed, 2, counts=range(1, tokens + 3), thresholds=[0.0, 1 / 3])
    assert found is not None
    assert [point.setting for point in found.fixed] == list(range(1, tokens))
    assert (found.images, found.tokens) == (count, count * tokens)
    assert found.wrong == sum(sum(image.wrong) for image in images)
    for point, equal in zip(found.fixed, found.equal_mean, strict=True):
        k = int(point.setting)
        assert (point.pruned, point.wrong) == wrong_among(images, [image.fixed(k, per_class) for image in images])
        assert point.mean_count == k
        thresholded = [image.adaptive(equal.setting, per_class) for image in images]
        assert (equal.pruned, equal.wrong) == wrong_among(images, thresholded)
    for point in found.published:
        thresholded = [image.adaptive(point.setting, per_class) for image in images]
        assert (point.pruned, point.wrong) == wrong_among(images, thresholded)


def test_a_fixed_count_takes_doubtful_tokens_of_a_hard_image() -> None:
    """Easy image: four sure tokens, all right. Hard image: one sure token, and three unsure ones that are wrong."""
    easy = stage_by_loops(2, np.array([0.99, 0.98, 0.97, 0.96, 0.1], np.float32), [0] * 5, [False] * 5, 0)
    sure, unsure = np.array([0.95, 0.4, 0.3, 0.2, 0.1], np.float32), [False, True, True, True, True]
    hard = stage_by_loops(2, sure, [0] * 5, unsure, 0)
    found = exit_evidence([image_of("easy", easy), image_of("hard", hard)], 2, counts=[2], thresholds=[0.5])
    assert found is not None
    fixed, adaptive = found.fixed_at(2), found.published_at(0.5)
    assert (fixed.pruned, fixed.wrong, fixed.wrong_share) == (4, 1, 0.25)
    assert (adaptive.mean_count, adaptive.wrong, adaptive.wrong_share) == (2.5, 0, 0)
    equal = found.equal_mean[found.fixed.index(fixed)]
    assert (equal.mean_count, equal.wrong) == (2, 0), "at the same mean count the threshold errs less"
    assert found.published_at(0.995).wrong_share is None, "nothing leaves there"
    with pytest.raises(KeyError):
        found.fixed_at(77)
    stored = json.loads(json.dumps(found.as_dict()))
    assert stored["wrong_share"] == 0.4
    assert {"k": 2, "mean_count": 2.0, "pruned": 4, "wrong": 1, "wrong_share": 0.25} in stored["fixed"]
    assert [point["mean_count"] for point in stored["adaptive_at_equal_mean"]] == [1.0, 2.0, 3.0, 4.0]
    assert len(stored["adaptive_at_equal_mean"]) == len(stored["fixed"])
    assert {point["theta"] for point in stored["adaptive"]} >= {0.5, 0.9, 0.995}


def test_only_labelled_images_count() -> None:
    unlabelled = image_of("plain", stage_of([0.9, 0.8, 0.7]))
    assert exit_evidence([unlabelled], 2) is None
    found = exit_evidence([unlabelled, Tokens(0, 20, 100).observed("labelled", 1)], 2)
    assert found is not None
    assert (found.images, found.tokens) == (1, 20)
    with pytest.raises(KeyError):
        exit_evidence([unlabelled], 3)


def test_grid_without_wishes_spans_the_counts() -> None:
    found = exit_evidence([Tokens(0, 65, 100).observed("a", 0)], 2)
    assert found is not None
    assert [point.setting for point in found.fixed] == list(range(4, 65, 4))
