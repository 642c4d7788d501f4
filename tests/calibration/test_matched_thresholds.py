"""Thresholds of equal mean counts: by pooling made by hand, and on the published computation of a small model itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from observation_cases import CTS_DTOP, image_of, labelled_photos, stage_of, tiny

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.matched_thresholds import matched_thresholds, threshold_for_mean_count
from edgeexport.calibration.observations import observe_published
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo


def mean_count(images: list[list[float]], theta: float) -> float:
    return sum(stage_of(image).prunable(theta) for image in images) / len(images)


def test_threshold_lies_halfway_between_the_pooled_ranks() -> None:
    """Two images, k = 2: ranks 4 and 5 of 0.9 0.8 0.7 0.6 | 0.5 ...; one image loses 3 tokens, the other 1."""
    images = [[0.9, 0.7, 0.6, 0.1], [0.8, 0.5, 0.2, 0.3]]
    theta = threshold_for_mean_count([stage_of(image) for image in images], 2)
    assert theta == pytest.approx(0.55)
    assert [stage_of(image).prunable(theta) for image in images] == [3, 1]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=0, max_size=12), min_size=1, max_size=6), st.integers(1, 12)
)
def test_no_threshold_comes_nearer(images: list[list[float]], k: int) -> None:
    theta = threshold_for_mean_count([stage_of(image) for image in images], k)
    assert theta == np.float32(theta)
    every = [-1.0, *(value for image in images for value in image)]
    nearest = min(abs(mean_count(images, other) - k) for other in every)
    assert abs(mean_count(images, theta) - k) == pytest.approx(nearest)


def test_adjacent_floats_and_equal_ones() -> None:
    half = np.float32(0.5)
    for neighbour in (np.nextafter(half, np.float32(1)), np.nextafter(half, np.float32(0))):
        images = [[float(half), float(neighbour)]]
        assert mean_count(images, threshold_for_mean_count([stage_of(images[0])], 1)) == 1
    tied = [0.9, 0.5, 0.5, 0.5]
    assert mean_count([tied], threshold_for_mean_count([stage_of(tied)], 2)) == 1
    assert mean_count([tied], threshold_for_mean_count([stage_of(tied)], 3)) == 4


def test_fewer_unprotected_tokens_than_k() -> None:
    images = [[0.9, 0.0], [0.3]]
    theta = threshold_for_mean_count([stage_of(image, protected=5) for image in images], 4)
    assert mean_count(images, theta) == 1.5
    assert threshold_for_mean_count([stage_of([], protected=5)], 4) == 0.0


def test_stages_are_matched_in_order_with_the_earlier_ones_pruned() -> None:
    asked = []

    def observe(thresholds: Mapping[int, float]) -> list[ImageObservation]:
        asked.append(dict(thresholds))
        return [image_of("a", *[stage_of([0.9, 0.7, 0.5, 0.3], block=block) for block in thresholds])]

    found = matched_thresholds(observe, Counts(3, ((6, 1), (8, 3))))
    assert asked == [{6: math.inf}, {6: found[6], 8: math.inf}]
    assert found == {6: pytest.approx(0.8), 8: pytest.approx(0.4)}, "1 and 3 of the 4 tokens leave"


def test_the_published_computation_prunes_k_on_average(tmp_path: Path) -> None:
    recipe = tiny(tmp_path, CTS_DTOP)
    model, _ = model_from_recipe(recipe)
    images = labelled_photos(6)
    counts = Counts(5, ((2, 7), (3, 4)))
    passes = []

    def observe(thresholds: Mapping[int, float]) -> list[ImageObservation]:
        passes.append(list(observe_published(model, recipe, images, thresholds)))
        return passes[-1]

    thresholds = matched_thresholds(observe, counts)
    published = PublishedModel(model, recipe)
    pixels = torch.from_numpy(np.stack([input_from_photo(image.photo, recipe.input) for image in images]))
    found = published.run([pixels], [{"dtop": thresholds}] * len(images))
    for block, k in counts.prune:
        pruned = [image.pruned[block] for image in found]
        assert abs(np.mean(pruned) - k) <= 1
        assert len(set(pruned)) > 1, "the images differ, or a fixed count would do"
    assert len(passes) == 2
