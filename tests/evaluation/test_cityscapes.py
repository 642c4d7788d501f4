"""Data sets as they lie on a disk: Cityscapes' layout, endings, 16-bit masks; scores against mmsegmentation's own metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_cases import label_of, photo_of
from PIL import Image
from published_cases import written_dtop_config

from edgeexport.errors import UsageError
from edgeexport.evaluation.annotation import label_from_annotation
from edgeexport.evaluation.areas import areas_of
from edgeexport.evaluation.evaluate import evaluate
from edgeexport.evaluation.executions import FixedExecution, segmenter_model
from edgeexport.evaluation.file_names import Endings
from edgeexport.evaluation.folder_layout import open_folder
from edgeexport.evaluation.options import EvaluationOptions
from edgeexport.pictures.label_map import resized_class_map
from edgeexport.recipe import load_recipe

SIZES = ((128, 64), (90, 130), (64, 64))


def written_cityscapes(folder: Path, ending: str = "_gtFine_labelTrainIds", num_classes: int = 19) -> Path:
    """Two towns, images of several sizes, and the other files that Cityscapes has beside each annotation."""
    for number, size in enumerate(SIZES):
        town = f"town{number % 2}"
        stem = f"{town}_{number:06}_000019"
        images, labels = folder / "leftImg8bit/val" / town, folder / "gtFine/val" / town
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        photo_of(number, size).save(images / f"{stem}_leftImg8bit.png")
        Image.fromarray(label_of(number, size, num_classes)).save(labels / f"{stem}{ending}.png")
        Image.new("L", size).save(labels / f"{stem}_gtFine_instanceIds.png")
        Image.new("RGB", size).save(labels / f"{stem}_gtFine_color.png")
    return folder


def test_cityscapes_layout_is_paired(tmp_path):
    folder = open_folder(written_cityscapes(tmp_path / "cityscapes"), split="val")
    names = [sample.name for sample in folder.samples]
    assert names == [f"val/town{n % 2}/town{n % 2}_{n:06}_000019" for n in (0, 2, 1)]
    assert folder.left_out == () and folder.labelled


def test_a_stated_ending_is_used(tmp_path):
    data = written_cityscapes(tmp_path / "d", ending="_mask")
    with pytest.raises(UsageError, match="no annotation has the name of an image"):
        open_folder(data, split="val")
    endings = Endings(image="_leftImg8bit.png", label="_mask.png")
    assert len(open_folder(data, split="val", endings=endings).samples) == len(SIZES)


def test_an_ending_that_is_asked_for_is_used_or_missed(tmp_path):
    data = written_cityscapes(tmp_path / "d", ending="_gtFine_labelIds")
    asked = Endings(label="_gtFine_labelTrainIds.png", asked_label="_gtFine_labelIds.png")
    assert len(open_folder(data, split="val", endings=asked).samples) == len(SIZES), "asked for, although unconverted"
    with pytest.raises(UsageError, match="--image-suffix _rgb") as caught:
        open_folder(data, split="val", endings=Endings(asked_image="_rgb.png", asked_label="_gtFine_labelIds"))
    assert caught.value.exit_code == 2 and "no image is called so" in caught.value.problem
    for path in list(data.rglob("*_gtFine_labelIds.png")):
        path.rename(path.with_name(path.name.replace("_gtFine_labelIds", "")))
    named = open_folder(data, split="val", endings=Endings(asked_image="_leftImg8bit.png", asked_label=".png"))
    assert len(named.samples) == len(SIZES), "an ending of images alone"


def test_numbers_that_are_no_class_numbers_are_refused(tmp_path):
    data = written_cityscapes(tmp_path / "d", ending="_gtFine_labelIds")
    with pytest.raises(UsageError, match="whose numbers are no class numbers") as caught:
        open_folder(data, split="val")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("num_classes", [255, 256, 300])
def test_class_255_counts_where_there_are_more(num_classes, tmp_path):
    values = np.full((4, 4), 3, dtype=np.uint16)
    values[0], values[1] = 255, 65535 if num_classes > 255 else 255
    Image.fromarray(values).save(tmp_path / "mask.png")
    label = label_from_annotation(tmp_path / "mask.png", num_classes, (4, 4))
    areas = areas_of(label % num_classes, label, num_classes)
    assert areas.label.sum() == (8 if num_classes == 255 else 12)
    assert num_classes == 255 or areas.label[255] == 4


def test_the_last_class_of_255_counts_where_0_is_none(tmp_path):
    Image.fromarray(np.array([[0, 1, 255, 65535]], dtype=np.uint16)).save(tmp_path / "mask.png")
    label = label_from_annotation(tmp_path / "mask.png", 255, (4, 1), reduce_zero_label=True)
    assert label.tolist() == [[255, 0, 254, 255]]


def test_scores_are_those_of_mmsegmentations_metric(tmp_path, write, monkeypatch):
    """Padded images of several sizes, 0 as no class: every class's IoU and accuracy as IoUMetric gives them."""
    from mmseg.datasets.transforms import LoadAnnotations
    from mmseg.evaluation import IoUMetric

    monkeypatch.chdir(tmp_path)
    data = written_cityscapes(tmp_path / "cityscapes", num_classes=19)
    config = written_dtop_config(write, kind="OwnDataset", classes=19)
    notes: list[str] = []
    options = EvaluationOptions(data=data, split="val", executions=("fixed",))
    found = evaluate(config, options, on_note=notes.append)
    assert found.reduce_zero_label and any("0 is no class" in note for note in notes)

    recipe = load_recipe(config)
    execution = FixedExecution(segmenter_model(recipe)[0], recipe)
    metric = IoUMetric(ignore_index=255, iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": [str(n) for n in range(19)]}
    load = LoadAnnotations(reduce_zero_label=True)
    for sample in open_folder(data, split="val").samples:
        with Image.open(sample.image) as image:
            photo = image.convert("RGB")
        class_map = execution.run([photo])[0].class_map
        assert class_map.shape == {(128, 64): (32, 64), (90, 130): (64, 44), (64, 64): (64, 64)}[photo.size]
        prediction = torch.from_numpy(resized_class_map(class_map, photo.height, photo.width))[None]
        given = {"seg_map_path": str(sample.annotation), "reduce_zero_label": True, "seg_fields": []}
        label = torch.from_numpy(load.transform(given)["gt_seg_map"].astype(np.int64))[None]
        item = {"pred_sem_seg": {"data": prediction}, "gt_sem_seg": {"data": label}}
        metric.process({}, [item])
    totals = [sum(part) for part in zip(*metric.results, strict=True)]
    wanted = IoUMetric.total_area_to_metrics(*totals)
    scores = found.primary.scores
    ours = [np.nan if value is None else value for value in scores.per_class_iou]
    np.testing.assert_allclose(ours, np.asarray(wanted["IoU"]) * 100, rtol=1e-5)
    assert np.nanmax(ours) > 0
    assert scores.pixel_accuracy == pytest.approx(float(wanted["aAcc"]) * 100, rel=1e-5)
    assert scores.mean_accuracy == pytest.approx(float(np.nanmean(wanted["Acc"])) * 100, rel=1e-5)
