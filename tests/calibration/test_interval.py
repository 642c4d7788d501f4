"""Confidence intervals against closed forms, brute force and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgeexport.calibration.interval import AGREEMENT, MIOU, drop_interval
from edgeexport.evaluation.areas import Areas, scores_from_areas
from edgeexport.evaluation.interval import share_interval


def areas(intersect: list[int], prediction: list[int], label: list[int]) -> Areas:
    i, p, t = (np.array(values, dtype=np.int64) for values in (intersect, prediction, label))
    return Areas(i, p + t - i, p, t)


def binary(right: int, pixels: int = 100) -> Areas:
    """One class, of whose pixels ``right`` are found: IoU = right / pixels."""
    return areas([right], [right], [pixels])


@pytest.mark.parametrize(
    ("successes", "images", "low", "high"),
    [
        (10, 10, 0.025 ** (1 / 10), 1.0),
        (0, 10, 0.0, 1 - 0.025 ** (1 / 10)),
        (1, 1, 0.025, 1.0),
        # R: binom.test(90, 100)$conf.int
        (90, 100, 0.8237774, 0.9509953),
    ],
)
def test_share_of_images_has_the_exact_binomial_interval(successes: int, images: int, low: float, high: float) -> None:
    found = share_interval(successes, images)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    assert (found.images, found.confidence) == (images, 0.95)
    assert "binomial" in found.method
    assert found.as_dict()["low"] == found.low


def test_exact_interval_covers_at_least_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    intervals = [share_interval(successes, 40) for successes in range(41)]
    for share in (0.5, 0.9, 0.98):
        found = [intervals[successes] for successes in draw.binomial(40, share, size=2000)]
        assert sum(interval.low <= share <= interval.high for interval in found) / 2000 >= 0.94


def test_equal_areas_lose_nothing() -> None:
    same = [areas([5, 3], [9, 4], [8, 7]), areas([0, 2], [1, 2], [0, 3]), areas([4, 0], [4, 0], [6, 0])]
    for measure in (MIOU, AGREEMENT):
        found = drop_interval(same, same, measure)
        assert found is not None
        assert (found.low, found.high, found.images) == (0.0, 0.0, 3)


def test_the_same_loss_in_every_image_leaves_no_doubt() -> None:
    found = drop_interval([binary(90)] * 5, [binary(80)] * 5)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(10), pytest.approx(10))


def test_a_gain_is_negative() -> None:
    found = drop_interval([binary(80)] * 5, [binary(90)] * 5)
    assert found is not None
    assert found.high == pytest.approx(-10)


@pytest.mark.parametrize("measure", [MIOU, AGREEMENT])
def test_ends_are_percentiles_over_all_draws_of_images(measure: str) -> None:
    """Four images: all 256 draws can be listed. Of four classes one never occurs, and others are missing in some draws."""
    draw = np.random.default_rng(3)
    dense, candidate = [], []
    for image in range(4):
        label = draw.integers(0, 40, size=4) * (draw.random(4) < 0.7)
        label[image % 3] += 10
        label[3] = 0
        for models, share in ((dense, 0.9), (candidate, 0.6)):
            right = draw.binomial(label, share)
            models.append(
                areas(right.tolist(), (right + draw.integers(0, 5, size=4) * (label > 0)).tolist(), label.tolist())
            )

    def quality(models: list[Areas], chosen: tuple[int, ...]) -> float:
        scores = scores_from_areas(sum((models[image] for image in chosen), Areas.zero(4)))
        return scores.miou if measure == MIOU else scores.pixel_accuracy

    losses = [quality(dense, chosen) - quality(candidate, chosen) for chosen in itertools.product(range(4), repeat=4)]
    found = drop_interval(dense, candidate, measure)
    assert found is not None
    spread = max(losses) - min(losses)
    assert found.low == pytest.approx(np.quantile(losses, 0.025), abs=0.1 * spread)
    assert found.high == pytest.approx(np.quantile(losses, 0.975), abs=0.1 * spread)
    assert min(losses) - 1e-9 <= found.low < found.high <= max(losses) + 1e-9


def test_pairs_are_kept_together() -> None:
    """Images differ far more than the two models do on any image."""
    rights = list(range(10, 100, 6))
    found = drop_interval([binary(right) for right in rights], [binary(right - 2) for right in rights])
    assert found is not None
    assert found.high - found.low < 1e-9
    assert found.low == pytest.approx(2)


def test_simulated_losses_are_covered_about_as_often_as_stated() -> None:
    draw = np.random.default_rng(7)
    hits, trials = 0, 60
    for _ in range(trials):
        first = draw.binomial(100, 0.9, size=40)
        second = draw.binomial(first, 0.95)
        found = drop_interval([binary(int(a)) for a in first], [binary(int(b)) for b in second])
        assert found is not None
        hits += found.low <= 100 * 0.9 * 0.05 <= found.high
    assert 0.85 <= hits / trials <= 1.0


def test_seeded_so_that_it_can_be_repeated() -> None:
    dense, candidate = [binary(90), binary(70), binary(50)], [binary(80), binary(70), binary(45)]
    assert drop_interval(dense, candidate) == drop_interval(dense, candidate)


def test_one_image_tells_nothing_of_others() -> None:
    assert drop_interval([binary(90)], [binary(80)]) is None
    with pytest.raises(ValueError, match="2 images of the dense model, 1 of the candidate"):
        drop_interval([binary(90)] * 2, [binary(80)])
