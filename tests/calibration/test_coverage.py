"""Counts for a coverage: cases with a known answer, and a small world of images in which loops prune token by token."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from observation_cases import CLASSES, image_of, stage_by_loops, stage_of

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.coverage import (
    counts_for_coverage,
    covered_images,
    largest_covered,
    required_images,
)
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.errors import UsageError
from edgeexport.reductions.dtop_selection import prune_adaptive, prune_fixed


class World:
    """Images whose tokens have a confidence and a class of their own at every stage, and windows to share.

    Sharing removes three tokens, the last ones, for every window. Stages see what is left.
    """

    def __init__(
        self, images: int, tokens: int, blocks: Sequence[int], seed: int, levels: int = 50, protect: int = 1
    ) -> None:
        draw = np.random.default_rng(seed)
        self.tokens, self.blocks, self.protect = tokens, tuple(blocks), protect
        shape = (images, tokens)
        skew = draw.uniform(0.5, 3, size=(images, 1))  # images of different difficulty
        self.confidence = {
            b: (np.round(draw.random(shape) ** skew * levels) / levels).astype(np.float32) for b in blocks
        }
        self.label = {b: draw.integers(0, CLASSES, size=shape).astype(np.int32) for b in blocks}
        self.shareable = draw.integers(0, tokens // 4 + 1, size=images).tolist()
        self.asked: list[tuple[Counts, tuple[int, ...]]] = []

    def entering(self, image: int, counts: Counts, block: int) -> list[int]:
        """Tokens that enter the stage of an image, by the fixed form's own pruning."""
        alive = list(range(self.tokens - 3 * counts.num_shared))
        for earlier, k in counts.prune:
            if earlier < block:
                confidence = torch.from_numpy(self.confidence[earlier][image][alive])[None]
                label = torch.from_numpy(self.label[earlier][image][alive])[None]
                kept = prune_fixed(confidence, label, k, CLASSES, self.protect)[0][0]
                alive = [alive[token] for token in kept.tolist()]
        return alive

    def adaptive_count(self, image: int, counts: Counts, block: int, theta: float) -> int:
        """Tokens that the published rule prunes there."""
        alive = self.entering(image, counts, block)
        confidence = torch.from_numpy(self.confidence[block][image][alive])
        label = torch.from_numpy(self.label[block][image][alive])
        return len(prune_adaptive(confidence, label, theta, CLASSES, self.protect)[1])

    def observe(self, counts: Counts, blocks: tuple[int, ...]) -> list[ImageObservation]:
        self.asked.append((counts, blocks))
        found = []
        for image, shareable in enumerate(self.shareable):
            stages = []
            for block in blocks:
                alive = self.entering(image, counts, block)
                confidence, label = self.confidence[block][image][alive], self.label[block][image][alive].tolist()
                stages.append(stage_by_loops(block, confidence, label, [False] * len(alive), self.protect))
            found.append(image_of(f"image{image}", *stages, shareable=shareable))
        return found


def constant(*available: int, tokens: int = 64, shareable: Sequence[int] = ()) -> list[ImageObservation]:
    """Images of which the stage after block 2 prunes so many tokens at theta 0.5."""
    windows = shareable or [0] * len(available)
    return [
        image_of(f"image{i}", stage_of([0.9] * count + [0.1] * (tokens - count)), shareable=windows[i])
        for i, count in enumerate(available)
    ]


def test_nine_of_ten_images_give_the_second_smallest_count() -> None:
    counts = (24, 40, 8, 48, 32, 56, 50, 60, 16, 52)
    found = counts_for_coverage(
        lambda c, b: constant(*counts), coverage=0.9, thresholds={2: 0.5}, num_patches=64, share=False
    )
    (stage,) = found.stages
    assert (stage.exact, stage.aligned, stage.tokens, stage.theta) == (16, 16, 64, 0.5)
    assert stage.available == counts
    assert stage.covered_by(16) == 9
    assert stage.covered_by(17) == 8
    assert found.counts == Counts(0, ((2, 16),))
    assert found.as_dict()["images_required"] == 9
    stated = found.as_dict()["stages"][0]
    assert stated["images_covered"] == {"exact": 9, "aligned": 9}
    assert stated["coverage"] == {"exact": 0.9, "aligned": 0.9}


@pytest.mark.parametrize(
    ("coverage", "expected"), [(1.0, 8), (0.95, 8), (0.9, 16), (0.81, 16), (0.8, 24), (0.1, 60), (0.001, 60)]
)
def test_order_statistic(coverage: float, expected: int) -> None:
    assert largest_covered((24, 40, 8, 48, 32, 56, 50, 60, 16, 52), coverage) == expected


@pytest.mark.parametrize(
    ("coverage", "images", "required"), [(0.55, 100, 55), (0.57, 100, 57), (0.9, 10, 9), (0.9, 11, 10), (1, 7, 7)]
)
def test_required_images_are_those_of_the_decimal_number(coverage: float, images: int, required: int) -> None:
    """0.55 x 100 is 55.00000000000001 in binary floating point, whose ceiling is 56."""
    assert required_images(coverage, images) == required


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 100))
def test_largest_covered_equals_trying_every_count(available: list[int], percent: int) -> None:
    needed = ceil(percent * len(available) / 100)
    reaching = [k for k in range(32) if sum(value >= k for value in available) >= needed]
    assert largest_covered(available, percent / 100) == max(reaching)


@pytest.mark.parametrize(("exact", "aligned", "left"), [(23, 16, 48), (24, 24, 40), (25, 24, 40), (7, 0, 64)])
def test_aligned_down(exact: int, aligned: int, left: int) -> None:
    found = counts_for_coverage(
        lambda c, b: constant(exact), coverage=1, thresholds={2: 0.5}, num_patches=64, share=False
    )
    assert (found.stages[0].exact, found.stages[0].aligned) == (exact, aligned)
    assert found.counts.tokens(64)[-1] == left
    assert (found.counts.prune == ()) == (aligned == 0), "a stage that prunes nothing is left out"


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 70), st.integers(0, 80), st.integers(1, 16))
def test_alignment_leaves_a_multiple_and_a_token(tokens: int, available: int, align: int) -> None:
    images = constant(min(available, tokens), tokens=tokens)
    found = counts_for_coverage(
        lambda c, b: images, coverage=1, thresholds={2: 0.5}, num_patches=tokens, share=False, align=align
    )
    (stage,) = found.stages
    assert stage.exact == min(available, tokens - 1)
    fitting = [k for k in range(1, stage.exact + 1) if (tokens - k) % align == 0]
    assert stage.aligned == max(fitting, default=0)


def test_windows_are_aligned_by_the_tokens_they_leave() -> None:
    """64 - 3 S is a multiple of 8 for S = 8 and 16 alone."""
    for shareable, aligned in ((16, 16), (15, 8), (8, 8), (7, 0)):
        images = constant(0, shareable=[shareable])
        found = counts_for_coverage(lambda c, b, s=images: s, coverage=1, thresholds={}, num_patches=64, share=True)
        assert (found.stages[0].block, found.stages[0].exact, found.stages[0].aligned) == (0, shareable, aligned)
        assert found.counts == Counts(aligned)


def test_stages_together_suit_fewer_images_than_each() -> None:
    """Every stage spares another image: 3 of 4 each, 1 of 4 together, windows among them."""
    rows = [((16, 16), 16), ((16, 8), 16), ((8, 16), 16), ((16, 16), 8)]

    def observe(counts: Counts, blocks: tuple[int, ...]) -> list[ImageObservation]:
        found = []
        for number, (available, shareable) in enumerate(rows):
            entering = 128 - 3 * counts.num_shared
            tokens = {2: entering, 3: entering - counts.pruned_after(2)}
            stages = [
                stage_of([0.9] * k + [0.1] * (tokens[block] - k), block=block)
                for block, k in zip((2, 3), available, strict=True)
                if block in blocks
            ]
            found.append(image_of(str(number), *stages, shareable=shareable))
        return found

    thresholds = {2: 0.5, 3: 0.5}
    found = counts_for_coverage(observe, coverage=0.75, thresholds=thresholds, num_patches=128, share=True)
    assert found.counts == Counts(16, ((2, 16), (3, 16)))
    assert found.covered.per_block == {0: 3, 2: 3, 3: 3}
    assert (found.covered.pruning, found.covered.together, found.covered.images) == (2, 1, 4)
    assert found.as_dict()["covered"]["share"] == 0.25
    unshared = counts_for_coverage(observe, coverage=0.75, thresholds=thresholds, num_patches=128, share=False)
    assert unshared.counts == Counts(0, ((2, 16), (3, 16)))
    assert unshared.covered.pruning == unshared.covered.together == 2


def test_counts_chosen_otherwise_are_judged_alike() -> None:
    images = [
        image_of(str(i), stage_of([0.9] * first + [0.1] * 40), stage_of([0.9] * second, block=3), shareable=windows)
        for i, (first, second, windows) in enumerate([(5, 9, 2), (6, 8, 3), (4, 9, 3)])
    ]
    thresholds = {2: 0.5, 3: 0.5, 9: 0.1}
    judged = covered_images(images, Counts(3, ((2, 5), (3, 9))), thresholds)
    assert (judged.per_block, judged.pruning, judged.together) == ({0: 2, 2: 2, 3: 2}, 1, 0)
    nothing = covered_images(images, Counts(), thresholds)
    assert (nothing.per_block, nothing.pruning, nothing.together) == ({}, 3, 3)
    with pytest.raises(KeyError):
        covered_images(images, Counts(0, ((9, 1),)), thresholds)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 100),
    st.booleans(),
    st.sampled_from([1, 8]),
    st.booleans(),
)
def test_counts_equal_trying_every_count_stage_by_stage(
    seed: int, images: int, percent: int, share: bool, align: int, ties: bool
) -> None:
    world = World(images, 40, (2, 3, 5), seed, levels=4 if ties else 50)
    thresholds = {3: 0.5, 2: 0.7, 5: 0.25}
    found = counts_for_coverage(
        world.observe, coverage=percent / 100, thresholds=thresholds, num_patches=40, share=share, align=align
    )
    needed = ceil(percent * images / 100)
    counts, tokens, reached = Counts(), 40, [[] for _ in range(images)]
    for stage in found.stages:
        if stage.block == 0:
            available, limit = world.shareable, 10
        else:
            theta = thresholds[stage.block]
            available = [world.adaptive_count(image, counts, stage.block, theta) for image in range(images)]
            limit = tokens - 1
        assert list(stage.available) == available
        per = 1 if stage.block else 3
        suiting = [k for k in range(limit + 1) if sum(value >= k for value in available) >= needed]
        assert stage.exact == max(suiting)
        aligned = max([k for k in suiting if k and (tokens - per * k) % align == 0], default=0)
        assert (stage.aligned, stage.tokens) == (aligned, tokens)
        tokens -= per * aligned
        prune = dict(counts.prune)
        counts = (
            Counts.of(aligned, {})
            if stage.block == 0
            else Counts.of(counts.num_shared, {**prune, stage.block: aligned})
        )
        for image in range(images):
            reached[image].append(available[image] >= aligned)
    assert found.counts == counts
    assert [stage.block for stage in found.stages] == ([0] if share else []) + [2, 3, 5]
    assert found.covered.together == sum(all(flags) for flags in reached)
    assert found.covered.pruning == sum(all(flags[int(share) :]) for flags in reached)
    again = world.observe(counts, (2, 3, 5))
    assert [one.as_dict() for one in found.observations] == [one.as_dict() for one in again], "under the final counts"
    assert covered_images(again, counts, thresholds).as_dict() == found.covered.as_dict()


def test_one_pass_per_constant() -> None:
    world = World(3, 40, (2, 3), 0)
    found = counts_for_coverage(world.observe, coverage=1, thresholds={2: 0.2, 3: 0.2}, num_patches=40, share=True)
    shared = Counts(found.counts.num_shared)
    first = Counts.of(shared.num_shared, {2: found.counts.pruned_after(2)})
    assert world.asked == [(Counts(), ()), (shared, (2,)), (first, (3,))]


@pytest.mark.parametrize("coverage", [0, -0.5, 1.01, 90, float("nan")])
def test_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(UsageError, match="is no share of images"):
        largest_covered([1, 2], coverage)


def test_what_cannot_be_chosen_from() -> None:
    with pytest.raises(UsageError, match="no image was observed"):
        counts_for_coverage(lambda c, b: [], coverage=0.9, thresholds={2: 0.5}, num_patches=64, share=False)
    with pytest.raises(UsageError, match="no policy network"):
        counts_for_coverage(
            lambda c, b: [image_of("a", stage_of([0.9]))], coverage=0.9, thresholds={}, num_patches=64, share=True
        )


def test_passes_that_saw_different_images() -> None:
    def observe(counts: Counts, blocks: tuple[int, ...]) -> list[ImageObservation]:
        return [image_of(f"image{blocks}", *[stage_of([0.9] * 9, block=b) for b in blocks], shareable=0)]

    with pytest.raises(ValueError, match="did not see the same"):
        counts_for_coverage(observe, coverage=1, thresholds={2: 0.5, 3: 0.5}, num_patches=9, share=False)
