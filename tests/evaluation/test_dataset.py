"""Data sets on disk: layouts, what is left out and why, and what is an error."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import NUM_CLASSES, label_of, photo_of, write_pairs
from PIL import Image

from edgeexport.errors import UsageError
from edgeexport.evaluation.dataset import LeftOut, SegmentationFolder, labelled_images
from edgeexport.evaluation.folder_layout import open_folder


def names_of(folder: SegmentationFolder) -> list[str]:
    return [sample.name for sample in folder.samples]


def usage_error(data: Path, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        open_folder(data, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_pairs_ascend_by_name_and_carry_their_split(tmp_path: Path) -> None:
    folder = open_folder(write_pairs(tmp_path / "d", 3, split="val"), split="val")
    assert names_of(folder) == ["val/00", "val/01", "val/02"]
    assert folder.labelled
    assert folder.left_out == ()
    found = list(labelled_images(folder, NUM_CLASSES, on_problem=pytest.fail))
    assert [image.name for image in found] == names_of(folder)
    np.testing.assert_array_equal(found[1].label, label_of(1))
    np.testing.assert_array_equal(np.asarray(found[1].photo), np.asarray(photo_of(1)))


def test_other_names_of_the_folders_and_deeper_folders(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 2, split="val/town")
    (data / "images").rename(data / "img_dir")
    (data / "annotations").rename(data / "ann_dir")
    assert names_of(open_folder(data, split="val")) == ["val/town/00", "val/town/01"]
    assert names_of(open_folder(data, split="val/town")) == ["val/town/00", "val/town/01"]


def test_limit_takes_the_first_by_name(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 4)
    assert names_of(open_folder(data, limit=2)) == ["00", "01"]
    assert names_of(open_folder(data, limit=9)) == ["00", "01", "02", "03"]
    assert "--limit 0" in usage_error(data, limit=0)


def test_what_the_names_rule_out_is_named(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 5)
    (data / "annotations" / "01.png").unlink()
    (data / "images" / "03.png").unlink()
    photo_of(2).save(data / "images" / "02.jpg")
    (data / "images" / "._04.png").write_bytes(b"left by a file manager")
    (data / "images" / "thumbs.db").write_bytes(b"likewise")
    (data / "images" / "more").mkdir()
    folder = open_folder(data)
    assert names_of(folder) == ["00", "02", "04"]
    assert set(folder.left_out) == {
        LeftOut("01", "image without annotation"),
        LeftOut("03", "annotation without image"),
        LeftOut("02", "02.png has the same name as 02.jpg, which is used"),
        LeftOut("more/", "subfolder, chosen with --split more"),
    }


def test_images_that_cannot_be_used_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 7)
    (data / "images" / "00.png").write_bytes(b"no image")
    (data / "annotations" / "01.png").write_bytes(b"")
    Image.fromarray(label_of(2, (64, 128))).save(data / "annotations" / "02.png")
    Image.fromarray(label_of(3)).convert("RGB").save(data / "annotations" / "03.png")
    Image.fromarray(np.full((128, 128), NUM_CLASSES + 1, np.uint8)).save(data / "annotations" / "04.png")
    problems: list[LeftOut] = []
    found = list(labelled_images(open_folder(data), NUM_CLASSES, on_problem=problems.append))
    assert [image.name for image in found] == ["05", "06"]
    assert [item.name for item in problems] == ["00", "01", "02", "03", "04"]
    for item, words in zip(
        problems,
        ("cannot be read as an image", "annotation cannot be read", "64 x 128", "RGB values", "label 7"),
        strict=True,
    ):
        assert words in item.problem


def test_nothing_usable_is_an_error_after_all_are_named(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 2)
    for path in (data / "images").iterdir():
        path.write_bytes(b"no image")
    problems: list[LeftOut] = []
    with pytest.raises(UsageError, match=r"none of 2 images can be used; 00: .*00\.png"):
        list(labelled_images(open_folder(data), NUM_CLASSES, on_problem=problems.append))
    assert len(problems) == 2
    assert list(labelled_images(open_folder(data), NUM_CLASSES, on_problem=problems.append, skip={"00"})) == []
    assert len(problems) == 3  # what is skipped is not read


def test_an_image_on_its_side_is_turned_before_its_size_is_compared(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    (data / "images" / "00.png").unlink()
    photo_of(0, (96, 64)).save(data / "images" / "00.jpg", exif=exif)
    Image.fromarray(label_of(0, (64, 96))).save(data / "annotations" / "00.png")
    (image,) = labelled_images(open_folder(data), NUM_CLASSES, on_problem=pytest.fail)
    assert image.photo.size == (64, 96)


def test_labels_are_optional_where_they_need_not_be_given(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    photo_of(0).save(bare / "a.jpg")
    folder = open_folder(bare, labels="optional")
    assert names_of(folder) == ["a"]
    assert not folder.labelled
    (image,) = labelled_images(folder, NUM_CLASSES, on_problem=pytest.fail)
    assert image.label is None
    data = write_pairs(tmp_path / "d", 2)
    assert open_folder(data, labels="optional").labelled
    (data / "annotations" / "01.png").unlink()
    mixed = open_folder(data, labels="optional")
    assert (len(mixed.samples), mixed.labelled) == (2, False)
    assert open_folder(data, labels="optional", limit=1).labelled
    shutil.rmtree(data / "annotations")
    assert not open_folder(data, labels="optional").labelled
    assert "has images/ but no annotations/ or ann_dir/" in usage_error(data)


def test_splits_that_were_not_chosen_are_named(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 1, split="val")
    (data / "images" / "train").mkdir()
    message = usage_error(data)
    assert "subfolders: train, val" in message
    assert "--split" in message
    assert "did you mean 'val'?" in usage_error(data, split="vall")
    assert "holds no image" in usage_error(data, split="train")
    shutil.rmtree(data / "annotations" / "val")
    assert "no such folder" in usage_error(data, split="val")
    flat = write_pairs(tmp_path / "flat", 1)
    assert "leave --split out" in usage_error(flat, split="val")
    assert "no such subfolder" in usage_error(flat, split="..")


def test_folders_that_hold_nothing_to_use(tmp_path: Path) -> None:
    assert "no such folder" in usage_error(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "is a file" in usage_error(tmp_path / "file")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no images/ or img_dir/" in usage_error(empty)
    (empty / "images").mkdir()
    (empty / "annotations").mkdir()
    assert "holds no image" in usage_error(empty)
    assert "holds no image" in usage_error(empty, labels="optional")
    data = write_pairs(tmp_path / "d", 2)
    assert "the folder above images/" in usage_error(data / "images")
    for path in (data / "annotations").iterdir():
        path.rename(path.with_name(f"label_{path.name}"))
    assert "00.png against label_00.png" in usage_error(data)
    for path in (data / "annotations").iterdir():
        path.rename(path.with_suffix(".jpg"))
    assert "holds no annotation" in usage_error(data)


def test_hashes_tell_folders_apart(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 2)
    folder = open_folder(data)
    content, listing = folder.content_sha256(), folder.listing_sha256()
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    assert (open_folder(copy).content_sha256(), open_folder(copy).listing_sha256()) == (content, listing)
    annotation = copy / "annotations" / "01.png"
    Image.fromarray(label_of(7)).save(annotation)
    os.utime(annotation, (1, 1))
    assert open_folder(copy).content_sha256() != content
    assert open_folder(copy).listing_sha256() != listing
    assert open_folder(data, limit=1).content_sha256() != content
    (data / "images" / "01.png").rename(data / "images" / "02.png")
    (data / "annotations" / "01.png").rename(data / "annotations" / "02.png")
    assert open_folder(data).content_sha256() != content
