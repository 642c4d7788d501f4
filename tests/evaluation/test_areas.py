"""The metric: against a confusion matrix written out, and against mmsegmentation's own end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexport.evaluation import areas as areas_module
from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas

FIELDS = ("intersect", "union", "prediction", "label")


def confusion(class_map: NDArray, label: NDArray, num_classes: int) -> NDArray[np.int64]:
    """Rows: labels; columns: predictions; ignored pixels are in neither."""
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for expected, found in zip(label.ravel().tolist(), class_map.ravel().tolist(), strict=True):
        if expected != 255:
            matrix[expected, found] += 1
    return matrix


def assert_same(found: Areas, matrix: NDArray) -> None:
    np.testing.assert_array_equal(found.intersect, np.diag(matrix))
    np.testing.assert_array_equal(found.label, matrix.sum(axis=1))
    np.testing.assert_array_equal(found.prediction, matrix.sum(axis=0))
    np.testing.assert_array_equal(found.union, matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix))


def random_image(seed: int, num_classes: int, shape: tuple[int, int] = (13, 17)) -> tuple[NDArray, NDArray]:
    generator = np.random.default_rng(seed)
    used = generator.permutation(num_classes)[: max(1, num_classes // 2)]  # so that some classes stay away
    class_map, label = generator.choice(used, shape).astype(np.int32), generator.choice(used, shape).astype(np.int64)
    class_map = np.where(generator.random(shape) < 0.5, label, class_map).astype(np.int32)
    label[generator.random(shape) < 0.2] = 255
    return class_map, label


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), num_classes=st.sampled_from([2, 3, 13, 150, 171]))
def test_areas_and_scores_against_a_confusion_matrix(seed: int, num_classes: int) -> None:
    images = [random_image(seed + number, num_classes) for number in range(2)]
    total = sum((areas_of(*image, num_classes) for image in images), start=Areas.zero(num_classes))
    matrix = sum(confusion(*image, num_classes) for image in images)
    assert_same(total, matrix)
    scores = scores_from_areas(total)
    right, labelled = np.diag(matrix), matrix.sum(axis=1)
    union = labelled + matrix.sum(axis=0) - right
    expected = [100 * a / b if b else None for a, b in zip(right.tolist(), union.tolist(), strict=True)]
    assert scores.per_class_iou == pytest.approx(expected)
    assert scores.miou == pytest.approx(np.mean([value for value in expected if value is not None]))
    assert scores.pixel_accuracy == pytest.approx(100 * right.sum() / labelled.sum())
    assert scores.mean_accuracy == pytest.approx(100 * np.mean(right[labelled > 0] / labelled[labelled > 0]))


def test_scores_against_mmsegmentations_metric_end_to_end() -> None:
    from mmseg.evaluation import IoUMetric

    num_classes = 13
    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": [f"class {i}" for i in range(num_classes)]}
    total = Areas.zero(num_classes)
    for seed in range(5):
        class_map, label = random_image(seed, num_classes, (20 + seed, 31))
        sample = {
            "pred_sem_seg": {"data": torch.from_numpy(class_map.astype(np.int64))[None]},
            "gt_sem_seg": {"data": torch.from_numpy(label)[None]},
        }
        metric.process({}, [sample])
        total += areas_of(class_map, label, num_classes)
    found = metric.evaluate(size=5)
    scores = scores_from_areas(total)
    assert round(scores.miou, 2) == pytest.approx(found["mIoU"], abs=0.0101)
    assert round(scores.pixel_accuracy, 2) == pytest.approx(found["aAcc"], abs=0.0101)
    assert round(scores.mean_accuracy, 2) == pytest.approx(found["mAcc"], abs=0.0101)
    assert 20 < scores.miou < 80  # the comparison says something


def test_large_images_are_counted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    class_map, label = random_image(3, 5, (50, 17))
    whole = areas_of(class_map, label, 5)
    calls = []
    from mmseg.evaluation import IoUMetric

    counted = IoUMetric.intersect_and_union
    monkeypatch.setattr(
        IoUMetric, "intersect_and_union", staticmethod(lambda *args: calls.append(args[0].shape) or counted(*args))
    )
    monkeypatch.setattr(areas_module, "_COUNTABLE_PIXELS", 17 * 8)
    strips = areas_of(class_map, label, 5)
    assert calls == [(8, 17)] * 6 + [(2, 17)]
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(strips, name), getattr(whole, name))


def test_nothing_labelled_gives_no_score() -> None:
    scores = scores_from_areas(areas_of(np.zeros((4, 4), np.int32), np.full((4, 4), 255), 3))
    assert np.isnan([scores.miou, scores.pixel_accuracy, scores.mean_accuracy]).all()
    assert scores.per_class_iou == (None, None, None)


def test_areas_kept_as_rows_come_back() -> None:
    """Classes that are only labelled, only predicted, or in neither are told apart."""
    class_map, label = random_image(3, 9)
    found = areas_of(class_map, label, 9)
    again = Areas.from_rows(json.loads(json.dumps(found.rows())), 9)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(again, field), getattr(found, field))
    assert len(found.rows()) == np.count_nonzero(found.union) < 9
    np.testing.assert_array_equal(Areas.from_rows([], 3).union, [0, 0, 0])


def test_class_maps_are_brought_to_the_labels_size() -> None:
    class_map, label = random_image(4, 5, (6, 8))
    whole = np.kron(label, np.ones((3, 2), dtype=np.int64))
    np.testing.assert_array_equal(areas_of(class_map, whole, 5).intersect, 6 * areas_of(class_map, label, 5).intersect)
